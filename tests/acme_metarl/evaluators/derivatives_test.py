"""Derivatives of a batch of trajectories."""

import functools

import chex
import distrax
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators, types
from acme_metarl.evaluators import derivatives, reductions

B, T, OBSERVATIONS, ACTIONS = 2, 4, 3, 2
taylor_2 = functools.partial(evaluators.taylor_expansion, order=2)


def log_prob(params, observation, action):
  """A Gaussian policy with a hidden layer, for one step."""
  hidden = jnp.tanh(observation @ params['hidden'])
  distribution = distrax.MultivariateNormalDiag(
    hidden @ params['mean'], jnp.exp(params['log_std'])
  )
  return distribution.log_prob(action)


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(0)
  return {
    'hidden': jnp.asarray(rng.normal(size=(OBSERVATIONS, 2))),
    'mean': jnp.asarray(rng.normal(size=(2, ACTIONS))),
    'log_std': jnp.asarray(rng.normal(size=ACTIONS)),
  }


@pytest.fixture(scope='module')
def data():
  rng = np.random.default_rng(1)
  v_tm1, v_t, r_t, advantage = rng.normal(size=(4, B, T))
  discount_t = np.full((B, T), 0.9)
  discount_t[1, 2] = 0.0
  mask = np.ones((B, T))
  mask[1, 3:] = 0.0
  return types.Prepared(
    observation=rng.normal(size=(B, T, OBSERVATIONS)),
    action=rng.normal(size=(B, T, ACTIONS)),
    v_tm1=v_tm1,
    v_t=v_t,
    r_t=r_t,
    discount_t=discount_t,
    advantage=advantage,
    mask=mask,
    behaviour_log_prob=rng.normal(size=(B, T)) - 4.0,
  )


def by_hand(data, evaluator, reduction):
  """The objective with plain loops."""

  def objective(params):
    estimates = []
    for b in range(B):
      log_probs = [
        log_prob(params, data.observation[b, t], data.action[b, t])
        for t in range(T)
      ]
      rho = jnp.exp(jnp.stack(log_probs) - data.behaviour_log_prob[b])
      estimates.append(
        evaluator(
          data.v_tm1[b], data.v_t[b], data.r_t[b], data.discount_t[b], rho
        )
      )
    return reduction(jnp.stack(estimates), data.v_t, data.discount_t, data.mask)

  return objective


def test_all_of_them(params, data):
  evaluator, reduction = taylor_2, reductions.per_step
  expected = by_hand(data, evaluator, reduction)
  flat, unravel = flatten_util.ravel_pytree(params)
  close = functools.partial(chex.assert_trees_all_close, atol=1e-11, rtol=1e-11)

  vector = jax.tree.map(jnp.cos, params)
  value, gradient = jax.jit(jax.value_and_grad(expected))(params)
  hessian = jax.jit(jax.hessian(lambda x: expected(unravel(x))))(flat)
  product = unravel(hessian @ flatten_util.ravel_pytree(vector)[0])

  @jax.jit
  def derived(params, data):
    args = (data, evaluator, reduction)
    return (
      derivatives.value(log_prob, params, *args),
      derivatives.gradient(log_prob, params, *args),
      derivatives.hessian_vector_product(log_prob, params, vector, *args),
      derivatives.hessian(log_prob, params, *args),
      derivatives.hessian(log_prob, params, *args, chunk_size=4),
    )

  close(derived(params, data), (value, gradient, product, hessian, hessian))


def test_start_state_is_the_default(params, data):
  evaluator = evaluators.doubly_robust
  got = jax.jit(derivatives.value, static_argnums=(0, 3))(
    log_prob, params, data, evaluator
  )
  expected = jax.jit(by_hand(data, evaluator, reductions.start_state))
  np.testing.assert_allclose(got, expected(params), atol=1e-12)


def test_any_evaluator_and_reduction_plug_in(params, data):
  def discounted_log(v_tm1, v_t, r_t, discount_t, rho_tm1):
    return jnp.log(rho_tm1) * r_t

  def total(estimates, v_t, discount_t, mask):
    return jnp.sum(estimates * mask) ** 2

  got = jax.jit(derivatives.gradient, static_argnums=(0, 3, 4))(
    log_prob, params, data, discounted_log, total
  )
  expected = jax.jit(jax.grad(by_hand(data, discounted_log, total)))(params)
  chex.assert_trees_all_close(got, expected, atol=1e-11)


def test_vmap_over_tasks(params, data):
  tasks = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), data)

  def gradient(task):
    return derivatives.gradient(log_prob, params, task, taylor_2)

  got, one_by_one = jax.jit(
    lambda tasks: (jax.vmap(gradient)(tasks), jax.lax.map(gradient, tasks))
  )(tasks)
  chex.assert_trees_all_close(got, one_by_one, atol=1e-12)
  assert not np.allclose(got['mean'][0], got['mean'][1])


def test_refuses_what_does_not_fit(params, data):
  one = jax.tree.map(lambda x: x[0], data)
  with pytest.raises(ValueError, match=r'\[B, T\].*\(4,\)'):
    derivatives.value(log_prob, params, one, taylor_2)
  with pytest.raises(ValueError, match='chunk_size .*at least 1.*got 0'):
    derivatives.hessian(log_prob, params, data, taylor_2, chunk_size=0)
  for vector in ({'mean': 0.0}, jax.tree.map(lambda x: x[0], params)):
    with pytest.raises(ValueError, match='vector must have the structure'):
      derivatives.hessian_vector_product(
        log_prob, params, vector, data, taylor_2
      )


def test_reduced_estimate_by_hand(data):
  """Masked ratios are 1, each rollout has its weight."""
  rng = np.random.default_rng(2)
  new = data.behaviour_log_prob + rng.normal(size=(B, T))
  weights = jnp.asarray([0.5, 2.0])
  rho = jnp.exp(jnp.where(data.mask > 0, new - data.behaviour_log_prob, 0.0))
  estimates = jnp.stack(
    [
      weight * taylor_2(*(x[b] for x in (*data[2:6], rho)))
      for b, weight in enumerate(weights)
    ]
  )
  expected = reductions.per_step(
    estimates, weights[:, None] * data.v_t, data.discount_t, data.mask
  )

  def estimate(log_prob, weights=None):
    return derivatives.reduced_estimate(
      log_prob, data, taylor_2, reductions.per_step, weights
    )

  np.testing.assert_allclose(estimate(new, weights), expected, atol=1e-12)
  np.testing.assert_allclose(estimate(new), estimate(new, jnp.ones(B)))
  # Whatever stands where the mask is 0, derivatives there are 0.
  hidden = jnp.where(data.mask > 0, new, jnp.nan)
  gradient = jax.grad(estimate)(hidden)
  np.testing.assert_array_equal(gradient[1, 3:], 0.0)
  assert np.isfinite(gradient).all()


def test_what_an_evaluator_returns_is_checked(params, data):
  def start_only(*args):
    return taylor_2(*args)[0]

  with pytest.raises(ValueError, match=r'returned shape \(\), \[T\] is needed'):
    derivatives.value(log_prob, params, data, start_only)

  def per_action(*args):
    return jnp.stack([taylor_2(*args)] * 2, axis=-1)

  with pytest.raises(ValueError, match=r'returned shape \(4, 2\).*T = 4'):
    derivatives.value(log_prob, params, data, per_action)
  with pytest.raises(ValueError, match=r'weights .*\[B\] = \(2,\).*\(4,\)'):
    derivatives.reduced_estimate(
      data.behaviour_log_prob, data, taylor_2, weights=np.ones(T)
    )
