"""The agent in one process: the same update as on a device, and it learns."""

import dataclasses

from acme import specs as acme_specs
import dm_env
from dm_env import specs
import jax
import numpy as np
import optax
import pytest

from acme_metarl import self_tuning
from acme_metarl.agents import environment_loop
from acme_metarl.agents import self_tuning as agent_lib
from acme_metarl.agents.maml import replay


class _Pictures(dm_env.Environment):
  """Two steps an episode; the action that equals the bright pixel pays 1."""

  def __init__(self, seed=0):
    self._rng = np.random.default_rng(seed)
    self._step = 0

  def reset(self):
    self._step = 0
    return dm_env.restart(self._show())

  def step(self, action):
    reward = np.float32(action == self._bright)
    self._step += 1
    if self._step == 2:
      return dm_env.truncation(reward, self._show())
    return dm_env.transition(reward, self._show(), np.float32(1))

  def _show(self):
    self._bright = self._rng.integers(2)
    image = np.zeros((4, 4, 1), np.uint8)
    image[0, 3 * self._bright] = 255
    return image

  def observation_spec(self):
    return specs.BoundedArray((4, 4, 1), np.uint8, 0, 255)

  def action_spec(self):
    return specs.DiscreteArray(2)


class _Logger:
  def __init__(self):
    self.rows = []

  def write(self, data):
    self.rows.append(data)

  def close(self):
    pass


def _config(**settings):
  return agent_lib.SelfTuningAgentConfig(
    self_tuning.SelfTuningConfig(
      **{
        'num_rollouts': 4,
        'horizon': 3,
        'num_inner_steps': 2,
        'optimizer': optax.sgd(0.5),
        'critic': 'outer',
        **settings,
      }
    )
  )


class _Parts:
  """Everything of an agent in one process."""

  def __init__(self, config, client_of, kind='local'):
    self.spec = acme_specs.make_environment_spec(_Pictures())
    self.builder = agent_lib.SelfTuningBuilder(config, replay_kind=kind)
    self.networks = self.builder.make_networks(self.spec)
    self.policy = self.builder.make_policy(self.networks, self.spec)
    (self.table,) = self.builder.make_replay_tables(self.spec, self.policy)
    self.client = client_of(self.table)
    self.logger = _Logger()
    self.learner = self.make_learner()
    self.adder = self.builder.make_adder(self.client, self.spec, self.policy)
    self.actor = self.builder.make_actor(
      jax.random.PRNGKey(1), self.policy, self.spec, self.learner, self.adder
    )

  def make_learner(self):
    return self.builder.make_learner(
      jax.random.PRNGKey(0),
      self.networks,
      self.builder.make_dataset_iterator(self.client),
      lambda label: self.logger,
      self.spec,
    )

  def run(self, num_episodes):
    actor = agent_lib.LearningActor(
      self.actor, self.learner, lambda: self.table.can_sample(1)
    )
    loop = environment_loop.EnvironmentLoop(
      _Pictures(), actor, logger=_Logger()
    )
    return [loop.run_episode()['episode_return'] for _ in range(num_episodes)]


@pytest.fixture
def parts():
  """Makes agents whose servers end with the test."""
  open_servers = []

  def make(config, kind='local'):
    def client_of(table):
      server = replay.serve([table])
      open_servers.append(server)
      return server.__enter__()

    return _Parts(config, client_of, kind)

  yield make
  for server in open_servers:
    server.__exit__(None, None, None)


@pytest.mark.parametrize('bootstrap_steps', [0, 1])
def test_updates_are_those_of_the_library(parts, bootstrap_steps):
  """Three batches: two updates, the meta-update, and an update more."""
  agent = parts(_config(bootstrap_steps=bootstrap_steps))
  batches = []
  step = agent.learner._update
  agent.learner._update = lambda *x: (batches.append(x[-1]), step(*x))[1]
  start = agent.learner.save().tuner
  agent.run(18)  # 36 steps in items of 3, batches of 4.
  assert len(batches) == 3
  state = agent.learner.save()
  assert state.num_batches == 3
  assert len(state.batches) == 1

  tuner = self_tuning.Tuner(agent.builder.config.algorithm, agent.networks)
  expected, *_ = jax.jit(
    lambda state, first, rest: tuner.step(
      state, first, lambda _, x: (x[0], x[1:]), rest
    )
  )(start, batches[0], tuple(batches[1:]))
  close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)  # noqa: E731
  jax.tree.map(close, state.tuner, expected)
  assert state.tuner.meta_params.tuned['discount'] != pytest.approx(
    float(start.meta_params.tuned['discount'])
  )
  life = expected.meta_params
  params, _ = step(life, life.params, life.opt_state, batches[2])
  jax.tree.map(close, state.params, params)
  # Played by the parameters that they update.
  assert [row['lag'] for row in agent.logger.rows] == [0.0]


