"""Tests of processes: the numbers of the batch alone."""

import multiprocessing
import os

import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_metarl import environments

pytest.importorskip('cloudpickle', reason='needs cloudpickle')
G, B, T, K = 2, 3, 4, 1


def _make(what=''):
  """Defined inside functions, so that it travels by value."""

  class Walk(dm_env.Environment):
    """Moves by its action, times its task; ends far to the right."""

    goal = None

    def seed(self, seed):
      self._rng = np.random.default_rng(seed)

    def reset(self):
      self._place = self._rng.uniform(size=2)
      return dm_env.restart(self._place)

    def step(self, action):
      if what == 'error':
        raise ValueError('my own mistake')
      if what == 'exit':
        os._exit(3)
      if what == 'lie':
        return dm_env.transition(None, self._place)
      self._place += self.goal * action
      reward = float(os.getpid()) if what == 'pid' else self._place.sum()
      if self._place[0] > 1.2:
        return dm_env.termination(reward, self._place)
      return dm_env.transition(reward, self._place)

    def observation_spec(self):
      return specs.Array((2,), np.float32)

    def action_spec(self):
      return specs.Array((2,), np.float32)

  def set_task(environment, goal):
    environment.goal = goal

  def make_batch():
    return environments.DmEnvBatch(
      Walk,
      lambda rng: rng.uniform(size=2),
      set_task,
      set_seed=lambda environment, seed: environment.seed(seed),
      get_info=lambda environment: {'x': environment._place[0]},
      has_finite_tasks=False,
      render=lambda environment: np.full((1, 1, 3), environment._place[0]),
    )

  return make_batch


def _play(batch):
  trial = environments.TrialEnvironment(batch, G, B, T, K, seed=2)
  rng = np.random.default_rng(0)
  rows = [(trial.reset(), trial.info)]
  while not rows[-1][0].last():
    action = rng.normal(0.3, 0.2, size=(G, B, 2)).astype(np.float32)
    rows.append((trial.step(action), trial.info))
  return rows


@pytest.mark.parametrize('num_processes', [2])
def test_equals_the_batch_alone(num_processes):
  alone = _make()()
  expected = _play(alone)
  batch = environments.ProcessBatch(_make(), num_processes)
  assert not batch.has_finite_tasks
  # Who only looks at an environment starts none.
  assert not multiprocessing.active_children()
  rows = _play(batch)
  assert len(multiprocessing.active_children()) == num_processes
  # Of either process.
  np.testing.assert_array_equal(
    batch.render([5, 0, 2]), alone.render([5, 0, 2])
  )
  batch.close()
  for (row, info), (other, other_info) in zip(rows, expected, strict=True):
    np.testing.assert_array_equal(row.reward, other.reward)
    np.testing.assert_array_equal(row.discount, other.discount)
    for left, right in zip(row.observation, other.observation, strict=True):
      np.testing.assert_array_equal(left, right)
    assert set(info) == set(other_info)
    for name in info:
      np.testing.assert_array_equal(info[name], other_info[name])
  assert 0 < rows[T][0].observation.mask.sum() < G * B


def test_in_other_processes():
  batch = environments.ProcessBatch(_make('pid'), 2)
  rng = np.random.default_rng(0)
  batch.reset(batch.sample_tasks(rng, G), B, rng)
  _, reward, _ = batch.step(np.zeros((G, B, 2), np.float32))
  assert len(np.unique(reward)) == 2
  # More rollouts than before, and fewer than there are processes.
  for size in (4, 1):
    batch.reset(batch.sample_tasks(rng, 1), size, rng)
    assert batch.step(np.zeros((1, size, 2)))[1].shape == (1, size)
  batch.close()


@pytest.mark.parametrize(
  ('what', 'kind', 'message'),
  [
    ('lie', ValueError, 'reward is None'),
    ('error', RuntimeError, 'Traceback(.|\n)*my own mistake'),
    ('exit', RuntimeError, 'a process has ended; exit codes'),
  ],
)
def test_what_goes_wrong_in_a_process(what, kind, message):
  batch = environments.ProcessBatch(_make(what), 1)
  rng = np.random.default_rng(0)
  batch.reset(batch.sample_tasks(rng, 1), 1, rng)
  with pytest.raises(kind, match=message):
    batch.step(np.zeros((1, 1, 2)))
  batch.close()


def test_refused():
  with pytest.raises(ValueError, match='num_processes: got 0'):
    environments.ProcessBatch(_make(), 0)
  with pytest.raises(ValueError, match='make_batch: it returned 3'):
    environments.ProcessBatch(lambda: 3, 1)
