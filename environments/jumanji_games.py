"""Environments of jumanji with one task, Snake among them.

    pip install "acme-metarl[jumanji]"

`JumanjiEnvironment` imports nothing; `snake` imports jumanji when it is called.
"""

from collections.abc import Callable
import importlib
from typing import Any

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types
from acme_metarl.environments import checking


class JumanjiEnvironment:
  """An environment of jumanji: actions are discrete, several such, or floats.

  There is one task, `()`. Episodes are not reset by the environment; a last
  step with discount 1, a truncation, ends nothing by itself.
  """

  has_finite_tasks = True

  def __init__(
    self,
    environment: Any,
    observe: Callable[[Any], chex.ArrayTree] = lambda observation: observation,
  ):
    """Wraps an environment.

    Args:
      environment: with `reset(key)` and `step(state, action)` in pure JAX.
      observe: what of an observation the policy sees.

    Raises:
      ValueError: if this is no such environment, or its actions are not known.
    """
    if not hasattr(environment, 'action_spec') or hasattr(
      environment, 'step_env'
    ):
      raise ValueError(
        f'environment: got {environment!r}, need one of jumanji.'
      )
    self._environment = environment
    self._observe = observe
    spec = environment.action_spec
    spec = spec() if callable(spec) else spec
    if hasattr(spec, 'num_values') and not spec.shape:
      self._action_spec = specs.DiscreteArray(int(spec.num_values))
    elif hasattr(spec, 'minimum'):
      is_real = jnp.issubdtype(spec.dtype, jnp.floating)
      dtype = np.float32 if is_real else np.int32
      self._action_spec = specs.BoundedArray(
        spec.shape,
        dtype,
        np.asarray(spec.minimum, dtype),
        np.asarray(spec.maximum, dtype),
      )
    else:
      raise ValueError(f'environment: an action is {spec}, need a bounded one.')
    shown = jax.eval_shape(
      lambda key: self.reset(key, ())[1].observation, jax.random.PRNGKey(0)
    )
    self._observation_spec = checking.observation_spec(
      jax.tree_util.tree_map(
        lambda x: specs.Array(x.shape, x.dtype, 'observation'), shown
      ),
      self,
    )

  def __repr__(self) -> str:
    return f'JumanjiEnvironment({type(self._environment).__name__})'

  def sample_task(self, key: chex.PRNGKey) -> tuple[()]:
    """There is one task."""
    del key
    return ()

  def reset(
    self, key: chex.PRNGKey, task: types.PyTree
  ) -> tuple[Any, types.TimeStep]:
    """Starts an episode."""
    del task
    state, time_step = self._environment.reset(key)
    return state, self._time_step(time_step, jnp.float32(0))

  def step(self, state: Any, action: chex.Array) -> tuple[Any, types.TimeStep]:
    """Takes an action."""
    state, time_step = self._environment.step(state, action)
    return state, self._time_step(time_step, time_step.reward)

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> specs.Array:
    return self._action_spec

  def _time_step(self, time_step, reward) -> types.TimeStep:
    return types.TimeStep(
      self._observe(time_step.observation),
      jnp.asarray(reward, jnp.float32),
      jnp.asarray(time_step.discount, jnp.float32),
    )


def snake(size: int = 6, time_limit: int = 4000) -> JumanjiEnvironment:
  """Snake on a square board; the policy sees its five maps `[size, size, 5]`.

  Args:
    size: of the board.
    time_limit: steps of an episode at most, after which its discount is 0.

  Raises:
    ValueError: if there is no room, or no time, or no jumanji installed.
  """
  if size < 2 or time_limit < 1:
    raise ValueError(
      f'size is {size} and time_limit {time_limit}; they need to be at least 2'
      ' and 1.'
    )
  try:
    routing = importlib.import_module('jumanji.environments.routing.snake')
  except ImportError as error:
    raise ValueError(
      f'Snake needs jumanji: pip install "acme-metarl[jumanji]" ({error}).'
    ) from error
  game = routing.Snake(num_rows=size, num_cols=size, time_limit=time_limit)
  return JumanjiEnvironment(game, lambda observation: observation.grid)
