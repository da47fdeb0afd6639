"""Anybody's dm_env or gymnasium environment as a task distribution.

These are Python loops over G×B environments, one of the user's objects for
each rollout. They cost what the user's `step` costs, plus some microseconds of
Python, for every single environment step; an environment that steps all its
rollouts at once (`BatchedEnvironment`), or a pure-JAX one, is far faster.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import dm_env
from dm_env import specs
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import action_scaling, batched

# Seeds for environments, 31 bits: many take no more.
_SEED_BOUND = 2**31


class _Outcome(NamedTuple):
  """What one step of one of the user's environments led to."""

  observation: Any
  reward: float
  discount: float
  truncated: bool


class _LoopBatch(abc.ABC):
  """B rollouts of each of G tasks, one environment object for each.

  Not for use by itself: see `DmEnvBatch` and `GymnasiumBatch`.
  """

  def __init__(
    self,
    factory: Callable[[], Any],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_task: Callable[[Any, types.PyTree], None],
    scale_actions: bool,
  ):
    self._factory = factory
    self._sample_task = sample_task
    self._set_task = set_task
    self._environments = [factory()]
    self._observation_spec = self._make_observation_spec(self._environments[0])
    self._user_action_spec = self._make_action_spec(self._environments[0])
    self._is_scaled = scale_actions and _has_finite_bounds(
      self._user_action_spec
    )
    self._batch_shape = (0, 0)
    self._last = []
    self._truncated = None

  def __repr__(self) -> str:
    return f'{type(self).__name__}({self._environments[0]!r})'

  @abc.abstractmethod
  def _make_observation_spec(self, environment: Any) -> Any:
    """dm_env specs of the user's observations, floats as float32."""

  @abc.abstractmethod
  def _make_action_spec(self, environment: Any) -> Any:
    """A dm_env spec of the user's actions."""

  @abc.abstractmethod
  def _reset_one(self, environment: Any, task: types.PyTree, seed: int) -> Any:
    """Starts one rollout; returns its observation."""

  @abc.abstractmethod
  def _step_one(self, environment: Any, action: Any) -> _Outcome:
    """Steps one rollout with an action that the user's environment knows."""

  @property
  def truncated(self) -> np.ndarray:
    """`[G, B]`, which rollouts the last step ended without a termination."""
    return self._truncated

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> Any:
    """Raw actions where they are scaled, otherwise the user's own spec."""
    if self._is_scaled:
      return action_scaling.raw_action_spec(*self._user_action_spec.shape)
    return self._user_action_spec

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    tasks = [self._sample_task(rng) for _ in range(num_tasks)]
    return jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *tasks)

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    num_tasks = len(jax.tree_util.tree_leaves(tasks)[0])
    self._batch_shape = (num_tasks, num_rollouts)
    num_environments = num_tasks * num_rollouts
    while len(self._environments) < num_environments:
      self._environments.append(self._factory())
    seeds = rng.integers(_SEED_BOUND, size=num_environments)
    self._last = []
    for i in range(num_environments):
      task = jax.tree_util.tree_map(lambda x: x[i // num_rollouts], tasks)  # noqa: B023
      observation = self._reset_one(self._environments[i], task, int(seeds[i]))
      self._last.append(_Outcome(observation, 0.0, 1.0, False))
    return self._stack([outcome.observation for outcome in self._last])

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if not self._last:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    spec = self._user_action_spec
    action = action.reshape((-1,) + action.shape[2:]).astype(spec.dtype)
    if self._is_scaled:
      action = action_scaling.scale_action(action, spec.minimum, spec.maximum)
    for i, last in enumerate(self._last):
      if last.discount == 0 or last.truncated:
        # Ended: left alone until the next reset.
        self._last[i] = last._replace(reward=0.0, discount=0.0, truncated=False)
        continue
      self._last[i] = self._step_one(self._environments[i], action[i])
    observations, rewards, discounts, truncated = zip(*self._last, strict=True)
    self._truncated = np.reshape(truncated, self._batch_shape)
    return (
      self._stack(observations),
      np.array(rewards, np.float32).reshape(self._batch_shape),
      np.array(discounts, np.float32).reshape(self._batch_shape),
    )

  def close(self) -> None:
    """Closes the user's environments; they cannot be used afterwards."""
    for environment in self._environments:
      environment.close()

  def _stack(self, observations) -> Any:
    """`[G, B, ...]` arrays of one observation for each rollout.

    Copies: a user's environment may write its observation into one buffer. One
    that has ended does not, because it is not stepped any more.
    """
    return jax.tree_util.tree_map(
      lambda spec, *leaves: np.array(leaves, spec.dtype).reshape(
        self._batch_shape + spec.shape
      ),
      self._observation_spec,
      *observations,
    )


class DmEnvBatch(_LoopBatch):
  """A `dm_env.Environment` and a hook that sets its task.

  A LAST time step with discount 0 is a termination. One with another discount
  is a truncation (a time limit of the environment's own): the trial applies its
  own rule for the horizon if it falls there, and otherwise ends the rollout.

      batch = environments.DmEnvBatch(
        factory=MyEnvironment,
        sample_task=lambda rng: rng.uniform(-1, 1, size=2),
        set_task=lambda environment, goal: environment.set_goal(goal),
      )
      trial = environments.TrialEnvironment(batch)
  """

  def __init__(
    self,
    factory: Callable[[], dm_env.Environment],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_task: Callable[[dm_env.Environment, types.PyTree], None],
    set_seed: Callable[[dm_env.Environment, int], None] | None = None,
    scale_actions: bool = True,
  ):
    """Makes a `BatchedEnvironment`.

    Args:
      factory: makes one environment; called once per rollout.
      sample_task: draws a task, a number, an array or a pytree of arrays, all
        of the same shapes.
      set_task: makes the environment play a task; called before its `reset`.
      set_seed: seeds the environment; called before each `set_task`. Without it
        the environment's own random state goes on, and the same seed need not
        give the same trial.
      scale_actions: whether a bounded continuous action is a raw one, scaled as
        `action_scaling` says.
    """
    self._set_seed = set_seed
    super().__init__(factory, sample_task, set_task, scale_actions)

  def _make_observation_spec(self, environment):
    return jax.tree_util.tree_map(_float32_spec, environment.observation_spec())

  def _make_action_spec(self, environment):
    return environment.action_spec()

  def _reset_one(self, environment, task, seed):
    if self._set_seed is not None:
      self._set_seed(environment, seed)
    self._set_task(environment, task)
    return environment.reset().observation

  def _step_one(self, environment, action):
    time_step = environment.step(action)
    discount = 1.0 if time_step.discount is None else float(time_step.discount)
    return _Outcome(
      time_step.observation,
      float(time_step.reward),
      discount,
      time_step.last() and discount != 0,
    )


class GymnasiumBatch(_LoopBatch):
  """A `gymnasium.Env` and a hook that sets its task.

  `terminated` gives discount 0. `truncated` alone is a time limit of the
  environment's own: the trial applies its own rule for the horizon if it falls
  there, and otherwise ends the rollout. Rollouts are seeded by
  `reset(seed=...)`, so the same seed gives the same trial.
  """

  def __init__(
    self,
    factory: Callable[[], Any],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_task: Callable[[Any, types.PyTree], None],
    scale_actions: bool = True,
  ):
    """Makes a `BatchedEnvironment`.

    Args:
      factory: makes one environment; called once per rollout. Its spaces are
        Box or Discrete (gymnasium has wrappers that flatten others).
      sample_task: draws a task, a number, an array or a pytree of arrays, all
        of the same shapes.
      set_task: makes the environment play a task; called before its `reset`. It
        gets the environment as the factory made it, with its wrappers.
      scale_actions: whether a bounded continuous action is a raw one, scaled as
        `action_scaling` says.

    Raises:
      ValueError: if a space is neither Box nor Discrete.
    """
    super().__init__(factory, sample_task, set_task, scale_actions)

  def _make_observation_spec(self, environment):
    return _float32_spec(
      _space_to_spec(environment.observation_space, 'observation')
    )

  def _make_action_spec(self, environment):
    return _space_to_spec(environment.action_space, 'action')

  def _reset_one(self, environment, task, seed):
    self._set_task(environment, task)
    observation, _ = environment.reset(seed=seed)
    return self._shift(observation, environment.observation_space, -1)

  def _step_one(self, environment, action):
    action = self._shift(action, environment.action_space, 1)
    observation, reward, terminated, truncated, _ = environment.step(action)
    return _Outcome(
      self._shift(observation, environment.observation_space, -1),
      float(reward),
      0.0 if terminated else 1.0,
      bool(truncated and not terminated),
    )

  @staticmethod
  def _shift(value, space, sign):
    """Between a Discrete space, which need not start at 0, and our values."""
    return value + sign * space.start if hasattr(space, 'start') else value


def _space_to_spec(space: Any, name: str) -> Any:
  """A dm_env spec of a gymnasium space, known by its attributes."""
  if hasattr(space, 'n') and hasattr(space, 'start'):
    return specs.DiscreteArray(int(space.n), name=name)
  if hasattr(space, 'low') and hasattr(space, 'high'):
    return specs.BoundedArray(
      space.shape, space.dtype, space.low, space.high, name
    )
  raise ValueError(
    f'{name} space: got {space}, need Box or Discrete; gymnasium.wrappers has '
    'FlattenObservation and TransformAction for others.'
  )


def _float32_spec(spec: Any) -> Any:
  if not np.issubdtype(spec.dtype, np.floating):
    return spec
  if hasattr(spec, 'minimum'):
    return specs.BoundedArray(
      spec.shape, np.float32, spec.minimum, spec.maximum, spec.name
    )
  return specs.Array(spec.shape, np.float32, spec.name)


def _has_finite_bounds(spec: Any) -> bool:
  if hasattr(spec, 'num_values') or not hasattr(spec, 'minimum'):
    return False
  return np.issubdtype(spec.dtype, np.floating) and bool(
    np.isfinite(spec.minimum).all() and np.isfinite(spec.maximum).all()
  )
