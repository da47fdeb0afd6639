"""The parts of figures."""

import numpy as np

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
    'Second order',
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
