"""Environments as their user on the host sees them: all rollouts at once."""

from collections.abc import Sequence
from typing import Any, Protocol

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types
from acme_metarl.environments import checking
from acme_metarl.environments import tasks as tasks_lib


class BatchedEnvironment(Protocol):
  """B rollouts of each of G tasks, stepped together; numpy in, numpy out.

  There is no time limit and no freezing in here: both are the trial's
  business. After a discount of 0 the trial ignores what a rollout shows until
  the next reset; an implementation may go on stepping it or leave it be.

  Arrays are handed over as copies, in both directions: a trial gives tasks and
  actions that may be written to, and copies what it gets.

  Some properties are optional. About the last step, `[G, B]` bool each:
  `truncated`, whether it cut a rollout short that had not terminated (a time
  limit of the environment's own), and `diverged`, whether the physics of a
  rollout broke down in it. The trial ends those rollouts; it also notices, by
  itself, numbers that are not finite. `info`, a dict of further numbers `[G,
  B]` about the last step (a success, say), NaN where a rollout has none. And
  about the tasks: `has_finite_tasks`, see the function of that name, and a
  method `task_classes(tasks)`, the names of their classes, G or none. A method
  `render(rollouts)` gives pictures, see `filming`.
  """

  def observation_spec(self) -> Any:
    """`dm_env.specs` of the observation of one rollout."""

  def action_spec(self) -> Any:
    """`dm_env.specs` of the raw action of one rollout."""

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    """Draws tasks: a pytree with leading axis `[G]`."""

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    """Starts `num_rollouts` rollouts of each task.

    Args:
      tasks: pytree with leading axis `[G]`.
      num_rollouts: B.
      rng: the only source of randomness, until the next reset.

    Returns:
      Observations `[G, B, ...]`.
    """

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """Takes raw actions `[G, B, ...]`.

    Returns:
      Observations `[G, B, ...]`, rewards `[G, B]` float32, discounts `[G, B]`
      float32 (0 where the rollout terminated).
    """


