"""Meta-training as one compiled function."""

import argparse
import dataclasses
import os
import re
import subprocess
import sys
from typing import NamedTuple

from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import acme_metarl
from acme_metarl import on_device, presets, types
from acme_metarl.meta import baselines, preparation
from acme_metarl.meta import learner as learner_lib


class _State(NamedTuple):
  task: jax.Array
  steps: jax.Array


@dataclasses.dataclass(frozen=True)
class _Bandit:
  """Pays for actions near the task, ±1; rollouts end after `length` steps."""

  length: int = 3
  diverges_at: int = -1

  def sample_task(self, key):
    return jnp.where(jax.random.bernoulli(key), 1.0, -1.0)

  def reset(self, key, task):
    del key
    state = _State(task, jnp.zeros((), jnp.int32))
    return state, self._time_step(state, 0.0)

  def step(self, state, action):
    state = _State(state.task, state.steps + 1)
    reward = -jnp.square(action[0] - state.task)
    reward = jnp.where(state.steps == self.diverges_at, jnp.nan, reward)
    return state, self._time_step(state, reward)

  def _time_step(self, state, reward):
    return types.TimeStep(
      observation=jnp.stack([state.steps, 1]).astype(jnp.float32),
      reward=jnp.asarray(reward, jnp.float32),
      discount=jnp.where(state.steps == self.length, 0.0, 1.0).astype(
        jnp.float32
      ),
    )

  def observation_spec(self):
    return specs.Array((2,), np.float32)

  def action_spec(self):
    return specs.Array((1,), np.float32)


def _config(**overrides):
  settings = dict(
    num_tasks=4,
    num_rollouts=5,
    horizon=6,
    hidden_sizes=(8,),
    num_iterations=4,
    baseline='zero',
  )
  return presets.make('promp_taypo2', **{**settings, **overrides})


@pytest.fixture(scope='module')
def trainer():
  return on_device.make_trainer(_config(), _Bandit(), eval_every=2)


@pytest.fixture(scope='module')
def trials(trainer):
  key = jax.random.PRNGKey(1)
  params = trainer.init(key).meta.params
  return jax.device_get(trainer.sample(params, key, 4))


def test_rollouts_are_frozen_after_termination(trials):
  expected = np.broadcast_to([1.0, 1, 1, 0, 0, 0], (4, 2, 5, 6))
  np.testing.assert_array_equal(trials.mask, expected)
  discount = np.broadcast_to([1.0, 1, 0, 0, 0, 0], (4, 2, 5, 6))
  np.testing.assert_array_equal(trials.discount, discount)
  np.testing.assert_array_equal(trials.reward[trials.mask == 0], 0)
  steps = np.broadcast_to([0.0, 1, 2, 3, 3, 3, 3], (4, 2, 5, 7))
  np.testing.assert_array_equal(trials.observation[..., 0], steps)


def test_data_of_a_step_belong_together(trials):
  paid_plus = -np.square(trials.action[..., 0] - 1.0)
  paid_minus = -np.square(trials.action[..., 0] + 1.0)
  real = trials.mask > 0
  is_plus = np.isclose(trials.reward, paid_plus, rtol=1e-5)
  is_minus = np.isclose(trials.reward, paid_minus, rtol=1e-5)
  assert np.all((is_plus | is_minus)[real])
  # One task for all stages and rollouts.
  for task in range(4):
    mask = real[task]
    assert np.all(is_plus[task][mask]) != np.all(is_minus[task][mask])


def test_behaviour_log_prob_is_that_of_the_adapted_policy(trainer, trials):
  learner = learner_lib.make_meta_learner(
    _config(), _config().make_policy(_Bandit().action_spec())
  )
  params = trainer.init(jax.random.PRNGKey(1)).meta.params
  policy = _config().make_policy(_Bandit().action_spec())
  for task in range(2):
    stage_0, stage_1 = (
      jax.tree_util.tree_map(lambda x, at=(task, i): jnp.asarray(x[at]), trials)
      for i in range(2)
    )
    adapted, _ = learner.update_inner(
      params, *learner.init_inner(params), learner.prepare(params, stage_0)
    )
    for policy_params, stage in ((params.policy, stage_0), (adapted, stage_1)):
      log_prob = policy.apply(
        policy_params, stage.observation[:, :-1]
      ).log_prob(stage.action)
      np.testing.assert_allclose(
        log_prob, stage.behaviour_log_prob, rtol=1e-5, atol=1e-5
      )


def test_time_limit_is_terminal_unless_asked_otherwise():
  for bootstrap in (False, True):
    trainer = on_device.make_trainer(
      _config(), _Bandit(length=100), bootstrap_on_timeout=bootstrap
    )
    key = jax.random.PRNGKey(0)
    trials = trainer.sample(trainer.init(key).meta.params, key, 2)
    assert np.all(np.asarray(trials.discount[..., :-1]) == 1)
    assert np.all(np.asarray(trials.discount[..., -1]) == bootstrap)
    assert np.all(np.asarray(trials.mask) == 1)


