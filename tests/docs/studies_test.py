"""The studies' tables are those of the committed results."""

import csv
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = _ROOT / 'docs' / 'studies' / 'prisoners_dilemma.md'
_RESULTS = _ROOT / 'launchers' / 'results' / 'prisoners_dilemma'
_CONDITIONS = {
  'fresh games': 'on_policy',
  'buffer': 'off_policy',
  'exact, outer gradient too': 'exact',
  'exact': 'inner_exact',
  'only the Hessian exact': 'hessian_exact',
  'only the step exact': 'value_exact',
}
_EVALUATORS = {
  'DiCE': 'importance_sampling',
  'DiCE with baseline': 'dice_with_baseline',
  'doubly robust': 'doubly_robust',
  'second order': 'taylor_2',
  'second and third order': 'taylor_2',
  'third order': 'taylor_3',
  'first order': 'taylor_1',
  'log-likelihood': 'log_likelihood',
}


def _rows():
  text = _PAGE.read_text(encoding='utf-8').replace('−', '-')
  table = text.split('| look-ahead |')[1].split('\n\n')[0]
  for line in table.splitlines()[2:]:
    name, *cells = (x.strip() for x in line.strip('|').split('|'))
    condition, _, evaluator = name.partition(', ')
    if name in _CONDITIONS:
      condition, evaluator = name, ''
    yield _CONDITIONS[condition], _EVALUATORS.get(evaluator, ''), cells


def _stored():
  with (_RESULTS / 'results.csv').open(encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  evaluator = 'evaluator' if 'evaluator' in rows[0] else 'estimator'
  return {
    (
      row['condition'],
      row[evaluator] if row['condition'].endswith('policy') else '',
    ): row
    for row in rows
  }


@pytest.mark.parametrize('after', [150, 300, 500])
def test_payoffs_are_those_stored(after):
  stored, rows = _stored(), list(_rows())
  assert len(rows) >= 15
  for condition, evaluator, cells in rows:
    row = stored[condition, evaluator]
    cell = cells[[150, 300, 500].index(after)]
    numbers = re.findall(r'-?\d*\.\d+', cell)
    assert numbers[0] == f'{float(row[f"payoff_{after}_mean"]):.2f}', cell
    if len(numbers) > 1:
      deviation = float(row[f'payoff_{after}_std'])
      assert numbers[1] == f'{deviation:.2f}'.lstrip('0'), cell
