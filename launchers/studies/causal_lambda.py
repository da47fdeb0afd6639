"""Which causal λ gives the best Hessian, on random MDPs.

See `acme_metarl.studies.derivative_accuracy`, and the main of this name.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import jax
import numpy as np

from acme_metarl.launchers.runs import outputs, plotting, progress
from acme_metarl.launchers.studies import study
from acme_metarl.studies import derivative_accuracy, power_laws

_FIGURE, _TABLE = 'causal_lambda.png', 'results.md'
_Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config(study.RandomMDPs):
  """What is measured.

  Attributes:
    causal_lambdas: at least three different numbers in [0, 1].
    num_trajectories: numbers of trajectories.
    epsilons: distances of the target from the behaviour policy, each in [0, 1).
    num_trials: random MDPs, the same ones at every point.
  """

  causal_lambdas: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
  num_trajectories: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)
  epsilons: tuple[float, ...] = (0.0, 0.5)
  num_trials: int = 10

  def __post_init__(self):
    super().__post_init__()
    if len(set(self.causal_lambdas)) < 3:
      raise ValueError(
        f'causal_lambdas is {self.causal_lambdas}; it needs three different '
        'numbers at least, between which a best one can lie.'
      )
    if not self.points:
      raise ValueError(
        'num_trajectories or epsilons is empty; each needs one at least.'
      )
    derivative_accuracy.check(self.points, self.num_trials, self.estimators)

  @property
  def grid(self) -> tuple[float, ...]:
    """The causal λ in order, each once."""
    return tuple(sorted(set(self.causal_lambdas)))

  @property
  def estimators(self) -> tuple[str, ...]:
    return tuple(f'taylor_2@{value:g}' for value in self.grid)

  @property
  def points(self) -> tuple[derivative_accuracy.Point, ...]:
    """All points, each once."""
    return tuple(
      derivative_accuracy.Point(epsilon, number)
      for epsilon in dict.fromkeys(self.epsilons)
      for number in dict.fromkeys(self.num_trajectories)
    )


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  # Products of many importance ratios leave the range of float32.
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', True)
  try:
    found = _measure(config)
  finally:
    jax.config.update('jax_enable_x64', before)
  results = analyse(config, found)
  names = study.write(directory, results, results['rows'])
  outputs.write(directory / _TABLE, table(config, results).encode())
  draw(config, results, directory / _FIGURE)
  return [*names, _TABLE, _FIGURE]


def _measure(config: Config) -> dict[derivative_accuracy.Point, np.ndarray]:
  """Accuracies `[trials, M]` of the Hessian at every point."""
  total = len(config.points) * config.num_trials
  with progress.bar(total, unit='MDP', desc='causal_lambda') as bar:
    return {
      point: accuracy.hessian
      for point, accuracy in derivative_accuracy.run(
        config.points,
        config.num_trials,
        config.seed,
        config.setting,
        config.estimators,
        lambda point: bar.update(),
      )
    }


def analyse(
  config: Config, found: dict[derivative_accuracy.Point, np.ndarray]
) -> dict[str, list[_Row]]:
  """Means, the best causal λ of each point, and its law.

  Args:
    config: what was measured.
    found: accuracies `[trials, M]` by point.

  Returns:
    'rows', 'best' and 'laws', each a list of rows.
  """
  results: dict[str, list[_Row]] = {'rows': [], 'best': [], 'laws': []}
  numbers = tuple(dict.fromkeys(config.num_trajectories))
  for epsilon in dict.fromkeys(config.epsilons):
    distances = []
    for number in numbers:
      accuracy = found[derivative_accuracy.Point(epsilon, number)]
      where = {'epsilon': epsilon, 'num_trajectories': number}
      for value, own in zip(config.grid, accuracy.T, strict=True):
        mean, stderr = derivative_accuracy.mean_and_stderr(own)
        results['rows'].append(
          {
            **where,
            'causal_lambda': value,
            'num_trials': len(own),
            'hessian_accuracy_mean': mean,
            'hessian_accuracy_stderr': stderr,
          }
        )
      best = np.array([peak(config.grid, own) for own in accuracy])
      mean, stderr = derivative_accuracy.mean_and_stderr(best)
      results['best'].append(
        {
          **where,
          'best_of_mean': peak(config.grid, accuracy.mean(0)),
          'best_mean': mean,
          'best_stderr': stderr,
        }
      )
      distances.append(1 - best)
    law = power_laws.fit_mean(numbers, np.stack(distances, 1))
    results['laws'].append({'epsilon': epsilon, **law._asdict()})
  return results


def peak(x: Sequence[float], y: Sequence[float]) -> float:
  """Where the parabola through the highest point and its neighbours peaks.

  Args:
    x: three or more positions in rising order.
    y: values there.

  Returns:
    The position; that of the highest point where it is an end.

  Example:
    >>> round(peak([0.0, 0.5, 1.0], [-0.16, -0.01, -0.36]), 6)
    0.4
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  top = int(np.argmax(y))
  if top in (0, len(x) - 1):
    return float(x[top])
  near = slice(top - 1, top + 2)
  curvature, slope, _ = np.polyfit(x[near] - x[top], y[near], 2)
  if curvature >= 0:  # Equally high points.
    return float(x[top])
  return float(x[top] - slope / (2 * curvature))


