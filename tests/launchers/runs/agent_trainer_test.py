"""Runs in this process; `train_test.py` has the command line."""

import csv
import errno
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from acme_metarl import environments, presets
from acme_metarl.environments import navigation_2d, registry
from acme_metarl.launchers.runs import agent_trainer, checkpointing, outputs
from acme_metarl.launchers.runs import config as run_config

# Columns of what the clock says, which no two runs share.
_CLOCK = {'wall_seconds', 'acting_seconds', 'learning_seconds'}


def _config(num_iterations=4, preset='promp_taypo2', reuse=1, **overrides):
  sizes = dict(num_tasks=2, num_rollouts=3, horizon=5, hidden_sizes=(8,))
  if preset.startswith('promp'):
    sizes['num_outer_epochs'] = 2
  algorithm = presets.make(preset, num_iterations=num_iterations, **sizes)
  values = {
    'environment_options': {'reward': 'dense'},
    'preset': preset,
    'algorithm': algorithm,
    'agent': {'reuse': reuse},
    'eval_every': 1,
    'checkpoint_every': 2,
    **overrides,
  }
  return run_config.RunConfig(**values)


def _latest(directory):
  return checkpointing.Checkpointer(
    directory / run_config.CHECKPOINTS
  ).load_latest()


def _run(directory, config, resume=False, **options):
  directory.mkdir(exist_ok=True)
  checkpoint = _latest(directory) if resume else None
  return agent_trainer.run(config, directory, checkpoint, **options)


def _rows(path):
  with open(path, newline='') as file:
    return [
      {k: v for k, v in row.items() if k not in _CLOCK}
      for row in csv.DictReader(file)
    ]


def _assert_same_run(one, other):
  for name in ('learner.csv', 'evaluation.csv', 'evaluation_tasks.csv'):
    assert _rows(one / name) == _rows(other / name)
  first, second = _latest(one), _latest(other)
  assert first.step == second.step
  assert set(first.arrays) == set(second.arrays)
  for name, array in first.arrays.items():
    np.testing.assert_array_equal(array, second.arrays[name], err_msg=name)


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """A run of four iterations without a stop."""
  directory = tmp_path_factory.mktemp('straight')
  assert _run(directory, _config(4), use_tensorboard=True)
  return directory


def test_files_of_a_run(straight):
  assert {path.name for path in straight.iterdir()} == {
    'checkpoints',
    'columns.md',
    'config.json',
    'curves.png',
    'evaluation.csv',
    'evaluation_tasks.csv',
    'learner.csv',
    'report.html',
    'tensorboard',
  }
  header = (straight / 'evaluation.csv').read_text().splitlines()[0]
  assert header == (
    'iteration,environment_steps,wall_seconds,num_inner_steps_taken,'
    'return_mean,return_stderr'
  )
  evaluations = _rows(straight / 'evaluation.csv')
  assert [
    (r['iteration'], r['environment_steps'], r['num_inner_steps_taken'])
    for r in evaluations
  ] == [(str(i), str(60 * i), str(k)) for i in range(5) for k in (0, 1)]
  learner = _rows(straight / 'learner.csv')
  assert [row['iteration'] for row in learner] == ['1', '2', '3', '4']
  assert learner[-1]['environment_steps'] == '240'
  assert {'lag', 'num_skipped', 'num_diverged', 'meta_gradient_norm'} <= set(
    learner[0]
  )
  assert all(row['lag'] == '0.0' for row in learner)
  returns = [float(row['return_mean']) for row in evaluations]
  assert len(set(returns)) == len(returns)  # Fresh tasks every time.
  names = [path.name for path in (straight / 'checkpoints').iterdir()]
  assert sorted(names) == ['checkpoint_00000002.npz', 'checkpoint_00000004.npz']
  assert list((straight / 'tensorboard').iterdir())


def test_config_reads_back(straight):
  values = json.loads((straight / 'config.json').read_text())
  assert run_config.RunConfig.from_dict(values) == _config(4)
  assert run_config.RunConfig.from_dict(
    _latest(straight).metadata['config']
  ) == _config(4)


def test_resumed_run_drops_newer_rows(straight, tmp_path):
  config = _config(3)
  _run(tmp_path, config)
  (tmp_path / 'checkpoints' / 'checkpoint_00000003.npz').unlink()
  assert len(_rows(tmp_path / 'learner.csv')) == 3
  assert _run(tmp_path, _config(4), resume=True)
  _assert_same_run(straight, tmp_path)


def test_damaged_checkpoint_falls_back(straight, tmp_path):
  _run(tmp_path, _config(3))
  newest = tmp_path / 'checkpoints' / 'checkpoint_00000003.npz'
  newest.write_bytes(newest.read_bytes()[:-1000])
  assert _run(tmp_path, _config(4), resume=True)
  _assert_same_run(straight, tmp_path)


def test_resuming_a_finished_run_changes_nothing(straight):
  before = {
    path: path.read_bytes() for path in straight.rglob('*.[cn][sp][vz]')
  }
  assert len(before) == 5
  assert _run(straight, _config(4), resume=True)
  assert before == {path: path.read_bytes() for path in before}


