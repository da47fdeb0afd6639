"""Loops over environments in Python, one object of the user's a rollout."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import batched, checking, sharing, task_classes
from acme_metarl.environments import tasks as tasks_lib
from acme_metarl.environments.action_scaling import Actions

# What environments call whether a task is solved.
SUCCESS = 'success'
# Seeds for environments, 31 bits: many take no more.
SEED_BOUND = 2**31


def check_hooks(**hooks: Any) -> None:
  """Refuses hooks that cannot be called."""
  for name, hook in hooks.items():
    if not callable(hook):
      raise ValueError(f'{name}: got {hook!r}, need a function.')


def check_same_spec(who: Any, what: str, now: Any, before: Any) -> None:
  """Refuses an environment whose spec is no longer what it was.

  Args:
    who: the environment, for messages.
    what: 'observations', whose floating-point numbers are held to no bounds, or
      'actions'.
    now: its specs.
    before: those of the first environment.

  Raises:
    ValueError: if they differ in more than their names.
  """
  same = _same_kind if what == 'observations' else _same_meaning
  (specs, structure), (others, other) = map(
    jax.tree_util.tree_flatten, (now, before)
  )
  if structure != other or not all(map(same, specs, others)):
    told = [', '.join(map(checking.describe, x)) for x in (specs, others)]
    raise ValueError(
      f'{who!r}: its {what} are {told[0]}, but those of the first environment '
      f'were {told[1]}; the spaces must not depend on the task, so make them '
      'large enough for every task.'
    )


def _same_meaning(left: Any, right: Any) -> bool:
  """Whether two specs are the same but for what they are called."""
  return type(left) is type(right) and left.replace(name='') == right.replace(
    name=''
  )


def _same_kind(left: Any, right: Any) -> bool:
  """Whether observations of the two are held to the same."""
  if np.dtype(left.dtype).kind == np.dtype(right.dtype).kind == 'f':
    return left.shape == right.shape
  return _same_meaning(left, right)


class Outcome(NamedTuple):
  """What one step of one of the user's environments led to."""

  observation: Any
  reward: float
  discount: float
  truncated: bool
  info: Mapping[str, Any]


class UserBatch:
  """What batches of the user's environments have in common: their face."""

  def __init__(
    self,
    sample_task: Callable[[np.random.Generator], types.PyTree],
    has_finite_tasks: bool,
    observation_spec: Any,
    action_spec: Any,
    scale_actions: bool,
    reports: Sequence[str] = (),
  ):
    if isinstance(reports, str):
      raise ValueError(f'reports: got {reports!r}, need a sequence of names.')
    self._reports = tuple(reports)
    self._sample_task = sample_task
    self._has_finite_tasks = has_finite_tasks
    self._observation_spec = checking.observation_spec(observation_spec, self)
    self._actions = Actions(
      checking.action_spec(action_spec, self), scale_actions
    )
    self._batch_shape = None
    self._truncated = None
    self._info = {}

  @property
  def has_finite_tasks(self) -> bool:
    """What the user said."""
    return self._has_finite_tasks

  @property
  def truncated(self) -> np.ndarray:
    """`[G, B]`, which rollouts the last step ended without a termination."""
    return self._truncated

  @property
  def info(self) -> dict[str, np.ndarray]:
    """Every scalar that the last step reported, by name, `[G, B]`."""
    return {k: v.reshape(self._batch_shape) for k, v in self._info.items()}

  def observation_spec(self) -> Any:
    return self._observation_spec

  def action_spec(self) -> Any:
    """Raw actions where they are scaled, otherwise the user's own spec."""
    return self._actions.spec

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    if isinstance(self._sample_task, task_classes.TaskClasses):
      return tasks_lib.stack(self._sample_task.sample(rng, num_tasks))
    return tasks_lib.stack([self._sample_task(rng) for _ in range(num_tasks)])

  def task_classes(self, tasks: types.PyTree) -> tuple[str, ...]:
    """Names of the tasks' classes; none without a `TaskClasses`."""
    if isinstance(self._sample_task, task_classes.TaskClasses):
      return tuple(tasks.name)
    return ()