def test_divergence_ends_a_rollout_before_the_step():
  trainer = on_device.make_trainer(_config(), _Bandit(diverges_at=2))
  key = jax.random.PRNGKey(0)
  trials = jax.device_get(trainer.sample(trainer.init(key).meta.params, key, 2))
  assert all(np.isfinite(x).all() for x in jax.tree_util.tree_leaves(trials))
  np.testing.assert_array_equal(
    trials.mask, np.broadcast_to([1.0, 0, 0, 0, 0, 0], trials.mask.shape)
  )


def test_run_in_parts_equals_one_run(trainer):
  key = jax.random.PRNGKey(3)
  whole, log = trainer.run(trainer.init(key))
  half = on_device.make_trainer(
    _config(num_iterations=2), _Bandit(), eval_every=2
  )
  state, first = half.run(half.init(key))
  state, second = half.run(jax.device_get(state))
  for a, b in zip(
    jax.tree_util.tree_leaves(whole),
    jax.tree_util.tree_leaves(state),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    log.metrics['loss'],
    np.concatenate([first.metrics['loss'], second.metrics['loss']]),
  )
  assert log.evaluation.shape == (3, 40, 2)
  np.testing.assert_array_equal(log.evaluation[2], second.evaluation[1])


def test_update_is_that_of_the_meta_learner(trainer):
  state = trainer.init(jax.random.PRNGKey(5))
  new_state, _ = jax.jit(trainer.iterate)(state)
  key = jax.random.fold_in(jax.random.fold_in(state.key, 1), 0)
  trials = trainer.sample(state.meta.params, key, 4)
  learner = learner_lib.make_meta_learner(
    _config(), _config().make_policy(_Bandit().action_spec())
  )
  expected, _ = jax.jit(learner.update)(state.meta, trials)
  for a, b in zip(
    jax.tree_util.tree_leaves(new_state.meta.params),
    jax.tree_util.tree_leaves(expected.params),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope='module')
def train():
  """One iteration, with thresholds to sweep."""
  config = _config(
    num_iterations=1,
    num_rollouts=3,
    horizon=2,
    evaluator='truncated_doubly_robust',
    evaluator_options={},
  )
  return on_device.make_train(config, _Bandit(), num_eval_tasks=4)


def test_seeds_vmap(train):
  keys = jax.random.split(jax.random.PRNGKey(0), 3)
  states, logs = jax.vmap(train)(keys)
  assert logs.evaluation.shape == (3, 2, 4, 2)
  alone, _ = train(keys[1])
  for a, b in zip(
    jax.tree_util.tree_leaves(states.meta.params),
    jax.tree_util.tree_leaves(alone.meta.params),
    strict=True,
  ):
    np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6)


def test_hyperparameters_vmap(train):
  key = jax.random.PRNGKey(0)
  swept = {
    'inner_learning_rate': jnp.array([0.0, 0.5, 0.5]),
    'clip_rho_threshold': jnp.array([0.1, 0.1, 10.0]),
  }
  states, _ = jax.vmap(lambda values: train(key, values))(swept)
  np.testing.assert_allclose(
    states.meta.params.step_sizes, swept['inner_learning_rate']
  )
  leaves = jax.tree_util.tree_leaves(states.meta.params.policy)
  for i, j in ((0, 1), (1, 2)):
    assert any(np.abs(x[i] - x[j]).max() > 1e-7 for x in leaves)


@pytest.mark.parametrize('optimizer', ['adam', 'trust_region'])
def test_every_hyperparameter_on_offer_may_be_traced(optimizer):
  """Those that the refusal of an unknown one lists."""
  overrides = dict(outer_optimizer=optimizer, num_iterations=1)
  if optimizer == 'trust_region':
    overrides.update(outer_objective='surrogate', num_outer_epochs=1)
  train = on_device.make_train(_config(**overrides), _Bandit())
  key = jax.random.PRNGKey(0)
  with pytest.raises(ValueError, match='hyperparameters has') as refusal:
    train(key, {'no_such': 1.0})
  names = re.findall(r"'(\w+)'", str(refusal.value))[1:]
  assert {'discount', 'min_std', 'max_kl', 'lambda_'} - {'lambda_'} < set(names)
  swept = {name: jnp.array([0.3, 0.4]) for name in names}
  states, _ = jax.vmap(lambda values: train(key, values))(swept)
  assert states.iteration.tolist() == [1, 1]
  for name in ('discount', 'max_kl', 'min_std'):  # Alone, without compiling.
    jax.eval_shape(lambda x, name=name: train(key, {name: x}), 0.3)


