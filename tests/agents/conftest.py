"""Small agents for the tests of the agent."""

from acme import specs
from acme.utils import loggers
import jax
import pytest

from acme_metarl import environments, presets
from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay

NUM_ROLLOUTS = 3
HORIZON = 5


class Rows(loggers.Logger):
  """Keeps everything that is written."""

  def __init__(self):
    self.rows = []

  def write(self, data):
    self.rows.append(data)

  def close(self):
    pass


class Agent:
  """The agent's parts around an in-process replay server."""

  def __init__(self, config, environment, networks=None):
    if isinstance(environment, str):
      environment = environments.TrialEnvironment(
        environments.make(environment, reward='dense'),
        config.algorithm.num_tasks,
        NUM_ROLLOUTS,
        HORIZON,
        config.algorithm.num_inner_steps,
      )
    self.config = config
    self.builder = maml.MAMLBuilder(config)
    self.environment = environment
    self.spec = specs.make_environment_spec(environment)
    self.networks = networks or maml.make_networks(self.spec, config.algorithm)
    self.policy = self.builder.make_policy(self.networks, self.spec)
    self.logger = Rows()
    self.server = replay.serve(
      self.builder.make_replay_tables(self.spec, self.policy)
    )
    self.client = self.server.__enter__()

  def make_learner(self, iterator=None):
    return self.builder.make_learner(
      jax.random.PRNGKey(0),
      self.networks,
      iterator or self.builder.make_dataset_iterator(self.client),
      lambda label: self.logger,
      self.spec,
      self.client,
    )

  def make_adder(self):
    return self.builder.make_adder(self.client, self.spec, self.policy)

  def make_actor(self, learner, adder=None, seed=1):
    return self.builder.make_actor(
      jax.random.PRNGKey(seed), self.policy, self.spec, learner, adder
    )

  def counts(self):
    return replay.connect(self.client, 'trials').counts()

  def close(self):
    self.server.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def _compile_once(compilation_cache):
  """Most of these tests build the same few programs."""


@pytest.fixture
def make_config():
  def make(preset='promp_taypo2', num_tasks=2, agent=None, **overrides):
    overrides = {
      'num_tasks': num_tasks,
      'num_rollouts': NUM_ROLLOUTS,
      'horizon': HORIZON,
      'num_outer_epochs': 1,
      'hidden_sizes': (8,),
      **overrides,
    }
    return maml.MAMLConfig(presets.make(preset, **overrides), **(agent or {}))

  return make


@pytest.fixture
def make_agent(make_config):
  agents = []

  def make(environment='navigation_2d', networks=None, **config):
    agents.append(Agent(make_config(**config), environment, networks))
    return agents[-1]

  yield make
  for agent in agents:
    agent.close()
