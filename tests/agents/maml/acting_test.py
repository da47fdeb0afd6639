from acme import core
import jax
import numpy as np
import pytest

from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.meta import learner as learner_lib


class _Variables(core.VariableSource):
  """Counts how often it is asked; its parameters can be changed."""

  def __init__(self, params):
    self.params = jax.device_get(params)
    self.learner_step = 0
    self.num_calls = 0

  def get_variables(self, names):
    self.num_calls += 1
    values = {'params': self.params, 'learner_step': self.learner_step}
    return [values[name] for name in names]


@pytest.fixture(scope='module')
def shared():
  """What every test of this module can use, compiled once."""
  return {}


@pytest.fixture
def agent(make_agent, shared):
  agent = make_agent(num_inner_steps=2)
  # The compiled functions of the first test serve the others.
  agent.policy = shared.setdefault('policy', agent.policy)
  return agent


@pytest.fixture
def variables(agent):
  return _Variables(
    agent.policy.init(
      jax.random.PRNGKey(0), networks_lib.example_observation(agent.spec)
    )
  )


class _Spy(maml.TrialRecorder):
  """A recorder that remembers what it was given."""

  def add_first(self, timestep):
    super().add_first(timestep)
    self.learner_steps = []

  def add(self, action, next_timestep, extras):
    super().add(action, next_timestep, extras)
    self.learner_steps.append(int(extras.learner_step))


def _play(agent, variables, num_trials=1, seed=1, actor=None):
  """Returns the actor, and the record of its last trial."""
  if actor is None:
    adder = _Spy(
      agent.builder._item_spec(agent.spec, agent.policy),
      agent.spec.rewards.shape[0],
    )
    actor = agent.make_actor(variables, adder, seed)
  loop = environment_loop.EnvironmentLoop(
    agent.environment, actor, logger=agent.logger
  )
  loop.run(num_episodes=num_trials)
  trial = jax.tree_util.tree_map(np.array, actor._recorder.trial)
  return actor, trial


def test_acts_with_parameters_adapted_as_the_learner_adapts(agent, variables):
  actor, trial = _play(agent, variables)
  learner = learner_lib.make_meta_learner(
    agent.config.algorithm, agent.networks.policy
  )
  adapt = jax.jit(
    lambda params, stage: learner.update_inner(
      variables.params, *params, learner.prepare(variables.params, stage)
    )
  )
  log_prob = jax.jit(
    lambda params, x, action: agent.networks.policy.apply(params, x).log_prob(
      action
    )
  )
  for task in range(2):
    params = learner.init_inner(variables.params)
    for stage in range(3):
      data = jax.tree_util.tree_map(lambda x, i=(task, stage): x[i], trial)
      np.testing.assert_allclose(
        log_prob(params[0], data.observation[:, :-1], data.action),
        data.behaviour_log_prob,
        rtol=2e-4,
        atol=2e-4,
      )
      if stage < 2:
        params = adapt(params, data)
    jax.tree_util.tree_map(
      lambda x, y, g=task: np.testing.assert_allclose(
        x[g], y, rtol=1e-3, atol=1e-5
      ),
      tuple(actor.params),
      params,
    )


def test_fetches_parameters_once_a_trial(agent, variables):
  actor, _ = _play(agent, variables, num_trials=1)
  assert variables.num_calls == 1
  variables.learner_step = 5
  environment, recorder = agent.environment, actor._recorder
  timestep = environment.reset()
  actor.observe_first(timestep)
  assert variables.num_calls == 2
  before = jax.device_get(actor.params)
  # New parameters in the middle of a trial do not matter, update or not.
  variables.learner_step = 6
  variables.params = jax.tree_util.tree_map(np.zeros_like, variables.params)
  for wait in (False, True):
    action = actor.select_action(timestep.observation)
    timestep = environment.step(action)
    actor.observe(action, timestep)
    actor.update(wait=wait)
  assert variables.num_calls == 2
  jax.tree_util.tree_map(
    np.testing.assert_array_equal, before, jax.device_get(actor.params)
  )
  assert recorder.learner_steps == [5, 5]


def test_trials_repeat_by_number(agent, variables):
  agent.environment.trial_index = 0
  _, first = _play(agent, variables, num_trials=2)
  agent.environment.trial_index = 1
  actor = agent.make_actor(variables)
  actor.restore({'num_trials': 1})
  _, again = _play(agent, variables, actor=actor)
  assert actor.save() == {'num_trials': 2}
  jax.tree_util.tree_map(np.testing.assert_array_equal, first, again)
  agent.environment.trial_index = 1
  other = agent.make_actor(variables, seed=2)
  other.restore({'num_trials': 1})
  _, third = _play(agent, variables, actor=other)
  assert np.all(third.action != first.action)


def test_evaluation_needs_no_adder_and_stores_nothing(agent, variables):
  actor = agent.builder.make_actor(
    jax.random.PRNGKey(0),
    agent.builder.make_policy(agent.networks, agent.spec, evaluation=True),
    agent.spec,
    variables,
  )
  returns = maml.TrialReturns()
  loop = environment_loop.EnvironmentLoop(
    agent.environment, actor, logger=agent.logger, observers=[returns]
  )
  loop.run_episode()
  assert agent.counts().size == 0
  trial = actor._recorder.trial
  np.testing.assert_allclose(
    returns.returns, trial.reward.sum(axis=-1), rtol=1e-5
  )
  metrics = returns.get_metrics()
  assert metrics.pop('episode_return') == pytest.approx(trial.reward.sum() / 6)
  assert metrics.pop('environment_steps') == trial.mask.sum() == 2 * 3 * 3 * 5
  assert metrics == {
    f'return_{k}': pytest.approx(trial.reward[:, k].sum() / 6) for k in range(3)
  }


def test_evaluation_may_end_with_the_mode(make_agent):
  agent = make_agent(agent={'mode_in_last_stage': True})
  assert agent.policy.select_last is None
  actor = agent.builder.make_actor(
    jax.random.PRNGKey(0),
    agent.builder.make_policy(agent.networks, agent.spec, evaluation=True),
    agent.spec,
    agent.make_learner(),
  )
  environment_loop.EnvironmentLoop(
    agent.environment, actor, logger=agent.logger
  ).run_episode()
  trial = actor._recorder.trial
  is_mean = trial.action == trial.behaviour_params[0]
  assert not is_mean[:, 0].any()
  assert is_mean[:, 1].all()


def test_an_actor_needs_variables(agent):
  with pytest.raises(ValueError, match='variable_source: got None'):
    agent.builder.make_actor(jax.random.PRNGKey(0), agent.policy, agent.spec)
