"""The study of the meta-gradient's bias as its user makes it."""

import csv
import json

import numpy as np
import pytest

from acme_metarl.launchers.studies import meta_gradient_bias_figures

_NAME = 'meta_gradient_bias'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, call_main):
  folder = tmp_path_factory.mktemp('results') / 'bias'
  out, err = call_main(
    _NAME,
    f'--logdir={folder}',
    '--evaluators=doubly_robust,taylor_1',
    '--compositional_evaluators=doubly_robust',
    '--num_mdps=3',
    '--num_reference_mdps=20',
    '--num_states=3',
    '--num_actions=2',
    '--horizon=4',
    '--num_trajectories=2,4',
    '--num_compositional_trials=200',
    '--compositional_num_trajectories=2,4,8',
    '--compositional_step_sizes=1,2',
    '--compositional_inner_steps=1,2',
    '--num_hessian_trials=40',
    '--hessian_inner_steps=1,2',
    '--error_inner_steps=2',
    '--hessian_errors=.5,1,2,4,256,1024',
    '--num_off_policy_trials=20',
    '--off_policyness=0,.4',
  )
  assert 'batch' in err  # Progress.
  assert out.startswith('Wrote results.json, results.csv, ')
  return folder


def _results(folder):
  return json.loads((folder / 'results.json').read_text())


