"""Tests of the benchmark as its user runs it.

In processes of their own: flags of several launchers do not go together.
"""

import csv
import json
import pathlib
import subprocess
import sys

import pytest

import acme_metarl


def _run(*flags):
  return subprocess.run(
    [
      sys.executable,
      '-m',
      'acme_metarl.launchers.benchmark_environments',
      *flags,
    ],
    cwd=pathlib.Path(acme_metarl.__file__).parents[1],
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_table_is_printed_and_written(tmp_path):
  names = ['hopper_params', 'navigation_2d']
  process = _run(
    f'--environments={",".join(names)}',
    '--num_tasks=2',
    '--num_rollouts=2',
    '--num_steps=2',
    f'--output={tmp_path}/results/here',
  )
  assert process.returncode == 0, process.stderr
  printed = [line.split()[0] for line in process.stdout.splitlines()]
  assert printed == ['environment', *names]
  folder = tmp_path / 'results' / 'here'
  rows = json.loads((folder / 'results.json').read_text())
  assert [row['environment'] for row in rows] == names
  assert rows[0]['target'] is None and rows[1]['target'] == 0.5
  with (folder / 'results.csv').open() as file:
    hopper, _ = csv.DictReader(file)
  assert float(hopper['ratio']) == pytest.approx(rows[0]['ratio'])


def test_a_mistake_ends_with_a_sentence():
  process = _run('--environments=ant_goal,unicorn')
  assert process.returncode == 1
  last = process.stderr.strip().splitlines()[-1]
  assert last.startswith('benchmark_environments: --environments names unicorn')
  assert 'humanoid_direction' in last
