"""The study of Figure 1(a)-(c) as its user makes it."""

import csv
import json
import os

import jax
import numpy as np
import pytest

from acme_metarl.launchers.studies import tabular_derivatives

_NAME = 'tabular_derivatives'
_SMALL = (
  '--num_states=3',
  '--num_actions=2',
  '--horizon=4',
  '--evaluators=doubly_robust,taylor_2',
)
_COLUMNS = [
  'estimator',
  'epsilon',
  'num_trajectories',
  'num_trials',
  'gradient_accuracy_mean',
  'gradient_accuracy_stderr',
  'hessian_accuracy_mean',
  'hessian_accuracy_stderr',
]


def test_writes_rows_table_and_figure(tmp_path, call_main):
  directory = tmp_path / 'new' / 'directory'
  out, err = call_main(
    _NAME,
    *_SMALL,
    '--epsilons=0,.5',
    '--panel_num_trajectories=40',
    '--num_trajectories=10,40',
    '--panel_epsilon=.5',
    '--num_trials=3',
    f'--logdir={directory}',
  )
  assert sorted(os.listdir(directory)) == [
    'figure1.png',
    'results.csv',
    'results.json',
  ]
  assert str(directory) in out
  assert '9/9' in err  # Progress: three points, (.5, 40) being in two panels.
  assert not jax.config.jax_enable_x64  # Which it was made with.
  rows = json.loads((directory / 'results.json').read_text())
  assert [
    (r['estimator'], r['epsilon'], r['num_trajectories']) for r in rows
  ] == [
    (estimator, *point)
    for point in ((0.0, 40), (0.5, 40), (0.5, 10))
    for estimator in ('doubly_robust', 'taylor_2')
  ]
  for row in rows:
    assert list(row) == _COLUMNS
    assert row['num_trials'] == 3
    for name in ('gradient', 'hessian'):
      assert -1 <= row[f'{name}_accuracy_mean'] <= 1
      assert row[f'{name}_accuracy_stderr'] >= 0
  # On-policy the two are the same, in the numbers of float64.
  assert list(rows[0].values())[4:] == pytest.approx(
    list(rows[1].values())[4:], abs=1e-12
  )
  with open(directory / 'results.csv', newline='') as file:
    table = list(csv.DictReader(file))
  assert [{k: str(v) for k, v in row.items()} for row in rows] == table


def _row(estimator, epsilon, number, gradient, hessian, stderr=0.1):
  numbers = (1, gradient, stderr, hessian, stderr)
  return dict(
    zip(_COLUMNS, (estimator, epsilon, number, *numbers), strict=True)
  )


def test_the_figure_shows_the_rows(tmp_path):
  config = tabular_derivatives.Config(
    epsilons=(0.0, 0.5),
    panel_num_trajectories=40,
    num_trajectories=(10, 40),
    panel_epsilon=0.5,
    evaluators=('doubly_robust', 'taylor_2'),
  )
  rows = [
    _row('doubly_robust', 0.0, 40, 0.9, 0.8),
    _row('taylor_2', 0.0, 40, 0.7, 0.6),
    _row('doubly_robust', 0.5, 40, 0.5, 0.4),
    _row('taylor_2', 0.5, 40, 0.3, 0.2),
    _row('doubly_robust', 0.5, 10, 0.1, 0.0),
    _row('taylor_2', 0.5, 10, -0.3, -0.4),
  ]
  path = tmp_path / 'figure.png'
  figure = tabular_derivatives.draw(config, rows, path)
  assert path.exists()
  a, b, c = figure.axes
  for axes, x, heights in (
    (a, [0.0, 0.5], ([0.9, 0.5], [0.7, 0.3])),
    (b, [0.0, 0.5], ([0.8, 0.4], [0.6, 0.2])),
    (c, [10, 40], ([0.0, 0.4], [-0.4, 0.2])),
  ):
    for line, band, y in zip(
      axes.lines, axes.collections, heights, strict=True
    ):
      np.testing.assert_allclose(line.get_data(), [x, y])
      box = band.get_paths()[0].get_extents()  # Mean ± standard error.
      assert (box.y0, box.y1) == pytest.approx((min(y) - 0.1, max(y) + 0.1))
  assert a.get_title() == '(a)  Gradient, $N$ = 40'
  assert c.get_title() == r'(c)  Hessian, $\varepsilon$ = 0.5'
  assert (a.get_xscale(), c.get_xscale()) == ('linear', 'log')
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == [
    'Doubly robust',
    'Taylor, order 2',
    'bands: ± standard error over MDPs',
  ]


@pytest.mark.parametrize(
  ('left_out', 'empty'), [('epsilons', [0, 1]), ('num_trajectories', [2])]
)
def test_an_empty_list_leaves_panels_out(tmp_path, left_out, empty):
  config = tabular_derivatives.Config(
    **{'epsilons': (0.0,), 'num_trajectories': (5,), left_out: ()},
    evaluators=('taylor_1',),
    panel_num_trajectories=6,
  )
  ((epsilon, number),) = config.points
  assert number == {'epsilons': 5, 'num_trajectories': 6}[left_out]
  # The spread of one trial is unknown, and no band is drawn.
  rows = [_row('taylor_1', epsilon, number, 0.5, 0.5, stderr=np.nan)]
  figure = tabular_derivatives.draw(config, rows, tmp_path / 'figure1.png')
  for index, axes in enumerate(figure.axes):
    texts = [text.get_text() for text in axes.texts]
    assert texts == (['left out'] if index in empty else [])


_MISTAKES = {
  '--evaluators=taylor_1,dr': 'choose from importance_sampling, doubly_robust',
  '--evaluators=': 'evaluators is empty',
  '--epsilons=0,1': 'epsilon is 1.0; it needs to be in [0, 1)',
  '--epsilons=-.1': 'epsilon is -0.1',
  '--epsilons=0,x': 'flag --epsilons=0,x: need numbers',
  '--panel_epsilon=1': 'zero',
  '--num_trajectories=0': 'num_trajectories is 0; it needs to be at least 1',
  '--num_trajectories=1.5': 'need whole numbers',
  '--panel_num_trajectories=0': 'num_trajectories is 0',
  '--num_trials=0': 'num_trials is 0',
  '--num_states=0': 'num_states is 0',
  '--discount=1': 'discount is 1.0',
  '--seed=-1': 'seed is -1',
  '--epsilons= --num_trajectories=': 'both empty',
  '--logdir=/dev/null/x': "cannot write to the output directory '/dev/null/x'",
  'stray': "unexpected argument 'stray'",
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_are_told_at_once(refused, tmp_path, monkeypatch, mistake):
  monkeypatch.chdir(tmp_path)
  assert _MISTAKES[mistake] in refused(_NAME, *mistake.split(' '))
  assert not os.listdir(tmp_path)
