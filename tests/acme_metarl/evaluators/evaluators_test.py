"""Evaluators: hand computation, brute force, identities, other libraries."""

import functools
import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl import evaluators


@pytest.fixture(autouse=True)
def _strict_ranks():
  with jax.numpy_rank_promotion('raise'):
    yield


class Problem(NamedTuple):
  """A trajectory whose ratios and critics are smooth functions of θ [2]."""

  values: np.ndarray  # [T + 1]
  r_t: np.ndarray
  discount_t: np.ndarray
  linear: np.ndarray  # [T, 2]
  bent: np.ndarray  # [T, 2]
  q_tm1: np.ndarray
  v_mu: np.ndarray  # [T]

  def log_rho(self, theta):
    return self.linear @ theta + 0.3 * jnp.sin(self.bent @ theta)

  def rho(self, theta):
    """1 at θ = 0: there π is μ."""
    return jnp.exp(self.log_rho(theta))

  def v_pi(self, theta):
    """[T + 1] a critic's expectation under π, v_mu at θ = 0."""
    v_mu = np.append(self.v_mu, self.values[-1])
    change = np.append(self.linear, self.linear[:1], axis=0) @ theta
    return v_mu + jnp.tanh(change)

  def state_critic(self, theta):
    v = self.values
    return v[:-1], v[1:], self.r_t, self.discount_t, self.rho(theta)

  def state_action_critic(self, theta):
    v = self.v_pi(theta)
    return v[:-1], v[1:], self.r_t, self.discount_t, self.rho(theta)


def make_problem(length=5, seed=0, termination=2):
  rng = np.random.default_rng(seed)
  discount_t = rng.uniform(0.5, 1.0, length)
  if termination is not None:
    discount_t[termination] = 0.0
  return Problem(
    values=rng.normal(size=length + 1),
    r_t=rng.normal(size=length),
    discount_t=discount_t,
    linear=rng.normal(size=(length, 2)),
    bent=rng.normal(size=(length, 2)),
    q_tm1=rng.normal(size=length),
    v_mu=rng.normal(size=length),
  )


OFF_POLICY = np.array([0.2, -0.3])
ON_POLICY = np.zeros(2)


def derivatives(f, up_to=3):
  """f, and its derivatives of orders 1 … up_to, compiled together."""
  functions = [f]
  for order in range(up_to):
    transform = jax.jacrev if order == 0 else jax.jacfwd
    functions.append(transform(functions[-1]))
  return jax.jit(lambda theta: [g(theta) for g in functions])


def assert_same_derivatives(f, g, theta, up_to=3):
  chex.assert_trees_all_close(
    derivatives(f, up_to)(theta),
    derivatives(g, up_to)(theta),
    atol=1e-11,
    rtol=1e-11,
  )


def monte_carlo_return(problem, bootstrap, lambda_=1.0):
  """Ĝ_t by a plain loop; bootstrap [T] at x_1 … x_T."""
  g, returns = bootstrap[-1], []
  for t in reversed(range(len(problem.r_t))):
    g = problem.r_t[t] + problem.discount_t[t] * (
      (1 - lambda_) * bootstrap[t] + lambda_ * g
    )
    returns.append(g)
  return jnp.stack(returns[::-1])


def brute_force_taylor(problem, rho, order, returns, first):
  """Ĝ_t plus the sums over all k-tuples t ≤ s_1 < … < s_k, one by one."""
  length = len(problem.r_t)
  total = returns
  for k in range(1, order + 1):
    tuples = np.array(list(itertools.combinations(range(length), k)))
    discounts = np.zeros((length, len(tuples)))
    for i, steps in enumerate(tuples):
      for t in range(steps[0] + 1):
        discounts[t, i] = np.prod(problem.discount_t[t : steps[-1]])
    terms = first[tuples[:, -1]]
    for j in range(k - 1):
      terms *= rho[tuples[:, j]] - 1.0
    total += discounts @ terms
  return total