class LoopBatch(UserBatch, abc.ABC):
  """B rollouts of each of G tasks, one environment object for each.

  Not for use by itself: see `adapters`.
  """

  def __init__(
    self,
    factory: Callable[[], Any],
    sample_task: Callable[[np.random.Generator], types.PyTree],
    set_task: Callable[[Any, types.PyTree], None],
    scale_actions: bool,
    has_finite_tasks: bool,
    reports: Sequence[str] = (),
  ):
    check_hooks(factory=factory, sample_task=sample_task, set_task=set_task)
    self._factory = factory
    self._set_task = set_task
    self._environments = [factory()]
    first = self._environments[0]
    if not sharing.is_environment(first):
      raise ValueError(
        f'factory: {factory!r} returned {first!r}, need an environment.'
      )
    self._has_checked_hook = False
    self._user_specs = (
      self._make_observation_spec(first),
      self._make_action_spec(first),
    )
    super().__init__(
      sample_task, has_finite_tasks, *self._user_specs, scale_actions, reports
    )

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
  def _step_one(self, environment: Any, action: Any) -> Outcome:
    """Steps one rollout with an action that the user's environment knows."""

  @abc.abstractmethod
  def _render_one(self, environment: Any) -> np.ndarray:
    """A picture of one rollout, uint8 `[H, W, 3]`."""

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    return self.start(*rollouts(tasks, num_rollouts, rng))

  def start(
    self,
    tasks: list[types.PyTree],
    seeds: list[int],
    batch_shape: tuple[int, int],
  ) -> Any:
    """Starts rollouts, of one task and one seed each; see `rollouts`."""
    self._batch_shape = batch_shape
    self._make_environments(len(tasks))
    self._is_over = np.zeros(len(tasks), bool)
    self._rows = None
    for i, (task, seed) in enumerate(zip(tasks, seeds, strict=True)):
      environment = self._environments[i]
      self._set_one(environment, task, seed)
      self._check_specs(environment)
      self._write(i, self._reset_one(environment, seed))
    # Once it has set different tasks, and changed nothing that is shared.
    self._has_checked_hook = (
      self._has_checked_hook or len(set(map(repr, tasks))) > 1
    )
    return self._shaped()

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if self._batch_shape is None:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    action = self._actions.to_theirs(action.reshape(-1, *action.shape[2:]))
    reward, discount = np.zeros((2, len(action)), np.float32)
    truncated = np.zeros(len(action), bool)
    self._info = {}
    # What was shown before is not written to.
    self._rows = [row.copy() for row in self._rows]
    for i in np.flatnonzero(~self._is_over):
      environment = self._environments[i]
      outcome = self._step_one(environment, action[i])
      check_reported(self._reports, outcome.info, environment)
      self._write(i, outcome.observation)
      reward[i], discount[i] = outcome.reward, outcome.discount
      truncated[i] = outcome.truncated
      write_info(self._info, outcome.info, i, len(action), environment)
    # Whatever has ended is left alone until the next reset.
    self._is_over |= (discount == 0) | truncated
    shape = self._batch_shape
    self._truncated = truncated.reshape(shape)
    return self._shaped(), reward.reshape(shape), discount.reshape(shape)

  def render(self, rollouts: Sequence[int]) -> list[np.ndarray]:
    """Pictures of some rollouts, by their numbers below G·B, tasks first."""
    return [self._render_one(self._environments[i]) for i in rollouts]

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
      sharing.call(self._set_task, environment, task)
    else:
      sharing.call_watched(self._set_task, environment, task, other)

  def _check_specs(self, environment: Any) -> None:
    """Refuses specs that depend on the task."""
    observation_spec, action_spec = self._user_specs
    now = self._make_action_spec(environment)
    check_same_spec(environment, 'actions', now, action_spec)
    # Some take long to say; what they show later is looked at in any case.
    if not self._has_checked_hook:
      now = self._make_observation_spec(environment)
      check_same_spec(environment, 'observations', now, observation_spec)

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


def rollouts(
  tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
) -> tuple[list[types.PyTree], list[int], tuple[int, int]]:
  """What each rollout of a batch starts with.

  Args:
    tasks: pytree `[G, ...]`.
    num_rollouts: B.
    rng: draws the seeds.

  Returns:
    G·B tasks, G·B seeds, and `(G, B)`.
  """
  batch_shape = (tasks_lib.count(tasks), num_rollouts)
  size = batch_shape[0] * num_rollouts
  seeds = rng.integers(SEED_BOUND, size=size)
  return (
    [tasks_lib.take(tasks, i // num_rollouts) for i in range(size)],
    [int(seed) for seed in seeds],
    batch_shape,
  )


def write_info(
  columns: dict[str, np.ndarray],
  info: Mapping[str, Any],
  i: int,
  size: int,
  who: Any,
) -> None:
  """Writes one rollout's scalars into columns `[size]`, NaN elsewhere.

  Raises:
    ValueError: if a success is no scalar, which would go unseen.
  """
  for name, value in info.items():
    if _is_scalar(value):
      column = columns.setdefault(name, np.full(size, np.nan, np.float32))
      column[i] = value
    elif name == SUCCESS:
      raise ValueError(
        f'{who!r}: its info[{name!r}] is {brief(value)}, need one number for '
        'the step, such as True or 0.0.'
      )


def brief(value: Any) -> str:
  """The beginning of what something looks like, in one line."""
  return f'{" ".join(repr(value).split()):.60}'


def check_reported(
  names: Sequence[str], info: Mapping[str, Any], who: Any
) -> None:
  """Refuses a step that leaves out what the user says is reported."""
  missing = [name for name in names if name not in info]
  if missing:
    given = ', '.join(sorted(map(str, info))) or 'nothing'
    raise ValueError(
      f'{who!r}: its step reported {given}, but not {", ".join(missing)}, '
      'which the option reports demands; put it into the info of every step, '
      'or leave it out of reports.'
    )


def _is_scalar(value: Any) -> bool:
  is_array = isinstance(value, np.ndarray) and value.ndim == 0
  is_number = isinstance(value, bool | int | float | np.number | np.bool_)
  return (is_array or is_number) and checking.is_real(np.asarray(value).dtype)