class JaxBatch:
  """The batched face of a pure-JAX environment: one compiled call per step.

  It runs on the host's processor even where JAX has an accelerator, because
  numpy arrays come in and go out at every step. Who wants the accelerator wants
  the whole trial compiled (`acme_metarl`'s on-device training).
  """

  def __init__(self, environment: types.Environment):
    """Wraps an environment.

    Args:
      environment: pure functions of one rollout.
    """
    self._environment = environment
    self._device = _host_device()
    self._state = None
    self._info = {}
    self._batch_shape = ()
    # Compiled once per shape; the tasks and the state are arguments.
    self._sample_tasks = jax.jit(self._sample_tasks_fn, static_argnums=1)
    self._reset = jax.jit(self._reset_fn, static_argnums=2)
    self._step = jax.jit(self._step_fn)

  def __repr__(self) -> str:
    return f'JaxBatch({self._environment!r})'

  @property
  def environment(self) -> types.Environment:
    """The environment of one rollout."""
    return self._environment

  @property
  def has_finite_tasks(self) -> bool:
    """What the environment says."""
    return has_finite_tasks(self._environment)

  @property
  def info(self) -> dict[str, np.ndarray]:
    """What the environment's `info(state)`, if it has one, says, `[G, B]`."""
    return self._info

  def observation_spec(self) -> Any:
    return self._environment.observation_spec()

  def action_spec(self) -> Any:
    return self._environment.action_spec()

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    """Draws tasks; one without arrays, such as (), is shown as `[G, 0]`."""
    tasks = self._sample_tasks(self._seeds(rng), num_tasks)
    if not jax.tree_util.tree_leaves(tasks):
      return np.zeros((num_tasks, 0), np.float32)
    return jax.tree_util.tree_map(np.asarray, tasks)

  def task_classes(self, tasks: types.PyTree) -> Any:
    """What the environment's `task_classes(tasks)`, if it has one, says."""
    if not hasattr(self._environment, 'task_classes'):
      return ()
    return self._environment.task_classes(tasks)

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    num_tasks = tasks_lib.count(tasks)
    # Copies, because JAX may go on using an array that the caller writes to.
    # Everything later follows its arguments, so this alone says where to run.
    tasks = jax.device_put(
      jax.tree_util.tree_map(np.array, tasks), self._device
    )
    self._batch_shape = (num_tasks, num_rollouts)
    self._state, observation = self._reset(
      self._seeds(rng), tasks, num_rollouts
    )
    return jax.tree_util.tree_map(np.asarray, observation)

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if self._state is None:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = check_action(action, self.action_spec(), self._batch_shape)
    # The state is not donated: an observation is often a part of it, and is
    # handed out as a view.
    self._state, time_step, info = self._step(self._state, action)
    self._info = jax.tree_util.tree_map(np.asarray, info)
    return jax.tree_util.tree_map(np.asarray, tuple(time_step))

  def render(self, rollouts: Sequence[int]) -> list[np.ndarray]:
    """What the environment's `render(state)` shows of some rollouts."""
    if not hasattr(self._environment, 'render'):
      raise ValueError(
        f'{self._environment!r} has no picture; give it a method render(state) '
        'that returns uint8 [height, width, 3].'
      )
    states = jax.device_get(self._state)
    places = [divmod(i, self._batch_shape[1]) for i in rollouts]
    return [
      self._environment.render(
        jax.tree_util.tree_map(lambda x, place=place: x[place], states)
      )
      for place in places
    ]

  def _seeds(self, rng: np.random.Generator) -> jax.Array:
    seeds = rng.integers(2**32, size=2, dtype=np.uint32)
    return jax.device_put(seeds, self._device)

  def _sample_tasks_fn(self, seeds, num_tasks):
    keys = jax.random.split(_key(seeds), num_tasks)
    return jax.vmap(self._environment.sample_task)(keys)

  def _reset_fn(self, seeds, tasks, num_rollouts):
    num_tasks = jax.tree_util.tree_leaves(tasks)[0].shape[0]
    drawn = jax.eval_shape(self._environment.sample_task, jax.random.PRNGKey(0))
    if not jax.tree_util.tree_leaves(drawn):
      tasks = drawn  # `sample_tasks` showed the tasks as [G, 0].
    keys = jax.random.split(_key(seeds), num_tasks * num_rollouts)
    keys = keys.reshape((num_tasks, num_rollouts) + keys.shape[1:])
    reset = jax.vmap(self._environment.reset, in_axes=(0, None))
    state, time_step = jax.vmap(reset)(keys, tasks)
    return state, _to_float32(time_step.observation)

  def _step_fn(self, state, action):
    state, time_step = jax.vmap(jax.vmap(self._environment.step))(state, action)
    info = {}
    if hasattr(self._environment, 'info'):
      info = jax.vmap(jax.vmap(self._environment.info))(state)
    return state, _to_float32(time_step), info


def batch(environment: Any) -> BatchedEnvironment:
  """The batched face of an environment.

  Args:
    environment: an `acme_metarl.types.Environment`, or a
      `BatchedEnvironment`, which is returned as it is.

  Returns:
    What `TrialEnvironment` drives.

  Raises:
    ValueError: if it is neither.
  """
  if hasattr(environment, 'sample_tasks'):
    return environment
  if hasattr(environment, 'sample_task'):
    return JaxBatch(environment)
  raise ValueError(
    'environment: need a pure-JAX Environment (with sample_task) or a '
    f'BatchedEnvironment (with sample_tasks), got {environment!r}. For a '
    'dm_env or gymnasium environment see environments.adapters.'
  )


def has_finite_tasks(environment: Any) -> bool:
  """Whether tasks drawn anew may be tasks that were drawn before.

  So it is where there are few tasks, say two directions, and where an
  environment does not say; only a continuous distribution, or one whose
  evaluation tasks are held out, gives fresh tasks.

  Args:
    environment: of any kind; what counts is its attribute `has_finite_tasks`.

  Returns:
    False if every draw is a new task.
  """
  return bool(getattr(environment, 'has_finite_tasks', True))


