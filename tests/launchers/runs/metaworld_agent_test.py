"""The agent that Meta-World's protocol drives, in a protocol of our own."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.examples import gymnasium_environment
from acme_metarl.launchers.runs import (
  checkpointing,
  loading,
  metaworld_agent,
)
from acme_metarl.launchers.runs import config as run_config

_N, _T, _EPISODES = 3, 4, 2
_ANGLES = (0.5, -0.5, 1.0)


class _Timestep(NamedTuple):
  """As `metaworld.evaluation` hands them over."""

  observation: Any
  action: Any
  reward: Any
  terminated: Any
  truncated: Any
  aux_policy_outputs: Any


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A policy as it is initialised."""
  config = run_config.RunConfig(
    environment=gymnasium_environment.make,
    algorithm=presets.make(
      'promp', num_tasks=2, num_rollouts=2, horizon=_T, hidden_sizes=(4,)
    ),
  )
  directory = tmp_path_factory.mktemp('run') / 'checkpoints'
  learner = loading.learner_lib.make_meta_learner(
    config.algorithm,
    config.algorithm.make_policy(
      config.make_environment().action_spec(),
      config.make_environment().observation_spec(),
    ),
  )
  state = learner.init(jax.random.PRNGKey(0), np.zeros(2, np.float32))
  checkpointing.Checkpointer(directory).save(
    0, jax.device_get(state), {'config': config.to_dict(), 'iteration': 0}
  )
  checkpoint = run_config.find_checkpoint(str(directory))
  return loading.Trained(config, checkpoint)


class _Rods:
  """N environments that reset by themselves, like gymnasium's SAME_STEP."""

  def __init__(self):
    self._rods = [gymnasium_environment.Rod() for _ in range(_N)]
    for i, (rod, angle) in enumerate(zip(self._rods, _ANGLES, strict=True)):
      rod.wanted = angle
      rod.np_random = np.random.default_rng(i)

  def reset(self):
    self._steps = 0
    return np.stack([rod.reset()[0] for rod in self._rods])

  def step(self, action):
    self._steps += 1
    rows = [rod.step(one) for rod, one in zip(self._rods, action, strict=True)]
    observation = np.stack([row[0] for row in rows])
    ended = np.full(_N, self._steps == _T)
    if ended.all():
      observation = self.reset()
    return observation, np.array([row[1] for row in rows]), ended


def _adapt(agent, rods):
  """One adaptation step of the protocol; returns what was played, by rod."""
  episodes = [[[]] for _ in range(_N)]
  observation = rods.reset()
  for _ in range(_EPISODES * _T):
    action, aux = agent.adapt_action(observation)
    assert np.abs(action).max() <= 1
    new, reward, truncated = rods.step(action)
    agent.step(
      _Timestep(observation, action, reward, np.zeros(_N, bool), truncated, aux)
    )
    for i in range(_N):
      row = observation[i], aux['raw_action'][i], reward[i]
      episodes[i][-1].append(row)
      if truncated[i]:
        episodes[i].append([])
    observation = new
  agent.adapt()
  return [
    [
      loading.Rollout(
        np.stack([row[0] for row in rows] + [rows[-1][0]]),
        np.stack([row[1] for row in rows]),
        np.stack([row[2] for row in rows]),
      )
      for rows in of_rod
      if rows
    ]
    for of_rod in episodes
  ]


def test_adapts_to_each_environment_on_its_own_episodes(trained):
  agent = metaworld_agent.MetaWorldAgent(trained, _N, seed=1)
  rods = _Rods()
  stages = [_adapt(agent, rods) for _ in range(2)]
  assert [len(of_rod) for of_rod in stages[0]] == [_EPISODES] * _N
  observation = rods.reset()
  actions = agent.eval_action(observation)
  np.testing.assert_array_equal(actions, agent.eval_action(observation))
  for i in range(_N):
    expected = trained.adapt(*[of_stage[i] for of_stage in stages])
    jax.tree_util.tree_map(
      lambda ours, theirs, i=i: np.testing.assert_allclose(
        ours[i], theirs, rtol=1e-5, atol=1e-6
      ),
      agent.params,
      expected,
    )
    np.testing.assert_allclose(
      actions[i],
      np.clip(trained.act(expected, observation[i]), -1, 1),
      rtol=1e-5,
      atol=1e-6,
    )
  # Tasks differ, and so do the policies.
  leaf = jax.tree_util.tree_leaves(agent.params)[0]
  assert np.abs(leaf[0] - leaf[1]).max() > 1e-6


def test_forgets_all_tasks(trained):
  agent = metaworld_agent.MetaWorldAgent(trained, _N)
  _adapt(agent, _Rods())
  agent.init()
  jax.tree_util.tree_map(
    lambda ours, theirs: np.testing.assert_array_equal(
      ours, np.stack([theirs] * _N)
    ),
    agent.params,
    trained.params,
  )
  first = _adapt(agent, _Rods())
  assert [len(of_rod) for of_rod in first] == [_EPISODES] * _N


def test_actions_are_drawn_anew_and_clipped(trained):
  agent = metaworld_agent.MetaWorldAgent(trained, 64)
  observation = np.tile(np.array([[1.0, 0.0]], np.float32), (64, 1))
  action, aux = agent.adapt_action(observation)
  again, _ = agent.adapt_action(observation)
  assert len(np.unique(aux['raw_action'])) == 64
  assert np.any(action != again)
  assert np.abs(aux['raw_action']).max() > 1
  np.testing.assert_array_equal(action, np.clip(aux['raw_action'], -1, 1))
