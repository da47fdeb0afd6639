import threading

import acme
from acme.utils import counting, loggers
import dm_env
import numpy as np
import pytest

from acme_metarl.agents import environment_loop, maml


class _Environment(dm_env.Environment):
  """Three steps of reward 1 and 2, in two rollouts."""

  def reset(self):
    self._step = 0
    return dm_env.restart(self._observation())

  def step(self, action):
    self._step += 1
    reward = np.array([[1.0, 2.0]], np.float32)
    if self._step == 3:
      return dm_env.termination(reward, self._observation())
    return dm_env.transition(reward, self._observation())

  def _observation(self):
    from acme_metarl import environments

    mask = np.ones((1, 2), np.float32)
    return environments.TrialObservation(0, 0, np.bool_(self._step == 0), mask)

  def observation_spec(self):
    return dm_env.specs.Array((), float)

  def action_spec(self):
    return dm_env.specs.DiscreteArray(2)

  def reward_spec(self):
    return dm_env.specs.Array((1, 2), np.float32)


class _Actor(acme.Actor):
  num_updates = 0

  def select_action(self, observation):
    return 0

  def observe_first(self, timestep):
    pass

  def observe(self, action, next_timestep):
    pass

  def update(self, wait=False):
    self.num_updates += 1


class _Logger(loggers.NoOpLogger):
  def __init__(self):
    self.rows = []

  def write(self, row):
    self.rows.append(row)


def test_plays_counts_and_reports_a_number():
  logger, actor = _Logger(), _Actor()
  loop = environment_loop.EnvironmentLoop(
    _Environment(),
    actor,
    counting.Counter(),
    logger,
    observers=[maml.TrialReturns()],
  )
  loop.run(num_steps=4)
  assert [row['episode_length'] for row in logger.rows] == [3, 3]
  assert [row['steps'] for row in logger.rows] == [3, 6]
  for row in logger.rows:
    assert row['episode_return'] == row['return_0'] == 4.5
    assert row['environment_steps'] == 6
    assert all(np.ndim(value) == 0 for value in row.values())
  assert actor.num_updates == 6
  loop.run(num_episodes=1)
  assert len(logger.rows) == 3
  with pytest.raises(ValueError, match='got both'):
    loop.run(1, 1)


def test_returns_are_a_number_without_observers_too():
  loop = environment_loop.EnvironmentLoop(
    _Environment(), _Actor(), logger=_Logger(), should_update=False
  )
  assert loop.run_episode()['episode_return'] == 4.5


def test_acmes_loop_reports_a_number_too():
  logger = _Logger()
  try:
    loop = acme.EnvironmentLoop(
      _Environment(), _Actor(), logger=logger, observers=[maml.TrialReturns()]
    )
  except TypeError:
    pytest.skip('This release of Acme knows no observers.')
  assert loop.run_episode()['episode_return'] == 4.5


def test_threads_may_share_an_observer():
  import pickle

  shared = pickle.loads(pickle.dumps(maml.TrialReturns()))
  wrong = []
  barrier = threading.Barrier(2)

  def play(scale):
    environment = _Environment()
    for _ in range(50):
      timestep = environment.reset()
      shared.observe_first(environment, timestep)
      barrier.wait()
      while not timestep.last():
        timestep = environment.step(0)
        scaled = timestep._replace(reward=scale * timestep.reward)
        shared.observe(environment, scaled, 0)
      barrier.wait()
      if shared.get_metrics()['episode_return'] != 4.5 * scale:
        wrong.append(scale)

  threads = [threading.Thread(target=play, args=(x,)) for x in (1, -7)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong
  pickle.dumps(shared)
  with pytest.raises(ValueError, match='returns: no trial'):
    _ = shared.returns
