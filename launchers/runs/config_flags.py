"""Fields of a configuration on the command line: `--config.FIELD=VALUE`."""

import ast
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import re
import types
import typing
from typing import Any

import optax

from acme_metarl.launchers.runs import dataclass_flags, references

_FLAG = re.compile(r'--?config\.([A-Za-z_0-9.]+)(?:=(.*))?', re.DOTALL)


def split(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
  """Takes `--config.FIELD=VALUE` out of a command line.

  Args:
    argv: the command line.

  Returns:
    The rest of the command line, and the values by field.

  Raises:
    ValueError: if a value is missing.
  """
  rest, values = [], {}
  for argument in argv:
    match = _FLAG.fullmatch(argument)
    if not match:
      rest.append(argument)
    elif match.group(2) is None:
      raise ValueError(f'{argument} has no value; write {argument}=VALUE.')
    else:
      values[match.group(1)] = match.group(2)
  return rest, values


def parse(
  values: Mapping[str, str], config_type: type[Any], taken: Sequence[str] = ()
) -> dict[str, Any]:
  """Converts values to the types of a dataclass's fields.

  Tuples are numbers with commas between them. A mapping is filled in entry by
  entry, `FIELD.KEY=VALUE`. Where a field takes a callable besides a name,
  `module:function` is imported. `None` is None where a field may be that.

  Args:
    values: by field, as text.
    config_type: a dataclass.
    taken: fields that have a flag of their own.

  Returns:
    Values by field.

  Raises:
    ValueError: if there is no such field (the message lists the right ones), or
      a value does not fit its type.
  """
  hints = typing.get_type_hints(config_type)
  fields = {
    field.name: hints[field.name]
    for field in dataclasses.fields(config_type)
    if field.name not in taken
  }
  parsed: dict[str, Any] = {}
  for name, text in values.items():
    field, _, key = name.partition('.')
    is_mapping = typing.get_origin(fields.get(field)) is _MAPPING
    if field in taken:
      raise ValueError(f'--config.{field}: use --{field} instead.')
    if field not in fields or bool(key) != is_mapping:
      hint = f'; write --config.{field}.KEY=VALUE' if is_mapping else ''
      raise ValueError(
        f'--config.{name}: there is no such field{hint}. There are '
        f'{", ".join(fields)}.'
      )
    if is_mapping:
      parsed.setdefault(field, {})[key] = _literal(text)
    else:
      parsed[field] = _convert(f'--config.{field}', text, fields[field])
  return parsed


_MAPPING = typing.get_origin(Mapping[str, Any])
_CALLABLE = typing.get_origin(Callable[..., Any])


def _literal(text: str) -> Any:
  """A number, `inf` and `nan` included, what Python writes, or the text."""
  for read in (ast.literal_eval, float):
    try:
      return read(text)
    except (ValueError, SyntaxError):
      continue
  return text


def _convert(flag: str, text: str, hint: Any) -> Any:
  is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  kinds = typing.get_args(hint) if is_union else (hint,)
  is_part = any(
    typing.get_origin(kind) is _CALLABLE or kind is optax.GradientTransformation
    for kind in kinds
  )
  if is_part:
    if text == 'None' and types.NoneType in kinds:
      return None
    return references.load(flag, text) if references.is_one(text) else text
  try:
    return dataclass_flags.convert(text, hint)
  except ValueError as error:
    raise ValueError(f'{flag}={text}: {error}') from None
  except TypeError:
    raise ValueError(f'{flag}: can be set from Python only.') from None
