"""What the figure of a comparison shows."""

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.comparison import curve_figure, learning_curves
from acme_metarl.launchers.runs import plotting


def _seed(is_finished=True, after=(0.0, 1.0, 2.0), seed=0):
  points = np.arange(len(after))
  after = np.array(after)
  return learning_curves.Curve(
    seed, is_finished, points, points * 1000, after - 1, after
  )


@pytest.mark.parametrize('num_algorithms', [1, 4, 8])
@pytest.mark.parametrize('is_finished', [True, False])
def test_the_legend_fits(tmp_path, num_algorithms, is_finished):
  labels = presets.names()[:num_algorithms]
  figure = curve_figure.draw(
    tmp_path / 'x.png',
    'navigation_2d',
    {x: [_seed(is_finished)] * 2 for x in labels},
  )
  (legend,) = figure.legends
  box = legend.get_window_extent()
  assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
  assert figure.bbox.y0 <= box.y0
  texts = [text.get_text() for text in legend.get_texts()]
  assert len(texts) == num_algorithms
  assert all(('unfinished' in text) != is_finished for text in texts)


def test_curves_are_means_and_bands_deviations_over_seeds(tmp_path):
  path = tmp_path / 'x.png'
  figure = curve_figure.draw(
    path,
    'half_cheetah_direction',
    {'promp': [_seed(after=(0.0, 2.0, 8.0)), _seed(after=(2.0, 4.0, 4.0))]},
  )
  assert path.exists()
  (axes,) = figure.axes
  (line,), (band,) = axes.lines, axes.collections
  np.testing.assert_array_equal(
    line.get_data(), [[0, 1000, 2000], [1.0, 3.0, 6.0]]
  )
  box = band.get_paths()[0].get_extents()
  # A sample's standard deviations: sqrt(2), sqrt(2) and sqrt(8).
  np.testing.assert_allclose((box.y0, box.y1), (1 - np.sqrt(2), 6 + np.sqrt(8)))
  assert line.get_label() == 'PROMP'
  assert axes.get_title() == 'half cheetah direction, mean ± std of 2 seeds'
  assert axes.get_xlabel() == 'environment steps'
  assert axes.get_ylabel() == 'return after adaptation'


def test_where_some_seeds_are_missing_the_mean_is_dotted(tmp_path):
  figure = curve_figure.draw(
    tmp_path / 'x.png',
    'navigation_2d',
    {'promp': [_seed(), _seed(False, (4.0, 5.0))]},
  )
  (axes,) = figure.axes
  whole, rest = axes.lines
  np.testing.assert_array_equal(whole.get_data(), [[0, 1000], [2.0, 3.0]])
  # On from where all of them are.
  np.testing.assert_array_equal(rest.get_data(), [[1000, 2000], [3.0, 2.0]])
  assert rest.get_linestyle() == ':'
  assert whole.get_label() == 'PROMP (unfinished)'


def test_successes_have_a_panel_for_each_class(tmp_path):
  panels = {
    name: {'trpo_maml': [], 'promp+reuse=2': [_seed(after=(0.0, end))]}
    for name, end in [('', 0.5), *((f'class {i}', i / 8) for i in range(4))]
  }
  figure = curve_figure.draw_successes(tmp_path / 'x.png', 'my_doors', panels)
  assert (tmp_path / 'x.png').exists()
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == ['my doors, one seed', *(f'class {i}' for i in range(4))]
  ends = [0.5, 0, 1 / 8, 2 / 8, 3 / 8]
  for axes, end in zip(figure.axes, ends, strict=True):
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_data(), [[0, 1000], [0, end]])
    low, high = axes.get_ylim()
    assert low < 0 and high > 1
  # As in the figure of returns, where all algorithms are.
  look = curve_figure.looks(['trpo_maml', 'promp+reuse=2'])['promp+reuse=2']
  assert line.get_color() == look.color
  (legend,) = figure.legends
  assert [x.get_text() for x in legend.get_texts()] == ['PROMP, reuse 2']


def test_a_single_seed_has_no_band(tmp_path):
  figure = curve_figure.draw(tmp_path / 'x.png', 'x', {'promp': [_seed()]})
  (axes,) = figure.axes
  assert not axes.collections
  assert axes.get_title() == 'x, one seed'


def test_curves_that_coincide_can_all_be_seen(tmp_path):
  after = np.arange(40.0)
  curve = _seed(after=tuple(after))
  labels = ['promp', 'promp_taypo2', 'promp_taypo3']
  figure = curve_figure.draw(
    tmp_path / 'x.png', 'x', {label: [curve] for label in labels}
  )
  lines = figure.axes[0].lines
  every = [line.get_markevery() for line in lines]
  marked = [set(range(start, 40, step)) for start, step in every]
  for i in range(3):
    assert marked[i].isdisjoint(marked[i - 1]) and len(marked[i]) > 5
  widths = [line.get_linewidth() for line in lines]
  assert widths == sorted(widths, reverse=True) and len(set(widths)) == 3
  assert len({line.get_marker() for line in lines}) == 3


def test_presets_look_the_same_in_every_figure():
  alone = curve_figure.looks(['promp_taypo2'])
  labels = ['promp', 'promp+reuse=2', 'promp_taypo2', 'promp+reuse=4']
  among = curve_figure.looks(labels)
  assert alone['promp_taypo2'] == among['promp_taypo2']
  assert len({look.color for look in among.values()}) == 4
  assert among['promp+reuse=4'].label == 'PROMP, reuse 4'


def test_many_variants_can_be_told_apart():
  labels = ['promp', *(f'promp+reuse={i}' for i in range(12))]
  found = curve_figure.looks(labels).values()
  assert len({(look.color, look.linestyle) for look in found}) == 13
  assert all(isinstance(look, plotting.Style) for look in found)
