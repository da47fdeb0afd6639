"""Policies with a memory, through the agent."""

from acme import specs
from acme.utils import loggers
import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.meta import policies


class _Remember:
  """Shows a sign once, and pays for saying it ever after.

  Observations are (sign, whether it is shown). Without a memory the most that
  can be had is the one reward of the first step.
  """

  def observation_spec(self):
    return dm_env.specs.Array((2,), np.float32)

  def action_spec(self):
    return dm_env.specs.DiscreteArray(2)

  def sample_tasks(self, rng, num_tasks):
    return np.zeros(num_tasks)

  def reset(self, tasks, num_rollouts, rng):
    self._sign = rng.integers(2, size=(len(tasks), num_rollouts))
    shown = np.ones_like(self._sign)
    return np.stack([2 * self._sign - 1, shown], axis=-1).astype(np.float32)

  def step(self, action):
    reward = (2.0 * (action == self._sign) - 1).astype(np.float32)
    observation = np.zeros((*self._sign.shape, 2), np.float32)
    return observation, reward, np.ones_like(reward)


def _gru(hidden=8):
  return maml.MAMLNetworks(
    policies.gru(specs.DiscreteArray(2), memory_size=hidden)
  )


def _environment(num_tasks, num_rollouts, horizon):
  return environments.TrialEnvironment(
    _Remember(), num_tasks, num_rollouts, horizon
  )


def test_acts_as_it_learns(make_agent):
  """Acting step by step and unrolling give the same log-probabilities."""
  agent = make_agent(_environment(2, 3, 5), _gru())
  learner = agent.make_learner()
  actor = agent.make_actor(learner, agent.make_adder())
  meta_params, _ = learner.get_variables(['params', 'learner_step'])
  loop = environment_loop.EnvironmentLoop(
    agent.environment, actor, logger=loggers.NoOpLogger()
  )
  loop.run_episode()
  trial = jax.tree_util.tree_map(np.array, actor._recorder.trial)
  params = agent.policy.start(meta_params, 2)
  for stage in range(2):
    if stage:
      params = actor.params  # Adapted on stage 0.
    for task in range(2):
      of_task = jax.tree_util.tree_map(lambda x, g=task: x[g], params.policy)
      distribution = policies.unroll(
        agent.networks.policy, of_task, trial.observation[task, stage, :, :-1]
      )
      np.testing.assert_allclose(
        distribution.log_prob(trial.action[task, stage]),
        trial.behaviour_log_prob[task, stage],
        rtol=1e-4,
        atol=1e-5,
      )
  learner.step()
  row = agent.logger.rows[-1]
  assert row['num_skipped'] == 0
  assert row['effective_sample_size_0'] == pytest.approx(1, abs=1e-4)


def test_needs_its_state(make_agent):
  agent = make_agent(_environment(2, 3, 5), _gru())
  params = agent.policy.start(
    agent.policy.init(jax.random.PRNGKey(0), jnp.zeros(2)), 2
  )
  with pytest.raises(ValueError, match='state: got .*initial_state'):
    agent.policy.select_action(
      params, np.zeros((2, 3, 2), np.float32), jax.random.PRNGKey(0), 0, 0
    )
  state = agent.policy.initial_state(2, 3)
  assert jax.tree_util.tree_map(jnp.shape, state) == (2, 3, 8)
  sampled = agent.policy.select_action(
    params, np.zeros((2, 3, 2), np.float32), jax.random.PRNGKey(0), 0, 0, state
  )
  assert np.abs(sampled.state - state).max() >= 0
  assert isinstance(sampled, networks_lib.SampledActions)


def test_learns_to_remember(make_agent):
  sizes = dict(num_tasks=4, num_rollouts=16, horizon=4)
  agent = make_agent(
    _environment(*sizes.values()),
    _gru(),
    preset='promp',
    baseline='zero',
    outer_learning_rate=0.03,
    inner_learning_rate=0.1,
    **{**sizes, 'num_outer_epochs': 3},
  )
  learner = agent.make_learner()
  actor = agent.make_actor(learner, agent.make_adder())
  returns = maml.TrialReturns()
  loop = environment_loop.EnvironmentLoop(
    agent.environment,
    actor,
    logger=loggers.NoOpLogger(),
    observers=[returns],
  )
  first = None
  for _ in range(60):
    loop.run_episode()
    learner.step()
    if first is None:
      first = returns.returns.mean()
  # Of 4 at most; 1 without a memory.
  assert first < 1
  assert returns.returns[:, 1].mean() > 2.5
