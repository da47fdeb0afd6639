"""What benchmarks share."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import benchmark, timing

_SECONDS = {'a': np.array([1.0, 2.0, 9.0]), 'b': np.array([2.0, 2.0, 3.0])}


def test_rows_have_medians_and_the_median_of_the_ratios():
  a, b = benchmark.rows_of_turns('case', _SECONDS, 'b', {'a': 0.5})
  assert (a.case, a.name, a.unit) == ('case', 'a', 's')
  assert (a.value, b.value) == (2.0, 2.0)
  assert a.ratio == 1.0  # Of 1/2, 1 and 3; not 2 / 2 by chance only:
  assert np.median(_SECONDS['a'] / _SECONDS['b']) == 1.0
  assert (a.compilation, b.compilation) == (0.5, None)
  assert benchmark.rows_of_turns('case', _SECONDS)[0].ratio is None


def test_a_target_is_of_the_ratio_or_else_of_the_value():
  row = benchmark.Row('case', 'name', 3.0, ratio=0.5)
  assert row.at_most(0.5).is_met and not row.at_least(0.6).is_met
  assert row.at_most(0.5).target == '<= 0.5'
  assert not benchmark.Row('case', 'name', 3.0).at_most(0.5).is_met


def test_programs_are_compiled_once_and_compared():
  programs = {
    name: timing.compile_ahead(lambda x, y=y: x + y, np.float32(1))
    for name, y in (('a', 1.0), ('b', 2.0))
  }
  assert float(programs['b'].call()) == 3.0
  a, b = benchmark.compare('case', programs, 3, 'b')
  assert b.ratio == 1.0 and a.ratio > 0
  assert a.compilation == programs['a'].seconds > 0


def test_the_table_has_a_line_a_row():
  rows = [
    benchmark.Row('case', 'slow', 12345.6, 'steps/s', 0.25).at_least(0.5),
    benchmark.Row('case', 'left out', None, 'no time'),
    benchmark.Row('case', 'fast', 0.01234, compilation=2.0),
  ]
  header, *lines = [line.split() for line in benchmark.table(rows).splitlines()]
  assert header == [
    'case',
    'name',
    'value',
    'unit',
    'ratio',
    'target',
    'compile',
    's',
  ]
  assert lines == [
    ['case', 'slow', '12,346', 'steps/s', '0.25', '>=', '0.5', 'missed'],
    ['case', 'left', 'out', 'no', 'time'],
    ['case', 'fast', '0.01234', 's', '2'],
  ]


def test_a_case_has_its_sizes():
  config = presets.make('promp', num_tasks=2, num_rollouts=3, horizon=5)
  assert benchmark.case_name('here', config) == 'here 2x3x5x2'


@dataclasses.dataclass(frozen=True)
class _Config:
  """Sizes.

  Attributes:
    sizes: that are measured.
  """

  sizes: tuple[int, ...] = (1, 2)

  def __post_init__(self):
    benchmark.check_positive(self, 'sizes')


def _measure(config):
  for size in config.sizes:
    yield benchmark.Row(f'size {size}', 'time', 0.5 * size)


def test_rows_are_printed_and_written(tmp_path, capsys):
  arguments = ['--sizes=3,4', f'--logdir={tmp_path}/here']
  benchmark.main('name', 'Doc.', _Config(), _measure, arguments)
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[:2] for line in lines[1:]] == [
    ['size', '3'],
    ['size', '4'],
  ]
  results = json.loads((tmp_path / 'here' / 'results.json').read_text())
  assert results['config'] == {'sizes': [3, 4]}
  assert [row['value'] for row in results['rows']] == [1.5, 2.0]
  with (tmp_path / 'here' / 'results.csv').open() as file:
    assert [row['case'] for row in csv.DictReader(file)] == ['size 3', 'size 4']


def test_json_instead_of_a_table(capsys):
  benchmark.main('name', 'Doc.', _Config(), _measure, ['--json'])
  results = json.loads(capsys.readouterr().out)
  assert [row['case'] for row in results['rows']] == ['size 1', 'size 2']
  assert results['device']


@pytest.mark.parametrize(
  ('argument', 'sentence'),
  [
    ('--sizes=x', 'name: flag --sizes=x: need whole numbers'),
    ('--logdir=/dev/null/x', 'name: cannot write to the output directory'),
    ('stray', "name: unexpected argument 'stray'"),
  ],
)
def test_mistakes_have_a_sentence(argument, sentence):
  with pytest.raises(SystemExit) as info:
    benchmark.main('name', 'Doc.', _Config(), _measure, [argument])
  assert info.value.code.startswith(sentence)


@pytest.mark.parametrize('sizes', [(0,), (), (1, -1)])
def test_numbers_are_positive(sizes):
  with pytest.raises(ValueError, match=r'sizes: got \(.*need at least 1'):
    _Config(sizes)


def test_names_are_known_ones():
  benchmark.check_names('parts', ['a'], ['a', 'b'])
  for given, message in (((), 'names nothing'), (('c',), 'names c; .* a, b')):
    with pytest.raises(ValueError, match=message):
      benchmark.check_names('parts', given, ['a', 'b'])
