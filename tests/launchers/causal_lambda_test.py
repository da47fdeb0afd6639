"""The study of the best causal λ as its user makes it."""

import csv
import json
import os
import pathlib

import jax
import numpy as np
import pytest

from acme_metarl.launchers.studies import causal_lambda
from acme_metarl.studies import derivative_accuracy

_ROOT = pathlib.Path(__file__).parent.parent.parent
_SMALL = ('--num_states=3', '--num_actions=2', '--horizon=4')
_COLUMNS = [
  'epsilon',
  'num_trajectories',
  'causal_lambda',
  'num_trials',
  'hessian_accuracy_mean',
  'hessian_accuracy_stderr',
]


def test_writes_rows_best_laws_and_figure(tmp_path, call_main):
  out, _ = call_main(
    'causal_lambda',
    *_SMALL,
    '--causal_lambdas=1,0,.5',
    '--num_trajectories=10,40',
    '--epsilons=0',
    '--num_trials=3',
    f'--logdir={tmp_path}',
  )
  assert str(tmp_path) in out
  assert sorted(os.listdir(tmp_path)) == [
    'causal_lambda.png',
    'results.csv',
    'results.json',
    'results.md',
  ]
  results = json.loads((tmp_path / 'results.json').read_text())
  assert [
    (x['num_trajectories'], x['causal_lambda']) for x in results['rows']
  ] == [(number, value) for number in (10, 40) for value in (0.0, 0.5, 1.0)]
  assert [x['num_trajectories'] for x in results['best']] == [10, 40]
  assert [x['epsilon'] for x in results['laws']] == [0.0]
  *_, last = (tmp_path / 'results.md').read_text().splitlines()
  assert last.startswith('| 0 | 40 | ') and last.count(' ± ') == 4
  with (tmp_path / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  assert list(table[0]) == _COLUMNS
  assert len(table) == 6
  # On-policy 0 is first order and 1 second order, of the same trajectories.
  config = causal_lambda.Config(
    num_states=3,
    num_actions=2,
    horizon=4,
    num_trajectories=(40,),
    epsilons=(0.0,),
    num_trials=3,
  )
  jax.config.update('jax_enable_x64', True)
  try:
    ((_, accuracy),) = derivative_accuracy.run(
      config.points, 3, 0, config.setting, ('taylor_1', 'taylor_2')
    )
  finally:
    jax.config.update('jax_enable_x64', False)
  found = [x['hessian_accuracy_mean'] for x in results['rows'][3:]]
  np.testing.assert_allclose(
    [found[0], found[2]], accuracy.hessian.mean(0), atol=1e-12
  )


def test_best_and_its_law():
  """Accuracies that peak at 1 − 2 / √N, a little apart in two MDPs."""
  numbers = (25, 100, 400)
  config = causal_lambda.Config(
    num_trajectories=numbers, epsilons=(0.0,), num_trials=2
  )
  grid = np.asarray(config.grid)
  found = {}
  for number in numbers:
    peaks = 1 - 2 / np.sqrt(number) * np.array([[0.9], [1.1]])
    point = derivative_accuracy.Point(0.0, number)
    found[point] = 0.9 - (grid - peaks) ** 2
  results = causal_lambda.analyse(config, found)
  np.testing.assert_allclose(
    [row['best_mean'] for row in results['best']], [0.6, 0.8, 0.9]
  )
  np.testing.assert_allclose(
    [row['best_of_mean'] for row in results['best']], [0.6, 0.8, 0.9]
  )
  (law,) = results['laws']
  np.testing.assert_allclose([law['exponent'], law['coefficient']], [-0.5, 2.0])


def test_a_peak_at_an_end_is_that_end():
  assert causal_lambda.peak([0.0, 0.5, 1.0], [3.0, 2.0, 2.5]) == 0.0
  assert causal_lambda.peak([0.0, 0.5, 1.0], [1.0, 2.0, 2.5]) == 1.0


def test_the_pages_show_what_is_stored():
  pages = {
    name: (_ROOT / 'docs' / f'{name}.md').read_text()
    for name in ('reproduction', 'which_estimator')
  }
  stored = _ROOT / 'launchers' / 'results' / 'causal_lambda'
  for directory in (stored, stored / 'long_horizon'):
    assert (directory / 'results.md').read_text() in pages['reproduction']
  results = json.loads((stored / 'results.json').read_text())
  own = [row for row in results['best'] if row['epsilon'] == 0]
  numbers = [str(row['num_trajectories']) for row in own]
  best = [f'{row["best_mean"]:.2f}'.lstrip('0') for row in own]
  for name, cells in (('trajectories N', numbers), ('best κ', best)):
    assert f'| {name} | {" | ".join(cells)} |' in pages['which_estimator']


@pytest.mark.parametrize(
  ('changes', 'problem'),
  [
    ({'causal_lambdas': (0.0, 1.0)}, 'three different numbers'),
    ({'causal_lambdas': (0.0, 0.5, 1.5)}, 'Unknown evaluator'),
    ({'epsilons': ()}, 'needs one at least'),
    ({'num_trials': 0}, 'num_trials'),
  ],
)
def test_refuses(changes, problem):
  with pytest.raises(ValueError, match=problem):
    causal_lambda.Config(**changes)