def test_metrics_are_streamed_while_the_program_runs():
  seen = {}
  train = on_device.make_train(
    _config(num_iterations=3),
    _Bandit(),
    on_iteration=lambda i, metrics: seen.update({int(i): metrics}),
  )
  _, log = jax.block_until_ready(train(jax.random.PRNGKey(0)))
  jax.effects_barrier()
  assert sorted(seen) == [0, 1, 2]
  for i in range(3):
    np.testing.assert_array_equal(seen[i]['loss'], log.metrics['loss'][i])


def test_it_learns():
  config = _config(num_tasks=20, num_rollouts=20, num_iterations=60, horizon=3)
  train = on_device.make_train(config, _Bandit())
  _, log = train(jax.random.PRNGKey(0))
  adapted = np.asarray(log.evaluation[:, :, 1])
  stderr = adapted.std(axis=1) / np.sqrt(adapted.shape[1])
  assert adapted[-1].mean() - adapted[0].mean() > 5 * np.hypot(*stderr)
  gain = np.asarray(log.evaluation[-1, :, 1] - log.evaluation[-1, :, 0])
  assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(eval_every=3), 'eval_every'),
    (dict(eval_every=0), 'eval_every'),
    (dict(num_eval_tasks=0), 'num_eval_tasks'),
    (dict(devices=[0]), 'devices: got 0, need devices of one kind'),
  ],
)
def test_bad_settings_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    on_device.make_train(_config(), _Bandit(), **options)


def test_environments_of_the_host_are_refused():
  class Physics:
    def sample_tasks(self, rng, num_tasks):
      return np.zeros((num_tasks,))

  with pytest.raises(ValueError, match='cannot run on a device'):
    on_device.make_train(_config(), Physics())


@pytest.mark.parametrize(
  'name', ['sample_task', 'reset', 'step', 'observation_spec', 'action_spec']
)
def test_a_function_that_an_environment_lacks_is_named(name):
  names = {'sample_task', 'reset', 'step', 'observation_spec', 'action_spec'}
  environment = argparse.Namespace(**dict.fromkeys(names - {name}, print))
  with pytest.raises(ValueError, match=f'it has no {name}. A pure-JAX'):
    on_device.make_train(_config(), environment)


def test_make_train_is_at_the_top_of_the_package():
  assert acme_metarl.make_train is on_device.make_train


def test_unknown_hyperparameters_are_refused(train):
  with pytest.raises(ValueError, match='inner_learning_rate'):
    train(jax.random.PRNGKey(0), {'learning_speed': 1.0})


_SHARDED = """
import jax, sys
sys.path.insert(0, {folder!r})
import numpy as np
import train_test as t
from acme_metarl import on_device
assert len(jax.devices()) == 3
key = jax.random.PRNGKey(0)
runs = []
for devices in (jax.devices()[:1], jax.devices()):
  trainer = on_device.make_trainer(
    t._config(num_iterations=2), t._Bandit(), devices=devices)
  state, log = trainer.run(trainer.init(key))
  runs.append(jax.device_get((state.meta.params, log)))
leaves = [jax.tree_util.tree_leaves(run) for run in runs]
for a, b in zip(*leaves, strict=True):
  np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
print('equal')
"""


def test_tasks_share_out_over_devices():
  """Four tasks on three devices: one has nothing real to do."""
  out = subprocess.run(
    [
      sys.executable,
      '-c',
      _SHARDED.format(folder=str(__file__).rsplit('/', 1)[0]),
    ],
    env=os.environ
    | {
      'XLA_FLAGS': '--xla_backend_optimization_level=0'
      ' --xla_force_host_platform_device_count=3',
      'PYTHONPATH': ':'.join(sys.path),
    },
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert out.stdout.strip() == 'equal', out.stderr[-2000:]


def test_a_learned_value_function_is_trained_over_tasks():
  """The critic's parameters move, and fit what the rollouts return."""
  value = baselines.LearnedValue((16,), learning_rate=0.01, num_epochs=30)
  config = _config(baseline=value, num_iterations=30)
  trainer = on_device.make_trainer(config, _Bandit())
  state = trainer.init(jax.random.PRNGKey(0))
  trials = trainer.sample(state.meta.params, jax.random.PRNGKey(7), 4)
  stages = jax.tree_util.tree_map(lambda x: x[:, 0], trials)

  def error(params):
    """Mean square, of the values of the first states."""
    raw = preparation.discounted_sums(
      (stages.reward * stages.mask).reshape((-1, 6)),
      (config.discount * stages.discount * stages.mask).reshape((-1, 6)),
    )
    values = config.make_baseline()(
      stages.observation.reshape((-1, *stages.observation.shape[2:])),
      raw,
      stages.mask.reshape((-1, 6)),
      state=params.baseline,
    )[:, 0]
    return float(jnp.mean((values - raw[:, 0]) ** 2))

  trained, _ = trainer.run(state)
  assert error(trained.meta.params) < 0.5 * error(state.meta.params)
