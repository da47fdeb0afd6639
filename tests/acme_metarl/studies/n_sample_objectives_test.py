"""Tests of `acme_metarl.n_sample_objectives`."""

import functools
import itertools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import n_sample_objectives as nso


def _gaussian(theta):
  return distrax.Normal(theta, 1.0)


def _square(theta, x):
  del theta
  return -((x - 1.0) ** 2)


@pytest.fixture
def toy():
  return nso.Objective(_gaussian, _square)


def _curved():
  """F and X both depend on θ; the distribution is discrete, so enumerable."""
  values = jnp.array([-1.0, 0.5, 2.0])

  def distribution(params):
    return distrax.Categorical(logits=params['logits'])

  def function(params, mean):
    return jnp.sin(mean['x'] * params['w']) + mean['y'] ** 3

  def statistic(params, z):
    x = values[z]
    return {'x': x * params['w'] ** 2, 'y': x - params['w']}

  objective = nso.Objective(distribution, function, statistic)
  params = {'logits': jnp.array([0.3, -0.2, 0.1]), 'w': jnp.array(0.7)}
  return objective, params


def _expectation(objective, params, num_outcomes, num_samples, estimator):
  """Exact E of an estimator, over all tuples of samples."""
  tuples = jnp.array(
    list(itertools.product(range(num_outcomes), repeat=num_samples))
  )

  @jax.jit
  def expectation(theta):
    log_prob = objective.distribution(theta).log_prob(tuples).sum(-1)
    estimates = jax.vmap(functools.partial(estimator, objective, theta))(tuples)
    return jax.tree.map(
      lambda x: jnp.tensordot(jnp.exp(log_prob), x, axes=1), estimates
    )

  return expectation(params)


def _exact_gradient(objective, params, num_outcomes, num_samples):
  def expected(theta):
    return _expectation(
      objective,
      theta,
      num_outcomes,
      num_samples,
      lambda o, p, z: o.function(
        p,
        jax.tree.map(
          lambda x: x.mean(0), jax.vmap(o.statistic, (None, 0))(p, z)
        ),
      ),
    )

  return jax.jit(jax.grad(expected))(params)


def _assert_trees_close(actual, expected, **tolerance):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, **tolerance), actual, expected
  )


class TestEnumerated:
  """Expectations as exact sums over all samples of a discrete distribution."""

  @pytest.mark.parametrize(
    ('num_samples', 'baseline'), [(1, 0.0), (3, 0.0), (3, 1.7)]
  )
  def test_score_function_is_unbiased(self, num_samples, baseline):
    objective, params = _curved()
    estimator = functools.partial(nso.score_function, baseline=baseline)
    _assert_trees_close(
      _expectation(objective, params, 3, num_samples, estimator),
      _exact_gradient(objective, params, 3, num_samples),
      rtol=1e-10,
      atol=1e-12,
    )

  @pytest.mark.parametrize('num_samples', [1, 2, 5])
  def test_linearised_bias_is_the_quadratic_one(self, num_samples):
    """With F(x) = x² it is (dσ²/dθ + 2 μ dμ/dθ)/N: p(1 - p)/N for a coin."""
    objective = nso.Objective(
      lambda p: distrax.Categorical(logits=p * jnp.arange(2.0)),
      lambda p, x: x**2,
      lambda p, z: z.astype(float),
    )
    p = jax.nn.sigmoid(0.4)
    estimate = _expectation(
      objective, 0.4, 2, num_samples, nso.linearised_score_function
    )
    exact = _exact_gradient(objective, 0.4, 2, num_samples)
    np.testing.assert_allclose(
      estimate - exact, p * (1 - p) / num_samples, rtol=1e-10
    )

  def test_linearised_is_unbiased_for_a_linear_function(self):
    _, params = _curved()
    objective = nso.Objective(
      lambda p: distrax.Categorical(logits=p['logits']),
      lambda p, x: 3.0 * p['w'] * x,
      lambda p, z: jnp.array([-1.0, 0.5, 2.0])[z] * p['w'],
    )
    _assert_trees_close(
      _expectation(objective, params, 3, 3, nso.linearised_score_function),
      _exact_gradient(objective, params, 3, 3),
      rtol=1e-10,
      atol=1e-12,
    )


