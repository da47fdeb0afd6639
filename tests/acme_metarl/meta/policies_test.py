"""Policies: densities, initialisation, parameters, foreign networks."""

import distrax
from dm_env import specs
import haiku as hk
import jax
from jax.experimental import jet
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


class TestProducts:
  """They are JAX's own, so everything that JAX does to products works."""

  def test_precision_asked_for_is_respected_inside_jit(self):
    policy = policies.gaussian(2, (8,))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))

    def mean(observation):
      return policy.apply(params, observation).mean()

    with jax.default_matmul_precision('highest'):
      text = jax.jit(mean).lower(jnp.ones((4, 3))).as_text()
    assert text.count('dot_general') == text.count('HIGHEST, HIGHEST') >= 2

  def test_jet(self):
    """Taylor mode: the third derivative along a line."""
    policy = policies.gaussian(2, (8,))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))

    def mean(observation):
      return policy.apply(params, observation).mean()

    x, direction = jnp.array([0.1, 0.2, 0.3]), jnp.array([1.0, -1, 2])
    zeros = jnp.zeros(3)
    _, (_, _, third) = jet.jet(mean, (x,), ((direction, zeros, zeros),))
    along = lambda s: mean(x + s * direction)  # noqa: E731
    for _ in range(3):
      along = jax.jacfwd(along)
    expected = along(0.0)
    np.testing.assert_allclose(third, expected, rtol=1e-9)


class TestDefault:
  @pytest.mark.parametrize(
    ('spec', 'observation', 'width'),
    [
      (specs.DiscreteArray(5), np.array([4, 0]), 5),
      (specs.Array((), np.float32), np.array([0.5, 1], np.float32), 1),
      (
        {
          'speed': specs.Array((), np.float64),
          'place': specs.DiscreteArray(3),
          'image': specs.Array((2,), np.uint8),
        },
        {
          'speed': np.array([0.5, 1]),
          'place': np.array([2, 0]),
          'image': np.array([[255, 0], [1, 2]], np.uint8),
        },
        6,
      ),
    ],
  )
  def test_observations_of_any_kind(self, spec, observation, width):
    policy = policies.make_default(
      specs.DiscreteArray(2), spec, hidden_sizes=()
    )
    one = jax.tree_util.tree_map(lambda x: x[0], observation)
    params = policy.init(jax.random.PRNGKey(0), one)
    assert params['linear']['w'].shape == (width, 2)
    logits = policy.apply(params, observation).logits
    assert logits.shape == (2, 2)
    np.testing.assert_allclose(policy.apply(params, one).logits, logits[0])

  def test_discrete_observations_are_one_hot(self):
    policy = policies.make_default(
      specs.DiscreteArray(2), specs.DiscreteArray(5), hidden_sizes=()
    )
    params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
    expected = jax.nn.log_softmax(params['linear']['w'][jnp.array([3, 1])])
    actual = policy.apply(params, jnp.array([3, 1])).logits
    np.testing.assert_allclose(actual, expected, rtol=1e-6)

  @pytest.mark.parametrize('dtype', [np.uint8, np.float32])
  def test_images_beside_others_are_refused_and_say_what_to_pass(self, dtype):
    seen = {
      'eye': specs.Array((84, 84, 3), dtype),
      'ear': specs.Array((2,), np.float32),
    }
    with pytest.raises(ValueError, match=r'\(84, 84, 3\).*hk.Conv2D'):
      policies.make_default(specs.DiscreteArray(2), seen)

  def test_scalars_without_a_spec_say_what_to_pass(self):
    with pytest.raises(ValueError, match='pass observation_spec'):
      policies.gaussian(2).init(jax.random.PRNGKey(0), {'x': jnp.ones(())})

  @pytest.mark.parametrize(
    ('low', 'high'), [([0, 0], [4, 4]), ([-1, 3], [1, 10]), (2, 5)]
  )
  def test_integer_boxes_are_independent_categoricals(self, low, high):
    """The stored action is that of the log-probability, within its bounds."""
    shape = np.shape(low)
    spec = specs.BoundedArray(shape, np.int32, low, high)
    policy = policies.make_default(spec, hidden_sizes=(4,))
    params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
    observation = jax.random.normal(jax.random.PRNGKey(1), (500, 3))
    distribution = policy.apply(params, observation)
    action, log_prob = distribution.sample_and_log_prob(
      seed=jax.random.PRNGKey(2)
    )
    assert jnp.issubdtype(action.dtype, jnp.integer)
    np.testing.assert_array_equal(action.min(0), low)
    np.testing.assert_array_equal(action.max(0), high)
    np.testing.assert_allclose(distribution.log_prob(action), log_prob)
    # All actions of the box together have probability 1.
    grid = np.stack(
      np.meshgrid(
        *(
          np.arange(a, b + 1)
          for a, b in zip(np.ravel(low), np.ravel(high), strict=True)
        ),
        indexing='ij',
      ),
      -1,
    ).reshape((-1, *shape))
    one = policy.apply(params, observation[0])
    total = sum(jnp.exp(one.log_prob(jnp.asarray(a))) for a in grid)
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert one.log_prob(jnp.asarray(np.max(grid, 0) + 1)) == -np.inf
    # What is stored gives the same distribution again, and no divergence.
    stored = policies.distribution_params(distribution)
    again = policies.with_params(distribution, stored)
    np.testing.assert_allclose(again.kl_divergence(distribution), 0, atol=1e-12)

  @pytest.mark.parametrize(
    'spec',
    [
      specs.Array((2,), np.int32),
      specs.BoundedArray((2,), np.int64, 0, 10**6),
      jax.ShapeDtypeStruct((2,), jnp.int32),
    ],
  )
  def test_integers_without_a_density_are_refused(self, spec):
    with pytest.raises(ValueError, match='no density for integers'):
      policies.make_default(spec)

  @pytest.mark.parametrize('shape', [(), (2, 2)])
  def test_other_actions_are_refused(self, shape):
    with pytest.raises(ValueError, match='Use a policy of your own'):
      policies.make_default(specs.Array(shape, np.float32))


