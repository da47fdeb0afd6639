"""λ, leaks and baselines of importance-weighted evaluators."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl import evaluators

T, ACTIONS = 8, 3
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)


@pytest.fixture(autouse=True)
def _strict():
  with (
    jax.numpy_rank_promotion('raise'),
    jax.numpy_dtype_promotion('strict'),
  ):
    yield


class Data:
  """Action values of T + 1 states, two policies, an end after x_3."""

  def __init__(self, seed=0):
    rng = np.random.default_rng(seed)
    self.q = jnp.asarray(rng.normal(size=(T + 1, ACTIONS)))
    self.pi, self.mu = jnp.asarray(
      rng.dirichlet(np.ones(ACTIONS), size=(2, T + 1))
    )
    self.actions = rng.integers(ACTIONS, size=T + 1)
    self.r_t = jnp.asarray(rng.normal(size=T))
    self.discount_t = jnp.asarray(rng.uniform(0.8, 1.0, T)).at[3].set(0.0)
    taken = np.arange(T + 1), self.actions
    self.rho = (self.pi[taken] / self.mu[taken])[:T]
    self.v = jnp.sum(self.pi * self.q, axis=-1)
    self.q_tm1 = self.q[taken][:T]

  @property
  def state_critic(self):
    return self.v[:-1], self.v[1:], self.r_t, self.discount_t, self.rho


@pytest.fixture(scope='module')
def data(_float64):
  return Data()


LAMBDAS = [0.0, 0.7, 1.0, np.linspace(0, 1, T)]


@pytest.mark.parametrize('lambda_', LAMBDAS)
def test_doubly_robust_lambda_by_its_recursion(data, lambda_):
  v_tm1, v_t, r_t, discount_t, rho = data.state_critic
  mixing = np.broadcast_to(lambda_, T)
  expected, following = np.zeros(T), v_t[-1]
  for t in reversed(range(T)):
    target = (1 - mixing[t]) * v_t[t] + mixing[t] * following
    following = expected[t] = v_tm1[t] + rho[t] * (
      r_t[t] + discount_t[t] * target - data.q_tm1[t]
    )
  args = data.state_critic
  close(
    evaluators.doubly_robust(*args, lambda_=lambda_, q_tm1=data.q_tm1), expected
  )
  # Nothing truncated is the same.
  for options in (
    {'clip_rho_threshold': np.inf, 'clip_c_threshold': np.full(T, np.inf)},
    {'leak_rho': 0.0, 'leak_c': np.zeros(T)},
  ):
    close(
      evaluators.truncated_doubly_robust(
        *args, lambda_=lambda_, q_tm1=data.q_tm1, **options
      ),
      expected,
    )


@pytest.mark.parametrize('lambda_', LAMBDAS)
@pytest.mark.parametrize('threshold', [0.6, 1.0, 3.0])
def test_vtrace_lambda_is_rlax_vtrace(data, lambda_, threshold):
  args = data.state_critic
  with jax.numpy_dtype_promotion('standard'):
    errors = rlax.vtrace(
      *args, jnp.asarray(lambda_), threshold, stop_target_gradients=False
    )
  close(
    evaluators.vtrace(*args, lambda_=lambda_, clip_rho_threshold=threshold),
    errors + args[0],
  )


@pytest.mark.parametrize('leak', [0.0, 0.4, 1.0])
def test_leaky_vtrace_is_rlax_leaky_vtrace(data, leak):
  args = data.state_critic
  with jax.numpy_dtype_promotion('standard'):
    errors = rlax.leaky_vtrace(
      *args, leak, 0.9, 1.2, stop_target_gradients=False
    )
  got = evaluators.truncated_doubly_robust(
    *args, lambda_=0.9, clip_rho_threshold=1.2, leak_rho=leak, leak_c=leak
  )
  close(got, errors + args[0])


def off_policy_returns(data, traces):
  """Targets of rlax of q(x_t, a_t), with traces c_{t+1}."""
  return rlax.general_off_policy_returns_from_action_values(
    data.q[1:],
    jnp.asarray(data.actions[1:]),
    data.r_t,
    data.discount_t,
    traces,
    data.pi[1:],
  )


@pytest.mark.parametrize('lambda_', [0.0, 0.7, 1.0])
def test_retrace_is_rlax_retrace(data, lambda_):
  taken = np.arange(T + 1), data.actions
  with (
    jax.numpy_dtype_promotion('standard'),
    jax.numpy_rank_promotion('allow'),
  ):
    errors = rlax.retrace(
      data.q[:-1],
      data.q[1:],
      jnp.asarray(data.actions[:-1]),
      jnp.asarray(data.actions[1:]),
      data.r_t,
      data.discount_t,
      data.pi[1:],
      data.mu[taken][1:],
      lambda_,
      eps=0.0,
      stop_target_gradients=False,
    )
    traces = lambda_ * jnp.minimum(1.0, (data.pi / data.mu)[taken][1:])
    close(errors + data.q_tm1, off_policy_returns(data, traces))
  values = evaluators.truncated_doubly_robust(
    *data.state_critic, lambda_=lambda_, q_tm1=data.q_tm1
  )
  close(values, data.v[:-1] + jnp.minimum(1.0, data.rho) * errors)
  # Its target, from the values.
  following = jnp.append(values[1:], data.v[-1])
  target = data.r_t + data.discount_t * (
    (1 - lambda_) * data.v[1:] + lambda_ * following
  )
  close(target, errors + data.q_tm1)


@pytest.mark.parametrize('lambda_', [0.0, 0.7, 1.0])
def test_harutyunyans_q_lambda(data, lambda_):
  with (
    jax.numpy_dtype_promotion('standard'),
    jax.numpy_rank_promotion('allow'),
  ):
    targets = off_policy_returns(data, jnp.full(T, lambda_))
  *args, _ = data.state_critic
  for evaluator in (
    evaluators.doubly_robust,
    evaluators.truncated_doubly_robust,
  ):
    values = evaluator(*args, jnp.ones(T), lambda_=lambda_, q_tm1=data.q_tm1)
    close(values - data.v[:-1] + data.q_tm1, targets)


@pytest.mark.parametrize('lambda_', [0.0, 0.7, 1.0])
def test_pengs_q_lambda(data, lambda_):
  with (
    jax.numpy_dtype_promotion('standard'),
    jax.numpy_rank_promotion('allow'),
  ):
    errors = rlax.q_lambda(
      data.q[:-1],
      jnp.asarray(data.actions[:-1]),
      data.r_t,
      data.discount_t,
      data.q[1:],
      lambda_,
      stop_target_gradients=False,
    )
  best = data.q.max(axis=-1)
  values = evaluators.doubly_robust(
    best[:-1],
    best[1:],
    data.r_t,
    data.discount_t,
    jnp.ones(T),
    lambda_=lambda_,
  )
  close(values, errors + data.q_tm1)


def test_a_leak_gives_a_truncated_ratio_its_derivative_back():
  one = jnp.ones(1)

  def estimate(rho, leak, threshold=2.0):
    return evaluators.truncated_doubly_robust(
      0 * one,
      0 * one,
      one,
      one,
      rho[None],
      clip_rho_threshold=threshold,
      leak_rho=leak,
    )[0]

  for rho, leak, value, slope in (
    (5.0, 1.0, 2.0, 0.0),
    (5.0, 0.25, 4.25, 0.75),
    (5.0, 0.0, 5.0, 1.0),
    (1.5, 0.25, 1.5, 1.0),
  ):
    close(jax.value_and_grad(estimate)(jnp.asarray(rho), leak), (value, slope))
  # In the leak: min(ρ, threshold) − ρ; finite for an infinite threshold.
  in_leak = jax.grad(estimate, argnums=1)
  close(in_leak(jnp.asarray(5.0), 0.25), -3.0)
  close(in_leak(jnp.asarray(5.0), 0.25, np.inf), 0.0)


def test_truncation_by_its_recursion_with_an_option_for_every_step(data):
  rng = np.random.default_rng(1)
  names = ('lambda_', 'leak_rho', 'leak_c')
  options = dict(zip(names, rng.uniform(size=(3, T)), strict=True))
  for name in ('clip_rho_threshold', 'clip_c_threshold'):
    options[name] = rng.uniform(0.3, 1.5, T)
  v_tm1, v_t, r_t, discount_t, rho = map(np.asarray, data.state_critic)

  def truncated(name, t):
    leak = options[f'leak_{name}'][t]
    lower = min(rho[t], options[f'clip_{name}_threshold'][t])
    return leak * lower + (1 - leak) * rho[t]

  expected, following = np.zeros(T), v_t[-1]
  for t in reversed(range(T)):
    td = r_t[t] + discount_t[t] * v_t[t] - v_tm1[t]
    trace = discount_t[t] * options['lambda_'][t] * truncated('c', t)
    following = expected[t] = (
      v_tm1[t] + truncated('rho', t) * td + trace * (following - v_t[t])
    )
  evaluate = functools.partial(evaluators.vtrace, *data.state_critic)
  close(evaluate(**options), expected)
  traced = jax.jit(lambda options: evaluate(**options))
  close(traced(jax.tree.map(jnp.asarray, options)), expected)


def test_dice_with_baseline_by_hand():
  v, r_t = jnp.array([2.0, 3.0]), jnp.array([1.0, -1.0])
  rho, discount_t = jnp.array([0.5, 2.0]), jnp.array([0.9, 0.0])
  second = 2.0 * -1.0 + (1 - 2.0) * 3.0
  first = 0.5 * (1 + 0.9 * 2.0 * -1.0) + (1 - 0.5) * 2.0 + 0.9 * -1.0 * 3.0
  close(
    evaluators.dice_with_baseline(v, v, r_t, discount_t, rho), [first, second]
  )


def test_dice_with_baseline_has_the_gradient_of_doubly_robust_on_policy(data):
  args = list(data.state_critic)
  args[3] = args[3].at[-1].set(0.0)
  on_policy = jnp.ones(T)

  def gradient(evaluator):
    return jax.jacrev(lambda rho: evaluator(*args[:4], rho))(on_policy)

  chex.assert_trees_all_close(
    gradient(evaluators.dice_with_baseline),
    gradient(evaluators.doubly_robust),
    atol=1e-12,
  )


@pytest.mark.parametrize('name', ['lambda_', 'leak_rho', 'leak_c'])
@pytest.mark.parametrize('value', [-0.1, 1.1, np.nan, np.ones(T - 1), None])
def test_refuses_what_is_no_share(data, name, value):
  with pytest.raises(ValueError, match=rf'{name} .*\[0, 1\].*got'):
    evaluators.vtrace(*data.state_critic, **{name: value})
