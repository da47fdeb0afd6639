"""The benchmark of the meta-update: what it measures, and as a command."""

import json

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import meta_update_timing, timing

_NAME = 'benchmark_meta_update'


@pytest.fixture(scope='module')
def problem():
  config = presets.make(
    'promp',
    num_tasks=3,
    num_rollouts=2,
    horizon=6,
    num_outer_epochs=2,
    hidden_sizes=(8,),
  )
  return meta_update_timing.make_problem(config)


@pytest.fixture(scope='module')
def rows(problem):
  rows = meta_update_timing.measure_problem(problem, num_turns=1)
  return {row.name: row for row in rows}


def test_the_split_adds_up_to_the_update(rows):
  parts = [row for name, row in rows.items() if name.startswith('part: ')]
  assert len(parts) == 5
  np.testing.assert_allclose(
    sum(row.value for row in parts), rows['update'].value
  )
  np.testing.assert_allclose(sum(row.ratio for row in parts), 1.0)
  for name in ('update', 'gradient', 'network', 'preparation'):
    assert rows[name].value > 0 and rows[name].compilation > 0


def test_operations_are_about_those_of_the_products(problem, rows):
  """Of the layers: 12 products each, 11 in the first one; little else."""
  config = problem.config
  steps = config.num_tasks * config.num_rollouts * config.horizon
  products = 2 * steps * (11 * 2 * 8 + 12 * 8 * 2)
  flops = rows['operations of an epoch'].value * 1e9
  assert products < flops < 3 * products


def test_the_update_is_held_to_the_rate_of_a_product(rows):
  yardstick = rows[timing.YARDSTICK]
  assert yardstick.target == f'>= {meta_update_timing.TARGET}'
  assert yardstick.is_met == (yardstick.ratio >= meta_update_timing.TARGET)
  floor = rows['part: operations at the rate of the product']
  np.testing.assert_allclose(yardstick.ratio, floor.ratio)


def test_as_a_command(call_main):
  out, _ = call_main(
    _NAME,
    '--num_tasks=3',
    '--num_rollouts=2',
    '--horizon=4',
    '--num_turns=1',
    '--json',
  )
  rows = json.loads(out)['rows']
  assert all(' 3x2x4x2' in row['case'] for row in rows)
  assert rows[0]['name'] == 'update' and rows[0]['ratio'] == 1.0


_MISTAKES = {
  '--num_devices=0': 'num_devices',
  '--algorithm=trpo_maml': '--algorithm names trpo_maml; it needs some of',
  '--num_turns=0': 'num_turns: got 0',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_a_mistake_ends_with_a_sentence(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
