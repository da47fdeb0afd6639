"""The study of the best causal λ as its user makes it."""

import csv
import itertools
import json
import os
import pathlib

import jax
import numpy as np
import pytest

from acme_metarl import environments, presets
from acme_metarl.launchers.runs import checkpointing, device_trainer, loading
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.studies import causal_lambda, causal_lambda_agent
from acme_metarl.studies import causal_accuracy

_ROOT = pathlib.Path(__file__).parent.parent.parent
_SMALL = ('--num_states=3', '--num_actions=2', '--horizon=4')
_COLUMNS = [
  'horizon',
  'epsilon',
  'num_trajectories',
  'causal_lambda',
  'num_trials',
  'hessian_accuracy_mean',
  'hessian_accuracy_stderr',
  'meta_gradient_accuracy_mean',
  'meta_gradient_accuracy_stderr',
  'of_hessian_accuracy_mean',
  'of_hessian_accuracy_stderr',
]


def test_writes_rows_best_laws_and_figure(tmp_path, call_main):
  out, _ = call_main(
    'causal_lambda',
    *_SMALL,
    '--causal_lambdas=1,0,.5',
    '--num_trajectories=10,40',
    '--epsilons=0',
    '--horizons=8',
    '--num_trials=3',
    f'--logdir={tmp_path}',
  )
  assert str(tmp_path) in out
  assert sorted(os.listdir(tmp_path)) == [
    'causal_lambda.png',
    'laws.md',
    'meta_gradient.md',
    'results.csv',
    'results.json',
    'results.md',
  ]
  results = json.loads((tmp_path / 'results.json').read_text())
  assert [
    (x['horizon'], x['num_trajectories'], x['causal_lambda'])
    for x in results['rows']
  ] == list(itertools.product((4, 8), (10, 40), (0.0, 0.5, 1.0)))
  assert len(results['best']) == 3 * 4
  assert [x['quantity'] for x in results['laws']] == list(
    causal_lambda.QUANTITIES
  )
  assert 'horizon_exponent' in results['laws'][0]
  for name in ('results', 'meta_gradient'):
    *_, last = (tmp_path / f'{name}.md').read_text().splitlines()
    assert last.startswith('| 0 | 40 | ') and last.count(' ± ') == 4
  with (tmp_path / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  assert list(table[0]) == _COLUMNS
  assert len(table) == 12


def test_the_discount_goes_with_the_horizon():
  config = causal_lambda.Config(horizon=20, discount=0.8, horizons=(10, 40))
  assert config.all_horizons == (20, 10, 40)
  found = [config.setting_of(x).discount for x in config.all_horizons]
  np.testing.assert_allclose(found, [0.8, 0.6, 0.9])


def test_best_and_its_law():
  """Accuracies that peak at 1 − 2 √(T / 20N), a little apart in two MDPs."""
  config = causal_lambda.Config(
    num_trajectories=(40, 100, 400),
    epsilons=(0.0,),
    num_trials=2,
    horizons=(10,),
  )
  grid = np.asarray(config.grid)
  found = {}
  for point in config.points:
    scale = np.sqrt(point.horizon / 20 / point.num_trajectories)
    peaks = 1 - 2 * scale * np.array([[0.9], [1.1]])
    accuracy = 0.9 - (grid - peaks) ** 2
    found[point] = causal_accuracy.Accuracy(accuracy, accuracy, accuracy)
  results = causal_lambda.analyse(config, found)
  own = [row for row in results['best'] if row['quantity'] == 'hessian']
  expected = [
    1 - 2 * np.sqrt(p.horizon / 20 / p.num_trajectories) for p in found
  ]
  for name in ('best_mean', 'best_of_mean'):
    np.testing.assert_allclose([row[name] for row in own], expected)
  for law in results['laws']:
    np.testing.assert_allclose(
      [
        law['num_trajectories_exponent'],
        law['horizon_exponent'],
        law['coefficient'],
      ],
      [-0.5, 0.5, 2.0 / np.sqrt(20)],
    )
    # Resampled both at once, so sizes change and exponents do not.
    np.testing.assert_allclose(law['num_trajectories_low'], -0.5)


def test_a_best_of_one_counts_as_half_the_last_step_below():
  config = causal_lambda.Config(
    causal_lambdas=(0.0, 0.6, 0.8, 1.0),
    num_trajectories=(10, 100),
    epsilons=(0.0,),
    num_trials=2,
  )
  accuracy = np.array([[0.1, 0.2, 0.3, 0.4]] * 2)
  found = {
    point: causal_accuracy.Accuracy(accuracy, accuracy, accuracy)
    for point in config.points
  }
  for law in causal_lambda.analyse(config, found)['laws']:
    np.testing.assert_allclose(law['coefficient'], 0.1)


def test_peaks():
  x = [0.0, 0.2, 1.0]
  y = -((np.array(x) - np.array([[0.15], [0.3], [-1.0], [2.0]])) ** 2)
  np.testing.assert_allclose(causal_lambda.peak(x, y), [0.15, 0.3, 0.0, 1.0])
  # Equally high points.
  assert causal_lambda.peak(x, [1.0, 1.0, 1.0]) == 0.0


def test_lags(tmp_path, call_main):
  call_main(
    'causal_lambda',
    '--measure=lags',
    '--num_states=8',
    '--num_actions=3',
    '--horizon=4',
    '--num_trajectories=10,100',
    '--epsilons=0',
    '--num_trials=3',
    '--num_lag_trajectories=40',
    f'--logdir={tmp_path}',
  )
  assert sorted(os.listdir(tmp_path)) == [
    'lags.md',
    'lags.png',
    'results.csv',
    'results.json',
    'weights.md',
  ]
  results = json.loads((tmp_path / 'results.json').read_text())
  assert [row['lag'] for row in results['rows']] == [0, 1, 2, 3]
  for row in results['errors']:
    best = row['best_causal_lambda_error_mean']
    assert best <= row['first_order_error_mean']
    assert best <= row['second_order_error_mean']
  # The more data, the more of every lag.
  assert results['rows'][0]['weight_10_mean'] > 0.1
  for row in results['rows']:
    # Of such small MDPs some have nothing at a lag.
    assert 0 <= row['weight_10_mean'] <= row['weight_100_mean'] < 1
  lines = (tmp_path / 'lags.md').read_text().splitlines()
  assert len(lines) == 2 + 4


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A run on navigation that has not learned anything yet."""
  directory = tmp_path_factory.mktemp('run')
  config = run_config.RunConfig(
    environment_options={'reward': 'dense'},
    preset='promp',
    algorithm=presets.make(
      'promp', num_tasks=2, num_rollouts=3, horizon=6, hidden_sizes=(4,)
    ),
  )
  trainer = device_trainer.Trainer([config], jax.local_devices()[:1])
  ((arrays, metadata),) = trainer.save()
  checkpointing.Checkpointer(directory / 'checkpoints').save(
    3, arrays, {**metadata, 'iteration': 3, 'config': config.to_dict()}
  )
  return directory


def test_agent(tmp_path, call_main, checkpoint):
  call_main(
    'causal_lambda',
    '--measure=agent',
    f'--checkpoint={checkpoint}',
    '--causal_lambdas=0,.5,.9',
    '--num_tasks=3',
    '--num_batches=4',
    '--num_reference_rollouts=5',
    f'--logdir={tmp_path}',
  )
  assert sorted(os.listdir(tmp_path)) == [
    'agent.md',
    'agent.png',
    'results.csv',
    'results.json',
  ]
  results = json.loads((tmp_path / 'results.json').read_text())
  assert (results['environment'], results['iteration']) == ('navigation_2d', 3)
  assert len(results['return_mean']) == 2
  rows = results['rows']
  assert [row['causal_lambda'] for row in rows] == [0.0, 0.5, 0.9]
  assert rows[0]['relative_variance_mean'] == pytest.approx(1.0)
  for row in rows:
    assert row['variance_mean'] > 0
    for name in ('half_cosine_mean', 'reference_cosine_mean'):
      assert -1 <= row[name] <= 1
  assert len({row['variance_mean'] for row in rows}) == 3


def test_the_same_tasks_are_played_with_other_actions(checkpoint):
  run = loading.load(checkpoint)
  environment = causal_lambda_agent.SameTasks(
    environments.batch(run.environment)
  )
  player = causal_lambda_agent.Player(run, environment, 2, 3, (0, 0))
  first = player.play()
  tasks = np.array(player.tasks)
  second = player.play()
  assert np.any(first.action != second.action)
  np.testing.assert_array_equal(player.tasks, tasks)
  other = causal_lambda_agent.Player(run, environment, 2, 3, (0, 1))
  assert np.any(other.play().action != first.action)
  np.testing.assert_array_equal(other.tasks, tasks)


def test_the_pages_show_what_is_stored():
  pages = {
    name: (_ROOT / 'docs' / f'{name}.md').read_text()
    for name in ('reproduction', 'which_estimator')
  }
  stored = _ROOT / 'launchers' / 'results' / 'causal_lambda'
  for name in (
    'results.md',
    'meta_gradient.md',
    'laws.md',
    'long_horizon/results.md',
    'lags/lags.md',
    'lags/weights.md',
    'agent_navigation/agent.md',
    'agent_half_cheetah/agent.md',
  ):
    assert (stored / name).read_text() in pages['reproduction'], name
  results = json.loads((stored / 'results.json').read_text())
  own = [
    row
    for row in results['best']
    if (row['quantity'], row['horizon'], row['epsilon']) == ('hessian', 20, 0)
  ]
  numbers = [str(row['num_trajectories']) for row in own]
  best = [f'{row["best_mean"]:.2f}'.lstrip('0') for row in own]
  for name, cells in (('trajectories N', numbers), ('best κ', best)):
    assert f'| {name} | {" | ".join(cells)} |' in pages['which_estimator']


@pytest.mark.parametrize(
  ('changes', 'problem'),
  [
    ({'causal_lambdas': (0.0, 1.0)}, 'three different numbers'),
    ({'causal_lambdas': (0.0, 0.5, 1.5)}, r'each needs to be in \[0, 1\]'),
    ({'epsilons': ()}, 'needs one at least'),
    ({'num_trials': 0}, 'num_trials'),
    ({'horizons': (20, 1)}, 'horizons has 1'),
    ({'horizons': (3,)}, 'discount is'),
    ({'measure': 'agent'}, 'agent needs one'),
    ({'checkpoint': 'run'}, 'nothing else takes one'),
    ({'num_batches': 1}, 'num_batches is 1'),
  ],
)
def test_refuses(changes, problem):
  with pytest.raises(ValueError, match=problem):
    causal_lambda.Config(**changes)
