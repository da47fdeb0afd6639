"""Trials made up of random numbers, for tests and benchmarks."""

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.meta import policies


def make_trials(
  key: chex.PRNGKey,
  policy: types.Policy,
  params: types.PyTree,
  *,
  observation_size: int,
  num_tasks: int,
  num_inner_steps: int = 1,
  num_rollouts: int = 20,
  horizon: int = 100,
  early_termination: bool = False,
  store_behaviour_params: bool = True,
) -> types.Stage:
  """Draws a meta-batch whose actions come from a policy, the rest from noise.

  Rewards depend on task, observation and action, so that there is something to
  adapt to. No dynamics: every observation is drawn afresh.

  Args:
    key: random key.
    policy: draws the actions.
    params: the policy's parameters, the same at every stage.
    observation_size: n of observations `[n]`.
    num_tasks: G.
    num_inner_steps: K; there are K+1 stages.
    num_rollouts: B.
    horizon: T.
    early_termination: whether rollouts end at random; then what follows is
      masked.
    store_behaviour_params: whether to store the distribution's parameters.

  Returns:
    Stages `[G, K+1, B, T, ...]`.

  Example:
    >>> policy = policies.gaussian(2, (4,))
    >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
    >>> trials = make_trials(
    ...   jax.random.PRNGKey(1), policy, params, observation_size=3,
    ...   num_tasks=5, num_rollouts=2, horizon=4)
    >>> trials.reward.shape
    (5, 2, 2, 4)
  """
  keys = jax.random.split(key, 5)
  batch = (num_tasks, num_inner_steps + 1, num_rollouts)
  observation = jax.random.normal(
    keys[0], (*batch, horizon + 1, observation_size)
  )
  distribution = policies.unroll(policy, params, observation[..., :-1, :])
  action, log_prob = distribution.sample_and_log_prob(seed=keys[1])
  phase = 3.0 * jax.random.normal(keys[2], (num_tasks, 1, 1, 1))
  flat = action.reshape((*batch, horizon, -1)).astype(observation.dtype)
  reward = jnp.sin(phase + jnp.sum(flat, axis=-1)) + observation[..., 1:, 0]
  last = jnp.full(batch, horizon - 1)
  if early_termination:
    last = jax.random.randint(keys[3], batch, horizon // 2, horizon)
  step, last = jnp.arange(horizon), last[..., jnp.newaxis]
  mask = (step <= last).astype(reward.dtype)
  return types.Stage(
    observation=observation,
    action=action,
    reward=reward * mask,
    discount=(step < last).astype(reward.dtype),
    mask=mask,
    behaviour_log_prob=log_prob,
    behaviour_params=policies.distribution_params(distribution)
    if store_behaviour_params
    else (),
  )