class TestFormulas:
  def test_hand_computed(self, toy):
    theta, samples = jnp.array(0.5), jnp.array([1.0, 3.0])  # Mean 2, f = -1.
    np.testing.assert_allclose(
      nso.score_function(toy, theta, samples), -1.0 * (0.5 + 2.5), rtol=1e-12
    )
    np.testing.assert_allclose(
      nso.score_function(toy, theta, samples, baseline=2.0), -3.0 * 3.0
    )
    np.testing.assert_allclose(  # f' = -2, mean of X score = (0.5 + 7.5)/2.
      nso.linearised_score_function(toy, theta, samples), -2.0 * 4.0
    )

  def test_path_wise_through_every_theta(self):
    objective = nso.Objective(
      lambda p: distrax.Normal(p['m'], jnp.exp(p['s'])),
      lambda p, x: p['m'] * x**2,
      lambda p, z: p['s'] * z,
    )
    params = {'m': jnp.array(0.4), 's': jnp.array(-0.3)}
    key = jax.random.PRNGKey(0)
    noise = (
      objective.distribution(params).sample(seed=key, sample_shape=(5,)) - 0.4
    ) / jnp.exp(-0.3)

    def value(p):
      z = p['m'] + jnp.exp(p['s']) * noise
      return p['m'] * jnp.mean(p['s'] * z) ** 2

    _assert_trees_close(
      nso.path_wise(objective, params, key, 5),
      jax.grad(value)(params),
      rtol=1e-10,
    )

  def test_jit_and_vmap(self, toy):
    samples = jax.random.normal(jax.random.PRNGKey(1), (7, 4))
    thetas = jnp.linspace(-1, 1, 7)
    for estimator in (nso.score_function, nso.linearised_score_function):
      estimate = functools.partial(estimator, toy)
      np.testing.assert_allclose(
        jax.jit(jax.vmap(estimate))(thetas, samples),
        [estimate(t, x) for t, x in zip(thetas, samples, strict=True)],
        rtol=1e-12,
      )

  def test_samples_are_constant(self, toy):
    def drawn(theta):
      return nso.sample(toy, theta, jax.random.PRNGKey(0), 3).sum()

    assert jax.grad(drawn)(0.3) == 0.0


class TestGaussianToy:
  """The quadratic toy against its closed form, -2(θ - 1)."""

  @pytest.mark.parametrize(
    ('estimator', 'bias'), [('sf', 0.0), ('lsf', -2.0 * 2.0 / 8), ('pw', 0.0)]
  )
  def test_mean(self, toy, estimator, bias):
    theta, num_samples, replications = 2.0, 8, 50_000
    keys = jax.random.split(jax.random.PRNGKey(3), replications)

    def estimate(key):
      if estimator == 'pw':
        return nso.path_wise(toy, theta, key, num_samples)
      samples = nso.sample(toy, theta, key, num_samples)
      if estimator == 'sf':
        return nso.score_function(toy, theta, samples)
      return nso.linearised_score_function(toy, theta, samples)

    estimates = np.asarray(jax.jit(jax.vmap(estimate))(keys))
    stderr = estimates.std(ddof=1) / np.sqrt(replications)
    assert abs(estimates.mean() - (-2.0 * (theta - 1) + bias)) < 4 * stderr
    assert stderr < 0.03


