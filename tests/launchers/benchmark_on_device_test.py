"""Tests of the benchmark's arithmetic, and of it as its user runs it."""

import dataclasses
import json
import time

import pytest

from acme_metarl import environments
from acme_metarl.launchers.benchmarks import (
  on_device,
  on_device_iteration,
  on_device_throughput,
)

_NAME = 'benchmark_on_device'
_SMALL = (
  '--algorithm=vpg_maml',
  '--num_tasks=2',
  '--num_rollouts=3',
  '--horizon=4',
  '--num_turns=2',
)


def _config(num_tasks, num_rollouts, horizon):
  return on_device.Config(
    num_tasks=num_tasks, num_rollouts=num_rollouts, horizon=horizon
  ).algorithm_config


def test_an_iterations_operations_are_those_of_its_products():
  # The other mode computes other things, and more of them.
  config = dataclasses.replace(
    _config(3, 10, 20), inner_differentiation='reverse'
  )
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
      _config(2, 2, 3),
      ['ant_goal'],
      [2, 4],
      num_turns=1,
      seed=0,
      deadline=time.monotonic() - 1,
    )
  )
  assert [row.case.split()[1] for row in rows] == ['2x2x3x2', '4x2x3x2']
  assert all(row.value is None and 'no time left' in row.unit for row in rows)


def test_numbers_of_the_parts(call_main):
  out, _ = call_main(
    _NAME,
    *_SMALL,
    '--parts=tabular,environments,seeds',
    '--environments=navigation_2d',
    '--task_counts=2',
    '--num_seeds=2',
    '--json',
  )
  rows = {row['name']: row for row in json.loads(out)['rows']}
  assert list(rows) == [
    'meta-training',
    'its random numbers alone',
    'vmap',
    'one by one',
    'an iteration',
    'steps',
  ]
  iteration, steps = rows['an iteration'], rows['steps']
  assert iteration['case'] == 'navigation_2d 2x3x4x2'
  assert steps['value'] == pytest.approx(2 * 3 * 4 * 2 / iteration['value'])
  assert steps['target'] == '>= 240000'
  assert steps['is_met'] == (steps['value'] >= 240_000)
  assert rows['vmap']['case'] == '2 seeds, navigation_2d 2x3x4x2'
  assert rows['vmap']['target'] == '<= 1'
  assert rows['meta-training']['unit'] == 'steps/s'


def test_navigation_is_beside_its_operations(call_main):
  out, _ = call_main(
    _NAME, *_SMALL, '--num_turns=1', '--parts=navigation', '--json'
  )
  rows = {row['name']: row for row in json.loads(out)['rows']}
  operations = [
    row['value'] for name, row in rows.items() if name.endswith('operations')
  ]
  assert len(operations) == 2
  for name, row in rows.items():
    if row['unit'] == 'Gflop/s':  # Of the same turn.
      seconds = rows['whole iteration']['value']
      ratio = seconds * row['value'] / sum(operations)
      assert row['ratio'] == pytest.approx(ratio), name


_MISTAKES = {
  '--parts=naps': '--parts names naps; it needs some of navigation',
  '--parts=': '--parts names nothing',
  '--task_counts=4,-1': 'task_counts: got (4, -1), need at least 1.',
  '--horizon=1': 'horizon: got 1, need at least 2.',
  '--algorithm=x': '--algorithm names x; it needs some of trpo_maml',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_a_mistake_ends_with_a_sentence(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
