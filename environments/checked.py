"""A batched environment that is held to what it declares."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import batched, checking
from acme_metarl.environments import tasks as tasks_lib


class CheckedBatch:
  """What a trial lets through from its environment, and what it hands to it.

  Every method raises a `ValueError` that names the environment where it does
  not return what its specs say.
  """

  def __init__(
    self, environment: batched.BatchedEnvironment, batch_shape: tuple[int, int]
  ):
    """Reads the specs.

    Args:
      environment: to be checked.
      batch_shape: `(G, B)`.
    """
    self._environment = environment
    self._batch_shape = batch_shape
    self.observation_spec = checking.observation_spec(
      environment.observation_spec(), environment
    )
    self.action_spec = checking.action_spec(
      environment.action_spec(), environment
    )

  def sample_tasks(self, rng: np.random.Generator) -> types.PyTree:
    """G tasks, copies that cannot be written to."""
    num_tasks = self._batch_shape[0]
    tasks = self._environment.sample_tasks(rng, num_tasks)
    if jax.tree_util.tree_leaves(tasks) and tasks_lib.count(tasks) != num_tasks:
      raise ValueError(
        f'{self._environment!r}: it drew {tasks_lib.count(tasks)} tasks, need '
        f'{num_tasks}.'
      )
    return checking.read_only(checking.copies(tasks))

  def reset(self, tasks: types.PyTree, rng: np.random.Generator) -> Any:
    """First observations `[G, B, ...]`, arrays of our own."""
    observation = self._environment.reset(
      checking.copies(tasks), self._batch_shape[1], rng
    )
    return checking.observation(
      observation, self.observation_spec, self._environment, self._batch_shape
    )

  def step(
    self, action: np.ndarray, is_alive: np.ndarray
  ) -> tuple[Any, np.ndarray, np.ndarray]:
    """Observation, reward and discount, arrays of our own.

    Args:
      action: `[G, B, ...]`; the environment may write to it.
      is_alive: `[G, B]`, whose numbers matter.
    """
    environment, shape = self._environment, self._batch_shape
    result = environment.step(action)
    if not isinstance(result, tuple) or len(result) != 3:
      raise ValueError(
        f'{environment!r}: its step must return a tuple of observation, reward '
        'and discount.'
      )
    observation, reward, discount = result
    observation = checking.observation(
      observation, self.observation_spec, environment, shape, is_alive
    )
    reward = checking.numbers(reward, 'reward', environment, shape)
    discount = checking.numbers(discount, 'discount', environment, shape)
    checking.discounts(discount, environment, is_alive)
    return observation, reward, discount

  def info(self, is_real: np.ndarray) -> dict[str, np.ndarray]:
    """The optional `info`, NaN where the step was not real."""
    given, info = getattr(self._environment, 'info', {}), {}
    if not isinstance(given, Mapping):
      raise ValueError(
        f'{self._environment!r}: its info is of type {type(given).__name__}, '
        'need a dict of arrays, by name.'
      )
    for name, value in given.items():
      info[name] = checking.numbers(
        value, f'info[{name!r}]', self._environment, self._batch_shape
      )
      info[name][~is_real] = np.nan
    return info

  def flags(self, name: str) -> np.ndarray | None:
    """The optional `truncated` or `diverged`, `[G, B]` bool."""
    flags = getattr(self._environment, name, None)
    if flags is None:
      return None
    return 0 != checking.numbers(
      flags, name, self._environment, self._batch_shape
    )
