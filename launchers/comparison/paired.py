"""Runs told apart task by task, on the tasks that they were evaluated on.

What a task is worth moves all algorithms up and down together, and drops out of
differences: on goals that lie near and far, most of a return's spread is that.
"""

from collections.abc import Mapping, Sequence
import contextlib
import math
from typing import Any

import numpy as np

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import statistics, tables

# Differences of one seed, and of every seed.
Strata = Sequence[Sequence[float]]


def rows(runs: Sequence[stored_runs.Run]) -> list[dict[str, Any]]:
  """Rows of `curves_tasks.csv`: returns after all adaptation, task by task.

  Args:
    runs: begun or not; one may lack the table, and an evaluation that it did
      not come to in full, or that is beyond its end, is left out.
  """
  found = []
  for run in sorted(runs, key=lambda run: run.key):
    key = dict(zip(stored_runs.KEY_COLUMNS, run.key, strict=True))
    evaluated = {
      row['iteration']: row['num_inner_steps_taken']
      for row in stored_runs.evaluation_rows(run.directory)
      if row['iteration'] <= run.config.num_iterations
    }
    path = run.directory / tables.TASKS_CSV
    own = {}
    for row in tables.read_csv(path) if path.exists() else []:
      with contextlib.suppress(TypeError, ValueError):  # It was cut short.
        iteration = int(row['iteration'])
        if int(row['num_inner_steps_taken']) == evaluated.get(iteration):
          # One that was repeated counts once.
          own[iteration, int(row['task'])] = float(row['return'])
    found += [
      {**key, 'iteration': iteration, 'task': task, 'return': value}
      for (iteration, task), value in sorted(own.items())
    ]
  return found


def differences(
  task_rows: Sequence[Mapping[str, Any]], reference: str, num_final: int
) -> dict[tuple[str, str], Strata]:
  """Differences to an algorithm on the same tasks.

  Args:
    task_rows: of `curves_tasks.csv`.
    reference: algorithm that the others are compared with, seed by seed.
    num_final: how many of the last evaluations that a pair of runs shares
      count, the untrained policy's left out.

  Returns:
    By environment and algorithm the differences of every seed that both have.
  """
  returns: dict[Any, dict[int, dict[int, float]]] = {}
  for row in task_rows:
    key = row['environment'], row['algorithm'], row['seed']
    of_run = returns.setdefault(key, {})
    of_run.setdefault(row['iteration'], {})[row['task']] = row['return']
  found: dict[tuple[str, str], list[list[float]]] = {}
  for (environment, label, seed), own in returns.items():
    other = returns.get((environment, reference, seed), {})
    shared = [
      iteration
      for iteration, tasks in sorted(own.items())
      if iteration > 0 and tasks.keys() == other.get(iteration, {}).keys()
    ]
    if label == reference or not shared:
      continue
    found.setdefault((environment, label), []).append(
      [
        own[i][task] - other[i][task]
        for i in shared[-num_final:]
        for task in own[i]
      ]
    )
  return found


def mean_and_interval(
  strata: Strata, confidence: float
) -> tuple[float, float, float]:
  """Mean of the seeds' means, and its interval for these trained policies.

  Only tasks are drawn anew in it, and not seeds.

  Args:
    strata: differences of every seed.
    confidence: in (0, 1).

  Returns:
    Mean, lower and upper end; the ends are NaN with a single task.

  Example:
    >>> mean, low, high = mean_and_interval([[1.0, 2.0, 3.0]], 0.95)
    >>> print(f'{mean} [{low:.2f}, {high:.2f}]')
    2.0 [-0.48, 4.48]
  """
  mean = float(np.mean([np.mean(x) for x in strata]))
  counts = [len(x) for x in strata]
  if min(counts) < 2:
    return mean, math.nan, math.nan
  variances = [
    np.var(x, ddof=1) / count for x, count in zip(strata, counts, strict=True)
  ]
  return mean, *statistics.student_interval(
    mean,
    math.sqrt(sum(variances)) / len(strata),
    # As many degrees of freedom as a single seed has: too few for several, by
    # a hair.
    min(counts),
    confidence,
  )
