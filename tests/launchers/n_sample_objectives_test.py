"""`python -m acme_metarl.launchers.n_sample_objectives`, as users run it."""

import csv
import json
import os

import pytest

_NAME = 'n_sample_objectives'


def test_writes_results_table_and_figure(tmp_path, run_launcher):
  directory = tmp_path / 'new' / 'directory'
  out, err = run_launcher(
    _NAME,
    '--num_samples=16,4',
    '--fit_from=1',
    '--num_replications=20000',
    '--num_steps=20',
    '--num_runs=30',
    '--optimisation_num_samples=5',
    '--estimators=linearised_score_function,path_wise',
    f'--output={directory}',
  )
  assert str(directory) in out
  assert '6/6' in err  # Progress: two numbers and a curve, each.
  assert sorted(os.listdir(directory)) == [
    'n_sample_objectives.png',
    'results.csv',
    'results.json',
  ]
  results = json.loads((directory / 'results.json').read_text())
  assert results['settings']['theta'] == 3.0
  moments = results['moments']
  assert [(x['estimator'], x['num_samples']) for x in moments] == [
    (name, n)
    for name in ('linearised_score_function', 'path_wise')
    for n in (4, 16)
  ]
  for row in moments:
    for name in ('bias', 'variance'):
      error = abs(row[name] - row[f'exact_{name}'])
      assert error < 5 * row[f'{name}_stderr']
  slopes = {(x['estimator'], x['quantity']): x for x in results['slopes']}
  assert len(slopes) == 3
  for row in slopes.values():
    assert row['low_99'] < row['slope'] < row['high_99']
    assert row['slope'] == pytest.approx(row['exact_slope'], abs=0.3)
  curve = results['optimisation'][1]
  assert curve['step'] == list(range(21))
  assert curve['gap_50'][0] == pytest.approx(4.0)
  assert curve['gap_50'][-1] < curve['gap_50'][0]
  with (directory / 'results.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert float(rows[3]['variance']) == pytest.approx(moments[3]['variance'])


def test_mistakes_end_with_a_sentence(tmp_path, refusals):
  (tmp_path / 'file').write_text('')
  mistakes = {
    '--num_samples=4,many': '--num_samples is',
    '--num_samples=0,4': '--num_samples is',
    '--num_samples=4,8 --fit_from=8': '--num_samples has 1 numbers',
    '--estimators=dice': "Unknown estimator 'dice'",
    '--num_replications=3': 'num_replications is 3',
    '--scale=0': '--scale is 0.0; it needs to be positive',
    '--num_runs=0': '--num_runs is 0; it needs to be at least 1',
    f'--output={tmp_path}/file/inside': 'cannot write to',
  }
  messages = refusals(_NAME, mistakes)
  for message, expected in zip(messages, mistakes.values(), strict=True):
    assert message.startswith(f'{_NAME}: {expected}')
