"""The benchmark of the agent as its user runs it."""

import json

import pytest

from acme_metarl.launchers.benchmarks import agent_overhead

_NAME = 'benchmark_agent'


def test_measures_both_sides_and_the_parts(call_main):
  out, _ = call_main(
    _NAME,
    '--num_tasks=2',
    '--num_rollouts=3',
    '--horizon=20',
    '--num_turns=1',
    '--json',
  )
  rows = {row['name']: row for row in json.loads(out)['rows']}
  assert {row['case'] for row in rows.values()} == {'navigation_2d 2x3x20x2'}
  through, direct = rows['through Acme and Reverb'], rows['direct']
  # Of one turn, so that the median of ratios is that of medians.
  assert through['ratio'] == pytest.approx(through['value'] / direct['value'])
  assert through['target'] == '<= 1.5'
  parts = {
    name.removeprefix('part: '): row['value']
    for name, row in rows.items()
    if name.startswith('part: ')
  }
  assert tuple(parts) == agent_overhead.PARTS
  assert all(seconds >= 0 for seconds in parts.values())
  # Every part is measured, and together they are the whole.
  assert all(parts[name] > 0 for name in ('environment', 'policy', 'learner'))
  assert sum(parts.values()) == pytest.approx(through['value'])
  compute = sum(parts.values()) - parts['adder and Reverb'] - parts['other']
  assert rows['physics or XLA']['value'] == pytest.approx(compute)
  share = compute / sum(parts.values())
  assert rows['physics or XLA']['ratio'] == pytest.approx(share)


_MISTAKES = {
  '--environment=nowhere': 'environment: there is no ',
  '--num_turns=0': 'num_turns: got 0, need at least 1.',
  '--algorithm=x': '--algorithm names x; it needs some of trpo_maml',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_are_explained(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