def test_two_steps_by_hand():
  v_tm1, v_t = np.array([1.0, 2.0]), np.array([2.0, 4.0])
  r_t, discount_t = np.array([3.0, 5.0]), np.array([0.5, 0.25])
  rho = np.array([2.0, 3.0])
  args = (v_tm1, v_t, r_t, discount_t, rho)
  check = functools.partial(np.testing.assert_allclose, rtol=1e-14)

  # 3 · 5; 2 · (3 + .5 · 15).
  check(evaluators.importance_sampling(*args), [21.0, 15.0])
  # 2 + 3 (5 + 1 − 2); 1 + 2 (3 + .5 · 14 − 1).
  check(evaluators.doubly_robust(*args), [19.0, 14.0])
  # 2 + 5 + 1 − 2; 1 + (3 + .5 · 2 − 1) + .5 (6 − 2).
  check(evaluators.truncated_doubly_robust(*args), [6.0, 6.0])
  # ρ̄ = 1.5, c̄ = 2: 2 + 1.5 · 4; 1 + 1.5 · 3 + .5 · 2 · (8 − 2).
  truncated = evaluators.truncated_doubly_robust(
    *args, clip_rho_threshold=1.5, clip_c_threshold=2.0
  )
  check(truncated, [11.5, 8.0])
  # Ĝ = (3 + .5 · 6, 6), A = (5, 4), W_1 = (5 + .5 · 8, 8), W_2 = (4, 0).
  check(evaluators.taylor_expansion(*args, order=1), [15.0, 14.0])
  check(evaluators.taylor_expansion(*args, order=2), [19.0, 14.0])
  # Ĝ_0 = 3 + .5 (.5 · 2 + .5 · 6) = 5, A = (4, 4), W_1 = (4 + 4, 8).
  check(evaluators.taylor_expansion(*args, order=1, lambda_=0.5), [13.0, 14.0])
  # 6 + 5 log 2 + .5 · 4 log 3; 6 + 4 log 3.
  check(
    evaluators.log_likelihood(*args),
    [6 + 5 * np.log(2) + 2 * np.log(3), 6 + 4 * np.log(3)],
  )


@pytest.mark.parametrize('order', [1, 2, 3, 4])
@pytest.mark.parametrize('lambda_', [1.0, 0.7])
def test_taylor_equals_brute_force(order, lambda_):
  problem = make_problem(length=5)
  returns = monte_carlo_return(problem, problem.values[1:], lambda_)

  def brute_force(theta):
    rho = problem.rho(theta)
    first = (rho - 1.0) * (returns - problem.values[:-1])
    return brute_force_taylor(problem, rho, order, returns, first)

  def recursion(theta):
    return evaluators.taylor_expansion(
      *problem.state_critic(theta), order=order, lambda_=lambda_
    )

  assert_same_derivatives(recursion, brute_force, OFF_POLICY)


@pytest.mark.parametrize('order', [1, 2, 4])
def test_taylor_with_state_action_critic_equals_brute_force(order):
  problem = make_problem(length=5, seed=1)
  bootstrap = np.append(problem.v_mu[1:], problem.v_pi(OFF_POLICY)[-1])
  returns = monte_carlo_return(problem, bootstrap, 0.8)

  def brute_force(theta):
    rho = problem.rho(theta)
    first = problem.v_pi(theta)[:-1] - problem.v_mu
    first += (rho - 1.0) * (returns - problem.q_tm1)
    return brute_force_taylor(problem, rho, order, returns, first)

  def recursion(theta):
    v_tm1, _, *rest = problem.state_action_critic(theta)
    return evaluators.taylor_expansion(
      v_tm1,
      problem.v_pi(OFF_POLICY)[1:],
      *rest,
      order=order,
      lambda_=0.8,
      q_tm1=problem.q_tm1,
      v_mu_tm1=problem.v_mu,
    )

  assert_same_derivatives(recursion, brute_force, OFF_POLICY)


def test_high_order_equals_brute_force():
  problem = make_problem(length=8, termination=None)
  returns = monte_carlo_return(problem, problem.values[1:])

  def brute_force(theta):
    rho = problem.rho(theta)
    first = (rho - 1.0) * (returns - problem.values[:-1])
    return brute_force_taylor(problem, rho, 6, returns, first)

  def recursion(theta):
    return evaluators.taylor_expansion(*problem.state_critic(theta), order=6)

  assert_same_derivatives(recursion, brute_force, OFF_POLICY, up_to=2)


