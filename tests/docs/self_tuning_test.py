"""What the page on self-tuning says was measured, against what is stored."""

import csv
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = _ROOT / 'docs' / 'self_tuning.md'
_RESULTS = _ROOT / 'launchers' / 'results' / 'self_tuning'
_ARMS = {
  'A2C': 'a2c',
  'K = 1': 'mgrl_k1',
  'K = 3, log-likelihood': 'mgrl_k3',
  'K = 3, order 1 (LVC)': 'lvc_k3',
  'K = 3, order 2': 'order_2_k3',
  'K = 3, causal λ .5': 'causal_k3',
  'K = 3, order 1 (LVC), outer critic': 'lvc_k3_outer',
  'meta-gradient': 'mg',
  'meta-gradient, outer critic': 'mg_outer',
  'bootstrapped': 'bmg',
  'bootstrapped, outer critic': 'bmg_outer',
}
_NUMBER = re.compile(r'−?\d*\.?\d+')
_MINATAR = (
  'score_mean',
  'training_mean',
  'final_discount',
  'final_lambda_',
  'final_value_cost',
  'final_entropy_cost',
)
# What precedes a table, the stored table, and its columns; None for what others
# published.
_TABLES = {
  '**Breakout of MinAtar**': (
    'five_million/breakout.csv',
    ('num_seeds', *_MINATAR),
  ),
  '**Asterix**': ('five_million/asterix.csv', _MINATAR),
  '**Space Invaders**': ('five_million/space_invaders.csv', _MINATAR),
  '**Snake**': (
    'ten_million/snake.csv',
    (
      'training_end',
      'published_return',
      'final_discount',
      'published_discount',
    ),
  ),
  '--game=snake_shared_torso': (
    'quarter/snake_shared_torso.csv',
    ('training_end', 'score_mean', None, 'training_mean', 'final_discount'),
  ),
}


def _table(heading):
  """Rows of the first table after a heading: label and cells."""
  text = _PAGE.read_text(encoding='utf-8').partition(heading)[2]
  rows = re.search(r'(?:^ *\|.*\|\n)+', text, re.MULTILINE)[0].splitlines()
  return [
    [cell.strip(' *') for cell in row.strip()[1:-1].split('|')]
    for row in rows[2:]
  ]


def _rows(name):
  with open(_RESULTS / name, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _stored(name):
  """Rows by arm, with what was published if that is stored beside them."""
  stored = {row['arm']: row for row in _rows(name)}
  if name.startswith('ten_million'):
    for row in _rows('ten_million/published.csv'):
      for column, value in row.items():
        stored.get(row['arm'], {})[f'published_{column}'] = value
  return stored


@pytest.mark.parametrize('heading', _TABLES)
def test_tables_are_what_is_stored(heading):
  name, columns = _TABLES[heading]
  stored = _stored(name)
  told = {row[0]: row[1:] for row in _table(heading) if row[0] in _ARMS}
  assert sorted(_ARMS[label] for label in told) == sorted(stored)
  for label, cells in told.items():
    for column, cell in zip(columns, cells, strict=True):
      if column is None or not _NUMBER.search(cell):
        continue
      value = _NUMBER.search(cell)[0].replace('−', '-')
      digits = len(value.partition('.')[2])
      expected = float(stored[_ARMS[label]][column])
      assert abs(float(value) - expected) <= 0.5001 * 10**-digits, (
        label,
        column,
      )


def test_the_table_of_meta_gradients_is_what_is_stored():
  stored = {
    (row['arm'], round(int(row['steps']) / 1e6)): row
    for row in _rows('five_million/breakout_meta_gradients.csv')
  }
  table = _table('*What the evaluator changes*')
  assert len(table) == 5
  columns = ('correlation', 'correlation_error', 'relative_variance')
  for steps, *cells in table:
    for arm, *own in (('mgrl_k1', *cells[:2]), ('mgrl_k3', *cells[2:])):
      row = stored[arm, int(steps.split()[0])]
      for told, column in zip(
        _NUMBER.findall(' '.join(own)), columns, strict=True
      ):
        value = told.replace('−', '-')
        digits = len(value.partition('.')[2])
        error = abs(float(value) - float(row[column]))
        assert error <= 0.5001 * 10**-digits, (steps, arm, column)
  means = {}
  for arm in ('mgrl_k1', 'mgrl_k3'):
    rows = [row for (x, _), row in stored.items() if x == arm]
    means[arm] = sum(float(row['correlation']) for row in rows) / len(rows)
  assert round(means['mgrl_k1'], 2) == 0.39
  assert round(means['mgrl_k3'], 2) == 0.01
  for (arm, steps), row in stored.items():
    if arm != 'mgrl_k1':
      own = stored['mgrl_k3', steps]
      gap = float(row['correlation']) - float(own['correlation'])
      assert abs(gap) < 0.01
      assert abs(float(row['norm']) / float(own['norm']) - 1) < 0.07


def test_the_table_of_atari_is_what_is_stored():
  rows = _rows('atari/breakout_0.csv')
  (_, *told), *_ = _table('**Atari**')
  assert len(told) == 7
  for i, cell in enumerate(told):
    returns = [
      float(row['episode_return'])
      for row in rows
      if i < int(row['frames']) / 1e5 <= i + 1
    ]
    assert abs(float(cell) - sum(returns) / len(returns)) <= 0.005
