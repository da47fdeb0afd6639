"""Estimates against exact sums, autodiff and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators, tabular
from acme_metarl.studies import derivative_accuracy, meta_gradient_bias
from acme_metarl.studies.meta_gradient_bias import estimation

HORIZON = 3
Parts, Settings = meta_gradient_bias.Parts, meta_gradient_bias.Settings


@functools.cache
def _estimate(*names):
  estimate = meta_gradient_bias.make_estimate(names, HORIZON, max_inner_steps=3)
  return jax.jit(estimate)


def _exactly(problem, settings):
  return _estimate()(jax.random.PRNGKey(0), problem, Parts(0, 0, 0), settings)


@pytest.mark.parametrize('num_steps', [1, 2, 3])
def test_exact_parts_give_the_derivative_of_adaptation(problem, num_steps):
  settings = Settings(step_size=2.0, num_inner_steps=num_steps)
  got = _exactly(problem, settings)

  @jax.jit
  def adapted_value(logits):
    adapted = tabular.adapt(problem.mdp, logits, 2.0, num_steps)
    return tabular.value(problem.mdp, adapted)

  np.testing.assert_allclose(
    got, jax.jit(jax.grad(adapted_value))(problem.logits), rtol=1e-10
  )
  direction = jnp.array([[0.3, -0.5], [0.2, 0.1]])
  step = 1e-5 * direction
  difference = adapted_value(problem.logits + step) - adapted_value(
    problem.logits - step
  )
  np.testing.assert_allclose(
    difference / 2e-5, jnp.sum(got * direction), rtol=1e-7
  )


def test_no_steps_give_the_policy_gradient(problem):
  got = _exactly(problem, Settings(num_inner_steps=0))
  want = tabular.value_gradient(problem.mdp, problem.logits)
  np.testing.assert_allclose(got, want, rtol=1e-12)


def _stop(x):
  return jax.lax.stop_gradient(x)


@pytest.mark.parametrize('shared', [False, True])
def test_a_sampled_estimate_is_autodiff_through_the_swapped_step(
  problem, shared
):
  """Theta' = sg(inner) + hessian - sg(hessian), on the same trajectories."""
  names = ('doubly_robust', 'taylor_1')
  num_steps, step_size, epsilon = 2, 1.5, 0.3
  settings = Settings(
    step_size=step_size,
    num_inner_steps=num_steps,
    num_trajectories=estimation.CHUNK_SIZE,
    off_policyness=epsilon,
    shared_data=shared,
  )
  key = jax.random.PRNGKey(5)
  got = _estimate(*names)(key, problem, Parts(1, 2, 1), settings)

  inner_key, hessian_key, _ = jax.random.split(key, 3)
  weights = jnp.full(estimation.CHUNK_SIZE, 1 / estimation.CHUNK_SIZE)

  def objective(name, key, at):
    at = _stop(at)
    data_key, critic_key = jax.random.split(key)
    policy = tabular.softmax_policy(at)
    behaviour = (1 - epsilon) * policy + epsilon * problem.deterministic
    value = tabular.state_values(problem.mdp, behaviour)
    noise = jax.random.normal(critic_key, value.shape)
    critic = value + jnp.linalg.norm(value) / len(value) * noise
    trajectories = tabular.sample_trajectories(
      jax.random.fold_in(data_key, 0),
      problem.mdp,
      behaviour,
      estimation.CHUNK_SIZE,
      HORIZON,
    )
    data = estimation.prepare(problem.mdp, behaviour, critic, trajectories)
    evaluator = derivative_accuracy.make_evaluator(name)
    return estimation.surrogate(evaluator, data, weights)

  def outer(logits):
    for k in range(num_steps):
      fold = functools.partial(jax.random.fold_in, data=k)
      first = objective('doubly_robust', fold(inner_key), logits)
      second = objective(
        'taylor_1', fold(inner_key if shared else hessian_key), logits
      )
      inner = logits + step_size * jax.grad(first)(logits)
      hessian = logits + step_size * jax.grad(second)(logits)
      logits = _stop(inner) + hessian - _stop(hessian)
    last = jax.random.fold_in(inner_key, num_steps)
    return objective('doubly_robust', last, logits)(logits)

  want = jax.jit(jax.grad(outer))(problem.logits)
  np.testing.assert_allclose(got, want, rtol=1e-9)


