"""Flags of a dataclass: one a field, of its type, default and description.

    define(Config(), values)
    values(sys.argv)
    config = read(Config(), values)

knows `--num_trials=3 --epsilons=.1,.2` if `Config` has fields `num_trials: int`
and `epsilons: tuple[float, ...]`. What its `Attributes:` say of them
is what `--help` says. A field may be a bool, int, float, str, a
`Literal` of strings, a tuple of one of these, or one of these or None.
"""

from collections.abc import Sequence
import dataclasses
import inspect
import re
import types
import typing
from typing import Any

from absl import flags

_NEEDS = {int: 'a whole number', float: 'a number', str: 'text'}
_NEEDS_MANY = {int: 'whole numbers', float: 'numbers', str: 'names'}
# '  name: text', and what follows it further to the right.
_ATTRIBUTE = re.compile(r'^  (\w+): (.*(?:\n(?:   +.*)?)*)', re.MULTILINE)


def descriptions(config_type: type[Any]) -> dict[str, str]:
  """What the `Attributes:` of a class and of its bases say of each field."""
  found = {}
  for base in reversed(config_type.__mro__):
    doc = inspect.cleandoc(base.__doc__ or '')
    _, _, attributes = doc.partition('Attributes:\n')
    found |= {
      name: ' '.join(text.split())
      for name, text in _ATTRIBUTE.findall(attributes)
    }
  return found


def convert(text: str, hint: Any) -> Any:
  """Reads a value of an annotated field.

  Args:
    text: what the user wrote; 'None' is None where a field may be that.
    hint: the annotation, for example `tuple[int, ...]` or `float | None`.

  Returns:
    The value.

  Raises:
    ValueError: saying what it has to be.
    TypeError: if there is no flag for such a field.
  """
  kind, is_optional = _without_none(hint)
  if is_optional and text == 'None':
    return None
  if kind is bool:
    found = {'true': True, '1': True, 'false': False, '0': False}
    if text.lower() not in found:
      raise ValueError('need true or false.')
    return found[text.lower()]
  if typing.get_origin(kind) is typing.Literal:
    if text not in typing.get_args(kind):
      raise ValueError(f'need one of {", ".join(typing.get_args(kind))}.')
    return text
  if typing.get_origin(kind) is tuple:
    (item, *_) = typing.get_args(kind)
    if item is not str:
      text = text.strip('()')
    entries = [entry.strip() for entry in text.split(',')]
    try:
      return tuple(item(entry) for entry in entries if entry)
    except ValueError:
      raise ValueError(
        f'need {_NEEDS_MANY[item]} with commas between them.'
      ) from None
  if kind not in _NEEDS:
    raise TypeError(f'There is no flag of type {hint}.')
  try:
    return kind(text)
  except ValueError:
    raise ValueError(f'need {_NEEDS[kind]}.') from None


def _without_none(hint: Any) -> tuple[Any, bool]:
  """The type of an annotation besides None, and whether it may be None."""
  if typing.get_origin(hint) not in (typing.Union, types.UnionType):
    return hint, False
  kinds = [x for x in typing.get_args(hint) if x is not types.NoneType]
  if len(kinds) != 1:
    raise TypeError(f'There is no flag of type {hint}.')
  return kinds[0], True


class _Parser(flags.ArgumentParser):
  """Reads values as `convert` does."""

  def __init__(self, hint: Any):
    super().__init__()
    self._hint = hint

  def parse(self, argument: Any) -> Any:
    # A default is a value already.
    if not isinstance(argument, str) or self._hint is str:
      return argument
    return convert(argument, self._hint)

  def flag_type(self) -> str:
    return str(getattr(self._hint, '__name__', self._hint))


class _Serializer(flags.ArgumentSerializer):
  def serialize(self, value: Any) -> str:
    if isinstance(value, (tuple, list)):
      return ','.join(map(str, value))
    return str(value)


def define(
  defaults: Any,
  values: flags.FlagValues,
  module: str = 'flags',
  skip: Sequence[str] = (),
) -> None:
  """Defines the flags of a dataclass.

  Args:
    defaults: an instance, whose values are the defaults.
    values: where flags are defined.
    module: what `--help` files them under.
    skip: fields without a flag.

  Raises:
    TypeError: if there is no flag for the type of a field.
  """
  hints = typing.get_type_hints(type(defaults))
  texts = descriptions(type(defaults))
  for field in dataclasses.fields(defaults):
    if field.name in skip:
      continue
    default, hint = getattr(defaults, field.name), hints[field.name]
    text = texts.get(field.name, '')
    text = text[:1].upper() + text[1:]
    if hint is bool:
      flags.DEFINE_bool(field.name, default, text, values, module)
      continue
    if default is not None and not isinstance(default, str):
      convert(_Serializer().serialize(default), hint)  # Refuses other types.
    flags.DEFINE(
      _Parser(hint),
      field.name,
      default,
      text,
      values,
      _Serializer(),
      module,
    )


def read(
  defaults: Any, values: flags.FlagValues, skip: Sequence[str] = ()
) -> Any:
  """Returns the instance that parsed flags ask for.

  Raises:
    ValueError: from the dataclass, if it refuses them.
  """
  names = {field.name for field in dataclasses.fields(defaults)} - set(skip)
  given = {name: values[name].value for name in names}
  return dataclasses.replace(defaults, **given)
