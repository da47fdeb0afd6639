import acme
from acme import specs
import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import environments, types
from acme_metarl.agents import maml
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies


def _start(agent, seed=0):
  meta_params = agent.policy.init(
    jax.random.PRNGKey(seed), networks_lib.example_observation(agent.spec)
  )
  num_tasks = agent.config.algorithm.num_tasks
  return meta_params, agent.policy.start(meta_params, num_tasks)


def test_selection_is_drawn_from_each_tasks_own_parameters(make_agent):
  agent = make_agent()
  _, params = _start(agent)
  # The second task's policy moves far to the right.
  params = jax.tree_util.tree_map(np.array, params)
  last_layer = [p['b'] for p in params.policy.values() if 'b' in p][-1]
  assert last_layer.shape == (2, 2)
  last_layer[1] += 100
  observation = np.zeros((2, 3, 2), np.float32)
  sampled = agent.policy.select_action(
    params, observation, jax.random.PRNGKey(0), 0, 0
  )
  assert np.abs(sampled.action[0]).max() < 10
  assert sampled.action[1].min() > 50
  for task in range(2):
    distribution = agent.networks.policy.apply(
      jax.tree_util.tree_map(lambda x, g=task: x[g], params.policy),
      observation[task],
    )
    np.testing.assert_allclose(
      sampled.log_prob[task],
      distribution.log_prob(sampled.action[task]),
      rtol=1e-5,
    )
    mean, std = policies.distribution_params(distribution)
    np.testing.assert_allclose(sampled.params[0][task], mean, rtol=1e-5)
    np.testing.assert_allclose(sampled.params[1][task], std, rtol=1e-5)


def test_randomness_derives_from_key_trial_and_step(make_agent):
  agent = make_agent()
  _, params = _start(agent)
  observation = np.zeros((2, 3, 2), np.float32)

  def select(seed, trial, step):
    return np.asarray(
      agent.policy.select_action(
        params, observation, jax.random.PRNGKey(seed), trial, step
      ).action
    )

  first = select(0, 0, 0)
  np.testing.assert_array_equal(first, select(0, 0, 0))
  others = [select(1, 0, 0), select(0, 1, 0), select(0, 0, 1)]
  assert all(np.all(first != other) for other in others)
  # No two rollouts, of the same or of different tasks, draw the same.
  assert len(np.unique(first)) == first.size


def test_discrete_actions_get_a_softmax(make_agent):
  agent = make_agent(
    environments.TrialEnvironment(
      environments.make('tabular_mdp', num_states=4, num_actions=3), 2, 3, 5
    ),
    baseline='linear_time',
  )
  _, params = _start(agent)
  observation = np.zeros(agent.spec.observations.observation.shape, np.int32)
  sampled = agent.policy.select_action(
    params, observation, jax.random.PRNGKey(0), 0, 0
  )
  assert sampled.action.shape == (2, 3)
  assert np.issubdtype(sampled.action.dtype, np.integer)
  assert set(np.unique(sampled.action)) <= {0, 1, 2}


def test_refuses_actions_that_it_has_no_network_for(make_agent):
  agent = make_agent()
  spec = agent.spec._replace(actions={'left': agent.spec.actions})
  with pytest.raises(ValueError, match='action_spec.*policy of your own'):
    maml.make_networks(spec, agent.config.algorithm)


class _FlaxPolicy(nn.Module):
  """A Flax module is a policy as it is."""

  @nn.compact
  def __call__(self, observation):
    mean = nn.Dense(2)(nn.tanh(nn.Dense(8)(observation)))
    log_std = self.param('log_std', nn.initializers.zeros, (2,))
    std = jnp.broadcast_to(jnp.exp(log_std), mean.shape)
    return distrax.Independent(distrax.Normal(mean, std), 1)


def test_flax_module_trains(make_agent):
  module = _FlaxPolicy()
  agent = make_agent(
    networks=maml.MAMLNetworks(types.Policy(module.init, module.apply))
  )
  learner = agent.make_learner()
  before = learner.get_variables(['policy'])[0]
  actor = agent.make_actor(learner, agent.make_adder())
  acme.EnvironmentLoop(
    agent.environment, actor, logger=agent.logger
  ).run_episode()
  learner.step()
  after = learner.get_variables(['policy'])[0]
  change = jax.tree_util.tree_map(
    lambda x, y: float(np.abs(x - y).max()), before, after
  )
  assert all(x > 0 for x in jax.tree_util.tree_leaves(change))


def _without_batch_axis(normal):
  return distrax.MultivariateNormalDiag(normal.loc, normal.scale[0])


@pytest.mark.parametrize(
  ('distribution', 'message'),
  [
    (_without_batch_axis, 'a parameter of shape'),
    (lambda normal: normal, 'log-probabilities of shape'),
  ],
)
# As many rollouts as actions have dimensions must not hide it.
@pytest.mark.parametrize('preset', ['promp', 'trpo_maml'])
def test_refuses_distributions_that_do_not_fit(
  make_agent, distribution, message, preset
):
  module = _FlaxPolicy()

  def apply(params, observation):
    return distribution(module.apply(params, observation).distribution)

  with pytest.raises(ValueError, match=f'networks: .*{message}.*Independent'):
    make_agent(
      networks=maml.MAMLNetworks(types.Policy(module.init, apply)),
      preset=preset,
    )


def test_specs_of_one_rollout_keep_their_bounds():
  batched = {
    'box': specs.BoundedArray((2, 3, 4), np.float32, -np.arange(4), 7.0),
    'free': specs.Array((2, 3), np.int32),
  }
  one = maml.rollout_spec(batched)
  assert one['box'].shape == (4,)
  assert one['box'].minimum.tolist() == [0, -1, -2, -3]
  assert np.broadcast_to(one['box'].maximum, (4,)).tolist() == [7] * 4
  assert one['free'] == specs.Array((), np.int32)


def test_the_old_names_warn():
  with pytest.warns(DeprecationWarning, match='SampledActions now'):
    assert networks_lib.Selection is networks_lib.SampledActions


@pytest.mark.parametrize('chunk_size', [None, 1, 2])
def test_adapts_each_task_as_the_library_does(make_agent, chunk_size):
  agent = make_agent()
  meta_params, params = _start(agent)
  rng = np.random.default_rng(0)
  shape = (2, 3, 5)
  stage = types.Stage(
    observation=rng.normal(size=(2, 3, 6, 2)).astype(np.float32),
    action=rng.normal(size=(*shape, 2)).astype(np.float32),
    reward=rng.normal(size=shape).astype(np.float32),
    discount=np.ones(shape, np.float32),
    mask=np.ones(shape, np.float32),
    behaviour_log_prob=rng.normal(size=shape).astype(np.float32) - 3,
  )
  policy = networks_lib.make_policy(
    agent.networks,
    learner_lib.make_meta_learner(
      agent.config.algorithm, agent.networks.policy
    ),
    chunk_size=chunk_size,
  )
  adapted = jax.jit(policy.adapt)(meta_params, params, stage)
  learner = learner_lib.make_meta_learner(
    agent.config.algorithm, agent.networks.policy
  )
  adapt = jax.jit(
    lambda p, s: learner.update_inner(
      p, *learner.init_inner(p), learner.prepare(p, s)
    )
  )
  for task in range(2):
    of_task = jax.tree_util.tree_map(lambda x, g=task: x[g], stage)
    expected = adapt(meta_params, of_task)
    jax.tree_util.tree_map(
      lambda x, y, g=task: np.testing.assert_allclose(
        x[g], y, rtol=1e-4, atol=1e-6
      ),
      tuple(adapted),
      expected,
    )
