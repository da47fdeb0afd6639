"""The study of intrinsic rewards as its user makes it."""

import csv
import json

import numpy as np
import pytest

from acme_metarl.launchers.studies import intrinsic_reward

_NAME = 'intrinsic_reward'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, call_main):
  folder = tmp_path_factory.mktemp('study') / 'here'
  _, err = call_main(
    _NAME,
    f'--logdir={folder}',
    '--evaluators=doubly_robust,log_likelihood',
    '--num_mdps=2',
    '--num_states=3',
    '--num_actions=2',
    '--horizon=4',
    '--num_trajectories=8,64',
    '--num_inner_steps=1,2',
  )
  assert 'batch' in err  # Progress.
  return folder


def test_results_and_table(folder):
  assert sorted(path.name for path in folder.iterdir()) == [
    'intrinsic_reward.png',
    'results.csv',
    'results.json',
  ]
  rows = json.loads((folder / 'results.json').read_text())
  assert len(rows) == 8
  by_point = {
    (row['num_inner_steps'], row['estimator'], row['num_trajectories']): row
    for row in rows
  }
  # One step differentiates a gradient, which the two share.
  one_step = [
    by_point[1, name, 64]['correlation_mean']
    for name in ('doubly_robust', 'log_likelihood')
  ]
  assert abs(one_step[0] - one_step[1]) < 1e-4
  assert one_step[0] > 0.9
  with (folder / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  assert float(table[0]['correlation_mean']) == rows[0]['correlation_mean']
  assert table[0]['inner'] == 'exact' and table[0]['lambda_'] == '0.9'


def test_the_figure_has_a_panel_a_number_of_steps(folder, tmp_path):
  rows = json.loads((folder / 'results.json').read_text())
  figure = intrinsic_reward.draw(rows, tmp_path / 'figure.png')
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == ['(a)  $K$ = 1', '(b)  $K$ = 2']
  for number, axes in enumerate(figure.axes, 1):
    for line, name in zip(
      axes.lines, ('doubly_robust', 'log_likelihood'), strict=True
    ):
      own = [
        row['correlation_mean']
        for row in rows
        if (row['num_inner_steps'], row['estimator']) == (number, name)
      ]
      np.testing.assert_array_equal(line.get_data(), [[8, 64], own])
  notes = [text.get_text() for axes in figure.axes for text in axes.texts]
  # Of two steps' Hessians only one that is shared was drawn.
  assert notes == ['all coincide']


def test_the_legend_fits_a_single_panel(folder, tmp_path):
  rows = json.loads((folder / 'results.json').read_text())
  own = [row for row in rows if row['num_inner_steps'] == 1]
  figure = intrinsic_reward.draw(own, tmp_path / 'figure.png')
  (legend,) = figure.legends
  texts = [text.get_text() for text in legend.get_texts()]
  assert texts[-1] == 'bands: ± standard error over MDPs'
  figure.draw_without_rendering()
  box = legend.get_window_extent()
  assert 0 <= box.x0 and box.x1 <= figure.bbox.width


_MISTAKES = {
  '--num_inner_steps=0,1': 'num_inner_steps is 0; it needs to be at least 1.',
  '--num_trajectories=': 'There is nothing to measure: a list is empty.',
  '--evaluators=lvc': "Unknown evaluator 'lvc'; choose from",
  '--gae_lambda=2': 'lambda_ is 2.0; it needs to be in [0, 1].',
  '--column=middle': 'flag --column=middle: need one of inner, hessian, outer',
  '--num_mdps=0': 'num_mdps is 0; it needs to be at least 1.',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_a_mistake_ends_with_a_sentence(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
