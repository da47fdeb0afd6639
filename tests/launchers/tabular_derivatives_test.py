"""`python -m acme_metarl.launchers.tabular_derivatives`, as users run it."""

import csv
import json
import os

import pytest

_NAME = 'tabular_derivatives'
_SMALL = (
  '--num_states=3',
  '--num_actions=2',
  '--horizon=4',
  '--estimators=doubly_robust,taylor_2',
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


def test_writes_rows_table_and_figure(tmp_path, run_launcher):
  out, err = run_launcher(
    _NAME,
    *_SMALL,
    '--epsilons=0,.5',
    '--panel_num_trajectories=40',
    '--num_trajectories=10,40',
    '--panel_epsilon=.5',
    '--num_trials=3',
    f'--output={tmp_path / "new" / "directory"}',
  )
  directory = tmp_path / 'new' / 'directory'
  assert sorted(os.listdir(directory)) == [
    'figure1.png',
    'results.csv',
    'results.json',
  ]
  assert str(directory) in out
  assert '9/9' in err  # Progress: three points, (.5, 40) being in two panels.
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
  # On-policy the two are the same.
  assert list(rows[0].values())[4:] == pytest.approx(
    list(rows[1].values())[4:], abs=1e-9
  )
  with open(directory / 'results.csv', newline='') as file:
    table = list(csv.DictReader(file))
  assert [{k: str(v) for k, v in row.items()} for row in rows] == table


@pytest.mark.parametrize('left_out', ['epsilons', 'num_trajectories'])
def test_empty_list_leaves_a_sweep_out(tmp_path, run_launcher, left_out):
  other = {
    'epsilons': '--num_trajectories=5',
    'num_trajectories': '--epsilons=0',
  }
  run_launcher(
    _NAME,
    *_SMALL,
    f'--{left_out}=',
    other[left_out],
    '--panel_num_trajectories=6',
    '--num_trials=1',
    f'--output={tmp_path}',
  )
  rows = json.loads((tmp_path / 'results.json').read_text())
  numbers = {'epsilons': 5, 'num_trajectories': 6}
  assert [r['num_trajectories'] for r in rows] == [numbers[left_out]] * 2
  # The spread of one trial is unknown.
  assert {r['hessian_accuracy_stderr'] for r in rows} == {None}
  assert (tmp_path / 'figure1.png').stat().st_size > 5000


_MISTAKES = {
  '--estimators=taylor_1,dr': 'choose from importance_sampling, doubly_robust',
  '--estimators=': 'estimators is empty',
  '--epsilons=0,1': 'epsilon is 1.0; it needs to be in [0, 1)',
  '--epsilons=-.1': 'epsilon is -0.1',
  '--epsilons=0,x': "--epsilons is '0,x'; it needs numbers",
  '--panel_epsilon=1': 'zero',
  '--num_trajectories=0': 'num_trajectories is 0; it needs to be at least 1',
  '--num_trajectories=1.5': 'it needs whole numbers',
  '--panel_num_trajectories=0': 'num_trajectories is 0',
  '--num_trials=0': 'num_trials is 0',
  '--num_states=0': 'num_states is 0',
  '--discount=1': 'discount is 1.0',
  '--epsilons= --num_trajectories=': 'both empty',
  '--output=/dev/null/x': "cannot write to the output directory '/dev/null/x'",
  'stray': "unexpected argument 'stray'",
}


def test_mistakes_are_told_at_once(refusals, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  messages = refusals(_NAME, _MISTAKES)
  for message, expected in zip(messages, _MISTAKES.values(), strict=True):
    assert message.startswith('tabular_derivatives: ')
    assert expected in message and '\n' not in message
  assert not os.listdir(tmp_path)


def test_a_mistake_is_all_that_is_said(start_launcher, tmp_path):
  process = start_launcher(_NAME, 'stray', cwd=tmp_path)
  out, err = process.communicate()
  assert process.returncode == 1
  assert len(err.splitlines()) == 1
  assert err.startswith("tabular_derivatives: unexpected argument 'stray'")
  assert not out and not os.listdir(tmp_path)
