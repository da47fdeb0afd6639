"""Other people's pure-JAX environments as task distributions.

The adapters import none of the suites: they take environments that the user has
made, and know them by their methods. `gymnax` 0.0.9 and later, `brax` 0.14 and
`mujoco_playground` (package `playground`) 0.2 were tried.
"""

from collections.abc import Callable, Mapping
import copy
import dataclasses
from typing import Any, NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types
from acme_metarl.environments import checking, looping
from acme_metarl.environments.action_scaling import Actions

# What brax's training wrappers add to `State.info`.
_WRAPPED = ('first_obs', 'first_state', 'first_pipeline_state', 'truncation')


class State(NamedTuple):
  """One rollout.

  Attributes:
    inner: the suite's own state.
    key: of what happens next; () where the suite keeps it.
    task: as `sample_task` drew it.
  """

  inner: Any
  key: Any
  task: types.PyTree


class GymnaxEnvironment:
  """A gymnax environment whose task is some of its parameters.

      environment = environments.GymnaxEnvironment(
        *gymnax.make('CartPole-v1'),
        sample_task=lambda key: {
          'length': jax.random.uniform(key, minval=0.25, maxval=1.0)
        },
        has_finite_tasks=False,
      )

  Episodes are not reset by the environment, and its own time limit
  (`max_steps_in_episode`) is lifted: the horizon belongs to the trial. Only
  what the environment itself ends has discount 0.
  """

  def __init__(
    self,
    environment: Any,
    params: Any,
    sample_task: Callable[[chex.PRNGKey], types.PyTree],
    set_task: Callable[[Any, types.PyTree], Any] | None = None,
    scale_actions: bool = True,
    has_finite_tasks: bool = True,
  ):
    """Makes an `Environment`.

    Args:
      environment: with `reset_env` and `step_env`.
      params: its parameters, a dataclass.
      sample_task: draws a task; without `set_task`, a dict of parameters.
      set_task: `(params, task) -> params`, in JAX.
      scale_actions: whether a bounded continuous action is a raw one, scaled as
        `action_scaling` says. Otherwise it is clipped to its bounds.
      has_finite_tasks: whether there are so few tasks that some are drawn more
        than once; say False of a continuous distribution.

    Raises:
      ValueError: if this is no gymnax environment, if a task names what is no
        parameter, or if a space is not known.
    """
    if not hasattr(environment, 'step_env'):
      raise ValueError(
        f'environment: got {environment!r}, need one of gymnax, with step_env.'
      )
    looping.check_hooks(sample_task=sample_task, set_task=set_task or _replace)
    self.has_finite_tasks = has_finite_tasks
    self._environment = environment
    # Releases before 1.0 call a time limit a termination.
    if not hasattr(environment, 'is_truncated') and hasattr(
      params, 'max_steps_in_episode'
    ):
      params = params.replace(max_steps_in_episode=np.iinfo(np.int32).max)
    self._params = params
    self._sample_task = sample_task
    self._set_task = set_task or _replace
    space = environment.action_space(params)
    if hasattr(space, 'n'):
      spec = specs.DiscreteArray(int(space.n))
    elif hasattr(space, 'low'):
      low, high = (np.asarray(x, np.float32) for x in (space.low, space.high))
      spec = specs.BoundedArray(space.shape, np.float32, low, high)
    else:
      raise ValueError(f'action space: got {space}, need Box or Discrete.')
    self._actions = Actions(spec, scale_actions)
    key = jax.random.PRNGKey(0)
    observation, _ = jax.eval_shape(
      lambda: self._environment.reset_env(
        key, self._set_task(self._params, self._sample_task(key))
      )
    )
    self._observation_spec = _specs(observation, self)

  def __repr__(self) -> str:
    return f'GymnaxEnvironment({type(self._environment).__name__})'

  def sample_task(self, key: chex.PRNGKey) -> types.PyTree:
    """Draws what the user's function draws."""
    return self._sample_task(key)

  def reset(
    self, key: chex.PRNGKey, task: types.PyTree
  ) -> tuple[State, types.TimeStep]:
    """Starts an episode."""
    key, reset_key = jax.random.split(key)
    params = self._set_task(self._params, task)
    observation, inner = self._environment.reset_env(reset_key, params)
    # Numbers of Python become what a step makes of them.
    stepped = jax.eval_shape(
      self._environment.step_env,
      key,
      inner,
      jnp.asarray(self._actions.user_spec.generate_value()),
      params,
    )[1]
    state = State(_typed(inner, stepped), key, task)
    return state, _time_step(observation, 0.0, False)

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, types.TimeStep]:
    """Takes a raw action."""
    key, step_key = jax.random.split(state.key)
    params = self._set_task(self._params, state.task)
    action = self._actions.apply(
      jnp.asarray(action, self._actions.user_spec.dtype)
    )
    observation, inner, reward, is_terminal, _ = self._environment.step_env(
      step_key, state.inner, action, params
    )
    new_state = State(_typed(inner, state.inner), key, state.task)
    return new_state, _time_step(observation, reward, is_terminal)

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> specs.Array:
    """Raw actions where they are scaled, otherwise the environment's own."""
    return self._actions.spec


