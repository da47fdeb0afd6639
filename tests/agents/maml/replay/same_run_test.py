"""A run is the same on both implementations of replay."""

import csv

import pytest

from acme_metarl import presets
from acme_metarl.agents.maml import replay
from acme_metarl.launchers.runs import agent_trainer
from acme_metarl.launchers.runs import config as run_config

# What a clock says differs from run to run.
_CLOCK = ('acting_seconds', 'learning_seconds', 'walltime', 'seconds')


def _rows(path):
  with open(path, newline='') as file:
    return [
      {
        name: value
        for name, value in row.items()
        if not any(clock in name for clock in _CLOCK)
      }
      for row in csv.DictReader(file)
    ]


def test_same_tables(tmp_path, monkeypatch, compilation_cache):
  pytest.importorskip('reverb')
  algorithm = presets.make(
    'promp_taypo2',
    num_iterations=3,
    num_tasks=2,
    num_rollouts=3,
    horizon=5,
    hidden_sizes=(8,),
  )
  config = run_config.RunConfig(
    environment_options={'reward': 'dense'},
    algorithm=algorithm,
    agent={'reuse': 2},
    eval_every=1,
  )
  tables = {}
  for kind in (replay.REVERB, replay.LOCAL):
    monkeypatch.setattr(replay, 'default_kind', lambda kind=kind: kind)
    directory = tmp_path / kind
    directory.mkdir()
    agent_trainer.run(config, directory)
    tables[kind] = [
      _rows(directory / name) for name in ('learner.csv', 'evaluation.csv')
    ]
  assert tables[replay.REVERB] == tables[replay.LOCAL]
  assert len(tables[replay.LOCAL][0]) == 3
