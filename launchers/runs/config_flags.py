"""Fields of a configuration on the command line: `--config.FIELD=VALUE`."""

import ast
from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any

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
  `module:function` is one. `None` is None where a field may be that.

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
  fields = {
    field.name: str(getattr(field.type, '__name__', field.type))
    if isinstance(field.type, type)
    else str(field.type)
    for field in dataclasses.fields(config_type)
    if field.name not in taken
  }
  parsed: dict[str, Any] = {}
  for name, text in values.items():
    field, _, key = name.partition('.')
    is_mapping = 'Mapping' in fields.get(field, '')
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
      parsed[field] = _convert(field, text, fields[field])
  return parsed


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _convert(name: str, text: str, kind: str) -> Any:
  """Converts to the field's type, given as it is written in the dataclass."""
  if text == 'None' and 'None' in kind:
    return None
  try:
    if kind.startswith('tuple'):
      return tuple(int(x) for x in text.strip('()').split(',') if x.strip())
    if kind.startswith('int'):
      return int(text)
    if kind.startswith('float'):
      return float(text)
    if kind.startswith('bool'):
      return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
  except (KeyError, ValueError):
    raise ValueError(f'--config.{name}={text}: need {kind}.') from None
  return text