def table(config: Config, results: dict[str, list[_Row]]) -> str:
  """Returns the accuracies as Markdown, a line for each point."""
  head = ['ε', 'N', *(f'κ = {value:g}' for value in config.grid), 'best κ']
  lines = [head, ['---'] * len(head)]
  for best in results['best']:
    where = best['epsilon'], best['num_trajectories']
    own = [
      row
      for row in results['rows']
      if (row['epsilon'], row['num_trajectories']) == where
    ]
    lines.append(
      [
        f'{where[0]:g}',
        f'{where[1]}',
        *(_number(row, 'hessian_accuracy') for row in own),
        _number(best, 'best'),
      ]
    )
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _number(row: _Row, name: str) -> str:
  mean, stderr = row[f'{name}_mean'], row[f'{name}_stderr']
  return f'{mean:.3f} ± {stderr:.3f}'


def draw(config: Config, results: dict[str, list[_Row]], path: Any) -> Any:
  """Draws accuracies and the best causal λ; returns the figure."""
  epsilons = tuple(dict.fromkeys(config.epsilons))
  numbers = tuple(dict.fromkeys(config.num_trajectories))
  with plotting.panels(len(epsilons) + 1) as (figure, axes):
    for panel, epsilon in zip(axes, epsilons, strict=False):
      for index, number in enumerate(numbers):
        own = [
          row
          for row in results['rows']
          if (row['epsilon'], row['num_trajectories']) == (epsilon, number)
        ]
        plotting.curve(
          panel,
          config.grid,
          [row['hessian_accuracy_mean'] for row in own],
          [row['hessian_accuracy_stderr'] for row in own],
          plotting.style(f'N = {number:,}', index),
        )
      panel.set_title(rf'Hessian, $\varepsilon$ = {epsilon:g}')
      panel.set_xlabel(r'causal $\lambda$')
    axes[0].set_ylabel('correlation with the exact Hessian')
    plotting.shared_legend(figure, axes[:-1])
    for index, epsilon in enumerate(epsilons):
      own = [row for row in results['best'] if row['epsilon'] == epsilon]
      plotting.curve(
        axes[-1],
        numbers,
        [row['best_mean'] for row in own],
        [row['best_stderr'] for row in own],
        plotting.style(rf'$\varepsilon$ = {epsilon:g}', index),
      )
    axes[-1].set_title(r'Best causal $\lambda$')
    axes[-1].set_xlabel('number of trajectories $N$')
    axes[-1].set_ylim(-0.03, 1.03)
    axes[-1].legend()
    plotting.log_x(axes[-1])
    outputs.write_figure(path, figure)
    return figure
