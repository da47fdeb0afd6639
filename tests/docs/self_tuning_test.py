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
# What precedes a table, the stored table, and its columns; None for one that
# holds nothing of ours.
_TABLES = {
  '**Breakout of MinAtar**': (
    'five_million/breakout.csv',
    (
      'num_seeds',
      'score_mean',
      'training_mean',
      'final_discount',
      'final_lambda_',
      'final_value_cost',
      'final_entropy_cost',
    ),
  ),
}


def _table(heading):
  """Rows of the first table after a heading: label and cells."""
  text = _PAGE.read_text(encoding='utf-8').partition(heading)[2]
  rows = re.search(r'(?:^\|.*\|\n)+', text, re.MULTILINE)[0].splitlines()
  return [
    [cell.strip(' *') for cell in row.strip('|').split('|')] for row in rows[2:]
  ]


def _stored(name):
  with open(_RESULTS / name, newline='', encoding='utf-8') as file:
    return {row['arm']: row for row in csv.DictReader(file)}


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