def test_seeds_differ(straight, tmp_path):
  _run(tmp_path, _config(1, seed=1))
  assert (
    _rows(tmp_path / 'learner.csv')[0]['return_0']
    != _rows(straight / 'learner.csv')[0]['return_0']
  )


def test_reuse_resumes_bit_for_bit(tmp_path):
  options = dict(preset='trpo_maml', reuse=2)
  _run(tmp_path / 'a', _config(2, **options))
  _run(tmp_path / 'b', _config(1, **options))
  _run(tmp_path / 'b', _config(2, **options), resume=True)
  _assert_same_run(tmp_path / 'a', tmp_path / 'b')
  assert [row['lag'] for row in _rows(tmp_path / 'a' / 'learner.csv')] == [
    '0.5',
    '0.5',
  ]
  assert _latest(tmp_path / 'a').arrays['.num_updates'] == 4


class _Diverging(navigation_2d.Navigation2D):
  """Gives no number once a rollout leaves a small square."""

  def step(self, state, action):
    state, time_step = super().step(state, action)
    is_out = abs(time_step.observation).max() > 0.15
    reward = time_step.reward / (1 - is_out)
    return state, time_step._replace(reward=reward * (1 - 0 * is_out))


def test_rewards_that_are_no_numbers_are_counted(tmp_path, monkeypatch):
  # Other tests list what is registered.
  monkeypatch.setattr(registry, '_REGISTRY', dict(registry._REGISTRY))
  environments.register('diverging', _Diverging)
  _run(tmp_path, _config(2, environment='diverging'))
  rows = _rows(tmp_path / 'learner.csv')
  counts = [int(row['num_diverged']) for row in rows]
  assert 0 < counts[0] < counts[1]
  assert int(rows[-1]['environment_steps']) < 120
  assert all(np.isfinite(float(row['loss'])) for row in rows)
  arrays = _latest(tmp_path).arrays
  assert all(np.isfinite(x).all() for x in arrays.values())


def test_refuses_checkpoints_of_others(straight, tmp_path):
  config = _config(2)
  config = config.replace_algorithm(hidden_sizes=(9,))
  with pytest.raises(ValueError, match='The checkpoint does not fit'):
    agent_trainer.run(config, tmp_path, _latest(straight))


@pytest.fixture
def small_disk(tmp_path):
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', str(tmp_path)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('needs the right to mount a small disk')
  yield tmp_path
  subprocess.run(['umount', '-l', str(tmp_path)], check=True)


def _fill(directory: pathlib.Path) -> pathlib.Path:
  """Takes all the room there is."""
  path = directory / 'filler'
  with open(path, 'wb', buffering=0) as file:
    for size in (2**16, 2**8, 1):
      try:
        while True:
          file.write(b'0' * size)
      except OSError as error:
        assert error.errno == errno.ENOSPC
  return path


def test_failure_in_the_middle_of_a_trial_saves_what_was_done(
  straight, tmp_path, monkeypatch
):
  """A user's environment fails at the fourth trial, for once."""
  real_iterate = agent_trainer.Trainer.iterate

  def iterate(self):
    if self.iteration == 3:
      self._loop.run_episode()  # Played, but not learned from.
      raise FileNotFoundError('textures')
    return real_iterate(self)

  monkeypatch.setattr(agent_trainer.Trainer, 'iterate', iterate)
  with pytest.raises(FileNotFoundError, match='textures'):
    _run(tmp_path, _config(4))
  monkeypatch.undo()
  assert _latest(tmp_path).step == 3
  assert _run(tmp_path, _config(4), resume=True)
  _assert_same_run(straight, tmp_path)


def test_full_disk_leaves_the_last_checkpoint(straight, small_disk):
  _run(small_disk, _config(2))
  filler = _fill(small_disk)
  with pytest.raises(outputs.CannotWriteError, match='No space left'):
    _run(small_disk, _config(4), resume=True)
  assert _latest(small_disk).step == 2
  filler.unlink()
  assert _run(small_disk, _config(4), resume=True)
  _assert_same_run(straight, small_disk)


def test_disk_that_fills_up_while_saving(straight, tmp_path, monkeypatch):
  _run(tmp_path, _config(2))
  real = os.fsync
  calls = []

  def fail_later(handle):
    calls.append(handle)
    if len(calls) > 2:
      raise OSError(errno.ENOSPC, 'No space left on device')
    real(handle)

  monkeypatch.setattr(os, 'fsync', fail_later)
  with pytest.raises(outputs.CannotWriteError, match='No space left'):
    _run(tmp_path, _config(4), resume=True)
  monkeypatch.undo()
  assert _latest(tmp_path).step == 2
  _run(tmp_path, _config(4), resume=True)
  _assert_same_run(straight, tmp_path)


def test_directory_that_cannot_be_written_to(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match='cannot write'):
    outputs.writable_directory(tmp_path / 'file' / 'run')
