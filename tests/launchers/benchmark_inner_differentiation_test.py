"""The benchmark of inner differentiation: less memory, and as a command."""

import json

import pytest

from acme_metarl.launchers import benchmark_inner_differentiation
from acme_metarl.launchers.benchmarks import inner_differentiation

_SIZES = dict(num_inner_steps=(3,), hidden_sizes=(16,), num_rollouts=4)


def test_mixed_mode_keeps_less():
  config = inner_differentiation.Config(**_SIZES, horizon=20, rounds=1)
  rows = {row.name: row for row in inner_differentiation.measure(config)}
  memory = 'peak of temporary memory'
  assert rows[f'reverse, {memory}'].value > rows[f'mixed, {memory}'].value > 0
  assert rows['mixed'].value > 0
  assert rows['reverse'].ratio == 1.0


def test_command(capsys):
  flags = [
    f'--{name}={value}'
    for name, value in (
      ('num_inner_steps', 1),
      ('hidden_sizes', 4),
      ('num_rollouts', 2),
      ('horizon', 5),
      ('rounds', 1),
    )
  ]
  benchmark_inner_differentiation.main([*flags, '--json'])
  rows = json.loads(capsys.readouterr().out)['rows']
  assert {row['case'] for row in rows} == {'K 1, 4 units'}


def test_a_trust_region_is_refused():
  with pytest.raises(ValueError, match='has a trust region'):
    inner_differentiation.Config(algorithm='trpo_maml')
