"""Policies: densities, initialisation, parameters, foreign networks."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import types
from acme_metarl.meta import policies


def _leaves(params):
  return jax.tree_util.tree_leaves(params)


class TestGaussian:
  def test_log_prob_is_summed_over_action_dimensions(self):
    """Averaging over them, as a peer does, makes the ratio ρ^(1/d)."""
    policy = policies.gaussian(3, hidden_sizes=(4,), init_log_std=-0.5)
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(2))
    observation = jax.random.normal(jax.random.PRNGKey(1), (5, 7, 2))
    action = jax.random.normal(jax.random.PRNGKey(2), (5, 7, 3))

    distribution = policy.apply(params, observation)
    log_prob = distribution.log_prob(action)

    mean, std = policies.distribution_params(distribution)
    by_dimension = -0.5 * ((action - mean) / std) ** 2 - jnp.log(
      std * np.sqrt(2 * np.pi)
    )
    assert log_prob.shape == (5, 7)
    np.testing.assert_allclose(log_prob, jnp.sum(by_dimension, -1))
    other = policies.log_prob_fn(policy)(params, observation, action)
    np.testing.assert_array_equal(other, log_prob)

  def test_network_is_a_tanh_mlp(self):
    policy = policies.gaussian(2, hidden_sizes=(4, 3))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(5))
    observation = np.random.default_rng(0).normal(size=(2, 6, 5))
    mean, _ = policies.distribution_params(policy.apply(params, observation))

    x = observation
    for name in ('linear', 'linear_1'):
      x = np.tanh(x @ params[name]['w'] + params[name]['b'])
    x = x @ params['linear_2']['w'] + params['linear_2']['b']
    np.testing.assert_allclose(mean, x, rtol=1e-12)

  def test_initialisation(self):
    policy = policies.gaussian(2, hidden_sizes=(64, 64))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(20))
    for name, fan_sum in (('linear', 84), ('linear_1', 128), ('linear_2', 66)):
      weights, bias = params[name]['w'], params[name]['b']
      limit = np.sqrt(6 / fan_sum)
      np.testing.assert_array_equal(bias, 0)
      assert 0.95 * limit < jnp.max(jnp.abs(weights)) <= limit
      assert abs(jnp.std(weights) / (limit / np.sqrt(3)) - 1) < 0.1
    np.testing.assert_array_equal(params['~']['log_std'], 0)

  def test_standard_deviation_has_a_floor_and_ignores_the_state(self):
    policy = policies.gaussian(2, (), init_log_std=-100.0, min_std=1e-6)
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
    observation = jax.random.normal(jax.random.PRNGKey(1), (4, 3))
    _, std = policies.distribution_params(policy.apply(params, observation))
    assert std.shape == (4, 2)
    np.testing.assert_allclose(std, 1e-6)

  def test_same_for_any_batch_axes(self):
    policy = policies.gaussian(2, (8,))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
    observation = jax.random.normal(jax.random.PRNGKey(1), (2, 3, 4, 3))
    mean, _ = policies.distribution_params(policy.apply(params, observation))
    one, _ = policies.distribution_params(
      policy.apply(params, observation[1, 2, 3])
    )
    np.testing.assert_allclose(mean[1, 2, 3], one, rtol=1e-12)


class TestCategorical:
  def test_log_prob(self):
    policy = policies.categorical(3, hidden_sizes=())
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(4))
    observation = jax.random.normal(jax.random.PRNGKey(1), (5, 4))
    action = jnp.array([0, 1, 2, 1, 0])
    logits = observation @ params['linear']['w']
    expected = jax.nn.log_softmax(logits)[jnp.arange(5), action]
    np.testing.assert_allclose(
      policy.apply(params, observation).log_prob(action), expected
    )

  def test_observation_may_be_a_pytree(self):
    policy = policies.categorical(3, hidden_sizes=(4,))
    nested = {'a': jnp.ones((2, 3)), 'b': jnp.arange(4).reshape(2, 2)}
    flat = jnp.concatenate([nested['a'], nested['b']], -1)
    params = policy.init(
      jax.random.PRNGKey(0), jax.tree_util.tree_map(lambda x: x[0], nested)
    )
    np.testing.assert_allclose(
      policy.apply(params, nested).logits, policy.apply(params, flat).logits
    )

  def test_tabular_takes_states_or_one_hot(self):
    policy = policies.tabular(4, 2)
    params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
    np.testing.assert_array_equal(_leaves(params)[0], jnp.zeros((4, 2)))
    params = jax.tree_util.tree_map(
      lambda x: jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) ** 2, params
    )
    states = jnp.array([[3, 0], [1, 2]])
    by_state = policy.apply(params, states)
    by_weights = policy.apply(params, jax.nn.one_hot(states, 4))
    np.testing.assert_allclose(by_state.logits, by_weights.logits)
    assert by_state.log_prob(jnp.ones((2, 2), int)).shape == (2, 2)


class TestDistributionParams:
  @pytest.mark.parametrize('kind', ['gaussian', 'categorical'])
  def test_kl_from_stored_parameters(self, kind):
    policy = getattr(policies, kind)(3, hidden_sizes=(4,))
    observation = jax.random.normal(jax.random.PRNGKey(1), (5, 7, 2))
    old, new = (
      policy.apply(
        policy.init(jax.random.PRNGKey(seed), jnp.zeros(2)), observation
      )
      for seed in (2, 3)
    )
    stored = jax.tree_util.tree_map(
      np.asarray, policies.distribution_params(old)
    )
    rebuilt = policies.with_params(new, stored)
    np.testing.assert_allclose(
      rebuilt.kl_divergence(new), old.kl_divergence(new)
    )
    assert all(leaf.shape[:2] == (5, 7) for leaf in stored)

  def test_refuses_parameters_of_another_kind(self):
    gaussian = distrax.Normal(jnp.zeros(2), jnp.ones(2))
    with pytest.raises(ValueError, match='params has 1 arrays'):
      policies.with_params(gaussian, (jnp.zeros(2),))


class _FlaxLike:
  """Has the two methods of a Flax module whose call gives a distribution."""

  def init(self, key, observation):
    return {'params': {'w': jax.random.normal(key, observation.shape)}}

  def apply(self, variables, observation):
    return distrax.Normal(observation @ variables['params']['w'], 1.0)


def test_foreign_networks_are_init_apply_pairs():
  module = _FlaxLike()
  policy = types.Policy(module.init, module.apply)
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  assert policy.apply(params, jnp.zeros((5, 3))).log_prob(0.0).shape == (5,)


def test_haiku_functions_become_policies():
  policy = policies.from_haiku(
    lambda x: distrax.Categorical(logits=hk.Linear(3)(x))
  )
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  assert policy.apply(params, jnp.zeros((5, 3))).logits.shape == (5, 3)


def test_flax_module():
  nn = pytest.importorskip('flax.linen')

  class Module(nn.Module):
    @nn.compact
    def __call__(self, observation):
      return distrax.Categorical(logits=nn.Dense(4)(observation))

  module = Module()
  policy = types.Policy(module.init, module.apply)
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  log_prob = policies.log_prob_fn(policy)(
    params, jnp.zeros((2, 5, 3)), jnp.zeros((2, 5), int)
  )
  np.testing.assert_allclose(log_prob, -np.log(4))
