"""Games of gymnax with one task: MinAtar, and the chain of discounts.

    pip install "acme-metarl[self_tuning]"

Nothing here imports gymnax before it is asked for a game.
"""

import importlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.environments import suites

MINATAR = {
  'asterix': 'Asterix-MinAtar',
  'breakout': 'Breakout-MinAtar',
  'freeway': 'Freeway-MinAtar',
  'seaquest': 'Seaquest-MinAtar',
  'space_invaders': 'SpaceInvaders-MinAtar',
}
# Steps of an episode of the chain; gymnax's own limit.
CHAIN_LENGTH = 100


def minatar(name: str, sticky: float = 0.1) -> types.Environment:
  """A game of MinAtar, with sticky actions as its authors play it.

  See "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible
  Reinforcement Learning Experiments" by Young and Tian (2019),
  https://arxiv.org/abs/1903.03176.

  Args:
    name: one of `MINATAR`.
    sticky: probability that an action is the one before.

  Returns:
    An environment with observations `[10, 10, C]`. The suite's limit of 1000
    steps is lifted: it belongs to who plays.

  Raises:
    ValueError: if there is no such game, or gymnax is not installed.
  """
  if name not in MINATAR:
    raise ValueError(f'name is {name!r}; choose from {", ".join(MINATAR)}.')
  environment = _one_task(*_gymnax().make(MINATAR[name]))
  return StickyActions(environment, sticky) if sticky else environment


def discounting_chain(optimal_action: int = 3) -> types.Environment:
  """The chain where the first action decides how late the one reward comes.

  After 1, 3, 10, 30 or 100 steps it is 1, and 1.1 for one of the five actions;
  an episode is 100 steps. See "Behaviour Suite for Reinforcement Learning" by
  Osband et al. (2019), https://arxiv.org/abs/1908.03568.

  Args:
    optimal_action: the one of 1.1.

  Raises:
    ValueError: if there is no such action, or gymnax is not installed.
  """
  if not 0 <= optimal_action < 5:
    raise ValueError(
      f'optimal_action is {optimal_action}; it needs to be in 0 … 4.'
    )
  name = 'DiscountingChain-bsuite'
  return _one_task(*_gymnax().make(name, mapping_seed=optimal_action))


class _StickyState(NamedTuple):
  inner: Any
  action: chex.Array
  key: chex.PRNGKey


class StickyActions:
  """Repeats the action before, with some probability.

  The evaluation protocol of Machado et al. (2018), "Revisiting the Arcade
  Learning Environment", https://arxiv.org/abs/1709.06009.
  """

  def __init__(self, environment: types.Environment, probability: float):
    """Wraps an environment with discrete actions.

    Args:
      environment: in pure JAX.
      probability: of repeating.

    Raises:
      ValueError: if the actions are not discrete, or the probability is none.
    """
    if not hasattr(environment.action_spec(), 'num_values'):
      raise ValueError(
        f'environment: actions of {environment!r} are not discrete; sticky ones'
        ' need to be.'
      )
    if not 0 <= probability < 1:
      raise ValueError(
        f'probability is {probability}; it needs to be in [0, 1).'
      )
    self._environment = environment
    self._probability = probability
    self.has_finite_tasks = getattr(environment, 'has_finite_tasks', True)

  def __repr__(self) -> str:
    return f'StickyActions({self._environment!r}, {self._probability})'

  def sample_task(self, key: chex.PRNGKey) -> types.PyTree:
    """Draws a task of the environment."""
    return self._environment.sample_task(key)

  def reset(
    self, key: chex.PRNGKey, task: types.PyTree
  ) -> tuple[_StickyState, types.TimeStep]:
    """Starts an episode; action 0 is the one before the first."""
    key, reset_key = jax.random.split(key)
    inner, time_step = self._environment.reset(reset_key, task)
    return _StickyState(inner, jnp.int32(0), key), time_step

  def step(
    self, state: _StickyState, action: chex.Array
  ) -> tuple[_StickyState, types.TimeStep]:
    """Takes an action, or the one before."""
    key, draw_key = jax.random.split(state.key)
    repeats = jax.random.bernoulli(draw_key, self._probability)
    action = jnp.where(repeats, state.action, jnp.asarray(action, jnp.int32))
    inner, time_step = self._environment.step(state.inner, action)
    return _StickyState(inner, action, key), time_step

  def observation_spec(self) -> Any:
    return self._environment.observation_spec()

  def action_spec(self) -> Any:
    return self._environment.action_spec()


def _one_task(environment: Any, params: Any) -> suites.GymnaxEnvironment:
  return suites.GymnaxEnvironment(
    environment, params, sample_task=lambda key: {}
  )


def _gymnax() -> Any:
  try:
    return importlib.import_module('gymnax')
  except ImportError as error:
    raise ValueError(
      'This game needs gymnax: pip install "acme-metarl[self_tuning]"'
      f' ({error}).'
    ) from error