def _expected_derivatives(problem, critic, behaviour, name):
  """Expectation over all trajectories, of gradient and Hessian."""
  probabilities, trajectories = tabular.enumerate_trajectories(
    problem.mdp, behaviour, HORIZON
  )
  data = estimation.prepare(problem.mdp, behaviour, critic, trajectories)
  objective = estimation.surrogate(
    derivative_accuracy.make_evaluator(name), data, probabilities
  )
  derivatives = jax.jit(
    lambda x: (jax.grad(objective)(x), jax.hessian(objective)(x))
  )
  return derivatives(problem.logits)


@pytest.mark.parametrize(
  ('name', 'epsilon', 'has_gradient', 'has_hessian'),
  [
    ('doubly_robust', 0.0, True, True),
    ('doubly_robust', 0.4, True, True),
    ('importance_sampling', 0.4, True, True),
    ('taylor_1', 0.0, True, False),
    ('taylor_2', 0.0, True, True),
    ('taylor_2', 0.4, False, False),
    ('taylor_3', 0.4, True, True),  # As many orders as steps.
    ('log_likelihood', 0.0, True, False),
    ('log_likelihood', 0.4, False, False),
  ],
)
def test_expected_derivatives_are_exact_where_they_should_be(
  problem, critic, name, epsilon, has_gradient, has_hessian
):
  behaviour = estimation.behaviour_policy(problem, problem.logits, epsilon)
  gradient, hessian = _expected_derivatives(problem, critic, behaviour, name)
  end = None if name == 'importance_sampling' else critic
  wanted = problem.mdp, problem.logits, HORIZON, end
  exact_gradient = tabular.value_gradient(*wanted)
  exact_hessian = tabular.value_hessian(*wanted)
  assert np.allclose(gradient, exact_gradient, atol=1e-12) == has_gradient
  assert np.allclose(hessian, exact_hessian, atol=1e-12) == has_hessian


def test_log_likelihood_has_no_hessian_for_a_softmax(problem):
  """The score's derivative is the same for all actions; advantages cancel."""
  policy = tabular.softmax_policy(problem.logits)
  critic = tabular.state_values(problem.mdp, policy)
  hessian = _expected_derivatives(problem, critic, policy, 'log_likelihood')[1]
  np.testing.assert_allclose(hessian, 0.0, atol=1e-14)


