"""Gymnasium's vectorised environments as a task distribution."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import (
  adapters,
  batched,
  checking,
  looping,
  sharing,
  spaces,
)

NEXT_STEP, SAME_STEP, DISABLED = 'NextStep', 'SameStep', 'Disabled'


class GymnasiumVectorBatch(looping.UserBatch):
  """A `gymnasium.vector.VectorEnv` and a hook that sets the tasks.

      batch = environments.GymnasiumVectorBatch(
        factory=lambda num_envs: gymnasium.vector.AsyncVectorEnv(
          [MyEnvironment] * num_envs, context='spawn'
        ),
        sample_task=lambda rng: rng.uniform(-1, 1, size=2),
        set_tasks='goal',
      )

  Rollouts are those of `GymnasiumBatch`, number for number, in every autoreset
  mode: what a rollout shows after its end, a new episode perhaps, is dropped,
  and a last observation is the episode's own. Such steps are wasted, but cost
  what others do. Only gymnasium sees whether an observation is of the type that
  its space says: it casts it, without a word.
  """

  def __init__(
    self,
    factory: Callable[[int], Any],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_tasks: str | Callable[[Any, list[types.PyTree]], None],
    scale_actions: bool = True,
    has_finite_tasks: bool = True,
    reports: Sequence[str] = (),
  ):
    """Makes a `BatchedEnvironment`.

    Args:
      factory: makes a vectorised environment of as many rollouts as it is told;
        called again when that number changes.
      sample_task: draws a task, a number, an array or a pytree of arrays, all
        of the same shapes.
      set_tasks: gives every rollout its task; called before a `reset`, with the
        environment and a list of one task for each rollout. A string is the
        attribute of the environments inside that their tasks are kept in.
      scale_actions: whether a bounded continuous action is a raw one, scaled as
        `action_scaling` says. Otherwise it is clipped to its bounds.
      has_finite_tasks: whether there are so few tasks that some are drawn more
        than once; say False of a continuous distribution.
      reports: names of numbers that the info of every step must hold, such as
        `'success'`: an environment that hides them is refused.

    Raises:
      ValueError: if the factory makes no vectorised environment, or it has a
        space or an autoreset mode that is not known.
    """
    looping.check_hooks(factory=factory, sample_task=sample_task)
    if not isinstance(set_tasks, str):
      looping.check_hooks(set_tasks=set_tasks)
    self._factory = factory
    self._set_tasks = set_tasks
    self._vector = None
    self._has_checked_spaces = False
    self._make_vector(1)
    self._observation_space = self._vector.single_observation_space
    self._action_space = self._vector.single_action_space
    self._user_specs = (
      spaces.to_spec(self._observation_space, 'observation'),
      spaces.to_spec(self._action_space, 'action'),
    )
    super().__init__(
      sample_task, has_finite_tasks, *self._user_specs, scale_actions, reports
    )

  def __repr__(self) -> str:
    return f'GymnasiumVectorBatch({self._vector!r})'

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    each, seeds, self._batch_shape = looping.rollouts(tasks, num_rollouts, rng)
    self._make_vector(len(each))
    self._give_tasks(each)
    # Once there have been different tasks.
    if not self._has_checked_spaces:
      self._check_spaces()
      self._has_checked_spaces = len(set(map(repr, each))) > 1
    # One seed for each of gymnasium's own; others take one for all.
    has_parts = hasattr(self._vector.unwrapped, 'env_fns') or hasattr(
      self._vector.unwrapped, 'envs'
    )
    try:
      result = self._vector.reset(seed=seeds if has_parts else seeds[0])
    except TypeError as error:
      if "'seed'" not in str(error):
        raise
      raise adapters.takes_no_seed(self._vector) from error
    observation, _ = adapters.unpack(result, 2, 'reset', self._vector)
    self._is_live = np.ones(len(each), bool)
    self._shown = self._checked(observation)
    return self._shaped(self._shown)

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if self._batch_shape is None:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    action = self._actions.to_theirs(action.reshape(-1, *action.shape[2:]))
    if self._mode == DISABLED and not self._is_live.all():
      # These are not shown, but gymnasium insists.
      self._vector.reset(options={'reset_mask': ~self._is_live})
    observation, reward, terminated, truncated, info = adapters.unpack(
      self._vector.step(spaces.to_theirs(action, self._action_space)),
      5,
      'step',
      self._vector,
    )
    size, is_live = len(action), self._is_live
    terminated, truncated = (
      checking.numbers(x, name, self._vector, (size,)) != 0
      for x, name in ((terminated, 'terminated'), (truncated, 'truncated'))
    )
    reward = checking.numbers(reward, 'reward', self._vector, (size,))
    ended = is_live & (terminated | truncated)
    shown = self._checked(observation)
    self._info = self._scalars(info, is_live)
    if self._mode == SAME_STEP and ended.any():
      shown = self._finals(shown, info, ended)
      if isinstance(info.get('final_info'), Mapping):
        for name, column in self._scalars(info['final_info'], ended).items():
          known = self._info.get(name, np.full(size, np.nan, np.float32))
          self._info[name] = np.where(ended, column, known)
    if is_live.any():
      looping.check_reported(self._reports, self._info, self._vector)
    self._shown = jax.tree_util.tree_map(
      lambda new, old: np.where(
        is_live.reshape(-1, *(1,) * (new.ndim - 1)), new, old
      ),
      shown,
      self._shown,
    )
    self._is_live = is_live & ~ended
    shape = self._batch_shape
    self._truncated = (is_live & truncated & ~terminated).reshape(shape)
    return (
      self._shaped(self._shown),
      np.where(is_live, reward, np.float32(0)).reshape(shape),
      (is_live & ~terminated).astype(np.float32).reshape(shape),
    )

  def render(self, rollouts: Sequence[int]) -> list[np.ndarray]:
    """Pictures of some rollouts, by their numbers below G·B, tasks first."""
    frames = self._vector.render()
    if frames is None:
      frames = [None] * len(self._is_live)
    return [adapters.rendered(frames[i], self._vector) for i in rollouts]

  def close(self) -> None:
    """Closes the user's environments; they cannot be used afterwards."""
    self._vector.close()

  def _make_vector(self, size: int) -> None:
    """Has a vectorised environment of so many rollouts."""
    if self._vector is not None:
      if self._vector.num_envs == size:
        return
      self._vector.close()
    self._vector = vector = self._factory(size)
    if getattr(vector, 'num_envs', None) != size:
      raise ValueError(
        f'factory: it returned {vector!r}, need a gymnasium.vector.VectorEnv '
        f'of {size} environments.'
      )
    mode = vector.metadata.get('autoreset_mode')
    self._mode = getattr(mode, 'value', mode)
    if self._mode not in (NEXT_STEP, SAME_STEP, DISABLED):
      raise ValueError(
        f"{vector!r}: metadata['autoreset_mode'] is {mode!r}, need one of "
        'gymnasium.vector.AutoresetMode.'
      )
    parts = getattr(vector.unwrapped, 'envs', None)
    if parts is not None:
      sharing.check_apart(parts, self._factory)

  def _give_tasks(self, tasks: list[types.PyTree]) -> None:
    if callable(self._set_tasks):
      sharing.call(self._set_tasks, self._vector, tasks)
      return
    if not hasattr(self._vector, 'set_attr'):
      raise ValueError(
        f'set_tasks: got {self._set_tasks!r}, but {self._vector!r} has no '
        'set_attr; need a function of it and a list of tasks.'
      )
    # Gymnasium would make a new attribute of the outermost wrapper.
    if not self._has_checked_spaces and any(self._ask_each('env')):
      if not all(self._ask_each(self._set_tasks)):
        raise ValueError(
          f'set_tasks: the environments of {self._vector!r} are wrapped and '
          f'have no attribute {self._set_tasks!r}; give the class inside one, '
          'or give a function of the vectorised environment and the tasks.'
        )
    self._vector.set_attr(self._set_tasks, tasks)

  def _ask_each(self, name: str) -> tuple[bool, ...]:
    """Which environments inside have an attribute; wrappers have `env`."""
    return self._vector.call('has_wrapper_attr', name)

  def _check_spaces(self) -> None:
    """Refuses spaces that depend on the task."""
    if not hasattr(self._vector, 'get_attr'):
      return
    for what, spec in zip(
      ('observations', 'actions'), self._user_specs, strict=True
    ):
      for space in self._vector.get_attr(f'{what[:-1]}_space'):
        now = spaces.to_spec(space, what[:-1])
        looping.check_same_spec(self._vector, what, now, spec)

  def _checked(self, observation: Any) -> Any:
    return checking.observation(
      spaces.to_ours(observation, self._observation_space),
      self._observation_spec,
      self._vector,
      (len(self._is_live),),
      self._is_live,
    )

  def _finals(self, shown: Any, info: Mapping, ended: np.ndarray) -> Any:
    """Replaces the first observations of new episodes by the last of old."""
    finals = info.get('final_obs')
    if finals is None:
      raise ValueError(
        f"{self._vector!r}: its info has no 'final_obs', which the autoreset "
        'mode SAME_STEP needs.'
      )
    structure = jax.tree_util.tree_structure(shown)
    rows = jax.tree_util.tree_leaves(shown)
    for i in np.flatnonzero(ended):
      final = checking.observation(
        spaces.to_ours(finals[i], self._observation_space),
        self._observation_spec,
        self._vector,
      )
      for row, leaf in zip(rows, jax.tree_util.tree_leaves(final), strict=True):
        row[i] = leaf
    return structure.unflatten(rows)

  def _scalars(self, info: Mapping, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of numbers, NaN in other rows and where they are not given."""
    columns: dict[str, np.ndarray] = {}
    for name, value in info.items():
      if name.startswith('_') and name[1:] in info:
        continue  # Says which rows another column has.
      has = rows & np.asarray(info.get(f'_{name}', True), bool)
      is_column = isinstance(value, np.ndarray) and value.shape == rows.shape
      if is_column and value.dtype == object:
        # Gymnasium keeps numpy's own Booleans as objects.
        for i in np.flatnonzero(has):
          looping.write_info(
            columns, {name: value[i]}, i, len(rows), self._vector
          )
      elif is_column and checking.is_real(value.dtype):
        columns[name] = np.where(has, value, np.nan).astype(np.float32)
      elif name == looping.SUCCESS:
        raise ValueError(
          f'{self._vector!r}: its info[{name!r}] is {looping.brief(value)}, '
          'need one number for each environment.'
        )
    return columns

  def _shaped(self, rows: Any) -> Any:
    """Copies `[G, B, ...]`."""
    return jax.tree_util.tree_map(
      lambda x: x.reshape(*self._batch_shape, *x.shape[1:]).copy(), rows
    )
