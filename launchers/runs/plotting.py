"""The look of the figures, and the few things they are made of.

Matplotlib is imported when a figure is made; no display is needed, and no
global state is touched.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
from typing import Any

import numpy as np

# Okabe and Ito's palette: told apart with any colour vision, and in print.
BLACK = '#000000'
ORANGE = '#E69F00'
SKY_BLUE = '#56B4E9'
GREEN = '#009E73'
BLUE = '#0072B2'
VERMILION = '#D55E00'
PURPLE = '#CC79A7'
GREY = '#8C8C8C'
_CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK, GREY)

_RC = {
  'axes.axisbelow': True,
  'axes.edgecolor': '#444444',
  'axes.grid': True,
  'axes.labelsize': 10,
  'axes.linewidth': 0.8,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlesize': 11,
  'figure.dpi': 100,
  'font.size': 9.5,
  'grid.color': '#E3E3E3',
  'grid.linewidth': 0.7,
  'legend.frameon': False,
  'lines.linewidth': 1.8,
  'lines.markersize': 6.5,
  'lines.markeredgecolor': 'white',
  'lines.markeredgewidth': 0.6,
  'savefig.dpi': 200,
  'xtick.color': '#444444',
  'xtick.labelcolor': 'black',
  'ytick.color': '#444444',
  'ytick.labelcolor': 'black',
}


@dataclasses.dataclass(frozen=True)
class Style:
  """How one curve looks in every panel.

  Attributes:
    label: its name in the legend.
    color: of line, markers and band.
    marker: Matplotlib's marker.
    linestyle: Matplotlib's line style.
  """

  label: str
  color: str
  marker: str = 'o'
  linestyle: str = '-'


# One look per estimator, the same in every figure.
ESTIMATORS: Mapping[str, Style] = {
  'importance_sampling': Style('Step-wise IS', GREY, 's'),
  'doubly_robust': Style('Doubly robust', BLUE, 'D'),
  'truncated_doubly_robust': Style(
    'Truncated doubly robust', SKY_BLUE, 'v', '--'
  ),
  'taylor_1': Style('First order', ORANGE, '^'),
  'taylor_2': Style('Second order', VERMILION, 'o'),
  'taylor_3': Style('Third order', PURPLE, 'P', '--'),
  'log_likelihood': Style('Log-likelihood', BLACK, 'X', ':'),
}


def style(name: str, index: int = 0) -> Style:
  """Returns an estimator's look, or for any other name one by its index."""
  if name in ESTIMATORS:
    return ESTIMATORS[name]
  label = name.replace('_', ' ')
  return Style(label[:1].upper() + label[1:], _CYCLE[index % len(_CYCLE)])


@contextlib.contextmanager
def panels(num_panels: int, width: float = 3.7, height: float = 3.1):
  """Yields a figure with panels side by side, `(figure, list of axes)`.

  Draw inside of the `with` block, where the style of the project holds.

  Args:
    num_panels: how many.
    width: of a panel, in inches.
    height: of the panels, in inches.
  """
  import matplotlib
  from matplotlib import figure as figure_lib

  with matplotlib.rc_context(_RC):
    figure = figure_lib.Figure(
      figsize=(width * num_panels, height), layout='constrained'
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    yield figure, list(figure.subplots(1, num_panels, squeeze=False)[0])


def curve(
  axes: Any,
  x: Sequence[float],
  mean: Sequence[float],
  error: Sequence[float] | None,
  look: Style,
) -> None:
  """Draws a curve and the band mean ± error around it.

  Args:
    axes: Matplotlib axes.
    x: positions, in any order.
    mean: values.
    error: half of the band's height; not finite (or `None`) is no band.
    look: of the curve.
  """
  order = np.argsort(x)
  x, mean = np.asarray(x, float)[order], np.asarray(mean, float)[order]
  axes.plot(
    x,
    mean,
    color=look.color,
    linestyle=look.linestyle,
    marker=look.marker,
    label=look.label,
  )
  if error is not None:
    error = np.asarray(error, float)[order]
    axes.fill_between(
      x, mean - error, mean + error, color=look.color, alpha=0.16, linewidth=0
    )


def shared_legend(figure: Any, panel_axes: Sequence[Any]) -> None:
  """Puts one legend for all panels below them, each label once."""
  handles = {}
  for axes in panel_axes:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  if handles:
    figure.legend(
      list(handles.values()),
      list(handles),
      loc='outside lower center',
      ncols=min(len(handles), 6),
      columnspacing=1.6,
      handlelength=2.4,
    )


def log_x(axes: Any) -> None:
  """Makes the x axis logarithmic, with its numbers written out."""
  from matplotlib import ticker

  axes.set_xscale('log')
  axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,g}'))
  axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def say_empty(axes: Any, text: str) -> None:
  """Marks a panel that has nothing to show."""
  axes.set(xticks=[], yticks=[])
  axes.text(
    0.5,
    0.5,
    text,
    color=GREY,
    ha='center',
    va='center',
    transform=axes.transAxes,
  )
