"""Which processes make the runs of a comparison."""

import dataclasses
import sys

import pytest

from acme_metarl.launchers.comparison import job_making, stored_runs
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config


def _runs(tmp_path, label='promp', seeds=(0, 1, 2), reuse=1, **fields):
  config = run_config.RunConfig(**fields)
  agent = dataclasses.replace(config.agent, reuse=reuse)
  return [
    stored_runs.Run(
      label,
      dataclasses.replace(config, agent=agent, seed=seed),
      tmp_path / config.environment / label / f'seed_{seed}',
      ('--horizon=5',),
    )
    for seed in seeds
  ]


def _store(run, step, launcher):
  metadata = (
    {'environment': {}} if launcher == stored_runs.TRAIN else {'key': [0, 1]}
  )
  checkpointing.Checkpointer(run.directory / run_config.CHECKPOINTS).save(
    step, {}, metadata
  )


def _make(runs, runner=job_making.AUTO):
  return job_making.make_jobs(runs, runner)


def test_new_seeds_share_a_process(tmp_path):
  (job,) = _make(_runs(tmp_path))
  assert job.name == 'navigation_2d/promp/seed_0 … 2'
  assert job.command == (
    sys.executable,
    '-m',
    'acme_metarl.launchers.train_on_device',
    '--horizon=5',
    '--seed=0',
    f'--logdir={tmp_path / "navigation_2d" / "promp"}',
    '--num_seeds=3',
    '--resume',
  )


def test_only_neighbours_that_came_equally_far_share_a_process(tmp_path):
  runs = _runs(tmp_path, seeds=(0, 1, 3, 4, 5)) + _runs(tmp_path, 'other', [6])
  for run in runs[3:5]:
    _store(run, 50, stored_runs.TRAIN_ON_DEVICE)
  jobs = _make(runs)
  seeds = [[run.seed for run in job.runs] for job in jobs]
  assert seeds == [[0, 1], [3], [4, 5], [6]]
  assert f'--logdir={runs[2].directory}' in jobs[1].command
  assert '--seed=4' in jobs[2].command


def test_the_agent_makes_what_the_device_cannot(tmp_path):
  reused = _runs(tmp_path, reuse=2)
  on_host = _runs(tmp_path, environment='half_cheetah_direction', seeds=[0])
  jobs = _make(reused + on_host)
  assert [job.launcher for job in jobs] == ['train'] * 4
  for runs in (reused, on_host):
    with pytest.raises(ValueError, match='cannot train on the device'):
      _make(runs, stored_runs.TRAIN_ON_DEVICE)


def test_goes_on_with_the_launcher_that_began(tmp_path):
  runs = _runs(tmp_path, seeds=(0, 1))
  _store(runs[0], 50, stored_runs.TRAIN)
  assert [job.launcher for job in _make(runs)] == ['train', 'train_on_device']
  with pytest.raises(ValueError, match='was begun by train'):
    _make(runs, stored_runs.TRAIN_ON_DEVICE)
  assert [job.launcher for job in _make(runs, 'train')] == ['train', 'train']
