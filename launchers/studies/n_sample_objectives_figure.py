"""The figure of `n_sample_objectives`."""

from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.studies import n_sample_toy as toy

_LOOKS = {
  'score_function': plotting.Style(
    'Score function (SF)', plotting.VERMILION, 's'
  ),
  'score_function_with_baseline': plotting.Style(
    'SF with baseline', plotting.ORANGE, 'D'
  ),
  'linearised_score_function': plotting.Style(
    'Linearised SF', plotting.BLUE, 'o'
  ),
  'path_wise': plotting.Style('Path-wise', plotting.GREEN, '^'),
}

_Row = dict[str, Any]


def draw(results: dict[str, Any], path: pathlib.Path) -> Any:
  """Draws bias, variance and optimisation.

  Args:
    results: what `results.json` holds.
    path: of the PNG.

  Returns:
    The figure.
  """
  with plotting.panels(3, height=3.3) as (figure, axes):
    _draw_bias(axes[0], results)
    _draw_variance(axes[1], results)
    _draw_optimisation(axes[2], results)
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)
    return figure


def _own(rows: Sequence[_Row], name: str, column: str) -> np.ndarray:
  return np.array(
    [row[column] for row in rows if row['estimator'] == name], np.float64
  )


def _draw_bias(axes: Any, results: dict[str, Any]) -> None:
  """|bias| where there is one; of the others, how far from zero they were."""
  theta = results['settings']['theta']
  furthest = []
  for name in dict.fromkeys(results['settings']['estimators']):
    look = _LOOKS[name]
    x, bias, stderr, exact = (
      _own(results['moments'], name, column)
      for column in ('num_samples', 'bias', 'bias_stderr', 'exact_bias')
    )
    if not np.any(exact):
      furthest.append(np.max(np.abs(bias / stderr)))
      continue
    axes.plot(x, np.abs(exact), color=look.color, linewidth=1.2)
    axes.errorbar(
      x,
      np.abs(bias),
      # A bar that reaches zero would leave the logarithmic axis.
      [np.minimum(stderr, 0.9 * np.abs(bias)), stderr],
      color=look.color,
      marker=look.marker,
      linestyle='none',
      elinewidth=0.9,
    )
    _say_slope(axes, results['slopes'], name, 'bias', x[-1], abs(exact[-1]))
  if furthest:
    axes.text(
      0.97,
      0.95,
      f'others: 0, within {max(furthest):.1f}\nstandard errors',
      color='#444444',
      fontsize=8,
      ha='right',
      va='top',
      transform=axes.transAxes,
    )
  axes.set(ylabel='|bias|', title=rf'(a)  Bias at $\theta$ = {theta:g}')
  _finish(axes, results['settings']['num_samples'])


def _draw_variance(axes: Any, results: dict[str, Any]) -> None:
  theta = results['settings']['theta']
  for name in dict.fromkeys(results['settings']['estimators']):
    look = _LOOKS[name]
    x, variance, exact = (
      _own(results['moments'], name, column)
      for column in ('num_samples', 'variance', 'exact_variance')
    )
    axes.plot(x, exact, color=look.color, linewidth=1.2)
    axes.plot(
      x,
      variance,
      color=look.color,
      marker=look.marker,
      linestyle='none',
      label=look.label,
    )
    _say_slope(axes, results['slopes'], name, 'variance', x[-1], exact[-1])
  axes.set(ylabel='variance', title=rf'(b)  Variance at $\theta$ = {theta:g}')
  _finish(axes, results['settings']['num_samples'])


def _say_slope(
  axes: Any,
  slopes: Sequence[_Row],
  name: str,
  quantity: str,
  x: float,
  y: float,
) -> None:
  """Writes the fitted power of N, with its 99 % interval, after the curve."""
  for row in slopes:
    if (row['estimator'], row['quantity']) == (name, quantity):
      half = (row['high_99'] - row['low_99']) / 2
      axes.annotate(
        f'$N^{{{row["slope"]:.3f} \\pm {half:.3f}}}$',
        (x, y),
        xytext=(7, 0),
        textcoords='offset points',
        color=_LOOKS[name].color,
        va='center',
      )


def _finish(axes: Any, num_samples: Sequence[int]) -> None:
  axes.set_yscale('log')
  plotting.log_x(axes)
  low, high = min(num_samples), max(num_samples)
  # Room for the powers of N.
  axes.set_xlim(low * 0.75, high * (high / low) ** 0.55)
  axes.set_xlabel('number of samples $N$')


def _draw_optimisation(axes: Any, results: dict[str, Any]) -> None:
  settings = results['settings']
  for row in results['optimisation']:
    color = _LOOKS[row['estimator']].color
    axes.plot(row['step'], row['gap_50'], color=color)
    axes.plot(row['step'], row['gap_95'], color=color, ls=':', linewidth=1.2)
  axes.set_yscale('log')
  start = max((settings['initial_theta'] - toy.TARGET) ** 2, 1e-6)
  axes.set_ylim(3e-6 * start, 30 * start)
  axes.text(
    0.97,
    0.95,
    'solid: median\ndotted: 95th percentile',
    color='#444444',
    fontsize=8,
    ha='right',
    va='top',
    transform=axes.transAxes,
  )
  number = settings['optimisation_num_samples']
  axes.set(
    xlabel='step of gradient ascent',
    ylabel=r'$(\theta - 1)^2$',
    title=f'(c)  Optimisation with $N$ = {number}',
  )
