"""Figure 1(a)-(c) of Tang et al. (2021): derivatives on random MDPs.

See `acme_metarl.studies.derivative_accuracy`, and the main of this name.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any

import jax

from acme_metarl.launchers.runs import outputs, plotting, progress
from acme_metarl.launchers.studies import study
from acme_metarl.studies import derivative_accuracy

_Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config(study.RandomMDPs):
  """What is measured.

  Attributes:
    epsilons: panels (a), (b): distances of the target from the behaviour
      policy, each in [0, 1). Empty leaves the panels out.
    panel_num_trajectories: panels (a), (b): number of trajectories.
    num_trajectories: panel (c): numbers of trajectories. Empty leaves the panel
      out.
    panel_epsilon: panel (c): distance of the policies, in [0, 1).
    num_trials: random MDPs, the same ones at every point.
    evaluators: evaluators to compare; any of the default ones, log_likelihood,
      or taylor_K for an order K.
  """

  epsilons: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
  panel_num_trajectories: int = 1000
  num_trajectories: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)
  panel_epsilon: float = 0.5
  num_trials: int = 10
  evaluators: tuple[str, ...] = derivative_accuracy.ESTIMATORS

  def __post_init__(self):
    super().__post_init__()
    if not self.points:
      raise ValueError(
        'epsilons and num_trajectories are both empty; give at least one.'
      )
    if not self.evaluators:
      raise ValueError(
        'evaluators is empty; choose from '
        f'{", ".join(derivative_accuracy.ESTIMATORS)}.'
      )
    derivative_accuracy.check(self.points, self.num_trials, self.evaluators)

  @property
  def points(self) -> tuple[derivative_accuracy.Point, ...]:
    """All points, each once."""
    point = derivative_accuracy.Point
    panel_ab = [point(x, self.panel_num_trajectories) for x in self.epsilons]
    panel_c = [point(self.panel_epsilon, n) for n in self.num_trajectories]
    return tuple(dict.fromkeys(panel_ab + panel_c))


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  # Products of many importance ratios leave the range of float32.
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', True)
  try:
    rows = _measure(config, directory)
  finally:
    jax.config.update('jax_enable_x64', before)
  names = study.write(directory, rows, rows)
  draw(config, rows, directory / 'figure1.png')
  return [*names, 'figure1.png']


def _measure(config: Config, directory: pathlib.Path) -> list[_Row]:
  """Measures all points with a progress bar; returns their rows."""
  rows = []
  estimators = tuple(dict.fromkeys(config.evaluators))
  with progress.bar(
    len(config.points) * config.num_trials, unit='MDP', desc='compiling'
  ) as bar:

    def on_trial(point):
      bar.set_description(
        f'epsilon {point.epsilon:g}, {point.num_trajectories} trajectories',
        refresh=False,
      )
      bar.update()

    for point, accuracy in derivative_accuracy.run(
      config.points,
      config.num_trials,
      config.seed,
      config.setting,
      estimators,
      on_trial,
    ):
      rows += derivative_accuracy.summarise(point, accuracy, estimators)
      outputs.write_json(directory / study.PARTIAL, rows)
  return rows


def draw(config: Config, rows: Sequence[_Row], path: pathlib.Path) -> Any:
  """Draws the three panels, writes them as PNG and returns the figure."""
  by_epsilon = [
    row
    for row in rows
    if row['num_trajectories'] == config.panel_num_trajectories
    and row['epsilon'] in config.epsilons
  ]
  by_number = [
    row
    for row in rows
    if row['epsilon'] == config.panel_epsilon
    and row['num_trajectories'] in config.num_trajectories
  ]
  number = f'$N$ = {config.panel_num_trajectories:,}'
  epsilon = rf'$\varepsilon$ = {config.panel_epsilon:g}'
  with plotting.panels(3) as (figure, axes):
    _draw_panel(axes[0], config, by_epsilon, 'gradient', 'epsilon')
    _draw_panel(axes[1], config, by_epsilon, 'hessian', 'epsilon')
    _draw_panel(axes[2], config, by_number, 'hessian', 'num_trajectories')
    axes[0].set_title(f'(a)  Gradient, {number}')
    axes[1].set_title(f'(b)  Hessian, {number}')
    axes[2].set_title(f'(c)  Hessian, {epsilon}')
    axes[0].set_ylabel('correlation with exact derivative')
    plotting.shared_legend(figure, axes, 'bands: ± standard error over MDPs')
    outputs.write_figure(path, figure)
    return figure


def _draw_panel(
  axes: Any, config: Config, rows: Sequence[_Row], derivative: str, x: str
) -> None:
  """Draws accuracies of a derivative against the column `x` of the rows."""
  if not rows:
    plotting.say_empty(axes, 'left out')
    return
  for i, estimator in enumerate(dict.fromkeys(config.evaluators)):
    own = [row for row in rows if row['estimator'] == estimator]
    plotting.curve(
      axes,
      [row[x] for row in own],
      [row[f'{derivative}_accuracy_mean'] for row in own],
      [row[f'{derivative}_accuracy_stderr'] for row in own],
      plotting.style(estimator, i),
    )
  axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.03)
  if x == 'epsilon':
    axes.set_xlabel(r'off-policyness $\varepsilon$')
  else:
    axes.set_xlabel('number of trajectories $N$')
    plotting.log_x(axes)