def test_items_are_the_stream_of_steps(parts):
  agent = parts(_config(num_rollouts=1))
  environment, seen = _Pictures(), []
  for _ in range(3):
    timestep = environment.reset()
    agent.adder.add_first(timestep)
    while not timestep.last():
      shown = timestep.observation.copy()
      extras = _extras(len(seen))
      timestep = environment.step(len(seen) % 2)
      agent.adder.add(np.int32(len(seen) % 2), timestep, extras)
      seen.append((shown, timestep.reward))
  batches = agent.builder.make_dataset_iterator(agent.client)
  for i in range(2):
    data = next(batches).data
    stage = data.stages
    own = seen[3 * i : 3 * i + 3]
    np.testing.assert_array_equal(
      stage.observation[0, :3], [shown for shown, _ in own]
    )
    np.testing.assert_array_equal(stage.reward[0], [x for _, x in own])
    # Episodes end after two steps, at a time limit.
    np.testing.assert_array_equal(stage.discount[0], [[1, 0, 1], [0, 1, 0]][i])
    np.testing.assert_array_equal(
      stage.behaviour_log_prob[0], [-3 * i, -3 * i - 1, -3 * i - 2]
    )
    assert data.learner_step[0] == 3 * i
  # Across the end of an episode comes the first observation of the next.
  np.testing.assert_array_equal(stage.observation[0, 1], seen[4][0])


def _extras(i):
  from acme_metarl.agents.self_tuning import adding

  return adding.Extras(np.float32(-i), i)


def test_a_saved_learner_goes_on(parts):
  agent = parts(_config())
  agent.run(20)
  saved = agent.learner.save()
  other = agent.make_learner()
  other.restore(saved)
  jax.tree.map(np.testing.assert_array_equal, other.save(), saved)
  agent.learner, agent.actor._variable_source = other, other
  agent.run(20)
  assert other.save().num_batches > saved.num_batches


def test_other_networks_do_not_fit(parts):
  saved = parts(_config()).learner.save()
  with pytest.raises(ValueError, match='not those of this network'):
    parts(_config(critic='shared')).learner.restore(saved)


def test_plain_actor_critic_updates_with_every_batch(parts):
  agent = parts(_config(tuned=()))
  agent.run(20)
  assert [row['discount'] for row in agent.logger.rows] == [
    pytest.approx(0.99)
  ] * 3
  assert agent.learner.save().batches == ()


def test_runs_with_reverb(parts):
  pytest.importorskip('reverb')
  agent = parts(_config(), 'reverb')
  agent.run(24)
  assert agent.learner.save().num_batches >= 3


def test_evaluation_takes_the_mode(parts):
  config = dataclasses.replace(_config(), evaluates_by_mode=True)
  agent = parts(config)
  policy = agent.builder.make_policy(agent.networks, agent.spec, True)
  actor = agent.builder.make_actor(
    jax.random.PRNGKey(1), policy, agent.spec, agent.learner
  )
  timestep = _Pictures().reset()
  actor.observe_first(timestep)
  actions = {int(actor.select_action(timestep.observation)) for _ in range(20)}
  assert len(actions) == 1


def test_mistakes_are_a_sentence(parts):
  with pytest.raises(ValueError, match='bootstrap_steps: got 2'):
    _config(bootstrap_steps=2)
  with pytest.raises(ValueError, match='max_queue_size: got 3, but a batch'):
    dataclasses.replace(_config(), max_queue_size=3)
  agent = parts(_config())
  with pytest.raises(ValueError, match='variable_source: got None'):
    agent.builder.make_actor(jax.random.PRNGKey(0), agent.policy, agent.spec)
  with pytest.raises(ValueError, match='names: got weights; the learner has'):
    agent.learner.get_variables(['weights'])


@pytest.mark.learning
def test_learns_to_see(parts):
  config = _config(optimizer=self_tuning.adam(0.01), num_rollouts=8, horizon=4)
  returns = parts(config).run(1500)
  assert np.mean(returns[-100:]) > 1.8
