"""Meta-World: its wiring with a stand-in for its classes, then the package."""

import pickle
import sys

import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments import metaworld as ours

_SIZE = 39


class _Reach:
  """Moves on a line, as Meta-World's classes look from outside."""

  made = 0
  observation_space = action_space = None
  goal_of_all = None

  def __init__(self, render_mode, camera_name, width, height):
    type(self).made += 1
    self.pixels = np.zeros((height, width, 3), np.uint8)

  def set_task(self, task):
    self.goal = pickle.loads(task.data)

  def reset(self, *, seed=None, options=None):
    self.place = 0.0
    return self._show(), {}

  def step(self, action):
    assert np.abs(action).max() <= 1
    self.place += float(action[0])
    success = float(abs(self.place - self.goal) < 0.5)
    info = {'success': success, 'grasp_reward': 2.0}
    return self._show(), -abs(self.place - self.goal), False, False, info

  def _show(self):
    return np.full(_SIZE, self.place)

  def render(self):
    return self.pixels

  def close(self):
    pass


class _Push(_Reach):
  made = 0


@pytest.fixture
def batch():
  _Reach.made = _Push.made = 0
  return ours.batch(
    {'reach-v3': _Reach, 'push-v3': _Push},
    {
      'reach-v3': [pickle.dumps(goal) for goal in (1.0, 2.0)],
      'push-v3': [pickle.dumps(goal) for goal in (3.0, 4.0)],
    },
  )


def test_goals_and_successes_of_each_class(batch):
  trial = environments.TrialEnvironment(batch, 4, 2, 3, 1)
  trial.reset()
  assert trial.task_classes == ('reach-v3',) * 2 + ('push-v3',) * 2
  goals = np.array([pickle.loads(data) for data in trial.tasks.task])
  assert sorted(goals) == [1, 2, 3, 4]
  recorder = environments.InfoRecorder()
  recorder.start()
  for _ in range(7):
    # Far beyond the bounds: clipped there, not scaled.
    time_step = trial.step(np.full((4, 2, 4), 50.0))
    recorder.record(trial, time_step.observation)
  np.testing.assert_array_equal(
    recorder.summaries()['success_last'], np.tile(goals == 3, (2, 1))
  )
  np.testing.assert_array_equal(
    recorder.summaries()['success_ever'], np.tile(goals <= 3, (2, 1))
  )
  assert trial.action_spec().maximum.max() == 1


def test_a_rollout_keeps_the_simulation_of_its_class(batch):
  trial = environments.TrialEnvironment(batch, 4, 3, 3, 1)
  for _ in range(3):
    trial.reset()
  assert (_Reach.made, _Push.made) == (6, 6)


def test_without_a_task():
  environment = ours.AnyManipulation({'reach-v3': _Reach})
  with pytest.raises(ValueError, match='there is no task yet; call set_task'):
    environment.reset()


def test_a_class_that_hides_successes(batch, monkeypatch):
  real = _Reach.step
  monkeypatch.setattr(
    _Reach, 'step', lambda self, action: (*real(self, action)[:4], {})
  )
  rng = np.random.default_rng(0)
  batch.reset(batch.sample_tasks(rng, 2), 1, rng)
  with pytest.raises(ValueError, match='reported nothing, but not success'):
    batch.step(np.zeros((2, 1, 4)))


def test_mistakes(monkeypatch):
  with pytest.raises(ValueError, match="split: got 'validation', need train"):
    environments.make('metaworld', split='validation')
  monkeypatch.setitem(sys.modules, 'metaworld', None)
  with pytest.raises(ValueError, match=r'make \.venv-metaworld'):
    environments.make('metaworld')


# The package itself.


@pytest.fixture(scope='module')
def package():
  return pytest.importorskip('metaworld')


def _tasks(benchmark, split, seed=0):
  _, tasks = ours._split(benchmark, split, seed)
  return tasks


def test_splits_are_those_of_the_package(package):
  benchmark = package.ML1('push-v3', seed=3)
  for split in ours.SPLITS:
    expected = [task.data for task in getattr(benchmark, f'{split}_tasks')]
    assert _tasks('push-v3', split, seed=3) == {'push-v3': expected}
    assert len(expected) == 50
  goals = [
    {tuple(pickle.loads(data)['rand_vec']) for data in tasks['push-v3']}
    for tasks in (
      _tasks('push-v3', 'train', seed=3),
      _tasks('push-v3', 'test', seed=3),
    )
  ]
  assert not goals[0] & goals[1]


def test_ml10_tests_on_other_manipulations(package):
  train, test = (_tasks('ML10', split) for split in ours.SPLITS)
  assert (len(train), len(test)) == (10, 5)
  assert not set(train) & set(test)
  assert set(train) == set(package.ML10(seed=0).train_classes)


def test_a_trial_of_the_package(package):
  train = ours.make('reach-v3', num_processes=0)
  test = ours.make('reach-v3', 'test', num_processes=0)
  assert train.has_finite_tasks and not test.has_finite_tasks
  shown = []
  for _ in range(2):
    trial = environments.TrialEnvironment(train, 2, 1, 5, 0, seed=1)
    time_step = trial.reset()
    observations = [time_step.observation.observation]
    rng = np.random.default_rng(0)
    while not time_step.last():
      time_step = trial.step(rng.normal(size=(2, 1, 4)))
      observations.append(time_step.observation.observation)
    shown.append(np.array(observations))
    assert trial.info['success'].shape == (2, 1)
  # The same again, though other episodes came between.
  np.testing.assert_array_equal(*shown)
  # The goal is hidden, and makes a difference all the same.
  assert not shown[0][..., -3:].any()
  drawn = trial.tasks.task
  assert pickle.loads(drawn[0])['partially_observable']
  assert drawn[0] != drawn[1]


def test_pictures_of_the_package(package):
  batch = ours.make('reach-v3', num_processes=0, render_size=64)
  rng = np.random.default_rng(0)
  batch.reset(batch.sample_tasks(rng, 1), 1, rng)
  try:
    frame = batch._environments[0].render()
  except Exception as error:
    pytest.skip(f'nothing to draw with: {error}')
  assert frame.shape == (64, 64, 3)
  assert len(np.unique(frame)) > 8


def test_unknown_benchmark(package):
  with pytest.raises(ValueError, match="got 'ML11', need one of ML10"):
    ours.make('ML11')
