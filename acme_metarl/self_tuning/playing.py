"""Environments that are played on a device for as long as an agent lives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import types


class Players(NamedTuple):
  """N environments in the middle of their episodes.

  Attributes:
    state: `[N, ...]` of the environment.
    observation: `[N, ...]` that the next action follows.
    elapsed: `[N]` steps of the episode so far.
    episode_return: `[N]` its undiscounted return so far.
    key: of everything that is drawn.
  """

  state: types.PyTree
  observation: chex.ArrayTree
  elapsed: chex.Array
  episode_return: chex.Array
  key: chex.PRNGKey


class Episodes(NamedTuple):
  """Episodes that ended, added up.

  Attributes:
    number: how many.
    total_return: sum of their undiscounted returns.
  """

  number: chex.Array
  total_return: chex.Array


# (parameters, observation `[N, ...]`) -> distribution over actions.
Act = Callable[[types.PyTree, chex.ArrayTree], Any]


class Arena:
  """Plays N copies of a pure-JAX environment, and resets those that end.

  A task is drawn for every episode. An episode ends where the environment ends
  it, or after `time_limit` steps; either way its last discount is 0. What is
  shown after the last step is the first observation of the next episode, which
  a discount of 0 keeps apart.
  """

  def __init__(
    self,
    environment: types.Environment,
    num_rollouts: int,
    horizon: int,
    time_limit: int | None = None,
  ):
    """Makes the functions.

    Args:
      environment: in pure JAX.
      num_rollouts: N.
      horizon: steps of a rollout, T.
      time_limit: steps of an episode at most; None for no limit.

    Raises:
      ValueError: if the environment cannot run on a device, or the limit is
        less than a step.
    """
    types.check_environment(environment, 'agents.self_tuning')
    if time_limit is not None and time_limit < 1:
      raise ValueError(
        f'time_limit is {time_limit}; it needs to be at least 1, or None.'
      )
    self._environment = environment
    self._num_rollouts = num_rollouts
    self._horizon = horizon
    self._time_limit = time_limit

  def init(self, key: chex.PRNGKey) -> Players:
    """Starts all episodes."""
    key, reset_key = jax.random.split(key)
    state, observation = self._reset(reset_key)
    zero = jnp.zeros((self._num_rollouts,), jnp.float32)
    return Players(state, observation, zero.astype(jnp.int32), zero, key)

  def play(
    self, act: Act, params: types.PyTree, players: Players
  ) -> tuple[types.Stage, Players, Episodes]:
    """Plays T steps of all environments.

    Args:
      act: the policy.
      params: its parameters.
      players: where the environments are.

    Returns:
      Rollouts `[N, T, ...]`, where the environments are then, and the episodes
      that ended meanwhile.
    """

    def step(players, _):
      key, act_key, reset_key = jax.random.split(players.key, 3)
      distribution = act(params, players.observation)
      action, log_prob = distribution.sample_and_log_prob(seed=act_key)
      state, time_step = jax.vmap(self._environment.step)(players.state, action)
      elapsed = players.elapsed + 1
      episode_return = players.episode_return + time_step.reward
      is_over = time_step.discount == 0
      if self._time_limit is not None:
        is_over |= elapsed >= self._time_limit
      first_state, first_observation = self._reset(reset_key)

      def restart(new, old):
        over = is_over.reshape((-1,) + (1,) * (jnp.ndim(old) - 1))
        return jnp.where(over, new, old)

      state, observation = jax.tree_util.tree_map(
        restart,
        (first_state, first_observation),
        (state, time_step.observation),
      )
      row = types.Stage(
        observation=players.observation,
        action=action,
        reward=time_step.reward,
        discount=time_step.discount * (1.0 - is_over),
        mask=jnp.ones_like(time_step.reward),
        behaviour_log_prob=log_prob,
      )
      ended = Episodes(
        jnp.sum(is_over.astype(jnp.float32)),
        jnp.sum(jnp.where(is_over, episode_return, 0.0)),
      )
      players = Players(
        state,
        observation,
        jnp.where(is_over, 0, elapsed),
        jnp.where(is_over, 0.0, episode_return),
        key,
      )
      return players, (row, ended)

    players, (rows, ended) = lax.scan(step, players, None, self._horizon)
    stage = jax.tree_util.tree_map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    observation = jax.tree_util.tree_map(
      lambda x, last: jnp.concatenate([x, last[:, jnp.newaxis]], axis=1),
      stage.observation,
      players.observation,
    )
    ended = jax.tree_util.tree_map(jnp.sum, ended)
    return stage._replace(observation=observation), players, ended

  def _reset(self, key):
    task_key, reset_key = jax.random.split(key)
    task_keys, reset_keys = (
      jax.random.split(x, self._num_rollouts) for x in (task_key, reset_key)
    )
    tasks = jax.vmap(self._environment.sample_task)(task_keys)
    if not jax.tree_util.tree_leaves(tasks):
      # There is one task, without arrays to draw.
      task = self._environment.sample_task(key)
      state, time_step = jax.vmap(lambda x: self._environment.reset(x, task))(
        reset_keys
      )
    else:
      state, time_step = jax.vmap(self._environment.reset)(reset_keys, tasks)
    return state, time_step.observation


def episode_returns(
  environment: types.Environment,
  act: Act,
  params: types.PyTree,
  key: chex.PRNGKey,
  *,
  num_episodes: int,
  time_limit: int,
  takes_mode: bool = False,
) -> chex.Array:
  """Undiscounted returns `[num_episodes]` of whole episodes from their start.

  Args:
    environment: in pure JAX.
    act: the policy.
    params: its parameters.
    key: of everything that is drawn.
    num_episodes: how many, at the same time.
    time_limit: steps of an episode at most.
    takes_mode: whether the policy acts by the mode of its distribution.
  """
  arena = Arena(environment, num_episodes, 1, time_limit)
  players = arena.init(key)

  def step(carry):
    i, state, observation, key, total, alive = carry
    key, act_key = jax.random.split(key)
    distribution = act(params, observation)
    action = (
      distribution.mode() if takes_mode else distribution.sample(seed=act_key)
    )
    state, time_step = jax.vmap(environment.step)(state, action)
    total = total + alive * time_step.reward
    alive = alive * (time_step.discount > 0)
    return i + 1, state, time_step.observation, key, total, alive

  def goes_on(carry):
    return (carry[0] < time_limit) & jnp.any(carry[-1] > 0)

  zeros = jnp.zeros((num_episodes,), jnp.float32)
  start = 0, players.state, players.observation, players.key, zeros, zeros + 1
  return lax.while_loop(goes_on, step, start)[-2]
