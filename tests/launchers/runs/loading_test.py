"""A loaded policy acts and adapts as the one that was trained."""

import dataclasses
import os

import jax
import numpy as np
import pytest

import acme_metarl
from acme_metarl import on_device, presets, types
from acme_metarl.environments import navigation_2d
from acme_metarl.launchers.examples import adapting
from acme_metarl.launchers.runs import (
  checkpointing,
  device_trainer,
  loading,
  outputs,
)
from acme_metarl.launchers.runs import config as run_config

_HORIZON = 6


def _save(directory, config, trainer):
  for path, state in zip(directory, trainer.save(), strict=True):
    arrays, metadata = state
    checkpointing.Checkpointer(path / 'checkpoints').save(
      3, arrays, {**metadata, 'iteration': 3, 'config': config.to_dict()}
    )


@pytest.fixture(scope='module')
def config():
  return run_config.RunConfig(
    environment_options={'reward': 'dense'},
    preset='promp_taypo2',
    algorithm=presets.make(
      'promp_taypo2',
      num_tasks=2,
      num_rollouts=3,
      horizon=_HORIZON,
      num_inner_steps=2,
      # Its state must go from step to step.
      inner_optimizer='adam',
      hidden_sizes=(4,),
    ),
  )


@pytest.fixture(scope='module')
def group(config, tmp_path_factory):
  """Log directories of two seeds that were trained at once."""
  directory = tmp_path_factory.mktemp('group')
  configs = [dataclasses.replace(config, seed=i) for i in (4, 5)]
  trainer = device_trainer.Trainer(configs, jax.local_devices()[:1])
  _save([directory / f'seed_{i}' for i in (4, 5)], config, trainer)
  return directory


@pytest.fixture(scope='module')
def run(group):
  return acme_metarl.load(group / 'seed_4')


@pytest.fixture(scope='module')
def trial(run):
  """Stages that the sampler of training has drawn with these parameters."""
  trainer = on_device.make_trainer(run.config.algorithm, run.environment)
  trials = jax.jit(trainer.sample, static_argnums=2)(
    run.meta_params, jax.random.PRNGKey(1), 1
  )
  return [
    jax.tree_util.tree_map(lambda x, i=i: x[0, i], trials) for i in range(3)
  ]


def _log_prob(run, params, stage):
  observation = stage.observation[:, :-1]
  return run.policy.apply(params, observation).log_prob(stage.action)


def test_it_adapts_as_training_does(run, trial):
  """What acted at each stage is what adaptation on those before gives."""
  for number in range(3):
    params = run.adapt(*trial[:number])
    np.testing.assert_allclose(
      _log_prob(run, params, trial[number]),
      trial[number].behaviour_log_prob,
      rtol=1e-4,
      atol=1e-5,
    )
  first = jax.tree_util.tree_leaves(run.adapt(trial[0]))
  before = jax.tree_util.tree_leaves(run.params)
  assert all(np.any(x != y) for x, y in zip(first, before, strict=True))


def test_rollouts_of_ones_own_are_the_same_data(run, trial):
  stage = trial[0]
  rollouts = [
    (list(o), list(a), list(map(float, r)))
    for o, a, r in zip(
      stage.observation, stage.action, stage.reward, strict=True
    )
  ]
  ours = run.stage(rollouts)
  for name, ours_, theirs in zip(
    types.Stage._fields[:-1], ours, stage, strict=False
  ):
    np.testing.assert_allclose(
      ours_, theirs, rtol=1e-4, atol=1e-5, err_msg=name
    )


def test_shorter_rollouts_are_masked(run):
  def rollout(length, terminated=False):
    return loading.Rollout(
      np.arange(2.0 * length + 2, dtype=np.float32).reshape(-1, 2),
      np.ones((length, 2), np.float32),
      np.ones(length),
      terminated,
    )

  stage = run.stage([rollout(3), rollout(1, terminated=True)])
  np.testing.assert_array_equal(stage.mask, [[1, 1, 1], [1, 0, 0]])
  np.testing.assert_array_equal(stage.reward, stage.mask)
  np.testing.assert_array_equal(stage.discount, [[1, 1, 0], [0, 0, 0]])
  np.testing.assert_array_equal(stage.observation[1, 1:], [[2, 3]] * 3)
  run.config = dataclasses.replace(run.config, bootstrap_on_timeout=True)
  try:
    stage = run.stage([rollout(3), rollout(1, terminated=True)])
  finally:
    run.config = dataclasses.replace(run.config, bootstrap_on_timeout=False)
  np.testing.assert_array_equal(stage.discount, [[1, 1, 1], [0, 0, 0]])


