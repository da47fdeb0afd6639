"""What came of trials that were played for evaluation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Played(NamedTuple):
  """A trial of G tasks, stage by stage.

  Attributes:
    returns: `[G, K+1, B]` undiscounted.
    scalars: what the environment reported besides, such as `success_ever`, by
      name: `[G, K+1]`, the mean over rollouts, NaN where there was nothing.
    task_classes: names of the classes of the tasks, G or none.
    tasks_in_words: what the tasks are called, fresh only where they are.
  """

  returns: np.ndarray
  scalars: Mapping[str, np.ndarray] = {}
  task_classes: tuple[str, ...] = ()
  tasks_in_words: str = 'tasks drawn anew'

  @property
  def class_names(self) -> tuple[str, ...]:
    """Of the classes that were played, in their order; none of a single one."""
    names = tuple(dict.fromkeys(self.task_classes))
    return names if len(names) > 1 else ()

  def of_class(self, name: str) -> 'Played':
    """The tasks of a class."""
    chosen = np.array([other == name for other in self.task_classes])
    return self._replace(
      returns=self.returns[chosen],
      scalars={key: value[chosen] for key, value in self.scalars.items()},
      task_classes=(name,) * int(chosen.sum()),
    )

  def stages(self) -> list[dict[str, Any]]:
    """For each stage the means over tasks, one task one number.

    Returns:
      `num_inner_steps_taken`, `return_mean`, `return_stderr` (NaN of a single
      task), then the scalars (NaN where no task has any).
    """
    by_task = self.returns.astype(np.float64).mean(axis=2)
    rows = []
    for stage in range(by_task.shape[1]):
      mean, stderr = mean_and_stderr(by_task[:, stage])
      scalars = {
        name: mean_and_stderr(value[:, stage])[0]
        for name, value in self.scalars.items()
      }
      rows.append(
        {
          'num_inner_steps_taken': stage,
          'return_mean': mean,
          'return_stderr': stderr,
          **scalars,
        }
      )
    return rows

  def tasks(self) -> list[dict[str, Any]]:
    """A row for each task and stage: the means over its rollouts."""
    by_task = self.returns.astype(np.float64).mean(axis=2)
    return [
      {
        'task': task,
        **(
          {'task_class': self.task_classes[task]} if self.task_classes else {}
        ),
        'num_inner_steps_taken': stage,
        'return': float(value),
        **{
          name: float(values[task, stage])
          for name, values in self.scalars.items()
        },
      }
      for (task, stage), value in np.ndenumerate(by_task)
    ]


def mean_and_stderr(values: np.ndarray) -> tuple[float, float]:
  """Of the numbers `[G]` that are no NaN; NaN where there are too few."""
  values = np.asarray(values, np.float64)
  values = values[~np.isnan(values)]
  if not len(values):
    return np.nan, np.nan
  if len(values) == 1:
    return float(values[0]), np.nan
  return (
    float(values.mean()),
    float(values.std(ddof=1) / np.sqrt(len(values))),
  )
