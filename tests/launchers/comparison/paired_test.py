"""Differences on the same tasks, by hand and by scipy."""

import math
import shutil

import numpy as np
import pytest
from scipy import stats

from acme_metarl.launchers.comparison import paired, report, stored_runs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import played, tables


def _run(output, label, seed, returns):
  """A run whose evaluations at 0, 10, … have these returns of tasks."""
  config = run_config.RunConfig(seed=seed)
  config = config.replace_algorithm(num_iterations=10 * (len(returns) - 1))
  run = stored_runs.Run('navigation_2d', label, config, output)
  run.directory.mkdir(parents=True)
  log = tables.RunLog(run.directory, None, use_tensorboard=False)
  for i, of_tasks in enumerate(returns):
    # Before adaptation 100 less; two rollouts of each task.
    after = np.array(of_tasks, float)
    stages = np.stack([after - 100, after], axis=1)
    evaluation = played.Played(np.stack([stages - 1, stages + 1], axis=2))
    for row in tables.task_rows(evaluation, 10 * i):
      log.write('tasks', row)
    for row in tables.evaluation_rows(evaluation, 10 * i, 100 * i, 1.0):
      log.write('evaluation', row)
  log.close()
  return run


@pytest.fixture
def runs(tmp_path):
  return [
    _run(tmp_path, 'promp', 0, [[0, 0, 0], [1, 10, 100], [2, 20, 200]]),
    _run(tmp_path, 'promp', 1, [[0, 0, 0], [1, 2, 3], [4, 5, 6]]),
    _run(tmp_path, 'recommended', 0, [[9, 9, 9], [2, 11, 101], [3, 22, 203]]),
    _run(tmp_path, 'recommended', 1, [[9, 9, 9], [3, 4, 7]]),
    _run(tmp_path, 'recommended', 2, [[9, 9, 9], [3, 4, 5]]),
  ]


def test_pairs_tasks_of_the_last_evaluations_that_both_have(runs):
  rows = paired.rows(runs)
  assert len(rows) == 3 * (3 + 3 + 3 + 2 + 2)
  assert rows[5] == {
    'environment': 'navigation_2d',
    'algorithm': 'promp',
    'seed': 0,
    'iteration': 10,
    'task': 2,
    'return': 100.0,
  }
  key = 'navigation_2d', 'recommended'
  # Seed 1 came to iteration 10 only, and seed 2 has nobody to compare with.
  assert paired.differences(rows, 'promp', 1) == {key: [[1, 2, 3], [2, 2, 4]]}
  # The untrained policies are no part of it.
  assert paired.differences(rows, 'promp', 9) == {
    key: [[1, 1, 1, 1, 2, 3], [2, 2, 4]]
  }
  assert paired.differences(rows, 'maml', 1) == {}


def test_leaves_out_what_cannot_be_paired(tmp_path, runs):
  other = _run(tmp_path, 'other', 0, [[0, 0], [5, 5], [6, 6]])
  older = _run(tmp_path, 'older', 0, [[0, 0, 0], [5, 5, 5]])
  (older.directory / tables.TASKS_CSV).unlink()
  # Killed before the evaluation was whole, and in the middle of a row.
  cut = _run(tmp_path, 'cut', 0, [[0, 0, 0], [5, 5, 5]])
  with open(cut.directory / tables.TASKS_CSV, 'a') as file:
    file.write('20,0,1,7.0\n20,1')
  rows = paired.rows([*runs[:1], other, older, cut])
  assert paired.differences(rows, 'promp', 1) == {
    ('navigation_2d', 'cut'): [[4, -5, -95]]
  }


def test_interval_of_a_seed_is_that_of_paired_tasks():
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(2, 40))
  test = stats.ttest_rel(one, other)
  expected = test.confidence_interval(0.9)
  np.testing.assert_allclose(
    paired.mean_and_interval([one - other], 0.9),
    [np.mean(one - other), expected.low, expected.high],
  )


def test_interval_covers_the_mean_of_trained_policies():
  # 2 seeds with other spreads and numbers of tasks; of 4,000 intervals 90 %
  # cover, within 4 standard errors of .0047.
  rng = np.random.default_rng(1)
  covered = []
  for _ in range(4000):
    strata = [rng.normal(3, 1, 30), rng.normal(5, 4, 60)]
    _, low, high = paired.mean_and_interval(strata, 0.9)
    covered.append(low < 4 < high)
  assert abs(np.mean(covered) - 0.9) < 4 * 0.0047
  mean, low, high = paired.mean_and_interval([[2.0], [4.0]], 0.9)
  assert mean == 3 and math.isnan(low) and math.isnan(high)


def test_report_has_them_and_its_tables_are_enough(tmp_path, runs):
  settings = report.Settings('promp', num_final=1, confidence=0.95)
  text = report.write(tmp_path, report.points_of_runs(runs), settings)
  header, _, promp, recommended = [
    [cell.strip() for cell in line.split('|')[1:-1]]
    for line in text.splitlines()
    if line.startswith('|')
  ]
  assert header[-1] == 'task by task'
  assert promp[-1] == ''
  # Means 2 and 8 / 3; standard error √(1 + 4 / 3) / √3 / 2, 4.303 of it.
  assert recommended[-1] == '2.333 [0.436, 4.231]'
  assert '"Task by task": on the tasks that both' in text
  row = tables.read_csv(tmp_path / 'final_returns.csv')[1]
  assert float(row['difference_by_task_mean']) == pytest.approx(7 / 3)
  names = ('curves_tasks.csv', 'final_returns.csv', 'final_returns.md')
  before = [(tmp_path / name).read_bytes() for name in names]
  shutil.rmtree(tmp_path / 'runs')
  report.write(tmp_path, report.points_of_tables(tmp_path), settings)
  assert [(tmp_path / name).read_bytes() for name in names] == before
