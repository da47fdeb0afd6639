"""Figures of a comparison: what adapted policies do against experience."""

from collections.abc import Iterable, Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from acme_metarl.launchers.comparison import learning_curves
from acme_metarl.launchers.runs import outputs, plotting

# One look per published algorithm: the trust region is dashed.
_LOOKS = {
  'trpo_maml': plotting.Style('TRPO-MAML', plotting.ORANGE, '^', '--'),
  'trpo_fmaml': plotting.Style('TRPO-FMAML', plotting.GREY, 'v', '--'),
  'trpo_emaml': plotting.Style('TRPO-EMAML', plotting.PURPLE, 'P', '--'),
  'trpo_dice': plotting.Style('TRPO-DiCE', plotting.GREEN, 's', '--'),
  'promp': plotting.Style('PROMP', plotting.BLUE, 'o'),
  'promp_taypo2': plotting.Style('PROMP-TayPO-2', plotting.VERMILION, 'D'),
  'promp_taypo3': plotting.Style('PROMP-TayPO-3', plotting.BLACK, '*'),
  'vpg_maml': plotting.Style('VPG-MAML', plotting.SKY_BLUE, 'X', '-.'),
}
# Of a curve, about.
_NUM_MARKERS = 8
# Panels in a row.
_MOST_PANELS = 4
# Variants take, in turn, what the presets beside them leave.
_COLORS = (
  plotting.VERMILION,
  plotting.GREEN,
  plotting.BLUE,
  plotting.ORANGE,
  plotting.PURPLE,
  plotting.SKY_BLUE,
  plotting.BLACK,
  plotting.GREY,
)


def title(label: str) -> str:
  """What a reader calls an algorithm, for example 'PROMP, reuse 4'."""
  preset, *fields = label.split('+')
  name = _LOOKS[preset].label if preset in _LOOKS else preset
  words = [field.replace('=', ' ').replace('_', ' ') for field in fields]
  return ', '.join([name, *words])


def looks(labels: Sequence[str]) -> dict[str, plotting.Style]:
  """Looks that can be told apart; those of the presets are always the same."""
  taken = {_LOOKS[label].color for label in labels if label in _LOOKS}
  free = [color for color in _COLORS if color not in taken] or list(_COLORS)
  found, index = {}, 0
  for label in labels:
    if label in _LOOKS:
      found[label] = _LOOKS[label]
      continue
    found[label] = plotting.Style(
      title(label),
      free[index % len(free)],
      marker='os^DvPX*'[index % 8],
      linestyle='-' if index < len(free) else ':',
    )
    index += 1
  return found


def draw(
  path: pathlib.Path,
  environment: str,
  by_label: Mapping[str, Sequence[learning_curves.Curve]],
) -> Any:
  """Draws mean ± standard deviation over seeds, as in Tang et al. (2021).

  Where some seeds have not come as far as others, the mean of those that have
  is dotted, and has no band.

  Args:
    path: of the PNG.
    environment: its name, for the title.
    by_label: curves of the seeds of each algorithm, in the legend's order.

  Returns:
    The figure, which is written too.
  """
  with plotting.panels(1, width=6.4, height=4.2) as (figure, (axes,)):
    for number, (label, look) in enumerate(looks(list(by_label)).items()):
      _draw_curve(axes, by_label[label], look, number, len(by_label))
    plotting.quantity_axis(axes)
    axes.set(
      xlabel='environment steps',
      ylabel='return after adaptation',
      title=_title(environment, by_label.values()),
    )
    plotting.shared_legend(figure, [axes])
    outputs.write_figure(path, figure)
    return figure


def draw_successes(
  path: pathlib.Path,
  environment: str,
  panels: Mapping[str, Mapping[str, Sequence[learning_curves.Curve]]],
) -> Any:
  """Draws successes as `draw` does returns.

  Args:
    path: of the PNG.
    environment: its name, for the title.
    panels: curves of the seeds of each algorithm, by class of tasks; '' for all
      of them. An algorithm may have none, and keeps its look.

  Returns:
    The figure, which is written too.
  """
  num_columns = min(len(panels), _MOST_PANELS)
  with plotting.panels(
    num_columns,
    width=6.4 if num_columns == 1 else 4.2,
    height=4.2 if num_columns == 1 else 3.3,
    num_rows=-(-len(panels) // num_columns),
  ) as (figure, axes):
    for panel in axes[len(panels) :]:
      panel.remove()
    for panel, (name, by_label) in zip(axes, panels.items(), strict=False):
      for number, (label, look) in enumerate(looks(list(by_label)).items()):
        if by_label[label]:
          _draw_curve(panel, by_label[label], look, number, len(by_label))
      plotting.quantity_axis(panel)
      panel.set(
        xlabel='environment steps',
        ylabel='successes after adaptation',
        ylim=(-0.03, 1.03),
        title=name or _title(environment, by_label.values()),
      )
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)
    return figure


def _title(
  environment: str, algorithms: Iterable[Sequence[learning_curves.Curve]]
) -> str:
  counts = sorted({len(seeds) for seeds in algorithms if seeds})
  number = '–'.join(str(x) for x in dict.fromkeys((counts[0], counts[-1])))
  name = environment.replace('_', ' ')
  if counts[-1] == 1:
    return f'{name}, one seed'
  return f'{name}, mean ± std of {number} seeds'


def _draw_curve(
  axes: Any,
  seeds: Sequence[learning_curves.Curve],
  look: plotting.Style,
  number: int,
  count_all: int,
) -> None:
  """Draws one of so many algorithms; those that coincide can all be seen.

  The first ones have the wider lines, and markers take turns.
  """
  if not all(curve.is_finished for curve in seeds):
    label = f'{look.label} (unfinished)'
  else:
    label = look.label
  steps, mean, std, count = learning_curves.over_seeds(seeds)
  is_whole = count == len(seeds)
  num_points = int(is_whole.sum())
  stride = max(num_points // _NUM_MARKERS, min(count_all, num_points // 3), 1)
  plotting.curve(
    axes,
    steps[is_whole],
    mean[is_whole],
    std[is_whole] if len(seeds) > 1 else None,
    plotting.Style(label, look.color, look.marker, look.linestyle),
    linewidth=1.4 + 1.2 * (1 - number / max(count_all - 1, 1)),
    markevery=(number * stride // count_all, stride),
  )
  if not is_whole.all():
    # From the last point that all of them have.
    rest = np.maximum.accumulate(~is_whole)
    rest[max(int(np.argmax(rest)) - 1, 0)] = True
    axes.plot(steps[rest], mean[rest], color=look.color, linestyle=':')
