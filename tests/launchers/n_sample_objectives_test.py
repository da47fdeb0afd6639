"""The study of N-sample objectives as its user makes it."""

import csv
import json
import os

import numpy as np
import pytest

from acme_metarl.launchers.studies import (
  n_sample_objectives,
  n_sample_objectives_figure,
)

_NAME = 'n_sample_objectives'


@pytest.fixture(scope='module')
def made(tmp_path_factory, call_main):
  """The directory of a small study, and what was printed."""
  directory = tmp_path_factory.mktemp('study') / 'new' / 'directory'
  printed = call_main(
    _NAME,
    '--num_samples=16,4',
    '--fit_from=1',
    '--num_replications=20000',
    '--num_steps=20',
    '--num_runs=30',
    '--optimisation_num_samples=5',
    '--estimators=linearised_score_function,path_wise',
    f'--logdir={directory}',
  )
  return directory, *printed


@pytest.fixture(scope='module')
def results(made):
  return json.loads((made[0] / 'results.json').read_text())


def test_writes_results_table_and_figure(made, results):
  directory, out, err = made
  assert str(directory) in out
  assert '6/6' in err  # Progress: two numbers and a curve, each.
  assert sorted(os.listdir(directory)) == [
    'n_sample_objectives.png',
    'results.csv',
    'results.json',
  ]
  assert results['settings']['theta'] == 3.0
  moments = results['moments']
  assert [(x['estimator'], x['num_samples']) for x in moments] == [
    (name, n)
    for name in ('linearised_score_function', 'path_wise')
    for n in (4, 16)
  ]
  with (directory / 'results.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert float(rows[3]['variance']) == pytest.approx(moments[3]['variance'])


def test_moments_and_slopes_agree_with_the_closed_forms(results):
  for row in results['moments']:
    for name in ('bias', 'variance'):
      error = abs(row[name] - row[f'exact_{name}'])
      assert error < 4 * row[f'{name}_stderr']
  slopes = {(x['estimator'], x['quantity']): x for x in results['slopes']}
  assert len(slopes) == 3
  for row in slopes.values():
    assert row['low_99'] < row['slope'] < row['high_99']
    error = abs(row['slope'] - row['exact_slope'])
    assert error < 4 * row['slope_stderr']


def test_optimisation_starts_where_it_should_and_follows_the_gradient(results):
  curve = results['optimisation'][1]
  assert curve['step'] == list(range(21))
  # The error of the mean of path-wise ascent shrinks by 1 - 2 · 0.01 a step.
  gap = 4.0 * 0.98 ** (2 * np.arange(21))
  np.testing.assert_allclose(curve['gap_50'], gap, rtol=0.1)


def test_the_figure_shows_the_results(tmp_path, results):
  figure = n_sample_objectives_figure.draw(results, tmp_path / 'figure.png')
  bias, variance, optimisation = figure.axes

  def column(name, key):
    rows = [x for x in results['moments'] if x['estimator'] == name]
    return [row[key] for row in rows]

  # Only one of the two is biased: a line of theory, and the measured points.
  exact = np.abs(column('linearised_score_function', 'exact_bias'))
  np.testing.assert_allclose(bias.lines[0].get_data(), [[4, 16], exact])
  (points,) = bias.containers
  measured = np.abs(column('linearised_score_function', 'bias'))
  np.testing.assert_allclose(points.lines[0].get_ydata(), measured)
  assert any('others: 0' in text.get_text() for text in bias.texts)
  for i, name in enumerate(('linearised_score_function', 'path_wise')):
    theory, points = variance.lines[2 * i : 2 * i + 2]
    np.testing.assert_allclose(
      theory.get_ydata(), column(name, 'exact_variance')
    )
    np.testing.assert_allclose(points.get_ydata(), column(name, 'variance'))
    curve = results['optimisation'][i]
    median, tail = optimisation.lines[2 * i : 2 * i + 2]
    np.testing.assert_allclose(median.get_ydata(), curve['gap_50'])
    np.testing.assert_allclose(tail.get_ydata(), curve['gap_95'])
    assert tail.get_linestyle() == ':'
  for axes in (bias, variance):
    assert (axes.get_xscale(), axes.get_yscale()) == ('log', 'log')
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == [
    'Linearised SF',
    'Path-wise',
  ]


_MISTAKES = {
  '--num_samples=4,many': 'flag --num_samples=4,many: need whole numbers',
  '--num_samples=0,4': 'num_samples is (0, 4)',
  '--num_samples=4,8 --fit_from=8': 'num_samples has 1 numbers',
  '--estimators=dice': "Unknown estimator 'dice'",
  '--num_replications=3': 'num_replications is 3',
  '--scale=0': 'scale is 0.0; it needs to be positive',
  '--num_runs=0': 'num_runs is 0; it needs to be at least 1',
  '--logdir=/dev/null/inside': 'cannot write to',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_end_with_a_sentence(refused, mistake):
  message = refused(_NAME, *mistake.split(' '))
  assert message.startswith(_MISTAKES[mistake])


def test_numbers_and_names_count_once():
  config = n_sample_objectives.Config(
    num_samples=(128, 64, 128), estimators=('path_wise', 'path_wise')
  )
  assert config.sizes == [64, 128]
  assert config.names == ['path_wise']
