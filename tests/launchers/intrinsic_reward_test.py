"""Tests of the intrinsic-reward study as its user runs it."""

import csv
import json

_NAME = 'intrinsic_reward'


def test_results_table_and_figure(tmp_path, run_launcher):
  _, err = run_launcher(
    _NAME,
    f'--output={tmp_path}/here',
    '--estimators=doubly_robust,log_likelihood',
    '--num_mdps=2',
    '--num_states=3',
    '--num_actions=2',
    '--horizon=4',
    '--num_trajectories=8,64',
    '--num_inner_steps=1,2',
  )
  assert 'batch' in err  # Progress.
  folder = tmp_path / 'here'
  assert sorted(path.name for path in folder.iterdir()) == [
    'intrinsic_reward.png',
    'results.csv',
    'results.json',
  ]
  assert (folder / 'intrinsic_reward.png').read_bytes()[:4] == b'\x89PNG'
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


def test_a_mistake_ends_with_a_sentence(refusals):
  assert refusals(_NAME, ['--num_inner_steps=0,1']) == [
    'intrinsic_reward: num_inner_steps is 0; it needs to be at least 1.'
  ]