def test_acting(run):
  key, observation = jax.random.PRNGKey(0), np.ones((3, 2), np.float32)
  distribution = run.policy.apply(run.params, observation)
  np.testing.assert_allclose(
    run.act(run.params, observation, key),
    distribution.sample(seed=key),
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    run.act(run.params, observation[0]), distribution.mode()[0], rtol=1e-5
  )


def test_exported_arrays_are_the_network(run, trial, tmp_path):
  """NumPy alone computes the adapted policy from the file."""
  adapted = run.adapt(trial[0])
  run.save_npz(tmp_path / 'adapted.npz', adapted)
  arrays = dict(np.load(tmp_path / 'adapted.npz', allow_pickle=False))
  assert all(isinstance(x, np.ndarray) for x in arrays.values())
  observation = np.array([0.3, -0.2], np.float32)
  x = observation
  layers = sorted(name[: -len('/w')] for name in arrays if name.endswith('/w'))
  for i, name in enumerate(layers):
    x = x @ arrays[f'{name}/w'] + arrays[f'{name}/b']
    x = np.tanh(x) if i + 1 < len(layers) else x
  np.testing.assert_allclose(x, run.act(adapted, observation), rtol=1e-4)


def test_a_seed_is_chosen_where_there_are_several(group, tmp_path):
  with pytest.raises(ValueError, match='several, 4, 5; say which'):
    acme_metarl.load(group)
  with pytest.raises(ValueError, match='has no 6; there are'):
    acme_metarl.load(group, seed=6)
  with pytest.raises(ValueError, match='there is none in'):
    acme_metarl.load(tmp_path)
  five = acme_metarl.load(group, seed=5)
  four = acme_metarl.load(
    group / 'seed_4' / 'checkpoints' / 'checkpoint_00000003.npz'
  )
  assert four.iteration == five.iteration == 3
  assert any(
    np.any(x != y)
    for x, y in zip(
      *map(jax.tree_util.tree_leaves, (four.params, five.params)), strict=True
    )
  )


def test_functions_of_ones_own_are_given_and_not_imported(config, tmp_path):
  text = 'acme_metarl.environments.navigation_2d:Navigation2D'
  own = dataclasses.replace(
    config, environment=navigation_2d.Navigation2D, seed=4
  )
  assert own.to_dict()['environment'] == text
  trainer = device_trainer.Trainer([own], jax.local_devices()[:1])
  _save([tmp_path], own, trainer)
  with pytest.raises(ValueError, match=r'not imported.*in Python given='):
    acme_metarl.load(tmp_path)
  loaded = acme_metarl.load(tmp_path, given={text: navigation_2d.Navigation2D})
  assert loaded.environment == navigation_2d.Navigation2D(reward='dense')


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda run: run.act(run.params, np.zeros(3)), r'got shape \(3,\), need'),
    (lambda run: run.act(run.params, 0.0), r'got shape \(\), need'),
    (lambda run: run.adapt([]), 'rollouts: got none'),
    (
      lambda run: run.adapt([(np.zeros((2, 2)), np.zeros((2, 2)), [0.0, 0.0])]),
      r'rollouts\[0\]: got 2 observations, 2 actions and 2 rewards',
    ),
  ],
)
def test_mistakes_are_explained(run, call, message):
  with pytest.raises(ValueError, match=message):
    call(run)


def test_the_example(group, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  before, after = adapting.main(group / 'seed_4', num_rollouts=2)
  assert before != after
  assert -2 * _HORIZON * 4 < min(before, after) <= max(before, after) < 0
  assert (tmp_path / 'adapted.npz').exists()


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o007, 0o660)])
def test_checkpoints_have_the_mode_of_other_files(tmp_path, umask, mode):
  old = os.umask(umask)
  try:
    path = checkpointing.Checkpointer(tmp_path).save(1, {}, {})
    outputs.write(tmp_path / 'other', b'')
  finally:
    os.umask(old)
  assert path.stat().st_mode & 0o777 == mode
  assert (tmp_path / 'other').stat().st_mode & 0o777 == mode
