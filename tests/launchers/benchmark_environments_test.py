"""The benchmark of environments as its user runs it."""

import json

_NAME = 'benchmark_environments'


def test_every_environment_has_two_rows(call_main):
  out, _ = call_main(
    _NAME,
    '--environments=hopper_params,navigation_2d',
    '--num_tasks=2',
    '--num_rollouts=2',
    '--num_steps=2',
    '--json',
  )
  rows = json.loads(out)['rows']
  assert [(row['case'], row['name']) for row in rows] == [
    (f'{name}, 4 simulations', side)
    for name in ('hopper_params', 'navigation_2d')
    for side in ('environment', 'bare')
  ]
  assert rows[0]['target'] == '' and rows[2]['target'] == '>= 0.5'


def test_a_mistake_ends_with_a_sentence(refused):
  message = refused(_NAME, '--environments=ant_goal,unicorn')
  assert message.startswith('--environments names unicorn')
  assert 'humanoid_direction' in message
  assert refused(_NAME, '--num_threads=0').startswith('num_threads: got 0')
