"""Which processes make the runs of a comparison."""

import dataclasses
import json
import sys

import pytest

from acme_metarl.launchers.comparison import job_making, stored_runs
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config


def _runs(tmp_path, label='promp', seeds=(0, 1, 2), reuse=1, **fields):
  config = run_config.RunConfig(agent={'reuse': reuse}, **fields)
  return [
    stored_runs.Run(
      config.environment,
      label,
      dataclasses.replace(config, seed=seed),
      tmp_path,
      ('--tensorboard',),
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
  runs = _runs(tmp_path)
  (job,) = _make(runs)
  assert job.name == 'navigation_2d/promp/seed_0 … 2'
  directory = tmp_path / 'runs' / 'navigation_2d' / 'promp'
  assert job.command == (
    sys.executable,
    '-m',
    'acme_metarl.launchers.train_on_device',
    f'--config_file={directory / "config.json"}',
    '--tensorboard',
    '--seed=0',
    f'--logdir={directory}',
    '--num_seeds=3',
  )
  directory.mkdir(parents=True)
  job.write_config()
  values = json.loads((directory / 'config.json').read_text())
  assert run_config.RunConfig.from_dict(values) == runs[0].config


def test_a_run_that_has_begun_goes_on_as_far_as_is_asked_for(tmp_path):
  (run,) = _runs(tmp_path, seeds=[3], eval_every=7)
  _store(run, 50, stored_runs.TRAIN_ON_DEVICE)
  (job,) = _make([run])
  assert job.command[5:] == (
    '--seed=3',
    f'--logdir={run.directory}',
    '--resume',
    f'--num_iterations={run.config.num_iterations}',
    '--eval_every=7',
    '--checkpoint_every=50',
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
