"""Tests of the benchmark's arithmetic, and of it as its user runs it."""

import csv
import json
import pathlib
import subprocess
import sys
import time

import pytest

import acme_metarl
from acme_metarl import environments
from acme_metarl.launchers.benchmarks import (
  on_device_iteration,
  on_device_throughput,
)


def _run(*flags):
  return subprocess.run(
    [
      sys.executable,
      '-m',
      'acme_metarl.launchers.benchmark_on_device',
      '--num_tasks=2',
      '--num_rollouts=3',
      '--horizon=4',
      '--num_turns=2',
      *flags,
    ],
    cwd=pathlib.Path(acme_metarl.__file__).parents[1],
    capture_output=True,
    text=True,
    check=False,
  )


def test_an_iterations_operations_are_those_of_its_products():
  config = on_device_throughput.make_config('promp_taypo2', 3, 10, 20)
  environment = environments.make('navigation_2d')
  flops = on_device_iteration.iteration_flops(config, environment)
  # One forward pass of the policy at every step; the products dominate.
  products = 2 * (2 * 64 + 64 * 64 + 64 * 2)
  forward = on_device_throughput.steps_per_iteration(config) * products
  stage = forward / 2
  # Sampling: both stages' steps, and the gradient at the first stage: a forward
  # pass and two of the same size backward.
  assert 1.0 < flops['sampling'] / (forward + 3 * stage) < 1.5
  # An epoch: that gradient, differentiated (twice as much again); and the
  # gradient of the second stage's objective.
  assert 0.95 < flops['learning'] / (5 * (9 + 3) * stage) < 1.2


def test_what_would_be_late_is_left_out():
  rows = list(
    on_device_throughput.measure_environments(
      on_device_throughput.make_config('promp_taypo2', 2, 2, 3),
      ['ant_goal'],
      [2, 4],
      num_turns=1,
      seed=0,
      deadline=time.monotonic() - 1,
    )
  )
  assert [row.case.split()[1] for row in rows] == ['2x2x3x2', '4x2x3x2']
  assert all(row.value is None and 'no time left' in row.unit for row in rows)


def test_numbers_are_printed_and_written(tmp_path):
  process = _run(
    '--parts=tabular,environments',
    '--environments=navigation_2d',
    '--task_counts=2',
    f'--output={tmp_path}/results',
  )
  assert process.returncode == 0, process.stderr
  rows = json.loads((tmp_path / 'results' / 'results.json').read_text())
  by_name = {(row['part'], row['quantity']): row for row in rows}
  assert {part for part, _ in by_name} == {'tabular', 'environments'}
  iteration = by_name['environments', 'an iteration']
  steps = by_name['environments', 'steps']
  assert steps['value'] == pytest.approx(2 * 3 * 4 * 2 / iteration['value'])
  assert steps['target'] == '>= 240000'
  assert steps['is_met'] == (steps['value'] >= 240_000)
  with (tmp_path / 'results' / 'results.csv').open() as file:
    assert len(list(csv.DictReader(file))) == len(rows)
  for row in rows:
    assert row['quantity'] in process.stdout


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--parts=naps', '--parts names naps; it needs some of navigation'),
    ('--task_counts=4,-1', "--task_counts: got '4,-1'"),
  ],
)
def test_a_mistake_ends_with_a_sentence(flag, sentence):
  process = _run(flag)
  assert process.returncode == 1
  last = process.stderr.strip().splitlines()[-1]
  assert last.startswith(f'benchmark_on_device: {sentence}')
