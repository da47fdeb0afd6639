"""Meta-World's own protocol on a checkpoint; with the package, the real one."""

import json

from dm_env import specs
import jax
import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import checkpointing, loading
from acme_metarl.launchers.runs import config as run_config

_OBSERVATION = specs.Array((39,), np.float32)
_ACTION = specs.BoundedArray((4,), np.float32, -1, 1)


@pytest.fixture(scope='module')
def write_run(tmp_path_factory):
  """Writes an untrained policy of an environment with 4 actions."""

  def write(environment, **options):
    config = run_config.RunConfig(
      environment=environment,
      environment_options=options,
      algorithm=presets.make(
        'promp', num_tasks=2, num_rollouts=2, horizon=20, hidden_sizes=(8,)
      ),
    )
    learner = loading.learner_lib.make_meta_learner(
      config.algorithm,
      config.algorithm.make_policy(_ACTION, _OBSERVATION),
    )
    state = learner.init(jax.random.PRNGKey(0), np.zeros(39, np.float32))
    directory = tmp_path_factory.mktemp('run')
    checkpointing.Checkpointer(directory / 'checkpoints').save(
      3, jax.device_get(state), {'config': config.to_dict(), 'iteration': 3}
    )
    return directory

  return write


def test_the_protocol_of_the_package(write_run, call_main):
  metaworld = pytest.importorskip('metaworld')
  directory = write_run('metaworld', benchmark='reach-v3', seed=5)
  flags = (
    f'--checkpoint={directory}',
    '--num_evals=2',
    '--meta_batch_size=2',
    '--adaptation_episodes=2',
    '--evaluation_episodes=1',
    '--max_episode_steps=20',
    '--vector_strategy=sync',
  )
  out, _ = call_main('evaluate_metaworld', *flags)
  assert 'Iteration 3: success 0, return' in out
  path = directory / 'metaworld-00000003' / 'metaworld.json'
  results = json.loads(path.read_text())
  assert results['success'] == 0
  assert results['success_of_class'] == {'reach-v3': 0}
  assert results['return'] > 0
  assert (results['benchmark'], results['split']) == ('reach-v3', 'test')
  # The same again, and not the same on the other split.
  for split, is_same in (('test', True), ('train', False)):
    call_main('evaluate_metaworld', *flags, f'--split={split}')
    again = json.loads(path.read_text())
    assert (again['return'] == results['return']) == is_same
  assert len(metaworld.ML1('reach-v3', seed=5).test_tasks) == 50


def test_the_numbers_of_the_protocol_go_together(write_run, call_main, refused):
  """Twenty environments, two of the forty goals each."""
  pytest.importorskip('metaworld')
  directory = write_run('metaworld', benchmark='reach-v3')
  quick = (
    f'--checkpoint={directory}',
    '--num_evals=1',
    '--adaptation_episodes=1',
    '--evaluation_episodes=1',
    '--max_episode_steps=2',
    '--vector_strategy=sync',
  )
  call_main('evaluate_metaworld', *quick)
  path = directory / 'metaworld-00000003' / 'metaworld.json'
  results = json.loads(path.read_text())
  assert (results['meta_batch_size'], results['tasks_per_class']) == (20, 40)
  message = refused('evaluate_metaworld', *quick, '--tasks_per_class=50')
  assert 'got 20 environments for 50 tasks_per_class, need a mult' in message


def test_environments_play_the_split_that_was_asked_for(monkeypatch):
  metaworld = pytest.importorskip('metaworld')
  benchmark = metaworld.ML1('reach-v3', seed=5)
  for split in ('train', 'test'):
    make = getattr(metaworld, f'make_ml_envs_{split}')
    environments = make('reach-v3', seed=5, meta_batch_size=2)
    played = {
      task.data for tasks in environments.get_attr('tasks') for task in tasks
    }
    environments.close()
    assert played == {
      task.data for task in getattr(benchmark, f'{split}_tasks')
    }


def test_mistakes_are_explained(write_run, refused):
  assert 'checkpoint: need' in refused('evaluate_metaworld')
  directory = write_run('navigation_2d')
  message = refused('evaluate_metaworld', f'--checkpoint={directory}')
  assert 'the run trained on navigation_2d, need one of train' in message
  directory = write_run('metaworld', split='validation')
  message = refused('evaluate_metaworld', f'--checkpoint={directory}')
  assert "split: got 'validation'" in message
