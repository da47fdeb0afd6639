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
# Tol's, for what is no evaluator.
WINE = '#882255'
SAND = '#B8A035'
INDIGO = '#332288'
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


# Points that an axis with its numbers and its name takes.
_AXIS_HEIGHT = 38


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
  'taylor_1': Style('Taylor, order 1', ORANGE, '^'),
  'taylor_2': Style('Taylor, order 2', VERMILION, 'o'),
  'taylor_3': Style('Taylor, order 3', PURPLE, 'P', '--'),
  'log_likelihood': Style('Log-likelihood', BLACK, 'X', ':'),
}


def style(name: str, index: int = 0) -> Style:
  """Returns an estimator's look, or for any other name one by its index."""
  if name in ESTIMATORS:
    return ESTIMATORS[name]
  label = name.replace('_', ' ')
  return Style(label[:1].upper() + label[1:], _CYCLE[index % len(_CYCLE)])


@contextlib.contextmanager
def panels(
  num_panels: int, width: float = 3.7, height: float = 3.1, num_rows: int = 1
):
  """Yields a figure with panels side by side, `(figure, list of axes)`.

  Draw inside of the `with` block, where the style of the project holds.

  Args:
    num_panels: how many in a row.
    width: of a panel, in inches.
    height: of the panels, in inches.
    num_rows: rows of panels; axes come row by row.
  """
  import matplotlib
  from matplotlib import figure as figure_lib

  with matplotlib.rc_context(_RC):
    figure = figure_lib.Figure(
      figsize=(width * num_panels, height * num_rows), layout='constrained'
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    yield (
      figure,
      list(figure.subplots(num_rows, num_panels, squeeze=False).flat),
    )


def curve(
  axes: Any,
  x: Sequence[float],
  mean: Sequence[float],
  error: Sequence[float] | None,
  look: Style,
  **options: Any,
) -> None:
  """Draws a curve and the band mean ± error around it.

  Args:
    axes: Matplotlib axes.
    x: positions, in any order.
    mean: values.
    error: half of the band's height; not finite (or `None`) is no band.
    look: of the curve.
    **options: of Matplotlib's line, such as `linewidth` and `markevery`.
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
    **options,
  )
  if error is not None:
    error = np.asarray(error, float)[order]
    axes.fill_between(
      x, mean - error, mean + error, color=look.color, alpha=0.16, linewidth=0
    )


def quantity_axis(axes: Any) -> None:
  """Writes large numbers below a panel as 500k and 10M, whole ones only."""
  from matplotlib import ticker

  axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def _band_handle(text: str) -> Any:
  from matplotlib import patches

  return patches.Patch(color=GREY, alpha=0.35, linewidth=0, label=text)


def legend_below(axes: Any, band: str | None = None) -> None:
  """Gives a panel a legend of its own, below it and off its data.

  Args:
    axes: Matplotlib axes.
    band: what the bands are, if there are any.
  """
  from matplotlib import transforms

  # Below the numbers and the name of the axis, however large the panel is.
  down = transforms.ScaledTranslation(
    0, -_AXIS_HEIGHT / 72, axes.figure.dpi_scale_trans
  )
  handles, _ = axes.get_legend_handles_labels()
  axes.legend(
    handles=[*handles, *([_band_handle(band)] if band else [])],
    loc='upper left',
    bbox_to_anchor=(-0.02, 0),
    bbox_transform=axes.transAxes + down,
    borderaxespad=0,
    fontsize=8.5,
    handlelength=1.8,
  )


def shared_legend(
  figure: Any, panel_axes: Sequence[Any], band: str | None = None
) -> None:
  """Puts one legend for all panels below them, each label once.

  It has as many columns as the figure is wide enough for; where not even one
  fits, the figure grows.

  Args:
    figure: Matplotlib figure.
    panel_axes: of the panels.
    band: what the bands are, if there are any.
  """
  handles = {}
  for axes in panel_axes:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  if not handles:
    return
  if band:
    handles[band] = _band_handle(band)
  for num_columns in range(len(handles), 0, -1):
    legend = figure.legend(
      list(handles.values()),
      list(handles),
      loc='outside lower center',
      ncols=num_columns,
      columnspacing=1.6,
      handlelength=2.4,
    )
    width = legend.get_window_extent().width
    if width <= figure.bbox.width:
      return
    if num_columns == 1:
      figure.set_figwidth((width + 16) / figure.dpi)
      return
    legend.remove()


def log_x(axes: Any) -> None:
  """Makes the x axis logarithmic, with its numbers written out."""
  axes.set_xscale('log')
  _write_out(axes.xaxis)


def log_y(axes: Any) -> None:
  """Makes the y axis logarithmic; its numbers keep off each other."""
  from matplotlib import ticker

  axes.set_yscale('log')
  axes.yaxis.set_major_locator(ticker.LogLocator(numticks=7))
  axes.yaxis.set_minor_formatter(ticker.NullFormatter())
  low, high = axes.get_ylim()
  if high < 20 * low:  # Hardly a power of ten in there.
    _write_out(axes.yaxis)


def _write_out(axis: Any) -> None:
  """Names 1, 2 and 5 times powers of ten; powers alone where there are many."""
  from matplotlib import ticker

  low, high = axis.get_view_interval()
  subs = (1.0, 2.0, 5.0) if high < 60 * low else (1.0,)
  axis.set_major_locator(
    ticker.LogLocator(subs=subs, numticks=5)
    if high > 2 * low
    else ticker.MaxNLocator(3)
  )
  axis.set_major_formatter(ticker.StrMethodFormatter('{x:,g}'))
  axis.set_minor_formatter(ticker.NullFormatter())


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
