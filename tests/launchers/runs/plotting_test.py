"""The parts of figures."""

import numpy as np
import pytest

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.studies import derivative_accuracy


def test_curves_bands_and_one_legend(tmp_path):
  with plotting.panels(2) as (figure, axes):
    for panel in axes:
      plotting.curve(
        panel, [2, 1], [0.4, 0.2], [0.1, 0.05], plotting.style('taylor_2')
      )
      plotting.curve(panel, [1, 2], [0, 0], None, plotting.style('other_one'))
    plotting.log_x(axes[1])
    plotting.shared_legend(figure, axes)
    outputs.write_figure(tmp_path / 'figure.png', figure)
  line = axes[0].lines[0]
  np.testing.assert_allclose(line.get_xydata(), [[1, 0.2], [2, 0.4]])
  (band,) = axes[0].collections
  vertices = band.get_paths()[0].vertices
  assert [0.15, 0.25] == [
    np.round(f(vertices[vertices[:, 0] == 1, 1]), 9) for f in (np.min, np.max)
  ]
  assert axes[1].get_xscale() == 'log'
  (legend,) = figure.legends
  assert [x.get_text() for x in legend.get_texts()] == [
    'Taylor, order 2',
    'Other one',
  ]
  png = (tmp_path / 'figure.png').read_bytes()
  assert png.startswith(b'\x89PNG') and len(png) > 5000


def test_unknown_error_has_no_band(tmp_path):
  with plotting.panels(1) as (figure, axes):
    plotting.curve(
      axes[0], [1, 2], [0, 1], [np.nan] * 2, plotting.style('taylor_1')
    )
    plotting.say_empty(axes[0], 'left out')
    outputs.write_figure(tmp_path / 'figure.png', figure)
  assert axes[0].texts[0].get_text() == 'left out'


def test_estimators_look_different():
  styles = [plotting.style(name) for name in derivative_accuracy.ESTIMATORS]
  assert len({(s.color, s.marker) for s in styles}) == len(styles)
  others = [plotting.style(f'unknown_{i}', i) for i in range(8)]
  assert len({s.color for s in others}) == 8


@pytest.mark.parametrize(
  'values', [(0.3, 0.9), (2, 30), (1e-5, 1e4), (1, 1e6), (0.02, 0.021)]
)
def test_numbers_of_logarithmic_axes_keep_off_each_other(values):
  with plotting.panels(1, width=2.75) as (figure, (axes,)):
    axes.plot(values, values)
    plotting.log_x(axes)
    plotting.log_y(axes)
    figure.draw_without_rendering()
    for axis, start, end in (
      (axes.xaxis, 'x0', 'x1'),
      (axes.yaxis, 'y0', 'y1'),
    ):
      low, high = axis.get_view_interval()
      labels = [
        tick.label1
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if low <= tick.get_loc() <= high and tick.label1.get_text()
      ]
      boxes = sorted(
        (label.get_window_extent() for label in labels),
        key=lambda box, start=start: getattr(box, start),
      )
      assert all(
        getattr(a, end) <= getattr(b, start)
        for a, b in zip(boxes, boxes[1:], strict=False)
      ), [label.get_text() for label in labels]
