"""The figure of `prisoners_dilemma`."""

from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import bias_studies

# Colours of conditions are not those of evaluators beside them.
_LOOKS = {
  'exact': plotting.Style('Exact', plotting.GREEN, 'o'),
  'inner_exact': plotting.Style('Look-ahead exact', plotting.WINE, 'D', '--'),
  'hessian_exact': plotting.Style('Only Hessian exact', plotting.SAND, 's'),
  'value_exact': plotting.Style(
    'Only look-ahead step exact', plotting.INDIGO, '^'
  ),
  'importance_sampling': plotting.Style('DiCE', plotting.GREY, 's'),
  'dice_with_baseline': plotting.Style(
    'DiCE with baseline', plotting.SKY_BLUE, 'v'
  ),
}
_ACCURACY = 'shared_path_correlation_exact_outer'


def draw(rows: Sequence[bias_studies.Row], path: pathlib.Path) -> Any:
  """Draws learning curves and accuracies, and writes them as PNG.

  With several numbers of look-ahead steps, a panel of curves for each.

  Args:
    rows: the conditions of `results.json`.
    path: of the PNG.

  Returns:
    The figure.
  """
  steps = bias_studies.unique(rows, 'num_lookaheads')
  num_panels = 4 if len(steps) == 1 else len(steps)
  with plotting.panels(num_panels, width=3.5, height=3.4) as (figure, axes):
    if len(steps) == 1:
      _draw_study(axes, rows)
    else:
      _draw_steps(axes, rows, steps)
    axes[0].set_ylabel('payoff per round')
    plotting.shared_legend(
      figure, axes, 'bands: ± standard deviation over seeds'
    )
    outputs.write_figure(path, figure)
    return figure


def _draw_study(axes: Sequence[Any], rows: Sequence[bias_studies.Row]) -> None:
  _draw_curves(axes[0], rows, ('exact', 'on_policy'))
  _draw_curves(axes[1], rows, ('exact', 'off_policy'))
  _draw_curves(axes[2], rows, ('inner_exact', 'hessian_exact', 'value_exact'))
  _draw_accuracy(axes[3], rows)
  axes[0].set_title('(a)  Look-ahead from fresh games')
  axes[1].set_title('(b)  Look-ahead from a buffer')
  axes[2].set_title('(c)  Look-ahead partly exact')
  axes[3].set_title('(d)  Accuracy, same policies')


def _draw_steps(
  axes: Sequence[Any],
  rows: Sequence[bias_studies.Row],
  steps: Sequence[int],
) -> None:
  several = len(bias_studies.unique(rows, 'estimator')) > 2
  for panel, number in zip(axes, steps, strict=True):
    for row in bias_studies.select(rows, num_lookaheads=number):
      look = _look(row)
      if row['condition'] in ('on_policy', 'off_policy'):
        fresh = row['condition'] == 'on_policy'
        source = 'fresh games' if fresh else 'a buffer'
        name = f'{look.label}, {source}' if several else f'From {source}'
        look = plotting.Style(
          name, look.color, look.marker, ':' if fresh else '-'
        )
      _draw_curve(panel, row, look)
    _finish(panel)
    panel.set_title(f'{number} look-ahead step{"s" if number > 1 else ""}')
  _name_lines(axes[-1])


def _look(row: bias_studies.Row) -> plotting.Style:
  name = row['condition']
  if name in _LOOKS:
    return _LOOKS[name]
  return _LOOKS.get(row['estimator'], plotting.style(row['estimator']))


def _draw_curves(
  axes: Any, rows: Sequence[bias_studies.Row], conditions: Sequence[str]
) -> None:
  shown = [row for row in rows if row['condition'] in conditions]
  if not shown:
    plotting.say_empty(axes, 'left out')
    return
  for row in shown:
    _draw_curve(axes, row, _look(row))
  _finish(axes)
  # The one panel without curves that lie on the lines.
  if 'exact' not in conditions:
    _name_lines(axes)


def _draw_curve(axes: Any, row: bias_studies.Row, look: plotting.Style) -> None:
  """Mean over seeds, and the standard deviation as a band."""
  curve = row['curve']
  mean, std = (np.array(curve[f'payoff_{x}']) for x in ('mean', 'std'))
  axes.plot(
    curve['update'],
    mean,
    color=look.color,
    linestyle=look.linestyle,
    label=look.label,
  )
  axes.fill_between(
    curve['update'], mean - std, mean + std, color=look.color, alpha=0.07, lw=0
  )


def _finish(axes: Any) -> None:
  axes.set(xlabel='update', ylim=(-2.06, -0.94))
  for payoff in (-1.0, -2.0):
    axes.axhline(payoff, color='#888888', linewidth=0.7, zorder=0.5)


def _name_lines(axes: Any) -> None:
  for payoff, text in ((-1.0, 'both cooperate'), (-2.0, 'both defect')):
    axes.annotate(
      text,
      (0.97, payoff),
      xycoords=('axes fraction', 'data'),
      xytext=(0, 2),
      textcoords='offset points',
      color='#666666',
      fontsize=8,
      ha='right',
    )


def _draw_accuracy(axes: Any, rows: Sequence[bias_studies.Row]) -> None:
  """Correlations by estimator: fresh games hollow, the buffer full."""
  shown = [
    row
    for row in rows
    if f'{_ACCURACY}_mean' in row
    and row['condition'] in ('on_policy', 'off_policy')
  ]
  if not shown:
    plotting.say_empty(axes, 'left out')
    return
  estimators = bias_studies.unique(shown, 'estimator')
  for y, estimator in enumerate(reversed(estimators)):
    own = bias_studies.select(shown, estimator=estimator)
    look = _look(own[0])
    means = [row[f'{_ACCURACY}_mean'] for row in own]
    axes.plot(means, [y] * len(own), color=look.color, linewidth=1.2)
    for row, mean in zip(own, means, strict=True):
      fresh = row['condition'] == 'on_policy'
      error = row[f'{_ACCURACY}_stderr']
      axes.errorbar(
        mean,
        y,
        xerr=error if error is not None and np.isfinite(error) else None,
        color=look.color,
        marker=look.marker,
        markerfacecolor='white' if fresh else look.color,
        markeredgecolor=look.color,
        elinewidth=1.0,
      )
  labels = [
    _look(bias_studies.select(shown, estimator=x)[0]).label
    for x in reversed(estimators)
  ]
  axes.set_yticks(range(len(labels)), labels)
  axes.set(
    xlabel='correlation with exact meta-gradient\n'
    '(hollow: fresh games, full: buffer)',
    ylim=(-0.6, len(labels) - 0.4),
    xlim=(0, 1),
  )
