"""Statistics over seeds, by hand."""

import math

import numpy as np
import pytest

from acme_metarl.launchers.comparison import learning_curves, stored_runs
from acme_metarl.launchers.runs import config as run_config


def _curve(after, seed=0):
  after = np.array(after, float)
  iteration = np.arange(after.size) * 10
  return learning_curves.Curve(
    seed=seed,
    is_finished=iteration[-1] >= 20,
    iteration=iteration,
    environment_steps=iteration * 100,
    before=after - 1,
    after=after,
  )


def test_final_return_leaves_the_untrained_policy_out():
  curve = _curve([-50.0, 1.0, 2.0, 6.0])
  assert curve.final(curve.after, 2) == 4
  assert curve.final(curve.after, 9) == 3
  untrained = _curve([-50.0])
  assert untrained.final(untrained.after, 2) == -50


def test_average_is_the_area_under_the_curve():
  # (0 + 4) / 2 and (4 + 4) / 2 over equally long pieces.
  assert _curve([0.0, 4.0, 4.0]).average == 3
  assert math.isnan(_curve([1.0]).average)


def test_statistics_at_each_iteration_are_over_who_came_to_it():
  steps, mean, std, count = learning_curves.over_seeds(
    [_curve([0.0, 2.0, 8.0]), _curve([2.0, 4.0])]
  )
  np.testing.assert_array_equal(steps, [0, 1000, 2000])
  np.testing.assert_array_equal(mean, [1, 3, 8])
  np.testing.assert_allclose(std, [math.sqrt(2), math.sqrt(2), 0])
  np.testing.assert_array_equal(count, [2, 2, 1])


def test_summary_compares_seed_by_seed():
  reference, other = learning_curves.summarise(
    'somewhere',
    {
      'promp': [_curve([0, 1, 1], seed=0), _curve([0, 3, 3], seed=1)],
      'other': [
        _curve([0, 2, 2], seed=0),
        _curve([0, 6, 6], seed=1),
        _curve([0, 100], seed=7),
      ],
    },
    reference='promp',
    num_final=5,
  )
  assert reference.values == {
    'final_return': [1, 3],
    'before_adaptation': [0, 2],
    'average_return': [0.75, 2.25],
    'difference': [],
  }
  assert reference.num_unfinished == 0
  # The third seed has no partner; the others are better by 1 and by 3.
  assert other.values['difference'] == [1, 3]
  assert (other.num_seeds, other.num_unfinished) == (3, 1)
  assert other.num_iterations == 10


def test_rows_have_means_and_intervals():
  summary = learning_curves.Summary(
    'somewhere',
    'promp',
    0,
    20,
    {
      'final_return': [1.0, 2.0, 6.0],
      'before_adaptation': [1.0, 3.0],
      'average_return': [1.0],
      'difference': [],
    },
  )
  row = summary.row(0.95)
  assert row['num_seeds'] == 3
  assert row['final_return_mean'] == row['final_return_iqm'] == 3
  assert row['final_return_iqm_low'] == 1 and row['final_return_iqm_high'] == 6
  half = 12.706204736174698  # For 1 degree of freedom; standard error 1.
  np.testing.assert_allclose(row['before_adaptation_low'], 2 - half, rtol=1e-9)
  assert row['average_return_mean'] == 1
  assert math.isnan(row['average_return_low'])
  assert math.isnan(row['difference_mean'])


def _run(tmp_path, label, seed, text, num_iterations=10):
  config = run_config.RunConfig(seed=seed)
  config = config.replace_algorithm(num_iterations=num_iterations)
  run = stored_runs.Run('navigation_2d', label, config, tmp_path)
  run.directory.mkdir(parents=True)
  (run.directory / 'evaluation.csv').write_text(
    'iteration,environment_steps,wall_seconds,num_inner_steps_taken,'
    f'return_mean,return_stderr\n{text}'
  )
  return run


_EVALUATIONS = (
  '0,0,1,0,1,.1\n0,0,1,1,2,.1\n0,0,1,2,3,.1\n'
  '10,90,1,0,4,.1\n10,90,1,1,5,.1\n10,90,1,2,6,.1\n'
)


def test_orders_points_and_leaves_out_what_is_beyond(tmp_path):
  runs = [
    _run(tmp_path, label, 0, _EVALUATIONS + '20,180,1,0,7,.1\n')
    for label in ('promp+reuse=2', 'promp_taypo2', 'promp', 'trpo_dice')
  ]
  rows = learning_curves.point_rows(runs)
  assert list(dict.fromkeys(row['algorithm'] for row in rows)) == [
    'trpo_dice',
    'promp',
    'promp+reuse=2',
    'promp_taypo2',
  ]
  assert len(rows) == 4 * 6
  assert list(rows[0]) == [
    'environment',
    'algorithm',
    'seed',
    'iteration',
    'environment_steps',
    'num_inner_steps_taken',
    'return_mean',
    'return_stderr',
  ]


def test_a_curve_has_the_evaluations_that_reported():
  rows = [
    {
      'environment': 'somewhere',
      'algorithm': 'promp',
      'seed': seed,
      'iteration': iteration,
      'environment_steps': 9 * iteration,
      'num_inner_steps_taken': stage,
      'return_mean': 0.0,
      **({'speed': 10.0 * iteration + stage} if stage in has else {}),
    }
    for seed, reports in (
      (0, [(0, 1, 2), (0, 1), (2,), (0, 2)]),
      (1, [(), (), (), ()]),
    )
    for iteration, has in enumerate(reports)
    for stage in range(3)
  ]
  found = learning_curves.by_environment(rows, set(), 'speed')
  (curve,) = found['somewhere']['promp']
  np.testing.assert_array_equal(curve.iteration, [0, 2, 3])
  np.testing.assert_array_equal(curve.environment_steps, [0, 18, 27])
  np.testing.assert_array_equal(curve.before, [0, np.nan, 30])
  np.testing.assert_array_equal(curve.after, [2, 22, 32])
  (summary,) = learning_curves.summarise('somewhere', {'x': [curve]}, None, 2)
  # One of the last two evaluations had nothing before adaptation.
  assert summary.values['before_adaptation'] == []
  assert summary.values['final_return'] == [27]


@pytest.mark.parametrize('cut', [0, 1, 2])
def test_curve_is_before_and_after_all_steps(tmp_path, cut):
  # The last rows may be missing while an evaluation is being written.
  lines = _EVALUATIONS.splitlines(keepends=True)
  text = ''.join(lines[: len(lines) - cut])
  run = _run(tmp_path, 'promp', 3, text)
  rows = learning_curves.point_rows([run])
  unfinished = set() if run.is_finished else {run.key}
  found = learning_curves.by_environment(rows, unfinished)
  (curve,) = found['navigation_2d']['promp']
  assert curve.seed == 3
  assert curve.is_finished == (cut == 0)
  np.testing.assert_array_equal(curve.before, [1, 4] if not cut else [1])
  np.testing.assert_array_equal(curve.after, [3, 6] if not cut else [3])