@pytest.mark.parametrize('termination', [None, 2])
@pytest.mark.parametrize('order', [5, 9])
def test_full_order_equals_doubly_robust_per_sample(order, termination):
  problem = make_problem(termination=termination)
  assert_same_derivatives(
    lambda theta: evaluators.taylor_expansion(
      *problem.state_critic(theta), order=order
    ),
    lambda theta: evaluators.doubly_robust(*problem.state_critic(theta)),
    OFF_POLICY,
  )


def test_full_order_follows_state_action_critic_at_the_end_of_the_row():
  # With q = v_μ both full expansions are the same function, also of v_π(x_T).
  problem = make_problem()

  def taylor(theta):
    return evaluators.taylor_expansion(
      *problem.state_action_critic(theta),
      order=5,
      q_tm1=problem.v_mu,
      v_mu_tm1=problem.v_mu,
    )

  def doubly_robust(theta):
    return evaluators.doubly_robust(
      *problem.state_action_critic(theta), q_tm1=problem.v_mu
    )

  assert_same_derivatives(taylor, doubly_robust, OFF_POLICY)


def test_hessians_on_policy():
  problem = make_problem()

  def derivatives_of(evaluator):
    return derivatives(
      lambda theta: evaluator(*problem.state_critic(theta)), up_to=2
    )(ON_POLICY)

  exact = derivatives_of(evaluators.doubly_robust)
  second = derivatives_of(
    functools.partial(evaluators.taylor_expansion, order=2)
  )
  chex.assert_trees_all_close(second, exact, atol=1e-12)
  for evaluator in (evaluators.lvc, evaluators.log_likelihood):
    value, gradient, hessian = derivatives_of(evaluator)
    np.testing.assert_allclose(value, exact[0], atol=1e-12)
    np.testing.assert_allclose(gradient, exact[1], atol=1e-12)
    assert np.abs(hessian - exact[2])[0].max() > 0.1
  sampled = derivatives_of(evaluators.dice)
  np.testing.assert_allclose(sampled[0][:3], exact[0][:3], atol=1e-12)


def test_infinite_thresholds_equal_doubly_robust():
  problem = make_problem()

  def truncated(theta, infinity=jnp.inf):
    return evaluators.truncated_doubly_robust(
      *problem.state_action_critic(theta),
      q_tm1=problem.q_tm1,
      clip_rho_threshold=infinity,
      clip_c_threshold=infinity,
    )

  def doubly_robust(theta):
    return evaluators.doubly_robust(
      *problem.state_action_critic(theta), q_tm1=problem.q_tm1
    )

  assert_same_derivatives(truncated, doubly_robust, OFF_POLICY)
  for infinity in (float('inf'), np.float32(np.inf)):
    np.testing.assert_allclose(
      truncated(OFF_POLICY, infinity), doubly_robust(OFF_POLICY), atol=1e-12
    )


def test_agrees_with_rlax_vtrace():
  problem = make_problem(length=12, seed=2)
  args = problem.state_critic(5 * OFF_POLICY)
  for threshold in (0.5, 1.0, 2.0):
    errors = rlax.vtrace(
      *args, clip_rho_threshold=threshold, stop_target_gradients=False
    )
    np.testing.assert_allclose(
      evaluators.vtrace(*args, clip_rho_threshold=threshold),
      errors + args[0],
      atol=1e-12,
    )


def test_agrees_with_rlax_general_off_policy_returns():
  problem = make_problem(length=12, seed=3)
  v_tm1, v_t, r_t, discount_t, rho = problem.state_action_critic(OFF_POLICY)
  q_tm1 = problem.q_tm1
  returns = rlax.general_off_policy_returns_from_q_and_v(
    q_tm1[1:], v_t, r_t, discount_t, rho[1:], stop_target_gradients=False
  )
  np.testing.assert_allclose(
    evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t, rho, q_tm1=q_tm1),
    v_tm1 + rho * (returns - q_tm1),
    atol=1e-12,
  )


