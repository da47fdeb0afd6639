import json
import os
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[2]


def _benchmark(cache, *flags):
  return subprocess.run(
    [sys.executable, '-m', 'acme_metarl.launchers.benchmark_agent', *flags],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_COMPILATION_CACHE_DIR': cache,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.2',
    },
  )


def test_measures_both_sides_and_the_parts(tmp_path, compilation_cache):
  process = _benchmark(
    compilation_cache,
    '--num_tasks=2',
    '--num_rollouts=3',
    '--horizon=20',
    '--num_turns=2',
    f'--output={tmp_path}',
  )
  assert process.returncode == 0, process.stderr
  result = json.loads((tmp_path / 'results.json').read_text())
  assert result['seconds'] > 0
  assert result['direct_seconds'] > 0
  assert result['ratio'] == pytest.approx(
    result['seconds'] / result['direct_seconds'], rel=1
  )
  parts = result['parts']
  assert list(parts) == [
    'environment',
    'policy',
    'adder and Reverb',
    'preparation',
    'adaptation',
    'learner',
    'other',
  ]
  assert all(seconds >= 0 for seconds in parts.values())
  # Every part is measured, and together they are the whole.
  assert all(parts[name] > 0 for name in ('environment', 'policy', 'learner'))
  assert sum(parts.values()) == pytest.approx(result['seconds'], rel=0.5)
  assert 0 < result['compute_share'] < 1
  assert 'Ratio' in process.stdout


def test_mistakes_are_explained(compilation_cache):
  process = _benchmark(compilation_cache, '--environment=nowhere')
  assert process.returncode == 1
  assert process.stderr.startswith('benchmark_agent: environment: ')
