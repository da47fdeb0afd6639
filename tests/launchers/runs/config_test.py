import dataclasses
import json

import numpy as np
import pytest

from acme_metarl import config as config_lib
from acme_metarl import environments
from acme_metarl.environments import navigation_2d, registry
from acme_metarl.launchers.runs import config as run_config


def _round_trip(config, given=None):
  text = json.dumps(config.to_dict(), allow_nan=False)
  return run_config.RunConfig.from_dict(json.loads(text), given)


def test_reads_back():
  config = run_config.RunConfig(
    environment_options={'reward': 'dense'},
    evaluation_environment_options={'reward': 'sparse'},
    agent={'reuse': 2},
    seed=2**64 - 1,
  )
  assert _round_trip(config) == config


def test_numbers_of_numpy_and_infinite_ones_read_back():
  algorithm = config_lib.AlgorithmConfig(
    evaluator='truncated_doubly_robust',
    evaluator_options={'clip_rho_threshold': np.inf},
    discount=np.float32(0.5),
    num_tasks=np.int64(3),
  )
  config = run_config.RunConfig(
    algorithm=algorithm,
    environment_options={'x': np.float64(2.0), 'y': [np.int32(1), np.inf]},
    seed=np.int64(3),
    eval_every=np.int32(2),
  )
  read = _round_trip(config)
  assert read == config
  assert read.environment_options == {'x': 2.0, 'y': [1, np.inf]}
  assert type(read.seed) is int


def test_reads_runs_of_earlier_versions():
  config = run_config.RunConfig(preset='promp', seed=3)
  values = config.to_dict()
  # The agent held the algorithm, and the preset's name was `algorithm`.
  values['agent']['algorithm'] = values.pop('algorithm')
  values['algorithm'] = values.pop('preset')
  for name in ('evaluation_environment', 'network'):
    del values[name]
  del values['evaluation_environment_options']
  assert run_config.RunConfig.from_dict(values) == config


def test_objects_are_written_by_name_and_read_where_they_are_given():
  make = navigation_2d.Navigation2D
  config = run_config.RunConfig(environment=make)
  name = 'acme_metarl.environments.navigation_2d:Navigation2D'
  assert config.to_dict()['environment'] == name
  with pytest.raises(ValueError, match=f'give --environment={name}'):
    _round_trip(config)
  assert _round_trip(config, {name: make}) == config
  assert isinstance(config.make_environment(), make)


def test_what_cannot_be_written_is_refused():
  config = run_config.RunConfig(environment=lambda: None)
  with pytest.raises(ValueError, match='environment is .*cannot be written'):
    config.to_dict()


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'environment': 'navigation'}, 'environment: .*navigation_2d'),
    ({'environment': 3}, 'environment: got 3, need a name, or a function'),
    ({'environment_options': []}, 'environment_options: got'),
    ({'network': 'tanh'}, "network: got 'tanh'"),
    ({'algorithm': 'promp'}, "algorithm: got 'promp'"),
    ({'agent': {'reuses': 1}}, 'agent: there is no reuses'),
    ({'agent': {'reuse': 0}}, 'reuse: got 0'),
    ({'seed': -1}, 'seed: got -1'),
    ({'seed': 2**64}, r'seed: got 18446744073709551616.*2\*\*64'),
    ({'seed': 1.5}, 'seed: got 1.5'),
    ({'seed': True}, 'seed: got True'),
    ({'eval_every': -1}, 'eval_every: got -1'),
    ({'checkpoint_every': 0}, 'checkpoint_every: got 0'),
    ({'bootstrap_on_timeout': 'false'}, "bootstrap_on_timeout: got 'false'"),
  ],
)
def test_refuses(values, message):
  with pytest.raises(ValueError, match=message):
    run_config.RunConfig(**values)


@pytest.mark.parametrize(
  'values',
  [
    None,
    [],
    {},
    {'algorithm': None},
    {'algorithm': {'num_tasks': 'many'}},
    {'algorithm': {'num_task': 3}},
    {'algorithm': {}, 'agent': 3},
    {'algorithm': {}, 'environment': {}},
    {'algorithm': {}, 'color': 'red'},
    {'algorithm': 'promp', 'agent': {'algorithm': 3}},
    {'algorithm': {}, 'environment_options': 7},
    {'algorithm': {}, 'seed': None},
  ],
)
def test_files_that_hold_no_configuration_are_refused(values):
  with pytest.raises(ValueError):
    run_config.RunConfig.from_dict(values)


def test_evaluations_need_what_the_policy_was_trained_on():
  config = run_config.RunConfig(
    evaluation_environment='iterated_prisoners_dilemma'
  )
  with pytest.raises(ValueError, match='evaluation_environment: its observ'):
    config.make_environment('evaluation')
  same = run_config.RunConfig(evaluation_environment='navigation_2d')
  assert same.make_environment('evaluation')


def test_an_environment_that_holds_tasks_out_is_evaluated_on_them(monkeypatch):
  made = []

  def make(split='train', size=1):
    made.append((split, size))
    return environments.make('navigation_2d')

  monkeypatch.setattr(registry, '_REGISTRY', dict(registry._REGISTRY))
  environments.register('held_out', make, {'split': 'test'})
  config = run_config.RunConfig(
    environment='held_out', environment_options={'size': 2}
  )
  config.make_environment()
  config.make_environment('evaluation')
  assert made == [('train', 2), ('test', 2)]
  # The user's word counts.
  dataclasses.replace(
    config, evaluation_environment_options={'split': 'train'}
  ).make_environment('evaluation')
  assert made[-1] == ('train', 2)
  # Options of training are no other environment's.
  made.clear()
  run_config.RunConfig(
    environment='navigation_2d', evaluation_environment='held_out'
  ).make_environment('evaluation')
  assert made == [('test', 1)]
