"""Flags made of the fields of dataclasses."""

import dataclasses
from typing import Literal

from absl import flags
import pytest

from acme_metarl.launchers.runs import dataclass_flags


@dataclasses.dataclass(frozen=True)
class _Sizes:
  """Sizes.

  Attributes:
    num_tasks: tasks of a
      meta-batch, G.
    horizon: steps.
  """

  num_tasks: int = 40
  horizon: int | None = None


@dataclasses.dataclass(frozen=True)
class _Config(_Sizes):
  """All of it.

  Attributes:
    epsilons: distances: each in [0, 1).
    names: of estimators.
    column: which part.
    is_exact: whether it is.
    output: directory.
    scale: of noise.

  And a sentence that is of no field.
  """

  epsilons: tuple[float, ...] = (0.0, 0.5)
  names: tuple[str, ...] = ('a', 'b')
  column: Literal['inner', 'outer'] = 'inner'
  is_exact: bool = True
  output: str = 'results/x'
  scale: float = 1.0

  def __post_init__(self):
    if self.scale <= 0:
      raise ValueError(f'scale is {self.scale}; it needs to be positive.')


def _parse(*arguments, defaults=None):
  defaults = defaults or _Config()
  values = flags.FlagValues()
  dataclass_flags.define(defaults, values, 'name')
  values(['name', *arguments])
  return dataclass_flags.read(defaults, values)


def test_defaults_are_those_of_the_fields():
  assert _parse() == _Config()


def test_values_have_the_types_of_the_fields():
  config = _parse(
    '--num_tasks=3',
    '--horizon=7',
    '--epsilons=.25, 1',
    '--names=c',
    '--column=outer',
    '--nois_exact',
    '--output=None',
    '--scale=2',
  )
  assert config == _Config(
    3, 7, (0.25, 1.0), ('c',), 'outer', False, 'None', 2.0
  )
  assert _parse('--epsilons=').epsilons == ()
  assert _parse('--horizon=None').horizon is None


def test_descriptions_are_those_of_the_attributes():
  texts = dataclass_flags.descriptions(_Config)
  assert texts['num_tasks'] == 'tasks of a meta-batch, G.'
  assert texts['epsilons'] == 'distances: each in [0, 1).'
  assert texts['scale'] == 'of noise.'
  assert set(texts) == {field.name for field in dataclasses.fields(_Config)}


@pytest.mark.parametrize(
  ('argument', 'sentence'),
  [
    ('--num_tasks=x', 'flag --num_tasks=x: need a whole number.'),
    ('--num_tasks=1.5', 'flag --num_tasks=1.5: need a whole number.'),
    ('--epsilons=0,x', 'flag --epsilons=0,x: need numbers with commas'),
    ('--column=middle', 'flag --column=middle: need one of inner, outer.'),
    ('--scale=0', 'scale is 0.0; it needs to be positive.'),
    ('--num_task=1', "Unknown command line flag 'num_task'. Did you mean"),
  ],
)
def test_mistakes_have_a_sentence(argument, sentence):
  with pytest.raises((flags.Error, ValueError)) as info:
    _parse(argument)
  assert sentence in str(info.value)


def test_help_shows_defaults_and_descriptions():
  values = flags.FlagValues()
  dataclass_flags.define(_Config(), values, 'name')
  text = values.get_help()
  assert 'Tasks of a meta-batch, G.' in text
  assert "(default: '0.0,0.5')" in text


def test_defaults_may_be_others_than_those_of_the_class():
  assert _parse('--num_tasks=2', defaults=_Sizes(1, 5)) == _Sizes(2, 5)


def test_text_is_kept_as_it_is():
  assert dataclass_flags.convert('f(x),g(y)', tuple[str, ...]) == (
    'f(x)',
    'g(y)',
  )
  assert dataclass_flags.convert('(8, 8)', tuple[int, ...]) == (8, 8)


def test_a_field_without_a_flag():
  @dataclasses.dataclass(frozen=True)
  class Config:
    table: dict[str, int] = dataclasses.field(default_factory=dict)
    size: int = 1

  with pytest.raises(TypeError, match='no flag of type'):
    dataclass_flags.define(Config(), flags.FlagValues())
  values = flags.FlagValues()
  dataclass_flags.define(Config(), values, skip=['table'])
  assert set(values) == {'size'}