@pytest.fixture(scope='module')
def meta_rl():
  """Trajectories of a small MDP, their returns, and the exact value."""
  mdp = tabular.random_mdp(jax.random.PRNGKey(0), 3, 2, 0.9, 1.0)
  horizon = 3
  logits = 0.3 * jax.random.normal(jax.random.PRNGKey(1), (3, 2))
  trajectories = tabular.sample_trajectories(
    jax.random.PRNGKey(2), mdp, tabular.softmax_policy(logits), 5, horizon
  )

  def log_prob(theta, trajectory):
    return tabular.log_prob(theta, *trajectory).sum()

  states = trajectories.states[:, :horizon]
  returns = trajectories.rewards.sum(-1)
  samples = ((states, trajectories.actions), returns)
  objective = nso.one_step_adaptation(
    log_prob, lambda theta: tabular.value(mdp, theta, horizon), 0.7
  )
  return objective, log_prob, logits, samples


class TestOneStepAdaptation:
  def _parts(self, meta_rl):
    objective, log_prob, logits, (trajectories, returns) = meta_rl
    scores = jax.vmap(jax.grad(log_prob), (None, 0))(logits, trajectories)
    curvatures = jax.jit(jax.vmap(jax.hessian(log_prob), (None, 0)))(
      logits, trajectories
    )
    gradient = jnp.tensordot(returns, scores, 1) / len(returns)
    adapted = logits + 0.7 * gradient
    outer = jax.grad(lambda x: objective.function(x, jnp.zeros_like(x)))(
      adapted
    )
    return scores, curvatures, returns, adapted, outer

  def test_linearised_is_full_with_trajectory_level_hessian(self, meta_rl):
    objective, _, logits, samples = meta_rl
    scores, curvatures, returns, _, outer = self._parts(meta_rl)
    outer_products = jnp.einsum('nij,nkl->nijkl', scores, scores)
    hessian = jnp.tensordot(returns, curvatures + outer_products, 1) / len(
      returns
    )
    np.testing.assert_allclose(
      jax.jit(functools.partial(nso.linearised_score_function, objective))(
        logits, samples
      ),
      outer + 0.7 * jnp.einsum('ijkl,kl->ij', hessian, outer),
      rtol=1e-10,
    )

  def test_score_function_is_emaml(self, meta_rl):
    objective, _, logits, samples = meta_rl
    scores, curvatures, returns, adapted, outer = self._parts(meta_rl)
    plain = jnp.tensordot(returns, curvatures, 1) / len(returns)
    value = objective.function(adapted, jnp.zeros_like(adapted))
    np.testing.assert_allclose(
      jax.jit(functools.partial(nso.score_function, objective))(
        logits, samples
      ),
      outer
      + 0.7 * jnp.einsum('ijkl,kl->ij', plain, outer)
      + value * scores.sum(0),
      rtol=1e-10,
    )


class TestMistakes:
  def test_discrete_path_wise(self):
    objective, params = _curved()
    with pytest.raises(ValueError, match='linearised_score_function'):
      nso.path_wise(objective, params, jax.random.PRNGKey(0), 3)

  def test_vector_log_prob(self):
    objective = nso.Objective(
      lambda p: distrax.Normal(p, 1.0), lambda p, x: x.sum()
    )
    with pytest.raises(ValueError, match='distrax.Independent'):
      nso.score_function(objective, jnp.zeros(2), jnp.zeros((4, 2)))

  def test_vector_objective(self):
    objective = nso.Objective(_gaussian, lambda p, x: jnp.stack([x, x]))
    with pytest.raises(ValueError, match='function must return a scalar'):
      nso.linearised_score_function(objective, 0.1, jnp.zeros(4))

  @pytest.mark.parametrize(
    'samples', [jnp.zeros(()), jnp.zeros((0,)), (jnp.zeros(2), jnp.zeros(3))]
  )
  def test_samples_without_an_axis(self, toy, samples):
    with pytest.raises(ValueError, match='leading axis'):
      nso.score_function(toy, 0.1, samples)

  @pytest.mark.parametrize('num_samples', [0, 1.5, True])
  def test_num_samples(self, toy, num_samples):
    key = jax.random.PRNGKey(0)
    with pytest.raises(ValueError, match='num_samples'):
      nso.sample(toy, 0.1, key, num_samples)
    with pytest.raises(ValueError, match='num_samples'):
      nso.path_wise(toy, 0.1, key, num_samples)