class BraxEnvironment:
  """An environment of Brax or of MuJoCo Playground.

  It must be the bare one (`brax.envs.get_environment`,
  `mujoco_playground.registry.load`), not wrapped for training: the horizon and
  the freezing belong to the trial. `State.done` gives discount 0; whatever
  scalars are in `State.metrics` reach `TrialEnvironment.info`. Actions reach
  from -1 to 1.

      environment = environments.BraxEnvironment(
        brax.envs.get_environment('halfcheetah'),
        sample_task=lambda key: jax.random.rademacher(key, (), float),
        reward=lambda task, state, action, new: (
          task * new.metrics['x_velocity'] + new.metrics['reward_ctrl']
        ),
      )
  """

  def __init__(
    self,
    environment: Any,
    sample_task: Callable[[chex.PRNGKey], types.PyTree],
    set_task: Callable[[Any, types.PyTree], Any] | None = None,
    reward: Callable[[types.PyTree, Any, chex.Array, Any], chex.Array]
    | None = None,
    scale_actions: bool = True,
    has_finite_tasks: bool = True,
  ):
    """Makes an `Environment`.

    Args:
      environment: with `reset(rng) -> State` and `step(state, action)`.
      sample_task: draws a task, an array or a pytree of arrays.
      set_task: `(environment, task)`, changes the copy of the environment that
        it is given (its `sys` or model, say), or returns another.
      reward: `(task, state, action, new_state) -> reward`, instead of the
        environment's own; the action is what the environment got.
      scale_actions: whether an action is a raw one, scaled as `action_scaling`
        says. Otherwise it is clipped.
      has_finite_tasks: whether there are so few tasks that some are drawn more
        than once; say False of a continuous distribution.

    Raises:
      ValueError: if this is no such environment, or it is wrapped for training,
        or no hook says what a task means.
    """
    looping.check_hooks(sample_task=sample_task)
    for name, hook in (('set_task', set_task), ('reward', reward)):
      if hook is not None:
        looping.check_hooks(**{name: hook})
    if set_task is None and reward is None:
      raise ValueError(
        'set_task: got None, and reward is None too; one of them must make a '
        'difference between tasks.'
      )
    self.has_finite_tasks = has_finite_tasks
    self._environment = environment
    self._sample_task = sample_task
    self._set_task = set_task
    self._reward = reward
    if not hasattr(environment, 'action_size'):
      raise ValueError(
        f'environment: got {environment!r}, need one of Brax or MuJoCo '
        'Playground, with action_size.'
      )
    self._actions = Actions(
      specs.BoundedArray((environment.action_size,), np.float32, -1, 1),
      scale_actions,
    )
    key = jax.random.PRNGKey(0)
    first = jax.eval_shape(lambda: self._for(sample_task(key)).reset(key))
    if any(name in first.info for name in _WRAPPED):
      raise ValueError(
        f'environment: {environment!r} is wrapped for training and resets by '
        'itself, need the bare one (brax.envs.get_environment, '
        'mujoco_playground.registry.load).'
      )
    self._observation_spec = _specs(first.obs, self)

  def __repr__(self) -> str:
    return f'BraxEnvironment({type(self._environment).__name__})'

  def sample_task(self, key: chex.PRNGKey) -> types.PyTree:
    """Draws what the user's function draws."""
    return self._sample_task(key)

  def reset(
    self, key: chex.PRNGKey, task: types.PyTree
  ) -> tuple[State, types.TimeStep]:
    """Starts an episode."""
    environment = self._for(task)
    inner = environment.reset(key)
    action = jnp.zeros(self._environment.action_size, jnp.float32)
    stepped = jax.eval_shape(environment.step, inner, action)
    state = State(_typed(inner, stepped), (), task)
    return state, _time_step(inner.obs, 0.0, False)

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, types.TimeStep]:
    """Takes a raw action."""
    action = self._actions.apply(jnp.asarray(action, jnp.float32))
    inner = self._for(state.task).step(state.inner, action)
    reward = inner.reward
    if self._reward is not None:
      reward = self._reward(state.task, state.inner, action, inner)
    new_state = State(_typed(inner, state.inner), (), state.task)
    return new_state, _time_step(inner.obs, reward, inner.done)

  def info(self, state: State) -> dict[str, chex.Array]:
    """The environment's metrics that are scalars."""
    return {
      name: value
      for name, value in state.inner.metrics.items()
      if jnp.ndim(value) == 0
    }

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> specs.Array:
    """Raw actions, or from -1 to 1 where they are not scaled."""
    return self._actions.spec

  def _for(self, task: types.PyTree) -> Any:
    """The environment of a task; the user's own is left as it is."""
    if self._set_task is None:
      return self._environment
    environment = copy.copy(self._environment)
    changed = self._set_task(environment, task)
    return environment if changed is None else changed


def _replace(params: Any, task: Any) -> Any:
  names = {field.name for field in dataclasses.fields(params)}
  if not isinstance(task, Mapping) or not set(task) <= names:
    raise ValueError(
      f'sample_task: it drew {_keys(task)}, need a dict of some of the '
      f'parameters {", ".join(sorted(names))}, or set_task.'
    )
  return params.replace(**task)


def _keys(task: Any) -> str:
  if isinstance(task, Mapping):
    return f'a dict of {", ".join(map(str, task))}'
  return f'a {type(task).__name__}'


def _specs(observation: Any, who: Any) -> Any:
  """Specs of what is shown."""
  return checking.observation_spec(
    jax.tree_util.tree_map(
      lambda x: specs.Array(x.shape, x.dtype, 'observation'), observation
    ),
    who,
  )


def _typed(tree: Any, like: Any) -> Any:
  """Arrays of the types of the other tree, so that a loop may carry them."""
  return jax.tree_util.tree_map(
    lambda x, y: jnp.asarray(x).astype(y.dtype), tree, like
  )


def _time_step(observation: Any, reward: Any, is_terminal: Any) -> Any:
  def convert(x):
    x = jnp.asarray(x)
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(jnp.float32) if is_float else x

  return types.TimeStep(
    jax.tree_util.tree_map(convert, observation),
    jnp.asarray(reward, jnp.float32),
    1 - jnp.asarray(is_terminal, jnp.float32),
  )
