"""What runs of a comparison have learned: curves, and statistics over seeds."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from acme_metarl import presets
from acme_metarl.launchers.comparison import paired, stored_runs
from acme_metarl.launchers.runs import statistics, tables

# Environment, algorithm and seed of a run.
Key = tuple[str, str, int]
# So many seeds can be shown one by one; of more there are intervals.
MAX_SHOWN = 3
# The column that curves are of, if nothing else is said.
RETURN = 'return_mean'


@dataclasses.dataclass(frozen=True)
class Curve:
  """The evaluations of a run.

  Attributes:
    seed: of the run.
    is_finished: whether it came to its end.
    iteration: `[N]`.
    environment_steps: `[N]`.
    before: `[N]` returns, or another number, before adaptation; NaN where
      nothing was reported.
    after: `[N]` the same after all of it; an evaluation without it is left out.
  """

  seed: int
  is_finished: bool
  iteration: np.ndarray
  environment_steps: np.ndarray
  before: np.ndarray
  after: np.ndarray

  @property
  def average(self) -> float:
    """Area under the curve after adaptation, divided by its length."""
    steps = self.environment_steps
    if steps.size < 2:
      return math.nan
    heights = (self.after[1:] + self.after[:-1]) / 2
    return float(np.sum(np.diff(steps) * heights) / (steps[-1] - steps[0]))

  def final(self, values: np.ndarray, count: int) -> float:
    """Mean of the last values, the untrained policy's left out."""
    trained = values[self.iteration > 0]
    return float(np.mean(trained[-count:] if trained.size else values))


def point_rows(
  runs: Sequence[stored_runs.Run], table: str = tables.EVALUATION_CSV
) -> list[dict[str, Any]]:
  """Rows of `curves.csv`: one per run, evaluation and number of inner steps.

  Args:
    runs: begun or not; what is beyond their `num_iterations` is left out.
    table: of the runs; that of the classes of tasks has rows for each of them.

  Returns:
    Rows by environment, algorithm in the legend's order, and seed.
  """
  ordered = sorted(
    runs, key=lambda run: (run.environment, _legend_order(run.label), run.seed)
  )
  return [
    {
      **dict(zip(stored_runs.KEY_COLUMNS, run.key, strict=True)),
      **row,
    }
    for run in ordered
    for row in stored_runs.evaluation_rows(run.directory, table)
    if row['iteration'] <= run.config.num_iterations
  ]


def _legend_order(label: str) -> Any:
  """Presets as `presets` has them, each with its variants behind it."""
  preset = label.partition('+')[0]
  names = presets.names()
  return names.index(preset) if preset in names else len(names), label


def by_run(
  rows: Sequence[Mapping[str, Any]],
) -> dict[Key, list[Mapping[str, Any]]]:
  """Rows of `curves.csv` by the run that they are of, in their order."""
  found: dict[Key, list[Mapping[str, Any]]] = {}
  for row in rows:
    key = row['environment'], row['algorithm'], row['seed']
    found.setdefault(key, []).append(row)
  return found


def by_environment(
  rows: Sequence[Mapping[str, Any]],
  unfinished: set[Key],
  column: str = RETURN,
) -> dict[str, dict[str, list[Curve]]]:
  """Sorts points.

  Args:
    rows: of `curves.csv`.
    unfinished: runs that have not come to their end.
    column: of which there shall be curves.

  Returns:
    Curves of the seeds that have the column, by algorithm, by environment, in
    the order of rows.
  """
  found: dict[str, dict[str, list[Curve]]] = {}
  for key, own in by_run(rows).items():
    environment, label, seed = key
    curve = _curve(seed, key not in unfinished, own, column)
    seeds = found.setdefault(environment, {}).setdefault(label, [])
    seeds += [curve] if curve.iteration.size else []
  return found


def _curve(
  seed: int,
  is_finished: bool,
  rows: Sequence[Mapping[str, Any]],
  column: str,
) -> Curve:
  last = max(row['num_inner_steps_taken'] for row in rows)
  before = {
    row['iteration']: row.get(column, math.nan)
    for row in rows
    if row['num_inner_steps_taken'] == 0
  }
  after = [
    row
    for row in rows
    if row['num_inner_steps_taken'] == last and column in row
  ]
  return Curve(
    seed=seed,
    is_finished=is_finished,
    iteration=np.array([row['iteration'] for row in after]),
    environment_steps=np.array([row['environment_steps'] for row in after]),
    before=np.array([before.get(row['iteration'], math.nan) for row in after]),
    after=np.array([row[column] for row in after]),
  )


