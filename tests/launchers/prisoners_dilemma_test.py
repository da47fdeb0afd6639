"""`python -m acme_metarl.launchers.prisoners_dilemma`, as users run it."""

import csv
import json
import os

import pytest

_NAME = 'prisoners_dilemma'


def test_writes_results_table_and_figure(tmp_path, run_launcher):
  directory = tmp_path / 'new' / 'directory'
  out, err = run_launcher(
    _NAME,
    '--conditions=exact,off_policy',
    '--estimators=doubly_robust',
    '--num_updates=30',
    '--num_seeds=2',
    '--num_shared_updates=5',
    '--num_rounds=10',
    '--num_rollouts=4',
    '--replay_size=16',
    '--report_at=10,300',
    f'--output={directory}',
  )
  assert str(directory) in out
  assert '70/70' in err  # Progress: updates of both conditions.
  assert sorted(os.listdir(directory)) == [
    'prisoners_dilemma.png',
    'results.csv',
    'results.json',
  ]
  results = json.loads((directory / 'results.json').read_text())
  assert results['settings']['game']['num_rounds'] == 10
  exact, off_policy = results['conditions']
  assert (exact['condition'], exact['estimator']) == ('exact', '')
  assert off_policy['estimator'] == 'doubly_robust'
  assert off_policy['config']['replay_size'] == 16
  for row in (exact, off_policy):
    # Updates after the end are left out, the end is reported.
    reported = [x for x in row if x.startswith('payoff_')]
    assert reported == [
      f'payoff_{update}_{x}' for update in (10, 30) for x in ('mean', 'std')
    ]
    assert row['curve']['update'] == list(range(31))
    assert row['curve']['payoff_mean'][0] == -1.5
    assert row['payoff_30_mean'] == pytest.approx(
      sum(row['final_payoffs']) / 2, abs=1e-3
    )
  assert exact['own_path_correlation_mean'] == pytest.approx(1.0)
  assert exact['payoff_30_std'] == pytest.approx(0.0, abs=1e-6)
  assert off_policy['payoff_30_std'] > 0
  assert -1 <= off_policy['shared_path_correlation_exact_outer_mean'] < 1
  with (directory / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  assert [row['condition'] for row in table] == ['exact', 'off_policy']
  assert 'curve' not in table[0]


def test_mistakes_end_with_a_sentence(refusals):
  mistakes = {
    '--conditions=exact,on': "--conditions names 'on'",
    '--conditions=': '--conditions is empty',
    '--estimators=lola': "Unknown estimator 'lola'",
    '--estimators= --conditions=on_policy': '--estimators is empty',
    '--ablation_estimator=lola': "Unknown estimator 'lola'",
    '--outer=lola': "Unknown estimator 'lola'",
    '--num_lookaheads=1,two': '--num_lookaheads is',
    '--num_lookaheads=0': 'num_lookaheads is 0',
    '--num_seeds=0': '--num_seeds is 0',
    '--report_at=-1': '--report_at is',
    '--replay_size=100': 'replay_size is 100',
    '--discount=2': 'discount is 2.0',
  }
  messages = refusals(_NAME, mistakes)
  for message, expected in zip(messages, mistakes.values(), strict=True):
    assert message.startswith(f'{_NAME}: {expected}')


def test_several_numbers_of_look_aheads(tmp_path, run_launcher):
  run_launcher(
    _NAME,
    '--conditions=exact',
    '--num_lookaheads=2,1',
    '--num_updates=3',
    '--num_seeds=1',
    '--num_shared_updates=0',
    '--num_rounds=5',
    f'--output={tmp_path}',
  )
  rows = json.loads((tmp_path / 'results.json').read_text())['conditions']
  assert [row['num_lookaheads'] for row in rows] == [1, 2]
  assert not any(name.startswith('shared_path') for name in rows[0])
  assert rows[0]['final_payoffs'] != rows[1]['final_payoffs']
