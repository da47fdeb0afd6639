"""Properties of evaluators over lengths, discounts, dtypes and orders."""

import functools

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl import evaluators

NAMES = {
  'importance_sampling': evaluators.importance_sampling,
  'doubly_robust': evaluators.doubly_robust,
  'truncated_doubly_robust': evaluators.truncated_doubly_robust,
  'taylor_1': functools.partial(evaluators.taylor_expansion, order=1),
  'taylor_2': functools.partial(evaluators.taylor_expansion, order=2),
  'taylor_3': functools.partial(evaluators.taylor_expansion, order=3),
  'log_likelihood': evaluators.log_likelihood,
}
# Compiled once per function and length.
JITTED = {name: jax.jit(function) for name, function in NAMES.items()}
BATCHED = {
  name: jax.jit(jax.vmap(function)) for name, function in NAMES.items()
}
FULL = jax.jit(functools.partial(evaluators.taylor_expansion, order=16))
GRADIENTS = {
  name: jax.jit(jax.grad(lambda rho, args, f=f: f(*args, rho)[0]))
  for name, f in NAMES.items()
}
# log_likelihood and dice differ from the others on-policy: no critic, log.
CRITICS = [
  name
  for name in NAMES
  if name not in ('importance_sampling', 'log_likelihood')
]
LAMBDA_RETURNS = jax.jit(rlax.lambda_returns)
VTRACE = jax.jit(functools.partial(rlax.vtrace, stop_target_gradients=False))
properties = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def _strict_ranks():
  with jax.numpy_rank_promotion('raise'):
    yield


@st.composite
def trajectories(draw, dtypes=(np.float32, np.float64)):
  """Arguments of one trajectory; critics that fit from state to state."""
  length = draw(st.sampled_from([1, 2, 6]))
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  values = rng.normal(size=length + 1)
  discount_t = draw(
    st.lists(
      st.sampled_from([0.0, 0.3, 0.99, 1.0]), min_size=length, max_size=length
    )
  )
  rho = np.exp(draw(st.sampled_from([0.0, 0.3, 1.0])) * rng.normal(size=length))
  arrays = values[:-1], values[1:], rng.normal(size=length), discount_t, rho
  dtype = draw(st.sampled_from(dtypes))
  return [np.asarray(x, dtype) for x in arrays]


def tolerance(*arrays):
  """Absolute, for numbers of the size of these."""
  scale = 1.0 + max(np.abs(x).max() for x in arrays)
  return 50 * np.finfo(arrays[0].dtype).eps * scale


@pytest.mark.parametrize('name', NAMES)
@settings(properties, max_examples=10)  # Not compiled: slow.
@given(args=trajectories())
def test_jit_vmap_and_dtypes(name, args):
  expected = NAMES[name](*args)
  assert expected.dtype == args[0].dtype
  assert expected.shape == args[0].shape
  assert np.isfinite(expected).all()
  atol = tolerance(np.asarray(expected))
  np.testing.assert_allclose(JITTED[name](*args), expected, atol=atol)
  batch = BATCHED[name](*(np.stack([x, x]) for x in args))
  for row in batch:
    np.testing.assert_allclose(row, expected, atol=atol)


@properties
@given(args=trajectories())
def test_full_order_is_doubly_robust(args):
  expected = np.asarray(JITTED['doubly_robust'](*args))
  size = np.prod(np.maximum(args[4], 1.0)) * np.ones(1, args[0].dtype)
  np.testing.assert_allclose(
    FULL(*args), expected, atol=tolerance(expected, 10 * size)
  )


@properties
@given(args=trajectories(dtypes=[np.float64]))
def test_truncation_agrees_with_rlax(args):
  expected = VTRACE(*args) + args[0]
  got = JITTED['truncated_doubly_robust'](*args)
  np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(
  'name', [n for n in NAMES if n != 'importance_sampling']
)
@properties
@given(args=trajectories(dtypes=[np.float64]))
def test_on_policy_value_is_the_return(name, args):
  args[4] = np.ones_like(args[4])
  expected = LAMBDA_RETURNS(args[2], args[3], args[1])
  np.testing.assert_allclose(JITTED[name](*args), expected, atol=1e-12)


@pytest.mark.parametrize('name', [*CRITICS, 'log_likelihood'])
@properties
@given(args=trajectories(dtypes=[np.float64]))
def test_on_policy_gradient_weighs_advantages(name, args):
  args[4] = np.ones_like(args[4])
  advantage = LAMBDA_RETURNS(args[2], args[3], args[1]) - args[0]
  before = np.cumprod(np.append(1.0, args[3][:-1]))
  gradient = GRADIENTS[name](args[4], args[:4])
  np.testing.assert_allclose(gradient, before * advantage, atol=1e-12)


@pytest.mark.parametrize('name', NAMES)
@properties
@given(args=trajectories(dtypes=[np.float64]), split=st.integers(0, 8))
def test_termination_separates_what_follows(name, args, split):
  """Nothing after a discount of 0 touches what is before it."""
  length = len(args[0])
  split = split % length
  args[3][split] = 0.0
  changed = [np.array(x) for x in args]
  for x in (changed[0], *changed[2:]):
    x[split + 1 :] += 1.0
  np.testing.assert_array_equal(
    JITTED[name](*args)[: split + 1], JITTED[name](*changed)[: split + 1]
  )


@pytest.mark.parametrize('name', NAMES)
@properties
@given(args=trajectories(dtypes=[np.float64]), scale=st.floats(-3, 3))
def test_linear_in_rewards_and_critic(name, args, scale):
  scaled = [scale * args[0], scale * args[1], scale * args[2], *args[3:]]
  np.testing.assert_allclose(
    JITTED[name](*scaled),
    scale * JITTED[name](*args),
    atol=tolerance(np.asarray(JITTED[name](*args))) * 10,
  )


def test_long_trajectories():
  """Order 3 over 2000 steps, against a plain loop."""
  length = 2000
  rng = np.random.default_rng(0)
  r_t, weight = rng.normal(size=(2, length))
  discount_t = np.where(rng.uniform(size=length) < 0.01, 0.0, 0.95)
  zeros = np.zeros(length)
  got = JITTED['taylor_3'](zeros, zeros, r_t, discount_t, 1 + weight)
  expected = np.zeros(length)
  g = w_1 = w_2 = w_3 = 0.0
  for t in reversed(range(length)):
    g = r_t[t] + discount_t[t] * g
    w_3 = discount_t[t] * (w_3 + weight[t] * w_2)
    w_2 = discount_t[t] * (w_2 + weight[t] * w_1)
    w_1 = discount_t[t] * w_1 + weight[t] * g
    expected[t] = g + w_1 + w_2 + w_3
  np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_without_float64():
  jax.config.update('jax_enable_x64', False)
  try:
    args = [np.full(4, 0.5)] * 5  # float64 in numpy.
    for function in NAMES.values():
      assert function(*args).dtype == jnp.float32
  finally:
    jax.config.update('jax_enable_x64', True)