def over_seeds(
  seeds: Sequence[Curve],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Statistics at each iteration, over the seeds that have come to it.

  Args:
    seeds: of one algorithm.

  Returns:
    Environment steps, mean and standard deviation (that of a sample) of the
    returns after adaptation, and the number of seeds, each `[N]`.
  """
  iterations = sorted({int(i) for curve in seeds for i in curve.iteration})
  columns = []
  for iteration in iterations:
    at = [(curve, curve.iteration == iteration) for curve in seeds]
    steps = np.concatenate([c.environment_steps[where] for c, where in at])
    after = np.concatenate([c.after[where] for c, where in at])
    std = after.std(ddof=1) if after.size > 1 else 0.0
    columns.append((steps.mean(), after.mean(), std, after.size))
  return tuple(np.array(columns).T)


class Summary(NamedTuple):
  """What an algorithm has come to in an environment.

  Attributes:
    environment: its name.
    algorithm: its label.
    num_unfinished: seeds that have not come to their end.
    num_iterations: that all seeds have come to.
    values: of every seed, by statistic; differences of every pair.
    by_task: differences on the same tasks, of every pair that has them.
  """

  environment: str
  algorithm: str
  num_unfinished: int
  num_iterations: int
  values: Mapping[str, Sequence[float]]
  by_task: paired.Strata = ()

  @property
  def num_seeds(self) -> int:
    return len(self.values['final_return'])

  def row(self, confidence: float) -> dict[str, Any]:
    """A row of `final_returns.csv`, with intervals of that confidence."""
    row = {
      'environment': self.environment,
      'algorithm': self.algorithm,
      'num_seeds': self.num_seeds,
      'num_unfinished': self.num_unfinished,
      'num_iterations': self.num_iterations,
    }
    for name, values in self.values.items():
      row |= _columns(
        f'{name}_mean', name, statistics.mean_and_interval(values, confidence)
      )
    middle = statistics.interquartile_mean(
      [self.values['final_return']], confidence
    )
    row |= _columns('final_return_iqm', 'final_return_iqm', middle)
    if self.by_task:
      name = 'difference_by_task'
      numbers = paired.mean_and_interval(self.by_task, confidence)
      row |= _columns(f'{name}_mean', name, numbers)
    return row


def _columns(
  middle: str, name: str, numbers: tuple[float, float, float]
) -> dict[str, float]:
  columns = (middle, f'{name}_low', f'{name}_high')
  return dict(zip(columns, numbers, strict=True))


def summarise(
  environment: str,
  by_label: Mapping[str, Sequence[Curve]],
  reference: str | None,
  num_final: int,
  by_task: Mapping[tuple[str, str], paired.Strata] | None = None,
) -> list[Summary]:
  """Summaries of an environment, one an algorithm.

  Args:
    environment: its name.
    by_label: curves of the seeds of each algorithm, which may be none.
    reference: algorithm that the others are compared with, seed by seed.
    num_final: the final return of a run is the mean of so many evaluations.
    by_task: differences to the reference, see `paired.differences`.

  Returns:
    Summaries in the order of `by_label`.
  """
  finals = {
    label: {curve.seed: curve.final(curve.after, num_final) for curve in seeds}
    for label, seeds in by_label.items()
  }
  others = finals.get(reference, {})
  found = []
  for label, seeds in by_label.items():
    own = finals[label]
    pairs = [] if label == reference else sorted(own.keys() & others.keys())
    before = [c.final(c.before, num_final) for c in seeds]
    values = {
      'final_return': list(own.values()),
      'before_adaptation': [x for x in before if not math.isnan(x)],
      'average_return': [c.average for c in seeds],
      'difference': [own[seed] - others[seed] for seed in pairs],
    }
    found.append(
      Summary(
        environment,
        label,
        sum(not curve.is_finished for curve in seeds),
        min((int(curve.iteration[-1]) for curve in seeds), default=0),
        values,
        (by_task or {}).get((environment, label), ()),
      )
    )
  return found
