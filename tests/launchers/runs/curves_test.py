"""What `curves.png` shows: data, names, axes."""

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import curves, tables
from acme_metarl.launchers.runs.played import Played

_CONFIG = run_config.RunConfig(
  environment_options={'reward': 'dense'},
  preset='promp',
  algorithm=presets.make('promp', num_tasks=7, clip_epsilon=0.2),
  agent={'reuse': 4},
  seed=3,
)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  evaluation = tables.CSVLogger(directory / tables.EVALUATION_CSV)
  learner = tables.CSVLogger(directory / tables.LEARNER_CSV)
  for iteration in range(4):
    steps = 2_500_000 * iteration
    returns = np.full((5, 2, 2), float(iteration))
    returns[:, 1] += np.arange(5)[:, np.newaxis]
    for row in tables.evaluation_rows(Played(returns), iteration, steps, 0.0):
      evaluation.write(row)
    if iteration:
      learner.write(
        {
          'iteration': iteration,
          'environment_steps': steps,
          'return_0': -1.0 * iteration,
          'return_1': 2.0 * iteration,
          'meta_gradient_norm': 3.0 * iteration,
        }
      )
  evaluation.close()
  learner.close()
  figure = curves.draw(directory, _CONFIG)
  figure.draw_without_rendering()
  return directory, figure


def _texts(legend):
  return [text.get_text() for text in legend.get_texts()]


def test_data(drawn):
  evaluation, training, gradient = drawn[1].axes
  x, y = evaluation.lines[1].get_data()
  np.testing.assert_array_equal(x, 2.5e6 * np.arange(4))
  np.testing.assert_array_equal(y, 2 + np.arange(4.0))
  band = evaluation.collections[1].get_paths()[0].vertices
  stderr = np.std(np.arange(5), ddof=1) / np.sqrt(5)
  at_end = band[band[:, 0] == 7.5e6, 1]
  assert at_end.max() == pytest.approx(5 + stderr)
  assert at_end.min() == pytest.approx(5 - stderr)
  np.testing.assert_array_equal(training.lines[0].get_ydata(), [-1, -2, -3])
  np.testing.assert_array_equal(gradient.lines[0].get_ydata(), [3, 6, 9])


def test_every_panel_has_a_legend_outside_of_its_data(drawn):
  figure = drawn[1]
  for axes in figure.axes:
    legend = axes.get_legend()
    box = legend.get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert not box.overlaps(axes.xaxis.get_tightbbox())
    assert 0 <= box.x0 and box.x1 <= figure.bbox.width
    assert 0 <= box.y0
  evaluation, training, gradient = (x.get_legend() for x in figure.axes)
  assert _texts(evaluation) == [
    'before adaptation',
    'after 1 step',
    'bands: ± standard error over tasks',
  ]
  assert _texts(training) == [
    'before adaptation, mean of 7 tasks',
    'after 1 step, mean of 7 tasks',
  ]
  assert 'norm' in _texts(gradient)[0]


def test_all_have_the_same_axis_of_steps(drawn):
  axes = drawn[1].axes
  assert len({x.get_xlim() for x in axes}) == 1
  assert {x.get_xlabel() for x in axes} == {'environment steps'}
  for panel in axes:
    low, high = panel.get_xlim()
    labels = [
      label.get_text()
      for place, label in zip(
        panel.get_xticks(), panel.get_xticklabels(), strict=True
      )
      if low <= place <= high
    ]
    assert labels == ['0', '2M', '4M', '6M']


def test_the_title_says_what_the_run_is(drawn):
  assert drawn[1].get_suptitle() == (
    'promp, clip_epsilon 0.2, reuse 4, on navigation_2d (reward dense), seed 3'
    '\n7 tasks × 20 rollouts × 100 steps, 1 adaptation step'
  )
  plain = run_config.RunConfig()
  assert curves.title(plain).startswith('promp_taypo2, on navigation_2d, seed')


def test_whole_numbers_of_steps_are_whole(tmp_path):
  learner = tables.CSVLogger(tmp_path / tables.LEARNER_CSV)
  for steps in (1, 2):
    learner.write(
      {'iteration': steps, 'environment_steps': steps, 'return_0': 0.0}
      | {'meta_gradient_norm': 1.0}
    )
  learner.close()
  figure = curves.draw(tmp_path, _CONFIG)
  figure.draw_without_rendering()
  empty, training, _ = figure.axes
  assert [text.get_text() for text in empty.texts] == ['no evaluation yet']
  ticks = training.get_xticks()
  np.testing.assert_array_equal(ticks, ticks.round())


def test_what_columns_mean_is_beside_the_tables(drawn):
  text = (drawn[0] / 'columns.md').read_text()
  assert text.index('`evaluation.csv`') < text.index('`learner.csv`')
  assert '| `return_stderr` | Standard error of that mean over tasks' in text
  assert '| `return_1` | Mean undiscounted return of the training' in text
