"""Tabular MDPs as a task distribution: one transition table, many rewards."""

from typing import NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import tabular
from acme_metarl import types as environment


class State(NamedTuple):
  """One rollout.

  Attributes:
    index: scalar, the state of the MDP.
    key: what later transitions are drawn with.
    reward: `[X, A]`, the task.
  """

  index: chex.Array
  key: chex.PRNGKey
  reward: chex.Array


class TabularEnvironment:
  """An MDP of arrays whose reward table is the task.

  A task is a table `[X, A]` with entries from U(0, 1), as in Figure 1(a)–(c) of
  Tang et al. 2021 (https://arxiv.org/abs/2106.13125), on transitions that all
  tasks share. The observation is the one-hot state, so that a linear policy is
  a softmax table. Entering a terminal state, if there is one, gives discount 0.

  The MDP's discount factor and reward table play no part in here; `with_task`
  puts a task back into it for the exact derivatives of `acme_metarl.tabular`.
  """

  has_finite_tasks = False

  def __init__(self, mdp: tabular.TabularMDP):
    """Wraps an MDP.

    Args:
      mdp: the process; its reward table is replaced by each task.
    """
    self._mdp = mdp
    # numpy, so that one instance serves whatever precision JAX is set to.
    self._transition = np.asarray(mdp.transition, np.float32)
    self._is_terminal = np.zeros(mdp.num_states, bool)
    if mdp.terminal is not None:
      self._is_terminal = np.asarray(mdp.terminal)

  def __repr__(self) -> str:
    num_states, num_actions = self._mdp.reward.shape
    return f'TabularEnvironment({num_states} states, {num_actions} actions)'

  def with_task(self, task: chex.Array) -> tabular.TabularMDP:
    """The MDP that a rollout of `task` (`[X, A]` rewards) is played in."""
    return self._mdp._replace(reward=task)

  def sample_task(self, key: chex.PRNGKey) -> chex.Array:
    """Draws a reward table `[X, A]`."""
    return jax.random.uniform(key, self._mdp.reward.shape, jnp.float32)

  def reset(
    self, key: chex.PRNGKey, task: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Starts in the MDP's start state, whatever the key."""
    state = State(jnp.asarray(self._mdp.start_state, jnp.int32), key, task)
    return state, self._time_step(state, jnp.float32(0))

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Takes an action in 0 … A-1."""
    key, transition_key = jax.random.split(state.key)
    probabilities = jnp.asarray(self._transition)[state.index, action]
    index = jax.random.choice(
      transition_key, probabilities.shape[0], p=probabilities
    )
    reward = state.reward[state.index, action]
    state = State(index.astype(jnp.int32), key, state.reward)
    return state, self._time_step(state, reward)

  def _time_step(
    self, state: State, reward: chex.Array
  ) -> environment.TimeStep:
    observation = jax.nn.one_hot(
      state.index, self._mdp.num_states, dtype=jnp.float32
    )
    is_terminal = jnp.asarray(self._is_terminal)[state.index]
    discount = 1.0 - is_terminal.astype(jnp.float32)
    return environment.TimeStep(observation, reward, discount)

  def observation_spec(self) -> specs.BoundedArray:
    """One-hot states, `[X]`."""
    return specs.BoundedArray(
      (self._mdp.num_states,), np.float32, 0, 1, name='observation'
    )

  def action_spec(self) -> specs.DiscreteArray:
    return specs.DiscreteArray(self._mdp.num_actions, name='action')


def make(
  num_states: int = 20,
  num_actions: int = 5,
  discount: float = 0.8,
  concentration: float = 0.001,
  seed: int = 0,
) -> TabularEnvironment:
  """Draws the transitions that all tasks share: P(·|x, a) ~ Dirichlet.

  Args:
    num_states: X.
    num_actions: A.
    discount: discount factor, which only `with_task` hands on.
    concentration: of the Dirichlet distribution; small is near deterministic.
    seed: of the transitions (tasks have random keys of their own).

  Returns:
    The environment.

  Raises:
    ValueError: if an argument is out of its range.
  """
  key = jax.random.PRNGKey(seed)
  mdp = tabular.random_mdp(
    key, num_states, num_actions, discount, concentration
  )
  return TabularEnvironment(mdp)
