"""What the figure of a comparison shows."""

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.comparison import curve_figure, learning_curves
from acme_metarl.launchers.runs import outputs


@pytest.fixture(name='drawn')
def _drawn(monkeypatch):
  """Figures as they would be written, laid out."""
  figures = []

  def keep(path, figure):
    del path
    figure.draw_without_rendering()
    figures.append(figure)

  monkeypatch.setattr(outputs, 'write_figure', keep)
  return figures


def _seed(is_finished):
  return learning_curves.Curve(
    0, is_finished, *[np.arange(3)] * 2, *[np.arange(3.0)] * 2
  )


@pytest.mark.parametrize('num_algorithms', [1, 4, 8])
@pytest.mark.parametrize('is_finished', [True, False])
def test_the_legend_fits(drawn, num_algorithms, is_finished):
  labels = presets.names()[:num_algorithms]
  curve_figure.draw(
    'x.png', 'navigation_2d', {x: [_seed(is_finished)] * 2 for x in labels}
  )
  (figure,) = drawn
  (legend,) = figure.legends
  box = legend.get_window_extent()
  assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
  assert figure.bbox.y0 <= box.y0
  texts = [text.get_text() for text in legend.get_texts()]
  assert len(texts) == num_algorithms
  assert all(('unfinished' in text) != is_finished for text in texts)
