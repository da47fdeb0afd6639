"""The benchmark of the distributed program as its user runs it."""

import json

import pytest

from acme_metarl.launchers.benchmarks import distributed_load

_NAME = 'benchmark_distributed'


@pytest.mark.learning
def test_measures(tmp_path, run_launcher):
  run_launcher(
    _NAME,
    '--num_actors=1,2',
    '--minutes=0.4',
    '--num_tasks=2',
    '--num_rollouts=3',
    '--horizon=5',
    f'--logdir={tmp_path}',
  )
  rows = json.loads((tmp_path / 'results.json').read_text())['rows']
  for number in (1, 2):
    own = {
      r['name']: r['value'] for r in rows if r['case'] == f'{number} actors'
    }
    assert own['iterations'] > 0
    assert own['core seconds of actor, in an iteration'] > 0
    tasks = {
      name.removeprefix('tasks '): count
      for name, count in own.items()
      if name.startswith('tasks ')
    }
    assert tasks['learned'] == tasks['sampled'] <= tasks['inserted']
    # What is left is in the queue, or was on its way to be counted.
    assert tasks['inserted'] - tasks['sampled'] <= 2 * 2 + 2
    assert tasks['dropped'] == tasks['lost'] == tasks['duplicated'] == 0
    actors = [name for name in own if name.endswith('at first')]
    assert sum(name.startswith('actor ') for name in actors) == number


def test_rows_are_per_iteration_and_process():
  measured = distributed_load.Measurement(
    seconds=10.0,
    iterations=4,
    environment_steps=100,
    learning_seconds=1.0,
    waiting_seconds=0.5,
    lag=1.5,
    cpu_seconds={'actor': 8.0},
    megabytes={'actor 12': (100.0, 110.0)},
    tasks={'inserted': 40, 'lost': 0},
  )
  rows = {r.name: r for r in distributed_load.rows_of('2 actors', measured)}
  assert rows['an iteration'].value == 2.5
  assert rows['core seconds of actor, in an iteration'].value == 2.0
  assert rows['tasks inserted'].value == 40
  assert rows['actor 12: resident at the end'].ratio == pytest.approx(1.1)


def test_the_program_is_told_the_sizes():
  flags = distributed_load.Config(num_tasks=3).flags(2)
  assert flags[:2] == ['--num_actors=2', '--environment=navigation_2d']
  assert '--num_tasks=3' in flags and '--eval_every=0' in flags


_MISTAKES = {
  '--num_actors=none': 'flag --num_actors=none: need whole numbers',
  '--num_actors=0': 'num_actors: got (0,)',
  '--minutes=0': 'minutes: got 0.0',
  '--algorithm=x': '--algorithm names x; it needs some of trpo_maml',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_are_explained(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