def test_masked_actions_work_in_derivatives_of_every_mode():
  """A policy of a user's own with logits of -inf, as trust regions use it."""
  allowed = jnp.array([True, False, True])

  def apply(params, observation):
    logits = jnp.where(allowed, observation @ params, -jnp.inf)
    return distrax.Categorical(logits=logits)

  policy = types.Policy(None, apply)
  params = jax.random.normal(jax.random.PRNGKey(0), (2, 3))
  observation = jax.random.normal(jax.random.PRNGKey(1), (5, 2))
  action = jnp.array([0, 2, 2, 0, 0])
  log_prob = policies.log_prob_fn(policy)

  def adapted(p):
    objective = lambda p: jnp.mean(log_prob(p, observation, action))  # noqa: E731
    return p + 0.1 * jax.grad(objective)(p)

  def divergence(p):
    new = policies.unroll(policy, adapted(p), observation)
    stored = policies.distribution_params(apply(params, observation))
    return jnp.mean(policies.with_params(new, stored).kl_divergence(new))

  for function in (adapted, divergence, jax.grad(divergence)):
    _, push = jax.linearize(function, params)
    assert np.all(np.isfinite(push(jnp.ones_like(params))))
  # The same numbers as without the masked action.
  without = lambda p: jax.nn.log_softmax(observation @ p[:, ::2])  # noqa: E731
  np.testing.assert_allclose(
    log_prob(params, observation, action),
    jnp.take_along_axis(without(params), action[:, None] // 2, 1)[:, 0],
    rtol=1e-12,
  )


class TestCheckStorable:
  def _check(self, apply, size=3, **kwargs):
    policy = types.Policy(lambda key, observation: (), apply)
    policies.check_storable(policy, jnp.zeros(size), **kwargs)

  def test_takes_what_the_library_makes(self):
    policies.check_storable(policies.gaussian(2, (4,)), jnp.zeros(3))
    spec = specs.BoundedArray((2,), np.int32, 0, 3)
    for policy in (policies.make_default(spec), policies.gru(spec)):
      policies.check_storable(policy, specs.Array((3,), np.float32), spec)

  def test_refuses_a_normal_without_independent(self):
    with pytest.raises(ValueError, match=r'Normal.*\(11, 3\).*Independent'):
      self._check(lambda _, x: distrax.Normal(x, jnp.ones(3)))

  @pytest.mark.parametrize('size', [3, 11, 13])
  def test_refuses_a_parameter_without_the_batch_axis(self, size):
    """Also where one batch happens to be as large as the action."""
    with pytest.raises(ValueError, match='without the batch axis'):
      self._check(
        lambda _, x: distrax.Independent(distrax.Normal(x, jnp.ones(size)), 1),
        size,
      )

  def test_refuses_a_multivariate_normal(self):
    with pytest.raises(ValueError, match='MultivariateNormalDiag.*Independent'):
      self._check(
        lambda _, x: distrax.MultivariateNormalDiag(x, jnp.ones_like(x))
      )

  def test_refuses_floats_where_actions_are_integers(self):
    with pytest.raises(ValueError, match='actions are integers'):
      policies.check_storable(
        policies.gaussian(2), jnp.zeros(3), specs.Array((2,), np.int32)
      )

  def test_refuses_actions_of_another_shape(self):
    with pytest.raises(ValueError, match=r'\(11, 2\).*\(11, 3\)'):
      policies.check_storable(
        policies.gaussian(2), jnp.zeros(3), specs.Array((3,), np.float32)
      )
