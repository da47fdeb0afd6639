import json

import pytest

_NAME = 'benchmark_agent'


def test_measures_both_sides_and_the_parts(tmp_path, run_launcher):
  out, _ = run_launcher(
    _NAME,
    '--num_tasks=2',
    '--num_rollouts=3',
    '--horizon=20',
    '--num_turns=2',
    f'--output={tmp_path}',
  )
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
  assert 'Ratio' in out


def test_mistakes_are_explained(refusals):
  (message,) = refusals(_NAME, ['--environment=nowhere'])
  assert message.startswith('benchmark_agent: environment: ')