def test_hessian_recursion_of_equation_5_as_corrected():
  """Tang et al. 2021, Eq. (5), with ∇V̂(x_{t+1}) in the cross terms."""
  rng = np.random.default_rng(0)
  length, num_states, num_actions = 5, 3, 4
  states = rng.integers(num_states, size=length + 1)
  actions = rng.integers(num_actions, size=length)
  r_t = rng.normal(size=length)
  discount_t = np.array([0.9, 0.8, 0.0, 0.7, 0.9])
  q = rng.normal(size=(num_states, num_actions))
  bootstrap = rng.normal()
  behaviour = rng.dirichlet(np.ones(num_actions), num_states)
  shape = (num_states, num_actions)
  theta = rng.normal(size=num_states * num_actions)

  arrays = (states, actions, q, behaviour)
  states, actions, q, behaviour = map(jnp.asarray, arrays)

  def log_pi(theta, t):
    return jax.nn.log_softmax(theta.reshape(shape))[states[t], actions[t]]

  def expectation(theta, t):
    policy = jax.nn.softmax(theta.reshape(shape))[states[t]]
    return jnp.sum(policy * q[states[t]])

  def doubly_robust(theta):
    v_tm1 = jnp.stack([expectation(theta, t) for t in range(length)])
    log_prob = jnp.stack([log_pi(theta, t) for t in range(length)])
    return evaluators.doubly_robust(
      v_tm1,
      jnp.append(v_tm1[1:], bootstrap),
      r_t,
      discount_t,
      jnp.exp(log_prob) / behaviour[states[:-1], actions],
      q_tm1=q[states[:-1], actions],
    )

  values, gradients, hessians = derivatives(doubly_robust, up_to=2)(theta)
  scores = jax.jit(jax.grad(log_pi))
  log_hessian = jax.jit(jax.hessian(log_pi))
  q_hessian = jax.jit(jax.hessian(expectation))
  size = theta.size
  values = np.append(values, bootstrap)
  gradients = np.concatenate([gradients, np.zeros((1, size))])
  expected, as_printed = np.zeros((2, size, size))
  for t in reversed(range(length)):
    score = scores(theta, t)
    rho = np.exp(log_pi(theta, t)) / behaviour[states[t], actions[t]]
    delta = r_t[t] + discount_t[t] * values[t + 1] - q[states[t], actions[t]]

    def one_step(hessian, gradient, t=t, score=score, rho=rho, delta=delta):
      cross = jnp.outer(gradient, score)
      return (
        rho * delta * (log_hessian(theta, t) + jnp.outer(score, score))
        + discount_t[t] * rho * (cross + cross.T)
        + q_hessian(theta, t)
        + discount_t[t] * rho * hessian
      )

    expected = one_step(expected, gradients[t + 1])
    as_printed = one_step(as_printed, gradients[t])
    np.testing.assert_allclose(hessians[t], expected, atol=1e-12)
  assert np.abs(hessians[0] - as_printed).max() > 0.1


def test_truncation_leaves_derivatives_on_policy_alone():
  args = make_problem().state_critic(ON_POLICY)[:4]
  recomputed = np.array([1.0, 1.0 + 1e-6, 1.0 - 1e-6, 1.0 + 9e-6, 1.0])

  def derivatives_of(evaluator):
    return derivatives(lambda rho: evaluator(*args, rho), up_to=2)(recomputed)

  chex.assert_trees_all_close(
    derivatives_of(evaluators.vtrace),
    derivatives_of(evaluators.doubly_robust),
    atol=1e-12,
  )


def test_truncated_ratio_is_constant_beyond_the_margin():
  one = jnp.ones(1)

  def estimate(rho):
    return evaluators.truncated_doubly_robust(
      0 * one, 0 * one, one, one, rho[None], clip_rho_threshold=2.0
    )[0]

  for rho, value, slope in (
    (1.9, 1.9, 1.0),
    (2.0, 2.0, 1.0),
    (2.0 * (1 + 0.9e-5), 2.0 * (1 + 0.9e-5), 1.0),
    (2.0 * (1 + 1.1e-5), 2.0, 0.0),
    (50.0, 2.0, 0.0),
  ):
    got = derivatives(estimate, up_to=2)(jnp.asarray(rho))
    np.testing.assert_allclose(got, [value, slope, 0.0], rtol=1e-14)


