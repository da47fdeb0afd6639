import collections

import gymnasium
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments import task_classes

_CLASSES = environments.TaskClasses(
  {'a': [1, 2, 3], 'b': [4], 'c': lambda rng: rng.integers(10, 20)}
)


@pytest.mark.parametrize('num_tasks', [1, 2, 3, 7, 12])
def test_every_class_and_every_task_as_often_as_can_be(num_tasks):
  rng = np.random.default_rng(num_tasks)
  for _ in range(20):
    drawn = _CLASSES.sample(rng, num_tasks)
    assert len(drawn) == num_tasks
    names = [task.name for task in drawn]
    assert names == sorted(names)
    counts = [names.count(name) for name in _CLASSES.names]
    assert max(counts) - min(counts) <= 1
    listed = collections.Counter(x.task for x in drawn if x.name == 'a')
    counts = [listed[task] for task in (1, 2, 3)]
    assert max(counts) - min(counts) <= 1


def test_every_choice_is_equally_likely():
  """Which class has one more, and which of its tasks are left out."""
  rng = np.random.default_rng(0)
  num_draws = 3000
  names, tasks = collections.Counter(), collections.Counter()
  for _ in range(num_draws):
    names[_CLASSES(rng).name] += 1
    # Two of three tasks of class a.
    tasks.update(x.task for x in _CLASSES.sample(rng, 6) if x.name == 'a')
  for counts, chance in ((names, 1 / 3), (tasks, 2 / 3)):
    assert len(counts) == 3
    stderr = np.sqrt(num_draws * chance * (1 - chance))
    for count in counts.values():
      assert abs(count - num_draws * chance) < 4 * stderr


class _Place(gymnasium.Env):
  observation_space = gymnasium.spaces.Box(-9, 99, (1,), np.float32)
  action_space = gymnasium.spaces.Discrete(2)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    return np.array([self.place], np.float32), {}

  def step(self, action):
    observation = np.array([self.place], np.float32)
    return observation, 0.0, False, False, {'success': self.place > 3}


def test_classes_reach_the_trial():
  batch = environments.GymnasiumBatch(
    _Place,
    _CLASSES,
    lambda environment, drawn: setattr(environment, 'place', drawn.task),
  )
  trial = environments.TrialEnvironment(batch, 6, 2, 2, 0)
  assert trial.task_classes == ()
  time_step = trial.reset()
  assert trial.task_classes == ('a', 'a', 'b', 'b', 'c', 'c')
  np.testing.assert_array_equal(
    time_step.observation.observation[:, 0, 0], trial.tasks.task
  )
  trial.step(np.zeros((6, 2), int))
  np.testing.assert_array_equal(trial.info['success'][:, 0], [0, 0, 1, 1, 1, 1])


def test_no_classes():
  navigation = environments.make('navigation_2d')
  trial = environments.TrialEnvironment(navigation, 2, 1, 1)
  trial.reset()
  assert trial.task_classes == ()


def test_mistakes():
  with pytest.raises(ValueError, match='classes: got none'):
    environments.TaskClasses({})
  with pytest.raises(ValueError, match="classes: 'b' has no tasks"):
    environments.TaskClasses({'a': [1], 'b': []})

  class Wrong:
    def task_classes(self, tasks):
      return ['a']

  with pytest.raises(ValueError, match='Wrong.*gave 1 names, need 2'):
    task_classes.names_of(Wrong(), np.zeros(2), 2)
