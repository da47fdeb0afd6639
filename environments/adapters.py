"""Anybody's dm_env or gymnasium environment as a task distribution.

These are Python loops over G×B environments, one of the user's objects for
each rollout. They cost what the user's `step` costs, plus some microseconds of
Python, for every single environment step; `vector.GymnasiumVectorBatch` steps
them in processes, and an environment that steps all its rollouts at once
(`BatchedEnvironment`), or a pure-JAX one, is far faster.
"""

from collections.abc import Callable, Mapping, Sequence
import inspect
from typing import Any

import dm_env
import numpy as np

from acme_metarl import types
from acme_metarl.environments import checking, looping, spaces


class DmEnvBatch(looping.LoopBatch):
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
    get_info: Callable[[dm_env.Environment], Mapping[str, Any]] | None = None,
    reports: Sequence[str] = (),
    render: Callable[[dm_env.Environment], np.ndarray] | None = None,
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
      get_info: numbers about the last step, by name; a success, say.
      reports: names of numbers that every step must have, such as `'success'`:
        an environment that hides them is refused.
      render: draws the environment as it is now, uint8 `[H, W, 3]`.

    Raises:
      ValueError: if the factory makes no environment, or it has a spec that is
        not known.
    """
    self._set_seed = set_seed
    self._get_info = get_info
    self._render = render
    for name, hook in (
      ('set_seed', set_seed),
      ('get_info', get_info),
      ('render', render),
    ):
      if hook is not None:
        looping.check_hooks(**{name: hook})
    super().__init__(
      factory, sample_task, set_task, scale_actions, has_finite_tasks, reports
    )

  def _make_observation_spec(self, environment):
    return _ask(environment, 'observation_spec')

  def _make_action_spec(self, environment):
    return _ask(environment, 'action_spec')

  def _set_one(self, environment, task, seed):
    if self._set_seed is not None:
      self._set_seed(environment, seed)
    super()._set_one(environment, task, seed)

  def _render_one(self, environment):
    if self._render is None:
      raise ValueError(
        f'{environment!r} has no picture; give DmEnvBatch a function render, '
        'which draws it.'
      )
    return self._render(environment)

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
    return looping.Outcome(
      time_step.observation,
      checking.number(time_step.reward, 'reward', environment),
      discount,
      bool(time_step.last() and discount != 0),
      {} if self._get_info is None else self._get_info(environment),
    )


class GymnasiumBatch(looping.LoopBatch):
  """A `gymnasium.Env` and a hook that sets its task.

  `terminated` gives discount 0. `truncated` alone is a time limit of the
  environment's own: the trial applies its own rule for the horizon if it falls
  there, and otherwise ends the rollout. Rollouts are seeded by
  `reset(seed=...)`, so the same seed gives the same trial. Numbers in a step's
  info, such as `success`, reach `TrialEnvironment.info`.
  """

  def __init__(
    self,
    factory: Callable[[], Any],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_task: Callable[[Any, types.PyTree], None],
    scale_actions: bool = True,
    has_finite_tasks: bool = True,
    reports: Sequence[str] = (),
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
      reports: names of numbers that the info of every step must hold, such as
        `'success'`: an environment that hides them is refused.

    Raises:
      ValueError: if the factory makes no environment, or it has a space that is
        not known.
    """
    super().__init__(
      factory, sample_task, set_task, scale_actions, has_finite_tasks, reports
    )

  def _make_observation_spec(self, environment):
    return spaces.to_spec(
      _space(environment, 'observation_space'), 'observation'
    )

  def _make_action_spec(self, environment):
    return spaces.to_spec(_space(environment, 'action_space'), 'action')

  def _render_one(self, environment):
    return rendered(environment.render(), environment)

  def _reset_one(self, environment, seed):
    if not self._takes_seed(environment):
      raise takes_no_seed(environment)
    observation, info = unpack(
      environment.reset(seed=seed), 2, 'reset', environment
    )
    if not isinstance(info, Mapping):
      unpack(observation, 2, 'reset', environment)
    return spaces.to_ours(observation, environment.observation_space)

  def _step_one(self, environment, action):
    observation, reward, terminated, truncated, info = unpack(
      environment.step(spaces.to_theirs(action, environment.action_space)),
      5,
      'step',
      environment,
    )
    terminated = checking.number(terminated, 'terminated', environment) != 0
    truncated = checking.number(truncated, 'truncated', environment) != 0
    return looping.Outcome(
      spaces.to_ours(observation, environment.observation_space),
      checking.number(reward, 'reward', environment),
      0.0 if terminated else 1.0,
      truncated and not terminated,
      info,
    )

  @staticmethod
  def _takes_seed(environment: Any) -> bool:
    parameters = inspect.signature(environment.reset).parameters.values()
    return any(p.name == 'seed' or p.kind is p.VAR_KEYWORD for p in parameters)


def takes_no_seed(who: Any) -> ValueError:
  """What is wrong with an environment of old gym."""
  return ValueError(
    f"{who!r}: its reset takes no seed, need gymnasium's reset(seed=..., "
    'options=...), which begins with super().reset(seed=seed); environments of '
    "old gym can be wrapped with shimmy's GymV21CompatibilityV0."
  )


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


def rendered(frame: Any, who: Any) -> np.ndarray:
  """A picture that gymnasium's `render` returned.

  Raises:
    ValueError: if it returned none.
  """
  if not isinstance(frame, np.ndarray):
    raise ValueError(
      f'{who!r}: its render returned a value of type {type(frame).__name__}, '
      "need an array; make it with render_mode='rgb_array'."
    )
  return frame


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
