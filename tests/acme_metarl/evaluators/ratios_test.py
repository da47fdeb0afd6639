"""Importance ratios: finite everywhere, exact within the range."""

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.evaluators import ratios

BIT_WIDTHS = {np.float16: 16, np.float32: 32, np.float64: 64}


@pytest.mark.parametrize('dtype', BIT_WIDTHS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_finite_and_positive_for_any_finite_input(dtype, data):
  number = st.floats(
    allow_nan=False, allow_infinity=False, width=BIT_WIDTHS[dtype]
  )
  log_prob = np.array([data.draw(number)], dtype)
  behaviour = np.array([data.draw(number)], dtype)

  def total(x):
    return jnp.sum(ratios.importance_ratios(x, behaviour))

  rho = ratios.importance_ratios(log_prob, behaviour)
  assert rho.dtype == dtype
  assert np.isfinite(rho).all()
  assert (rho > 0).all()
  assert np.isfinite(np.log(np.asarray(rho))).all()
  assert np.isfinite(jax.grad(total)(jnp.asarray(log_prob))).all()


@pytest.mark.parametrize('dtype', BIT_WIDTHS)
def test_range_is_where_the_exponential_is_normal(dtype):
  lowest, highest = ratios.log_ratio_range(dtype)
  limits = np.finfo(dtype)
  with np.errstate(over='ignore'):
    assert np.exp(dtype(lowest)) >= limits.tiny > np.exp(dtype(lowest - 1))
    assert np.exp(dtype(highest)) <= limits.max
    assert np.isinf(np.exp(dtype(highest + 1)))


def test_exact_within_the_range_with_derivatives():
  log_ratio = jnp.array([-708.0, -3.0, 0.0, 2.0, 709.0])

  def rho(x):
    return ratios.importance_ratios(x - 1.5, jnp.full(5, -1.5))

  slope = jax.vmap(jax.grad(lambda x: ratios.importance_ratios(x, 0.0)))
  np.testing.assert_allclose(rho(log_ratio), np.exp(log_ratio), rtol=1e-12)
  np.testing.assert_allclose(slope(log_ratio), np.exp(log_ratio), rtol=1e-12)
  assert rho(log_ratio)[2] == 1.0


@pytest.mark.parametrize('log_ratio', [-1e4, 1e4, -np.inf])
def test_constant_beyond_the_range(log_ratio):
  def rho(x):
    return ratios.importance_ratios(x, 0.0)

  lowest, highest = ratios.log_ratio_range(np.float64)
  expected = np.exp(lowest if log_ratio < 0 else highest)
  np.testing.assert_allclose(rho(log_ratio), expected)
  for derivative in (jax.grad(rho), jax.grad(jax.grad(rho))):
    assert derivative(log_ratio) == 0.0


def test_difference_that_overflows():
  rho = ratios.importance_ratios(
    np.array([3e38, -3e38], np.float32), np.array([-3e38, 3e38], np.float32)
  )
  np.testing.assert_allclose(rho, np.exp(np.float32([88.0, -87.0])), rtol=1e-6)


def test_nothing_is_held_constant():
  one = jnp.ones(1)
  gradients = jax.grad(
    lambda x, y: ratios.importance_ratios(x, y)[0], argnums=(0, 1)
  )(one, one)
  np.testing.assert_array_equal(gradients, [[1.0], [-1.0]])


def test_nan_in_nan_out():
  nan, zero = np.array([np.nan]), np.zeros(1)
  assert np.isnan(ratios.importance_ratios(nan, zero)).all()
  assert np.isnan(ratios.importance_ratios(zero, nan)).all()


def test_refuses_what_does_not_fit():
  ones = np.ones((2, 3))
  with pytest.raises(ValueError, match=r'same shape.*\(2, 3\) and \(3,\)'):
    ratios.importance_ratios(ones, ones[0])
  with pytest.raises(ValueError, match='behaviour_log_prob .*dtype int64'):
    ratios.importance_ratios(ones, ones.astype(np.int64))
  with pytest.raises(ValueError, match='log_prob .*NoneType'):
    ratios.importance_ratios(None, ones)
