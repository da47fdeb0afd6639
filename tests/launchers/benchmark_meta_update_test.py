"""Tests of the meta-update's benchmark: what it measures, and as a command."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import acme_metarl
from acme_metarl import presets
from acme_metarl.launchers.benchmarks import meta_update_timing, timing


def _run(*flags):
  # In a process of its own: flags of several launchers do not go together.
  return subprocess.run(
    [
      sys.executable,
      '-m',
      'acme_metarl.launchers.benchmark_meta_update',
      *flags,
    ],
    cwd=pathlib.Path(acme_metarl.__file__).parents[1],
    capture_output=True,
    text=True,
    check=False,
  )


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
def report(problem):
  return meta_update_timing.measure(problem, num_turns=1)


def test_the_split_adds_up_to_the_update(report):
  np.testing.assert_allclose(
    sum(report.split.values()), report.seconds['update']
  )
  assert all(x > 0 for x in report.seconds.values())
  assert set(report.compilation) == set(report.seconds)


def test_operations_are_about_those_of_the_products(problem, report):
  """Of the layers: 12 products each, 11 in the first one; little else."""
  config = problem.config
  steps = config.num_tasks * config.num_rollouts * config.horizon
  products = 2 * steps * (11 * 2 * 8 + 12 * 8 * 2)
  assert products < report.flops < 3 * products


def test_table(problem, report):
  def text(share):
    shares = {**report.shares, timing.YARDSTICK: share}
    return meta_update_timing.table(report._replace(shares=shares), problem)

  assert '3 tasks x 2 rollouts x 6 steps x 2 stages' in text(0.9)
  assert f'target: 80% of the {timing.YARDSTICK}: met' in text(0.9)
  assert f'target: 80% of the {timing.YARDSTICK}: missed' in text(0.7)


def test_as_a_command(tmp_path):
  result = _run(
    '--num_tasks=3',
    '--num_rollouts=2',
    '--horizon=4',
    '--num_devices=2',
    '--num_turns=1',
    f'--output={tmp_path}',
  )
  assert result.returncode == 0, result.stderr
  assert '2 x cpu' in result.stdout or jax.default_backend() != 'cpu'
  results = json.loads((tmp_path / 'results.json').read_text())
  assert results['config']['num_tasks'] == 3
  assert all(share > 0 for share in results['shares'].values())


def test_refusals():
  result = _run('--num_devices=0')
  assert result.returncode == 1
  assert 'num_devices' in result.stderr and 'Traceback' not in result.stderr
  result = _run('promp')
  assert "unexpected argument 'promp'" in result.stderr
