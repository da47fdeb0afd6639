import json

import pytest

_NAME = 'benchmark_distributed'


@pytest.mark.learning
def test_measures(tmp_path, run_launcher):
  out, _ = run_launcher(
    _NAME,
    '--num_actors=1,2',
    '--minutes=0.4',
    '--num_tasks=2',
    '--num_rollouts=3',
    '--horizon=5',
    f'--output={tmp_path}',
  )
  result = json.loads((tmp_path / 'results.json').read_text())
  for number in ('1', '2'):
    measured = result['measured'][number]
    assert measured['iterations'] > 0
    assert measured['cpu_seconds']['actor'] > 0
    tasks = measured['tasks']
    assert tasks['learned'] == tasks['sampled'] <= tasks['inserted']
    # What is left is in the queue, or was on its way to be counted.
    assert tasks['inserted'] - tasks['sampled'] <= 2 * 2 + 2
    assert tasks['dropped'] == tasks['lost'] == tasks['duplicated'] == 0
    assert result['predictions'][number]['seconds'] > 0
    names = [name.split()[0] for name in measured['megabytes']]
    assert names.count('actor') == int(number)
    assert f'{number} actors: ' in out


def test_mistakes_are_explained(refusals):
  flags = ['--num_actors=none', '--num_actors=0', '--minutes=0']
  for message, flag in zip(refusals(_NAME, flags), flags, strict=True):
    name = flag[2:].split('=')[0]
    assert message.startswith(f'{_NAME}: {name}: ')
