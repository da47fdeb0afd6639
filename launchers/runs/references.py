"""What a user names on the command line as `package.module:name`."""

import functools
import importlib
import re
from typing import Any

_REFERENCE = re.compile(r'[A-Za-z_][\w.]*:[A-Za-z_][\w.]*')


def is_one(text: Any) -> bool:
  """Whether a text names something in a module."""
  return isinstance(text, str) and bool(_REFERENCE.fullmatch(text))


def load(flag: str, text: str) -> Any:
  """Imports what a flag names.

  Args:
    flag: for the message.
    text: `package.module:name`, which the user typed.

  Returns:
    The object.

  Raises:
    ValueError: if there is no such module or name in it.
  """
  module, _, name = text.partition(':')
  try:
    return functools.reduce(
      getattr, name.split('.'), importlib.import_module(module)
    )
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f'{flag}: {text!r} needs {name!r} in a module {module!r} that can be '
      f'imported, but: {error}.'
    ) from error
