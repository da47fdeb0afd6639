"""A meta-learner must learn to adapt, on a task that takes seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import presets, types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies

NUM_TASKS, NUM_ROLLOUTS, HORIZON, NUM_SEEDS = 8, 10, 4, 3


@pytest.fixture(autouse=True)
def _float32(_float64):
  """As in training."""
  jax.config.update('jax_enable_x64', False)
  yield
  jax.config.update('jax_enable_x64', True)


def _sample_stage(policy, params, target, key):
  """A bandit: the reward says how close the action came to the target."""
  observation = jnp.ones((NUM_ROLLOUTS, HORIZON + 1, 1))
  distribution = policy.apply(params, observation[:, :-1])
  action, log_prob = distribution.sample_and_log_prob(seed=key)
  ones = jnp.ones((NUM_ROLLOUTS, HORIZON))
  return types.Stage(
    observation=observation,
    action=action,
    reward=-((action[..., 0] - target) ** 2),
    discount=ones.at[:, -1].set(0.0),
    mask=ones,
    behaviour_log_prob=log_prob,
    behaviour_params=policies.distribution_params(distribution),
  )


def _train(config, policy, num_iterations):
  """Returns `[seeds, iterations, 2]` rewards before and after adaptation."""
  learner = learner_lib.make_meta_learner(
    config, policy, devices=jax.devices()[:1]
  )

  def sample_trial(params, key):
    keys = jax.random.split(key, 3)
    target = jnp.where(jax.random.bernoulli(keys[0]), 1.0, -1.0)
    before = _sample_stage(policy, params.policy, target, keys[1])
    adapted, _ = learner.update_inner(
      params, *learner.init_inner(params), learner.prepare(params, before)
    )
    after = _sample_stage(policy, adapted, target, keys[2])
    return jax.tree_util.tree_map(lambda *x: jnp.stack(x), before, after)

  def iteration(state, key):
    keys = jax.random.split(key, NUM_TASKS)
    trials = jax.vmap(sample_trial, (None, 0))(state.params, keys)
    state, _ = learner.update(state, trials)
    return state, jnp.mean(trials.reward, axis=(0, 2, 3))

  @jax.jit
  @jax.vmap
  def train(key):
    state = learner.init(key, jnp.ones(1))
    return jax.lax.scan(iteration, state, jax.random.split(key, num_iterations))

  return train(jax.random.split(jax.random.PRNGKey(0), NUM_SEEDS))[1]


@pytest.mark.parametrize(
  ('name', 'num_iterations', 'overrides', 'reward'),
  [
    ('promp_taypo2', 100, dict(outer_learning_rate=3e-3), -0.4),
    ('trpo_maml', 80, {}, -0.9),
  ],
)
def test_learns_to_adapt(name, num_iterations, overrides, reward):
  """Which side the target is on, only adaptation can find out.

  A policy that does not adapt gets -1 at best, and the initial one gets less
  even after adaptation.
  """
  config = presets.make(name, baseline='linear_time', **overrides)
  policy = policies.gaussian(1, hidden_sizes=(16,))
  rewards = _train(config, policy, num_iterations)
  first, last = (
    np.median(np.mean(x, axis=1), axis=0)
    for x in (rewards[:, :5], rewards[:, -10:])
  )
  assert first[1] < -1
  assert last[1] > reward
  assert last[1] > last[0] + 0.5