def test_files(folder):
  assert sorted(path.name for path in folder.iterdir()) == [
    'compositional.png',
    'decomposition.png',
    'hessian.png',
    'off_policy.png',
    'results.csv',
    'results.json',
  ]
  with (folder / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  rows = _results(folder)['rows']
  assert [row['study'] for row in table] == [row['study'] for row in rows]
  assert float(table[0]['correlation_mean']) == rows[0]['correlation_mean']


def test_every_study_has_its_rows(folder):
  rows = _results(folder)['rows']
  count = {}
  for row in rows:
    count[row['study']] = count.get(row['study'], 0) + 1
  assert count == {
    'decomposition': 5 * 2 * 2,
    'reference': 3 * 2 * 2,
    'compositional': 3 + 2 + 2,
    'hessian': 2 * 2 + 6,
    'off_policy': 4 * 2 * 2,
  }
  mdps = {row['study']: row['num_mdps'] for row in rows}
  assert mdps.pop('reference') == 20 and set(mdps.values()) == {3}


def test_an_injected_error_acts_with_the_expected_powers(folder):
  fits = {fit['study']: fit for fit in _results(folder)['fits']}
  small = fits['injected, small, 2 inner steps']
  assert small['points'] == [0.5, 1.0, 2.0, 4.0]
  assert 0.9 < small['exponent'] < 1.4
  assert fits['injected, large, 2 inner steps']['exponent'] == pytest.approx(
    2.0, abs=0.1
  )


def test_agrees_with_the_authors_code(folder):
  """Few MDPs, so a coarse check; the committed results have 200."""
  compared = _results(folder)['reference']
  assert len(compared) == 12
  for row in compared:
    assert abs(row['difference_in_stderrs']) < 4, row


def test_costs_are_timed(folder):
  costs = _results(folder)['cost']
  assert [row['estimator'] for row in costs] == ['doubly_robust', 'taylor_1']
  for row in costs:
    assert row['num_trajectories'] == 64 and row['seconds'] > 0


def _figure(folder, tmp_path, name):
  results = _results(folder)
  rows = [row for row in results['rows'] if row['study'] == name]
  draw = meta_gradient_bias_figures.FIGURES[name]
  return rows, draw(rows, results, tmp_path / f'{name}.png')


def _own(rows, column, **wanted):
  return [
    row[column]
    for row in rows
    if all(row[name] == value for name, value in wanted.items())
  ]


def test_correlations_are_drawn_by_column(folder, tmp_path):
  rows, figure = _figure(folder, tmp_path, 'decomposition')
  columns = ['inner', 'hessian', 'outer', 'all', 'all_shared_data']
  assert [axes.get_title()[5:] for axes in figure.axes] == [
    'Inner gradient',
    'Hessian',
    'Outer gradient',
    'All three',
    'All, inner data shared',
  ]
  for axes, column in zip(figure.axes, columns, strict=True):
    for line, name in zip(
      axes.lines, ('doubly_robust', 'taylor_1'), strict=False
    ):
      own = _own(rows, 'correlation_mean', series=column, estimator=name)
      np.testing.assert_array_equal(line.get_data(), [[2, 4], own])
  # Rings: the authors' numbers, at 4 and 16 trajectories, of both estimators.
  rings = [x for x in figure.axes[0].lines if x.get_markersize() == 8]
  assert sorted(x.get_ydata()[0] for x in rings) == [0.798] * 2 + [0.924] * 2
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == [
    'Doubly robust',
    'Taylor, order 1',
    'bands: ± standard error over MDPs',
  ]


def test_biases_are_drawn_relative_to_the_exact_square(folder, tmp_path):
  rows, figure = _figure(folder, tmp_path, 'compositional')
  for axes, variable in zip(
    figure.axes,
    ('num_trajectories', 'step_size', 'num_inner_steps'),
    strict=True,
  ):
    own = [row for row in rows if row['series'] == variable]
    variance = axes.lines[0]
    np.testing.assert_allclose(
      variance.get_data(),
      [
        [row[variable] for row in own],
        [row['variance_mean'] / row['exact_square_mean'] for row in own],
      ],
    )
    assert variance.get_linestyle() == '--'
    assert axes.get_yscale() == 'log'
    seen = [
      row['squared_bias_mean'] / row['exact_square_mean']
      for row in own
      if row['squared_bias_mean'] > 2 * (row['squared_bias_noise'] or 0)
    ]
    drawn = [c.lines[0].get_ydata() for c in axes.containers]
    np.testing.assert_allclose(np.concatenate(drawn or [[]]), seen)


def test_injected_errors_are_drawn_with_their_power(folder, tmp_path):
  rows, figure = _figure(folder, tmp_path, 'hessian')
  estimated, injected = figure.axes
  (line,) = injected.lines
  np.testing.assert_allclose(
    line.get_data(),
    [
      _own(rows, 'hessian_error', series='injected'),
      _own(rows, 'squared_bias_mean', series='injected'),
    ],
  )
  assert line.get_label() == '$K$ = 2'
  texts = [text.get_text() for text in injected.texts]
  assert '$c^{4}$' in texts and 'published' in texts
  assert estimated.get_xlabel() == 'number of inner steps $K$'


def test_off_policy_has_a_panel_of_biases_besides(folder, tmp_path):
  rows, figure = _figure(folder, tmp_path, 'off_policy')
  *correlations, bias = figure.axes
  for axes, column in zip(
    correlations, ('inner', 'hessian', 'outer', 'all'), strict=True
  ):
    own = _own(rows, 'correlation_mean', series=column, estimator='taylor_1')
    np.testing.assert_array_equal(axes.lines[1].get_data(), [[0.0, 0.4], own])
  assert bias.get_title() == '(e)  Hessian'
  assert bias.get_yscale() == 'log'


_MISTAKES = {
  '--studies=composition': "studies has 'composition'; choose from",
  '--studies=': 'studies is empty; choose from',
  '--columns=middle': "Unknown column 'middle'; choose from inner",
  '--evaluators=lvc': "Unknown evaluator 'lvc'; choose from",
  '--evaluators=': 'evaluators is empty; choose from',
  '--num_trajectories=4,x': 'flag --num_trajectories=4,x: need whole',
  '--num_trajectories=0': 'num_trajectories is 0; it needs to be at least 1',
  '--off_policyness=1': 'off_policyness is 1.0; it needs to be in [0, 1)',
  '--num_mdps=0': 'num_mdps is 0; it needs to be at least 1',
  '--discount=1': 'discount is 1.0; it needs to be in [0, 1)',
  '--num_trials=0': 'num_trials is 0; it needs at least 1',
  '--step_size=0': 'step_size is 0.0; it needs to be positive',
  '--studies=decomposition --num_trajectories=': 'There is nothing to measure',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_have_a_sentence(refused, mistake):
  message = refused(_NAME, *mistake.split(' '))
  assert message.startswith(_MISTAKES[mistake])
