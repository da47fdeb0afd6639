"""Trajectories of tabular MDPs, drawn inside compiled functions."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl.tabular import mdp as mdp_lib


class Trajectories(NamedTuple):
  """N trajectories of T steps.

  After an episode has ended its row is padded: the same state again, action
  0, reward 0, discount 0, mask 0. `mdp.discount * discounts` is what
  evaluators take as `discount_t`.

  Attributes:
    states: `[N, T + 1]` integers.
    actions: `[N, T]` integers.
    rewards: `[N, T]`.
    discounts: `[N, T]` 0 where the step ended the episode (and after it), 1
      otherwise; the discount factor is not part of it.
    mask: `[N, T]` 1 for real steps, 0 for padding.
  """

  states: chex.Array
  actions: chex.Array
  rewards: chex.Array
  discounts: chex.Array
  mask: chex.Array


def sample_trajectories(
  key: chex.PRNGKey,
  mdp: mdp_lib.TabularMDP,
  policy: chex.Array,
  num_trajectories: int,
  horizon: int,
) -> Trajectories:
  """Draws trajectories from the start state.

  Args:
    key: random key.
    mdp: the process.
    policy: `[X, A]` action probabilities of the behaviour policy.
    num_trajectories: N >= 1.
    horizon: T >= 1.

  Returns:
    The trajectories.

  Raises:
    ValueError: if a number is not positive or the policy's shape is wrong.
  """
  if num_trajectories < 1 or horizon < 1:
    raise ValueError(
      f'num_trajectories is {num_trajectories} and horizon is {horizon}; both '
      'need to be at least 1.'
    )
  if policy.shape != mdp.reward.shape:
    raise ValueError(
      f'policy has shape {policy.shape}; it needs {mdp.reward.shape}.'
    )
  action_cdf = _cumulative(policy)
  state_cdf = _cumulative(mdp.transition)
  terminal = mdp.terminal
  if terminal is None:
    terminal = jnp.zeros(mdp.num_states, bool)

  def step(carry, uniform):
    state, ended = carry
    action = _invert(action_cdf[state], uniform[0])
    next_state = _invert(state_cdf[state, action], uniform[1])
    action = jnp.where(ended, 0, action)
    next_state = jnp.where(ended, state, next_state)
    reward = jnp.where(ended, 0.0, mdp.reward[state, action])
    ends = ended | terminal[next_state]
    discount = 1.0 - ends.astype(reward.dtype)
    mask = 1.0 - ended.astype(reward.dtype)
    return (next_state, ends), (next_state, action, reward, discount, mask)

  start = jnp.full((num_trajectories,), mdp.start_state, jnp.int32)
  uniforms = jax.random.uniform(
    key, (horizon, 2, num_trajectories), mdp.reward.dtype
  )
  _, (states, *steps) = jax.lax.scan(
    step, (start, jnp.zeros_like(start, bool)), uniforms
  )
  states = jnp.concatenate([start[None], states])
  return Trajectories(states.T, *(x.T for x in steps))


def _cumulative(probabilities: chex.Array) -> chex.Array:
  """Cumulative distribution on the last axis that ends at exactly 1."""
  cdf = jnp.cumsum(probabilities, -1)
  return cdf / cdf[..., -1:]


def _invert(cdf: chex.Array, uniform: chex.Array) -> chex.Array:
  """Maps uniforms in [0, 1), `[N]`, to outcomes; never to an impossible one."""
  return jnp.sum(uniform[:, None] >= cdf, -1, dtype=jnp.int32)
