"""The examples of environments of your own, through the ordinary commands."""

import csv
import json

import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.examples import (
  gymnasium_environment,
  jax_environment,
)
from acme_metarl.launchers.runs import curves

_JAX = f'{jax_environment.__name__}:Line'
_GYMNASIUM = f'{gymnasium_environment.__name__}:make'
_SUCCESSES = {
  f'success_{how}_{stage}'
  for how in ('ever', 'last', 'mean')
  for stage in (0, 1)
}
_SIZES = (
  # What compiles fastest.
  '--algorithm=reptile',
  '--config.baseline=zero',
  '--config.hidden_sizes=2',
  '--num_tasks=2',
  '--num_rollouts=2',
  '--horizon=2',
  '--eval_every=1',
  '--num_iterations=1',
)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
  """Drawing them takes longer than most else here."""
  monkeypatch.setattr(curves, 'draw', lambda *_: None)


def _read(path):
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def test_gymnasium(call_main, tmp_path):
  """Trains, resumes, and is evaluated and filmed on tasks held out."""
  pytest.importorskip('acme')
  logdir = tmp_path / 'run'
  named = [f'--environment={_GYMNASIUM}', f'--logdir={logdir}']
  call_main(
    'train',
    *named,
    *_SIZES,
    '--evaluation_environment_options={"split": "test"}',
  )
  _, told = call_main('train', *named, '--resume', '--num_iterations=2')
  assert 'return on fresh tasks' in told
  rows = _read(logdir / 'evaluation.csv')
  assert [row['iteration'] for row in rows] == ['0', '0', '1', '1', '2', '2']
  assert all(0 <= float(row['success_ever']) <= 1 for row in rows)
  classes = _read(logdir / 'evaluation_classes.csv')
  names = ['left', 'left', 'right', 'right']
  assert [row['task_class'] for row in classes] == names * 3
  assert _SUCCESSES <= set(_read(logdir / 'learner.csv')[0])
  said, _ = call_main(
    'evaluate',
    f'--checkpoint={logdir}',
    f'--environment={_GYMNASIUM}',
    '--render=2',
    '--render_rollouts=1',
  )
  output = logdir / 'evaluation-00000002'
  assert '2 fresh tasks of 2 rollouts' in said and 'left, after 0' in said
  assert {path.name for path in output.iterdir()} == {
    'behaviour.mp4',
    'classes.csv',
    'results.csv',
    'results.json',
    'tasks.csv',
  }
  tasks = _read(output / 'tasks.csv')
  assert [row['task_class'] for row in tasks] == ['left'] * 2 + ['right'] * 2
  results = json.loads((output / 'results.json').read_text())
  for stage, row in enumerate(results['rows']):
    of_tasks = [float(task['success_ever']) for task in tasks[stage::2]]
    assert row['success_ever'] == pytest.approx(np.mean(of_tasks))
    assert row['success_ever_low'] <= row['success_ever']


def test_jax(call_main, tmp_path):
  # Where a comparison has it.
  environment = stored_runs.file_name(_JAX)
  logdir = tmp_path / 'runs' / environment / 'reptile' / 'seed_0'
  named = [f'--environment={_JAX}', f'--logdir={logdir}']
  call_main('train_on_device', *named, *_SIZES)
  _, told = call_main(
    'train_on_device', *named, '--resume', '--num_iterations=2'
  )
  assert 'return on fresh tasks' in told
  rows = _read(logdir / 'evaluation.csv')
  assert [row['iteration'] for row in rows] == ['0', '0', '1', '1', '2', '2']
  assert all(0 <= float(row['success_ever']) <= 1 for row in rows)
  assert _SUCCESSES <= set(_read(logdir / 'learner.csv')[0])
  call_main(
    'compare',
    f'--logdir={tmp_path}',
    '--only_report',
    f'--environments={_JAX}',
    '--num_final_evaluations=1',
  )
  curves_csv = _read(tmp_path / 'curves.csv')
  shares = [float(row['success_ever']) for row in rows]
  assert [float(row['success_ever']) for row in curves_csv] == shares
  final = next(
    row
    for row in _read(tmp_path / 'final_scalars.csv')
    if row['scalar'] == 'success_ever'
  )
  before, after = shares[-2:]
  assert float(final['before_adaptation_mean']) == before
  assert float(final['final_mean']) == after
  line = f'| {before:.3f}             | {after:.3f}            |'
  assert line in (tmp_path / 'final_returns.md').read_text().split('ever')[1]
  assert (tmp_path / f'{environment}_success.png').exists()
  pytest.importorskip('acme')
  said, _ = call_main(
    'evaluate',
    f'--checkpoint={logdir}',
    f'--environment={_JAX}',
    '--render=1',
    '--render_rollouts=1',
  )
  assert 'success' in said
  assert (logdir / 'evaluation-00000002' / 'behaviour.mp4').exists()


def test_the_rod_holds_angles_out():
  train, test = (
    gymnasium_environment.make(split) for split in ('train', 'test')
  )
  drawn = [
    {
      (name, float(angle))
      for name, angle in zip(*batch.sample_tasks(rng, 20), strict=True)
    }
    for batch, rng in (
      (train, np.random.default_rng(0)),
      (test, np.random.default_rng(0)),
    )
  ]
  assert len(drawn[0]) == len(drawn[1]) == 20
  assert not drawn[0] & drawn[1]
  assert environments.has_finite_tasks(train)
  assert not environments.has_finite_tasks(test)


def test_pictures_show_where_goal_and_point_are():
  line = jax_environment.Line()
  frame = line.render((np.float32([-1]), np.float32(1)))
  assert frame.shape == (32, 128, 3)
  # The point at the left, the goal at the right.
  assert tuple(frame[16, 25]) == (0, 114, 178)
  assert tuple(frame[16, 105]) == (213, 94, 0)
  rod = gymnasium_environment.Rod()
  rod.wanted, rod.angle = np.pi / 2, np.pi
  frame = rod.render()
  assert tuple(frame[20, 48]) == (213, 94, 0) and not frame[48, 20].any()
