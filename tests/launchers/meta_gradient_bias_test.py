"""Tests of the bias decomposition as its user runs it."""

import csv
import json

import pytest

_NAME = 'meta_gradient_bias'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, run_launcher):
  folder = tmp_path_factory.mktemp('results') / 'bias'
  out, err = run_launcher(
    _NAME,
    f'--output={folder}',
    '--estimators=doubly_robust,taylor_1',
    '--compositional_estimators=doubly_robust',
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
  for path in folder.glob('*.png'):
    assert path.read_bytes().startswith(b'\x89PNG')
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


def test_mistakes_have_a_sentence(refusals):
  mistakes = {
    '--studies=composition': "--studies has 'composition'; choose from",
    '--studies=': '--studies is empty; choose from',
    '--columns=middle': "Unknown column 'middle'; choose from inner",
    '--estimators=lvc': "Unknown estimator 'lvc'; choose from",
    '--estimators=': '--estimators is empty; choose from',
    '--num_trajectories=4,x': "--num_trajectories is '4,x'; it needs whole",
    '--num_trajectories=0': 'num_trajectories is 0; it needs to be at least 1',
    '--off_policyness=1': 'off_policyness is 1.0; it needs to be in [0, 1)',
    '--num_mdps=0': '--num_mdps is 0; it needs to be at least 1',
    '--discount=1': 'discount is 1.0; it needs to be in [0, 1)',
    '--num_trials=0': 'num_trials is 0; it needs at least 1',
    '--step_size=0': 'step_size is 0.0; it needs to be positive',
  }
  messages = refusals(_NAME, mistakes)
  for message, expected in zip(messages, mistakes.values(), strict=True):
    assert message.startswith(f'{_NAME}: {expected}')