@pytest.mark.parametrize(
  ('alias', 'function', 'options'),
  [
    (evaluators.dice, evaluators.importance_sampling, {}),
    (evaluators.loaded_dice, evaluators.doubly_robust, {'q_tm1': 0}),
    (evaluators.lvc, evaluators.taylor_expansion, {'lambda_': 0.3}),
    (
      evaluators.vtrace,
      evaluators.truncated_doubly_robust,
      {'clip_c_threshold': 0.7, 'clip_rho_threshold': 1.1},
    ),
  ],
)
def test_aliases(alias, function, options):
  problem = make_problem()
  if 'q_tm1' in options:
    options = {'q_tm1': problem.q_tm1}
  args = problem.state_critic(OFF_POLICY)
  np.testing.assert_array_equal(
    alias(*args, **options), function(*args, **options)
  )
  assert f'`{function.__name__}`' in alias.__doc__ or 'Taylor' in alias.__doc__


def test_lvc_is_the_first_order():
  args = make_problem().state_critic(OFF_POLICY)
  np.testing.assert_array_equal(
    evaluators.lvc(*args), evaluators.taylor_expansion(*args, order=1)
  )


def test_only_return_and_advantage_are_held_constant():
  problem = make_problem(termination=None)
  args = tuple(map(jnp.asarray, problem.state_critic(OFF_POLICY)))

  def sensitivities(evaluator, **options):
    gradient = jax.grad(lambda x: jnp.sum(evaluator(*x, **options)))
    return [np.abs(x).max() for x in jax.jit(gradient)(args)]

  for evaluator in (
    evaluators.doubly_robust,
    evaluators.truncated_doubly_robust,
  ):
    assert min(sensitivities(evaluator)[:4]) > 0
  taylor = functools.partial(sensitivities, evaluators.taylor_expansion)
  assert taylor(order=2)[:3] == [0, 0, 0]
  assert sensitivities(evaluators.log_likelihood)[:3] == [0, 0, 0]
  critic = taylor(order=2, q_tm1=problem.q_tm1, v_mu_tm1=problem.v_mu)
  assert critic[0] > 0 and critic[4] > 0


def test_lambda_per_step_and_zero():
  problem = make_problem(termination=None)
  args = problem.state_critic(OFF_POLICY)
  mixing = np.array([0.1, 0.9, 0.4, 1.0, 0.0])
  returns = rlax.lambda_returns(
    *map(jnp.asarray, (args[2], args[3], args[1])), jnp.asarray(mixing)
  )
  rho = args[4]
  np.testing.assert_allclose(
    evaluators.taylor_expansion(*args, lambda_=mixing)[-1],
    returns[-1] + (rho[-1] - 1) * (returns[-1] - args[0][-1]),
    atol=1e-13,
  )
  # λ = 0: Ĝ is the one-step target.
  np.testing.assert_allclose(
    evaluators.taylor_expansion(*args[:4], np.ones(5), lambda_=0),
    args[2] + args[3] * args[1],
    atol=1e-13,
  )


def test_lambda_return_of_a_state_action_critic_bootstraps_from_v_mu():
  problem = make_problem(termination=None)
  args = problem.state_action_critic(OFF_POLICY)
  bootstrap = np.append(problem.v_mu[1:], args[1][-1])
  estimates = evaluators.taylor_expansion(
    problem.v_mu,
    *args[1:4],
    np.ones(5),
    lambda_=0.6,
    q_tm1=problem.q_tm1,
    v_mu_tm1=problem.v_mu,
  )
  np.testing.assert_allclose(
    estimates, monte_carlo_return(problem, bootstrap, 0.6), atol=1e-13
  )


def test_log_likelihood_is_finite_where_the_ratio_is_lost():
  zeros, ones = np.zeros(3), np.ones(3)
  rho = np.array([0.0, 1e-320, 1.0])

  def estimate(rho):
    return evaluators.log_likelihood(zeros, zeros, ones, ones, rho)[0]

  value, gradient = jax.value_and_grad(estimate)(jnp.asarray(rho))
  assert np.isfinite(value)
  np.testing.assert_array_equal(gradient, [0.0, 0.0, 1.0])
  assert np.isnan(estimate(np.array([-1.0, 1.0, 1.0])))