def test_behaviour_policy_leans_to_the_deterministic_one(problem):
  policy = tabular.softmax_policy(problem.logits)
  for epsilon in (0.0, 0.3):
    behaviour = estimation.behaviour_policy(problem, problem.logits, epsilon)
    np.testing.assert_allclose(behaviour.sum(-1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(
      jnp.abs(behaviour - policy),
      epsilon * jnp.abs(problem.deterministic - policy),
      atol=1e-14,
    )


def test_critic_noise_has_the_published_scale():
  value = jnp.array([3.0, 4.0])
  keys = jax.random.split(jax.random.PRNGKey(0), 20_000)
  noisy = jax.vmap(estimation.noisy_critic, in_axes=(0, None, None))(
    keys, value, 0.5
  )
  np.testing.assert_allclose(noisy.mean(0), value, atol=0.04)
  np.testing.assert_allclose(noisy.std(0), 0.5 * 5.0 / 2, rtol=0.03)
  np.testing.assert_array_equal(
    estimation.noisy_critic(keys[0], value, 0.0), value
  )


@pytest.mark.parametrize('number', [1, 4, 5, 11])
def test_chunks_add_up_to_any_number_of_trajectories(problem, number):
  behaviour = tabular.softmax_policy(problem.logits)

  def function(trajectories, weights):
    assert trajectories.actions.shape == (estimation.CHUNK_SIZE, HORIZON)
    return weights.sum(), (weights > 0).sum(), (weights**2).sum()

  total, used, squares = meta_gradient_bias.sum_over_chunks(
    function,
    jax.random.PRNGKey(0),
    problem.mdp,
    behaviour,
    number,
    HORIZON,
  )
  assert used == number
  np.testing.assert_allclose(total, 1.0, rtol=1e-12)
  np.testing.assert_allclose(squares, 1 / number, rtol=1e-12)


def test_an_injected_error_is_a_multiple_of_the_identity(problem):
  step_size, error = 2.0, 0.7
  settings = Settings(
    step_size=step_size, num_inner_steps=2, hessian_error=error
  )
  got = _exactly(problem, settings)
  logits, size = problem.logits, problem.logits.size
  factors = []
  for _ in range(2):
    hessian = tabular.value_hessian(problem.mdp, logits).reshape(size, size)
    wrong = hessian + 2 * error / size * np.eye(size)
    factors.append(np.eye(size) + step_size * wrong)
    logits += step_size * tabular.value_gradient(problem.mdp, logits)
  outer = tabular.value_gradient(problem.mdp, logits).reshape(-1)
  want = factors[0] @ factors[1] @ outer
  np.testing.assert_allclose(got.reshape(-1), want, rtol=1e-10)


@pytest.mark.parametrize('num_steps', [1, 2, 3])
def test_the_squared_error_grows_as_the_square_of_a_small_injected_one(
  problem, num_steps
):
  settings = Settings(step_size=2.0, num_inner_steps=num_steps)
  exact = _exactly(problem, settings)

  def squared_error(error):
    wrong = _exactly(problem, settings._replace(hessian_error=error))
    return float(jnp.sum((wrong - exact) ** 2))

  def exponent(error):
    return np.log2(squared_error(2 * error) / squared_error(error))

  np.testing.assert_allclose(exponent(1e-3), 2.0, atol=0.01)
  np.testing.assert_allclose(exponent(1e5), 2.0 * num_steps, atol=0.01)


def test_noise_of_the_injected_error_has_no_bias(problem):
  settings = Settings(step_size=1.0, hessian_error_noise=0.5)
  keys = jax.random.split(jax.random.PRNGKey(0), 4000)
  estimates = jax.jit(jax.vmap(_estimate(), in_axes=(0, None, None, None)))(
    keys, problem, Parts(0, 0, 0), settings
  )
  exact = _exactly(problem, settings._replace(hessian_error_noise=0.0))
  stderr = estimates.std(0) / len(keys) ** 0.5
  assert np.all(stderr > 0)
  assert np.all(np.abs(estimates.mean(0) - exact) < 4.5 * stderr)


def test_your_own_evaluator_plugs_in(problem):
  def mine(v_tm1, v_t, r_t, discount_t, rho_tm1):
    return evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1)

  estimate = meta_gradient_bias.make_estimate(
    {'mine': mine}, HORIZON, max_inner_steps=3
  )
  key = jax.random.PRNGKey(0)
  settings = Settings(num_trajectories=8)
  got = jax.jit(estimate)(key, problem, Parts(1, 1, 1), settings)
  want = _estimate('doubly_robust', 'taylor_1')(
    key, problem, Parts(1, 1, 1), settings
  )
  np.testing.assert_allclose(got, want, rtol=1e-10)


def test_parts_have_numbers_and_mistakes_a_sentence():
  parts = Parts(inner='taylor_1', outer='doubly_robust')
  assert parts.numbers(('doubly_robust', 'taylor_1')) == (2, 0, 1)
  with pytest.raises(ValueError, match="hessian is 'lvc'; it needs"):
    Parts(hessian='lvc').numbers()