def tasks_in_words(environment: Any) -> str:
  """What evaluation tasks are called: fresh only where they are."""
  if has_finite_tasks(environment):
    return 'tasks drawn anew'
  return 'fresh tasks'


class _BatchedDiscreteArray(specs.BoundedArray):
  """Discrete actions of all rollouts; `num_values` as of one of them."""

  def __init__(self, shape, dtype, num_values: int, name: str | None = None):
    super().__init__(shape, dtype, 0, num_values - 1, name)
    self._num_values = num_values

  @property
  def num_values(self) -> int:
    return self._num_values


def batch_specs(tree: Any, batch_shape: tuple[int, ...]) -> Any:
  """Specs of `[G, B, ...]` arrays.

  Args:
    tree: pytree of `dm_env.specs` of one rollout.
    batch_shape: `(G, B)`.

  Returns:
    The same pytree; a discrete spec keeps its `num_values`.
  """

  def to_batch(spec):
    shape = batch_shape + tuple(spec.shape)
    if hasattr(spec, 'num_values'):
      return _BatchedDiscreteArray(
        shape, spec.dtype, spec.num_values, spec.name
      )
    if hasattr(spec, 'minimum'):
      return specs.BoundedArray(
        shape, spec.dtype, spec.minimum, spec.maximum, spec.name
      )
    return specs.Array(shape, spec.dtype, spec.name)

  return jax.tree_util.tree_map(to_batch, tree)


def check_action(
  action: Any, spec: Any, batch_shape: tuple[int, ...], finite: bool = True
) -> np.ndarray:
  """Refuses actions that no environment could take.

  Args:
    action: `[*batch_shape, ...]`, a numpy or a JAX array.
    spec: of one action; one with `num_values` is discrete.
    batch_shape: `(G, B)`.
    finite: whether the numbers must be finite.

  Returns:
    The actions as a fresh numpy array of the spec's type.

  Raises:
    ValueError: on a wrong shape, on actions that are not finite, and on
      integer actions that are no integers or out of range.
  """
  action = np.asarray(action)
  shape = tuple(batch_shape) + tuple(spec.shape)
  if action.shape != shape:
    raise ValueError(
      f'action: got shape {action.shape}, need {shape}: tasks, rollouts, then '
      'the shape of one action.'
    )
  if np.dtype(spec.dtype).kind in 'biu':
    _check_integers(action, spec)
  elif not checking.is_real(action.dtype):
    raise ValueError(f'action: got type {action.dtype}, need real numbers.')
  with np.errstate(over='ignore'):  # What overflows is infinite.
    action = action.astype(spec.dtype)
  if finite and not np.isfinite(action).all():
    raise ValueError(
      f'action: {np.sum(~np.isfinite(action))} of {action.size} numbers are '
      'not finite; the policy may have diverged.'
    )
  return action


def _check_integers(action: np.ndarray, spec: Any) -> None:
  if action.dtype.kind not in 'biu':
    raise ValueError(f'action: got type {action.dtype}, need integers.')
  limits = np.iinfo(spec.dtype) if np.dtype(spec.dtype).kind != 'b' else None
  low = getattr(spec, 'minimum', limits.min if limits else 0)
  high = getattr(spec, 'maximum', limits.max if limits else 1)
  wrong = (action < low) | (action > high)
  if wrong.any():
    raise ValueError(
      f'action: got values from {action.min()} to {action.max()}, need '
      f'{np.min(low)} to {np.max(high)}.'
    )


def _host_device() -> jax.Device | None:
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:  # JAX was told to have no CPU backend.
    return None


def _key(seeds: chex.Array) -> chex.PRNGKey:
  return jax.random.fold_in(jax.random.PRNGKey(seeds[0]), seeds[1])


def _to_float32(tree: types.PyTree) -> types.PyTree:
  """Casts floating-point leaves, which are float64 where JAX has x64 on."""

  def cast(x):
    is_float = jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)
    return jnp.asarray(x, jnp.float32) if is_float else x

  return jax.tree_util.tree_map(cast, tree)
