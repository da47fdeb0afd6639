"""Expansions: what is held constant, causal λ, and Loaded DiCE."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators

KAPPAS = (0.0, 0.3, 0.7, 1.0)
LENGTH = 5
NAMES = ('v_tm1', 'v_t', 'r_t', 'discount_t', 'rho_tm1')


@pytest.fixture(autouse=True)
def _strict():
  with (
    jax.numpy_rank_promotion('raise'),
    jax.numpy_dtype_promotion('strict'),
  ):
    yield


def make_inputs(seed=0, on_policy=False):
  """By name; the critic is consistent, an episode ends after x_2."""
  rng = np.random.default_rng(seed)
  values = rng.normal(size=LENGTH + 1)
  discount_t = np.array([0.9, 0.8, 0.0, 0.7, 0.95])
  rho = np.ones(LENGTH) if on_policy else rng.uniform(0.5, 2.0, LENGTH)
  arrays = values[:-1], values[1:], rng.normal(size=LENGTH), discount_t, rho
  return dict(zip(NAMES, map(jnp.asarray, arrays), strict=True))


def all_derivatives(f, x, up_to):
  functions = [f]
  for order in range(up_to):
    transform = jax.jacrev if order == 0 else jax.jacfwd
    functions.append(transform(functions[-1]))
  return jax.jit(lambda x: [g(x) for g in functions])(x)


def close(got, expected, atol=1e-11):
  chex.assert_trees_all_close(got, expected, atol=atol, rtol=1e-11)


# What is held constant.


@pytest.mark.parametrize('order', [LENGTH, LENGTH + 3])
@pytest.mark.parametrize('on_policy', [False, True])
def test_nothing_stopped_equals_doubly_robust_in_every_derivative(
  order, on_policy
):
  """Value, Jacobian and Hessian in all inputs at once."""
  inputs = make_inputs(on_policy=on_policy)

  def taylor(inputs):
    return evaluators.taylor_expansion(
      **inputs, order=order, stop_target_gradients=False
    )

  def doubly_robust(inputs):
    return evaluators.doubly_robust(**inputs)

  close(
    all_derivatives(taylor, inputs, 2),
    all_derivatives(doubly_robust, inputs, 2),
  )


def test_nothing_stopped_equals_doubly_robust_with_a_state_action_critic():
  """Sample by sample, where q(x, a) stands for its expectation."""
  inputs = make_inputs()
  inputs['q_tm1'] = jnp.asarray(np.random.default_rng(1).normal(size=LENGTH))

  def taylor(inputs):
    return evaluators.taylor_expansion(
      **inputs,
      v_mu_tm1=inputs['q_tm1'],
      order=LENGTH,
      stop_target_gradients=False,
    )

  def doubly_robust(inputs):
    return evaluators.doubly_robust(**inputs)

  close(
    all_derivatives(taylor, inputs, 2),
    all_derivatives(doubly_robust, inputs, 2),
  )


def test_lambda_on_policy_has_the_derivative_of_doubly_robust():
  """At λ = 1; off-policy doubly robust weighs what λ mixes in by later ρ."""
  inputs = make_inputs(on_policy=True)
  inputs['v_t'] = jnp.append(inputs['v_tm1'][1:], inputs['v_t'][-1])
  got = jax.jacrev(
    lambda x: evaluators.taylor_expansion(
      **inputs, order=LENGTH, lambda_=x, stop_target_gradients=False
    )
  )(jnp.ones(LENGTH))
  expected = jax.jacrev(
    lambda x: evaluators.doubly_robust(**inputs, lambda_=x)
  )(jnp.ones(LENGTH))
  close(got, expected)


@pytest.mark.parametrize(
  'evaluator',
  [
    *(functools.partial(evaluators.taylor_expansion, order=k) for k in (1, 2)),
    functools.partial(evaluators.taylor_expansion, order=LENGTH),
    functools.partial(evaluators.taylor_expansion, order=3, causal_lambda=0.5),
    evaluators.lvc,
    evaluators.log_likelihood,
    functools.partial(
      evaluators.loaded_dice, causal_lambda=0.5, stop_target_gradients=True
    ),
  ],
)
def test_stopped_targets_are_exactly_constant(evaluator):
  inputs = {**make_inputs(), 'lambda_': jnp.full(LENGTH, 0.9)}
  jacobian = jax.jit(jax.jacrev(lambda x: evaluator(**x)))(inputs)
  for name, derivative in jacobian.items():
    if name == 'rho_tm1':
      assert np.abs(derivative).max() > 0.1
    else:
      np.testing.assert_array_equal(derivative, np.zeros((LENGTH, LENGTH)))


def test_of_a_state_action_critic_only_the_expectations_move():
  rng = np.random.default_rng(1)
  inputs = {
    **make_inputs(),
    'q_tm1': jnp.asarray(rng.normal(size=LENGTH)),
    'v_mu_tm1': jnp.asarray(rng.normal(size=LENGTH)),
  }
  jacobian = jax.jacrev(
    lambda x: evaluators.taylor_expansion(**x, order=3, causal_lambda=0.5)
  )(inputs)
  for name, derivative in jacobian.items():
    moves = name in ('v_tm1', 'v_mu_tm1', 'v_t', 'rho_tm1')
    assert np.any(derivative) == moves, name
  # Of v_t only v_π(x_T).
  np.testing.assert_array_equal(jacobian['v_t'][:, :-1], 0)


@pytest.mark.parametrize(
  'evaluator',
  [
    functools.partial(evaluators.taylor_expansion, order=2),
    evaluators.log_likelihood,
  ],
)
def test_stopping_changes_no_value_and_no_derivative_in_the_ratios(evaluator):
  inputs = make_inputs()
  rho = inputs.pop('rho_tm1')

  def of_rho(stop):
    return all_derivatives(
      lambda rho: evaluator(
        **inputs, rho_tm1=rho, lambda_=0.8, stop_target_gradients=stop
      ),
      rho,
      2,
    )

  close(of_rho(True), of_rho(False))


# Causal λ.


def log_rho(theta, seed=3):
  """[T] smooth functions of θ [2], 0 at θ = 0."""
  rng = np.random.default_rng(seed)
  linear, bent = jnp.asarray(rng.normal(size=(2, LENGTH, 2)))
  return linear @ theta + 0.3 * jnp.sin(bent @ theta)


def loaded_dice_objective(inputs, kappa):
  """θ -> Σ γ^t (□(w_t) − □(w_t − log π_t)) A_t of Farquhar et al. (2019).

  Written as its authors do, with log π + constant for log ρ.
  """
  r_t, discount_t = np.asarray(inputs['r_t']), np.asarray(inputs['discount_t'])
  following, returns = float(inputs['v_t'][-1]), []
  for t in reversed(range(LENGTH)):
    following = r_t[t] + discount_t[t] * following
    returns.append(following)
  advantages = np.array(returns[::-1]) - np.asarray(inputs['v_tm1'])
  kappa = np.broadcast_to(kappa, LENGTH)

  def box(x):
    return jnp.exp(x - jax.lax.stop_gradient(x))

  def objective(theta):
    total, w, decay = 0.0, 0.0, 1.0
    log_pi = log_rho(theta) - 1.0
    for t in range(LENGTH):
      w = (kappa[t - 1] * w if t else 0.0) + log_pi[t]
      total += decay * (box(w) - box(w - log_pi[t])) * advantages[t]
      decay *= discount_t[t]
    return total

  return objective


@pytest.mark.parametrize('kappa', KAPPAS)
@pytest.mark.parametrize('ended', [False, True])
@pytest.mark.parametrize('order', [2, 3, LENGTH, None])
def test_gradient_and_hessian_are_those_of_loaded_dice(order, ended, kappa):
  inputs = make_inputs()
  if not ended:
    inputs['discount_t'] = inputs['discount_t'].at[2].set(0.85)
  del inputs['rho_tm1']
  evaluator = evaluators.loaded_dice
  if order is not None:
    evaluator = functools.partial(evaluators.taylor_expansion, order=order)

  def estimate(theta):
    rho_tm1 = jnp.exp(log_rho(theta))
    return evaluator(**inputs, rho_tm1=rho_tm1, causal_lambda=kappa)[0]

  # The third derivative too where there is no self-term, κ² = κ.
  up_to = 3 if order != 2 and kappa in (0.0, 1.0) else 2
  theta = jnp.zeros(2)
  got = all_derivatives(estimate, theta, up_to)[1:]
  close(
    got, all_derivatives(loaded_dice_objective(inputs, kappa), theta, up_to)[1:]
  )
  assert np.abs(got[1]).max() > 0.1


def mixture_objective(inputs, kappa):
  """θ -> Σ γ^t D_t (ρ_t − 1) A_t, D_{t+1} = 1 − κ + κ ρ_t D_t, D_0 = 1.

  D_t mixes the products of the last 0, 1, 2, … ratios, geometrically.
  """
  zeros = jnp.zeros(LENGTH)
  advantage = (
    evaluators.taylor_expansion(**inputs, rho_tm1=zeros + 1.0) - inputs['v_tm1']
  )

  def objective(theta):
    rho = jnp.exp(log_rho(theta))
    total, decay, mixture = 0.0, 1.0, 1.0
    for t in range(LENGTH):
      total += decay * mixture * (rho[t] - 1.0) * advantage[t]
      decay *= inputs['discount_t'][t]
      mixture = 1.0 - kappa + kappa * rho[t] * mixture
    return total

  return objective


@pytest.mark.parametrize('kappa', KAPPAS)
@pytest.mark.parametrize('order', [3, LENGTH, None])
def test_third_derivatives_are_those_of_a_mixture_of_horizons(order, kappa):
  inputs = make_inputs()
  del inputs['rho_tm1']
  evaluator = evaluators.loaded_dice
  if order is not None:
    evaluator = functools.partial(evaluators.taylor_expansion, order=order)

  def estimate(theta):
    rho_tm1 = jnp.exp(log_rho(theta))
    return evaluator(**inputs, rho_tm1=rho_tm1, causal_lambda=kappa)[0]

  objective = mixture_objective(inputs, kappa)
  theta = jnp.zeros(2)
  close(
    all_derivatives(estimate, theta, 3)[1:],
    all_derivatives(objective, theta, 3)[1:],
  )
  if order != 3:  # The whole: off-policy too, up to the return on μ's data.
    theta = jnp.array([0.3, -0.5])
    returns = evaluators.lvc(**inputs, rho_tm1=jnp.ones(LENGTH))[0]
    close(
      all_derivatives(estimate, theta, 3),
      all_derivatives(lambda x: returns + objective(x), theta, 3),
    )


def test_causal_lambda_of_every_step_against_loaded_dice():
  inputs = make_inputs()
  del inputs['rho_tm1']
  kappa = np.array([0.2, 0.9, 0.5, 0.0, 0.7])

  def estimate(theta):
    rho_tm1 = jnp.exp(log_rho(theta))
    return evaluators.taylor_expansion(
      **inputs, rho_tm1=rho_tm1, order=2, causal_lambda=kappa
    )[0]

  theta = jnp.zeros(2)
  close(
    all_derivatives(estimate, theta, 2)[1:],
    all_derivatives(loaded_dice_objective(inputs, kappa), theta, 2)[1:],
  )


def brute_force(inputs, first, last, order, kappa):
  """Ĝ_0 aside: tuples s_1 < … < s_k of steps, decayed by κ^(s_k − s_1)."""
  weight = inputs['rho_tm1'] - 1.0
  discounts = np.cumprod(np.append(1.0, inputs['discount_t']))
  total = 0.0
  for k in range(1, order + 1):
    for steps in itertools.combinations(range(LENGTH), k):
      term = first[steps[-1]] * discounts[steps[-1]]
      for s in steps[:-1]:
        term *= weight[s]
      total += term * kappa ** (steps[-1] - steps[0])
    # The critic at the end of the row takes the place of the last step.
    for steps in itertools.combinations(range(LENGTH), k - 1):
      term = last * discounts[-1]
      for s in steps:
        term *= weight[s]
      total += term * (kappa ** (LENGTH - steps[0]) if steps else 1.0)
  return total


@pytest.mark.parametrize('kappa', KAPPAS)
@pytest.mark.parametrize('order', [1, 2, 3, 4, 6])
@pytest.mark.parametrize('critic', ['state', 'state_action'])
def test_causal_lambda_equals_brute_force_off_policy(critic, order, kappa):
  inputs = make_inputs()
  inputs['discount_t'] = inputs['discount_t'].at[2].set(0.85)
  rng = np.random.default_rng(1)
  options, last = {}, 0.0
  returns = evaluators.taylor_expansion(
    **{**inputs, 'rho_tm1': jnp.ones(LENGTH)}
  )
  weight = inputs['rho_tm1'] - 1.0
  if critic == 'state':
    first = weight * (returns - inputs['v_tm1'])
  else:
    q, v_mu = rng.normal(size=(2, LENGTH))
    options = {'q_tm1': q, 'v_mu_tm1': v_mu}
    first = inputs['v_tm1'] - v_mu + weight * (returns - q)
  got = evaluators.taylor_expansion(
    **inputs, **options, order=order, causal_lambda=kappa
  )[0]
  expected = returns[0] + brute_force(inputs, first, last, order, kappa)
  np.testing.assert_allclose(got, expected, atol=1e-12)


def test_causal_lambda_follows_the_state_action_critic_at_the_end():
  """v_π(x_T) moves with θ; its derivative is chained like any other term."""
  inputs = make_inputs()
  inputs['discount_t'] = inputs['discount_t'].at[2].set(0.85)
  v_mu, q = np.random.default_rng(1).normal(size=(2, LENGTH))

  def estimate(last):
    v_t = jnp.append(inputs['v_t'][:-1], last)
    return evaluators.taylor_expansion(
      **{**inputs, 'v_t': v_t},
      order=3,
      causal_lambda=0.6,
      q_tm1=q,
      v_mu_tm1=v_mu,
    )[0]

  expected = brute_force(inputs, np.zeros(LENGTH), 1.0, 3, 0.6)
  np.testing.assert_allclose(
    jax.grad(estimate)(inputs['v_t'][-1]), expected, atol=1e-12
  )


@pytest.mark.parametrize('order', [2, 3, 6])
@pytest.mark.parametrize('critic', ['state', 'state_action'])
def test_the_ends_of_causal_lambda(critic, order):
  inputs = make_inputs()
  options = {}
  if critic == 'state_action':
    q, v_mu = np.random.default_rng(1).normal(size=(2, LENGTH))
    options = {'q_tm1': q, 'v_mu_tm1': v_mu}
  taylor = functools.partial(evaluators.taylor_expansion, **inputs, **options)
  whole = taylor(order=order)
  for one in (1, 1.0, np.float32(1), np.ones(LENGTH)):
    np.testing.assert_array_equal(taylor(order=order, causal_lambda=one), whole)
  traced = jax.jit(lambda x: taylor(order=order, causal_lambda=x))
  np.testing.assert_allclose(traced(1.0), whole, atol=1e-13)
  np.testing.assert_allclose(traced(0.0), taylor(order=1), atol=1e-13)


@pytest.mark.parametrize('order', [2, 3, LENGTH])
def test_causal_lambda_is_swept_and_differentiated(order):
  inputs = make_inputs()

  def estimate(kappa):
    return evaluators.taylor_expansion(
      **inputs, order=order, causal_lambda=kappa
    )

  kappas = jnp.array(KAPPAS)
  swept = jax.jit(jax.vmap(estimate))(kappas)
  for kappa, row in zip(KAPPAS, swept, strict=True):
    np.testing.assert_allclose(row, estimate(kappa), atol=1e-13)
  step = 1e-6
  difference = (estimate(0.4 + step) - estimate(0.4 - step)) / (2 * step)
  derivative = jax.jacfwd(estimate)(jnp.asarray(0.4))
  np.testing.assert_allclose(derivative, difference, atol=1e-8)
  assert np.abs(derivative).max() > 0.1


# Loaded DiCE.


@pytest.mark.parametrize('critic', ['state', 'state_action'])
def test_loaded_dice_is_doubly_robust_at_one(critic):
  inputs = make_inputs()
  if critic == 'state_action':
    inputs['q_tm1'] = jnp.asarray(np.random.default_rng(1).normal(size=LENGTH))
  np.testing.assert_array_equal(
    evaluators.loaded_dice(**inputs, causal_lambda=1.0),
    evaluators.doubly_robust(**inputs),
  )

  def traced(inputs):
    return evaluators.loaded_dice(
      **inputs, causal_lambda=jnp.exp(0.0 * inputs['r_t'][0])
    )

  close(
    all_derivatives(traced, inputs, 1),
    all_derivatives(lambda x: evaluators.doubly_robust(**x), inputs, 1),
  )


def test_loaded_dice_at_zero_is_lvc():
  inputs = make_inputs()
  np.testing.assert_allclose(
    evaluators.loaded_dice(**inputs, causal_lambda=0.0, lambda_=0.9),
    evaluators.lvc(**inputs, lambda_=0.9),
    atol=1e-14,
  )


@pytest.mark.parametrize('kappa', [0.0, 0.4, 1.0])
def test_loaded_dice_by_its_recursion(kappa):
  inputs = {k: np.asarray(x) for k, x in make_inputs().items()}
  _, v_t, r_t, discount_t, rho = inputs.values()
  following = returns = v_t[-1]
  chained, expected = 0.0, []
  for t in reversed(range(LENGTH)):
    later = kappa * discount_t[t] * chained
    returns = r_t[t] + discount_t[t] * returns
    advantage = returns - inputs['v_tm1'][t]
    following = (
      r_t[t] + discount_t[t] * following + (rho[t] - 1) * (advantage + later)
    )
    chained = (rho[t] - 1) * advantage + rho[t] * later
    expected.append(following)
  got = evaluators.loaded_dice(**inputs, causal_lambda=kappa)
  np.testing.assert_allclose(got, expected[::-1], atol=1e-13)


@pytest.mark.parametrize('stop', [1, 'yes', None])
def test_refuses_what_is_no_boolean(stop):
  inputs = make_inputs()
  for evaluator in (
    evaluators.taylor_expansion,
    evaluators.loaded_dice,
    evaluators.log_likelihood,
  ):
    with pytest.raises(ValueError, match='stop_target_gradients .*True or'):
      evaluator(**inputs, stop_target_gradients=stop)


@pytest.mark.parametrize('kappa', [-0.1, 1.5, np.nan, np.ones(3), 'a'])
def test_refuses_bad_causal_lambdas(kappa):
  inputs = make_inputs()
  for evaluator in (evaluators.taylor_expansion, evaluators.loaded_dice):
    with pytest.raises(ValueError, match=r'causal_lambda .*\[0, 1\].*got'):
      evaluator(**inputs, causal_lambda=kappa)


# Truncated ratios.


@pytest.mark.parametrize('order', [1, 2, 3])
@pytest.mark.parametrize('causal_lambda', [0.4, 1.0])
def test_truncated_ratios_take_the_place_of_ratios(order, causal_lambda):
  """min(ρ, 1.6) with a leak, by hand; its derivatives as well."""
  inputs = make_inputs()
  rho = inputs.pop('rho_tm1')
  assert np.any(rho > 1.6) and np.any(rho < 1.6)
  options = {'order': order, 'causal_lambda': causal_lambda}

  def truncated(rho):
    return evaluators.taylor_expansion(
      **inputs, rho_tm1=rho, **options, clip_rho_threshold=1.6, leak_rho=0.7
    )

  def by_hand(rho):
    rho = 0.7 * jnp.minimum(rho, 1.6) + 0.3 * rho
    return evaluators.taylor_expansion(**inputs, rho_tm1=rho, **options)

  close(all_derivatives(truncated, rho, 2), all_derivatives(by_hand, rho, 2))


def test_truncation_at_one_changes_no_derivative_on_the_behaviour_policy():
  inputs = make_inputs(on_policy=True)
  rho = inputs.pop('rho_tm1')

  def estimate(rho, **options):
    return evaluators.taylor_expansion(
      **inputs, rho_tm1=rho, order=2, **options
    )

  truncated = functools.partial(estimate, clip_rho_threshold=1.0)
  close(all_derivatives(truncated, rho, 2), all_derivatives(estimate, rho, 2))


@pytest.mark.parametrize(
  ('options', 'problem'),
  [
    ({'clip_rho_threshold': 0.0}, 'clip_rho_threshold'),
    ({'leak_rho': 1.5}, 'leak_rho'),
  ],
)
def test_refuses_truncation(options, problem):
  with pytest.raises(ValueError, match=problem):
    evaluators.taylor_expansion(**make_inputs(), **options)
