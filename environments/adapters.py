"""Anybody's dm_env or gymnasium environment as a task distribution.

These are Python loops over G×B environments, one of the user's objects for
each rollout. They cost what the user's `step` costs, plus some microseconds of
Python, for every single environment step; an environment that steps all its
rollouts at once (`BatchedEnvironment`), or a pure-JAX one, is far faster.
"""

import abc
from collections.abc import Callable, Mapping
import inspect
from typing import Any, NamedTuple

import dm_env
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import batched, checking, sharing, spaces
from acme_metarl.environments import tasks as tasks_lib
from acme_metarl.environments.action_scaling import Actions

# Seeds for environments, 31 bits: many take no more.
_SEED_BOUND = 2**31


def check_hooks(**hooks: Any) -> None:
  """Refuses hooks that cannot be called."""
  for name, hook in hooks.items():
    if not callable(hook):
      raise ValueError(f'{name}: got {hook!r}, need a function.')


def same_spec(left: Any, right: Any) -> bool:
  """Whether two specs mean the same, whatever they are called."""
  return type(left) is type(right) and left.replace(name='') == right.replace(
    name=''
  )


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
    has_finite_tasks: bool,
  ):
    check_hooks(factory=factory, sample_task=sample_task, set_task=set_task)
    self._factory = factory
    self._sample_task = sample_task
    self._set_task = set_task
    self._has_finite_tasks = has_finite_tasks
    self._environments = [factory()]
    first = self._environments[0]
    if not sharing.is_environment(first):
      raise ValueError(
        f'factory: {factory!r} returned {first!r}, need an environment.'
      )
    self._observation_spec = checking.observation_spec(
      self._make_observation_spec(first), self
    )
    self._actions = Actions(
      checking.action_spec(self._make_action_spec(first), self), scale_actions
    )
    self._has_checked_hook = False
    self._batch_shape = None
    self._truncated = None

  def __repr__(self) -> str:
    return f'{type(self).__name__}({self._environments[0]!r})'

  @abc.abstractmethod
  def _make_observation_spec(self, environment: Any) -> Any:
    """dm_env specs of the user's observations."""

  @abc.abstractmethod
  def _make_action_spec(self, environment: Any) -> Any:
    """A dm_env spec of the user's actions."""

  @abc.abstractmethod
  def _reset_one(self, environment: Any, seed: int) -> Any:
    """Starts one rollout of the task set; returns its observation."""

  @abc.abstractmethod
  def _step_one(self, environment: Any, action: Any) -> _Outcome:
    """Steps one rollout with an action that the user's environment knows."""

  @property
  def has_finite_tasks(self) -> bool:
    """What the user said."""
    return self._has_finite_tasks

  @property
  def truncated(self) -> np.ndarray:
    """`[G, B]`, which rollouts the last step ended without a termination."""
    return self._truncated

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> Any:
    """Raw actions where they are scaled, otherwise the user's own spec."""
    return self._actions.spec

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    return tasks_lib.stack([self._sample_task(rng) for _ in range(num_tasks)])

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    num_tasks = tasks_lib.count(tasks)
    self._batch_shape = (num_tasks, num_rollouts)
    num_environments = num_tasks * num_rollouts
    self._make_environments(num_environments)
    seeds = rng.integers(_SEED_BOUND, size=num_environments)
    self._is_over = np.zeros(num_environments, bool)
    self._rows = None
    for i in range(num_environments):
      task = tasks_lib.take(tasks, i // num_rollouts)
      self._set_one(self._environments[i], task, int(seeds[i]))
      observation = self._reset_one(self._environments[i], int(seeds[i]))
      self._write(i, observation)
    self._has_checked_hook |= num_tasks > 1
    self._check_specs(num_environments)
    return self._shaped()

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if self._batch_shape is None:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    action = self._actions.to_theirs(action.reshape(-1, *action.shape[2:]))
    reward, discount = np.zeros((2, len(action)), np.float32)
    truncated = np.zeros(len(action), bool)
    # What was shown before is not written to.
    self._rows = [row.copy() for row in self._rows]
    for i in np.flatnonzero(~self._is_over):
      outcome = self._step_one(self._environments[i], action[i])
      self._write(i, outcome.observation)
      reward[i], discount[i] = outcome.reward, outcome.discount
      truncated[i] = outcome.truncated
    # Whatever has ended is left alone until the next reset.
    self._is_over |= (discount == 0) | truncated
    shape = self._batch_shape
    self._truncated = truncated.reshape(shape)
    return self._shaped(), reward.reshape(shape), discount.reshape(shape)

  def close(self) -> None:
    """Closes the user's environments; they cannot be used afterwards."""
    for environment in self._environments:
      environment.close()

  def _make_environments(self, number: int) -> None:
    if len(self._environments) >= number:
      return
    while len(self._environments) < number:
      self._environments.append(self._factory())
      if len(self._environments) == 2:  # Before a thousand are made.
        sharing.check_apart(self._environments, self._factory)
    sharing.check_apart(self._environments, self._factory)

  def _set_one(self, environment: Any, task: types.PyTree, seed: int) -> None:
    """Makes the environment play a task."""
    del seed
    other = self._environments[0]
    if self._has_checked_hook or environment is other:
      sharing.check_result(self._set_task(environment, task), environment)
    else:
      sharing.call_watched(self._set_task, environment, task, other)

  def _check_specs(self, number: int) -> None:
    """Refuses environments whose specs are not those of the first."""
    for environment in self._environments[:number]:
      spec = self._make_action_spec(environment)
      if not same_spec(spec, self._actions.user_spec):
        raise ValueError(
          f'{environment!r}: its actions are {checking.describe(spec)}, but '
          'those of the first environment were '
          f'{checking.describe(self._actions.user_spec)}; the spaces must not '
          'depend on the task.'
        )

  def _write(self, i: int, observation: Any) -> None:
    """Keeps a copy: an environment may write to the same buffer again."""
    leaves = jax.tree_util.tree_leaves(
      checking.observation(
        observation, self._observation_spec, self._environments[i]
      )
    )
    if self._rows is None:
      size = self._batch_shape[0] * self._batch_shape[1]
      self._rows = [np.empty((size, *x.shape), x.dtype) for x in leaves]
    for row, leaf in zip(self._rows, leaves, strict=True):
      row[i] = leaf

  def _shaped(self) -> Any:
    """`[G, B, ...]` views of the rows."""
    structure = jax.tree_util.tree_structure(self._observation_spec)
    return structure.unflatten(
      [row.reshape(*self._batch_shape, *row.shape[1:]) for row in self._rows]
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
    has_finite_tasks: bool = True,
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
        `action_scaling` says. Otherwise it is clipped to its bounds.
      has_finite_tasks: whether there are so few tasks that some are drawn more
        than once; say False of a continuous distribution.

    Raises:
      ValueError: if the factory makes no environment, or it has a spec that is
        not known.
    """
    self._set_seed = set_seed
    if set_seed is not None:
      check_hooks(set_seed=set_seed)
    super().__init__(
      factory, sample_task, set_task, scale_actions, has_finite_tasks
    )

  def _make_observation_spec(self, environment):
    return _ask(environment, 'observation_spec')

  def _make_action_spec(self, environment):
    return _ask(environment, 'action_spec')

  def _set_one(self, environment, task, seed):
    if self._set_seed is not None:
      self._set_seed(environment, seed)
    super()._set_one(environment, task, seed)

  def _reset_one(self, environment, seed):
    del seed  # Set before the task.
    return _time_step(environment.reset(), environment).observation

  def _step_one(self, environment, action):
    time_step = _time_step(environment.step(action), environment)
    if time_step.first():
      raise ValueError(
        f'{environment!r}: its step answered with a FIRST time step, need MID '
        'or LAST; it is not stepped after its end.'
      )
    discount = checking.number(time_step.discount, 'discount', environment)
    checking.discounts(np.float64(discount), environment)
    return _Outcome(
      time_step.observation,
      checking.number(time_step.reward, 'reward', environment),
      discount,
      bool(time_step.last() and discount != 0),
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
    has_finite_tasks: bool = True,
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
        `action_scaling` says. Otherwise it is clipped to its bounds.
      has_finite_tasks: whether there are so few tasks that some are drawn more
        than once; say False of a continuous distribution.

    Raises:
      ValueError: if the factory makes no environment, or it has a space that is
        not known.
    """
    super().__init__(
      factory, sample_task, set_task, scale_actions, has_finite_tasks
    )

  def _make_observation_spec(self, environment):
    return spaces.to_spec(
      _space(environment, 'observation_space'), 'observation'
    )

  def _make_action_spec(self, environment):
    return spaces.to_spec(_space(environment, 'action_space'), 'action')

  def _reset_one(self, environment, seed):
    if not self._takes_seed(environment):
      raise ValueError(
        f"{environment!r}: its reset takes no seed, need gymnasium's "
        'reset(seed=..., options=...); environments of old gym can be wrapped '
        "with shimmy's GymV21CompatibilityV0."
      )
    observation, info = unpack(
      environment.reset(seed=seed), 2, 'reset', environment
    )
    if not isinstance(info, Mapping):
      unpack(observation, 2, 'reset', environment)
    return spaces.to_ours(observation, environment.observation_space)

  def _step_one(self, environment, action):
    observation, reward, terminated, truncated, _ = unpack(
      environment.step(spaces.to_theirs(action, environment.action_space)),
      5,
      'step',
      environment,
    )
    terminated = checking.number(terminated, 'terminated', environment) != 0
    truncated = checking.number(truncated, 'truncated', environment) != 0
    return _Outcome(
      spaces.to_ours(observation, environment.observation_space),
      checking.number(reward, 'reward', environment),
      0.0 if terminated else 1.0,
      truncated and not terminated,
    )

  @staticmethod
  def _takes_seed(environment: Any) -> bool:
    parameters = inspect.signature(environment.reset).parameters.values()
    return any(p.name == 'seed' or p.kind is p.VAR_KEYWORD for p in parameters)


_SHAPES = {
  'reset': '(observation, info)',
  'step': '(observation, reward, terminated, truncated, info)',
}


def unpack(result: Any, number: int, what: str, who: Any) -> tuple[Any, ...]:
  """What gymnasium's `reset` or `step` returned, or what is wrong with it."""
  if (
    isinstance(result, tuple)
    and len(result) == number
    and isinstance(result[-1], Mapping)
  ):
    return result
  got = (
    f'a tuple of {len(result)}'
    if isinstance(result, tuple)
    else f'a value of type {type(result).__name__}'
  )
  raise ValueError(
    f"{who!r}: its {what} returned {got}, need gymnasium's {_SHAPES[what]}; "
    "environments of old gym can be wrapped with shimmy's "
    'GymV21CompatibilityV0.'
  )


def _space(environment: Any, name: str) -> Any:
  space = getattr(environment, name, None)
  if space is None:
    raise ValueError(
      f'{environment!r}: it has no {name}, need a gymnasium.Env; for a dm_env '
      'environment see DmEnvBatch.'
    )
  return space


def _ask(environment: Any, name: str) -> Any:
  method = getattr(environment, name, None)
  if not callable(method):
    raise ValueError(
      f'{environment!r}: it has no method {name}, need a dm_env.Environment; '
      'for a gymnasium environment see GymnasiumBatch.'
    )
  return method()


def _time_step(value: Any, environment: Any) -> dm_env.TimeStep:
  if not isinstance(value, dm_env.TimeStep):
    raise ValueError(
      f'{environment!r}: it returned a {type(value).__name__}, need a '
      'dm_env.TimeStep.'
    )
  return value
