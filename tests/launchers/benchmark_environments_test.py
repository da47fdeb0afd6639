"""Tests of the benchmark as its user runs it."""

import csv
import json

import pytest

_NAME = 'benchmark_environments'


def test_the_table_is_printed_and_written(tmp_path, run_launcher):
  names = ['hopper_params', 'navigation_2d']
  out, _ = run_launcher(
    _NAME,
    f'--environments={",".join(names)}',
    '--num_tasks=2',
    '--num_rollouts=2',
    '--num_steps=2',
    f'--output={tmp_path}/results/here',
  )
  printed = [line.split()[0] for line in out.splitlines()]
  assert printed == ['environment', *names]
  folder = tmp_path / 'results' / 'here'
  rows = json.loads((folder / 'results.json').read_text())
  assert [row['environment'] for row in rows] == names
  assert rows[0]['target'] is None and rows[1]['target'] == 0.5
  with (folder / 'results.csv').open() as file:
    hopper, _ = csv.DictReader(file)
  assert float(hopper['ratio']) == pytest.approx(rows[0]['ratio'])


def test_a_mistake_ends_with_a_sentence(refusals):
  (message,) = refusals(_NAME, ['--environments=ant_goal,unicorn'])
  assert message.startswith(f'{_NAME}: --environments names unicorn')
  assert 'humanoid_direction' in message
