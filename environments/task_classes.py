"""Tasks that fall into classes, and meta-batches with as many of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from acme_metarl import types


class ClassTask(NamedTuple):
  """A task, and what class it is of.

  Attributes:
    name: of the class.
    task: the user's.
  """

  name: str
  task: types.PyTree


class TaskClasses:
  """Draws meta-batches that are balanced by class: a `sample_task` of adapters.

      batch = environments.GymnasiumBatch(
        factory=MyEnvironment,
        sample_task=environments.TaskClasses(
          {
            'near': [0.1, 0.2, 0.3],
            'far': lambda rng: rng.uniform(1, 2),
          }
        ),
        set_task=lambda environment, drawn: environment.set_goal(drawn.task),
      )

  Of G tasks each of C classes has G // C, and the remaining ones are of
  different classes. Where a class lists its tasks, none is drawn again before
  all others were. Tasks come in the order of the classes, so a rollout seldom
  changes its class from trial to trial. Returns, successes and whatever else is
  reported are told apart by class.
  """

  def __init__(
    self,
    classes: Mapping[
      str,
      Sequence[types.PyTree] | Callable[[np.random.Generator], types.PyTree],
    ],
  ):
    """Names the classes.

    Args:
      classes: for each name the tasks, or a function that draws one. All tasks
        are of one structure and of the same shapes.

    Raises:
      ValueError: if there are no classes, or one has no tasks.
    """
    if not classes:
      raise ValueError('classes: got none, need at least one.')
    for name, tasks in classes.items():
      if not callable(tasks) and not len(tasks):
        raise ValueError(f'classes: {name!r} has no tasks, need at least one.')
    self._classes = dict(classes)

  @property
  def names(self) -> tuple[str, ...]:
    """Of the classes."""
    return tuple(self._classes)

  def __call__(self, rng: np.random.Generator) -> ClassTask:
    """Draws one task."""
    return self.sample(rng, 1)[0]

  def sample(self, rng: np.random.Generator, num_tasks: int) -> list[ClassTask]:
    """Draws G tasks.

    Args:
      rng: of all randomness.
      num_tasks: G.

    Returns:
      The tasks, in the order of the classes.
    """
    of_class = _deal(rng, num_tasks, len(self._classes))
    drawn = []
    for i, (name, tasks) in enumerate(self._classes.items()):
      number = int(np.sum(of_class == i))
      if callable(tasks):
        chosen = [tasks(rng) for _ in range(number)]
      else:
        chosen = [tasks[j] for j in _deal(rng, number, len(tasks))]
      drawn += [ClassTask(name, task) for task in chosen]
    return drawn


def names_of(
  environment: Any, tasks: types.PyTree, num_tasks: int
) -> tuple[str, ...]:
  """The classes of tasks.

  Args:
    environment: a `BatchedEnvironment`; what counts is its optional method
      `task_classes(tasks)`.
    tasks: that it drew, `[G, ...]`.
    num_tasks: G.

  Returns:
    G names; none where the environment knows no classes.

  Raises:
    ValueError: if it gives others than G names.
  """
  if not hasattr(environment, 'task_classes'):
    return ()
  names = tuple(map(str, environment.task_classes(tasks)))
  if names and len(names) != num_tasks:
    raise ValueError(
      f'{environment!r}: its task_classes gave {len(names)} names, need '
      f'{num_tasks}, one for each task.'
    )
  return names


def _deal(rng: np.random.Generator, number: int, size: int) -> np.ndarray:
  """Draws from 0 … size - 1, none again before all others were."""
  rounds = -(-number // size)
  return np.concatenate(
    [rng.permutation(size) for _ in range(rounds)] or [np.zeros(0, int)]
  )[:number]
