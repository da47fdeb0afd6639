"""Accuracy against causal lambda: the same as by the evaluators themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import (
  causal_accuracy,
  derivative_accuracy,
  meta_gradient_bias,
)

_SETTING = derivative_accuracy.Setting(num_states=4, num_actions=2, horizon=4)
_GRID = (0.0, 0.5, 1.0)
_NAMES = ('taylor_1', 'taylor_2@0.5', 'taylor_2')
_STEP_SIZE, _NUMBER = 0.7, 30


@pytest.fixture(scope='module', params=[0.0, 0.4])
def epsilon(request):
  return request.param


@pytest.fixture(scope='module')
def found(_float64, epsilon):
  return causal_accuracy.trial(
    jax.random.PRNGKey(5),
    epsilon,
    _NUMBER,
    jnp.asarray(_GRID),
    _STEP_SIZE,
    _SETTING,
  )


def test_hessians_are_those_of_derivative_accuracy(found, epsilon):
  expected = derivative_accuracy.trial_accuracy(
    jax.random.PRNGKey(5), epsilon, _NUMBER, _SETTING, _NAMES
  )
  np.testing.assert_allclose(found.hessian, expected.hessian, atol=1e-12)


def _objective(key, mdp, behaviour, critic, evaluator):
  """Logits -> estimate from the trajectories of a key."""
  trajectories = tabular.sample_trajectories(
    jax.random.fold_in(key, 0), mdp, behaviour, 250, _SETTING.horizon
  )
  weights = (jnp.arange(250) < _NUMBER) / _NUMBER
  data = meta_gradient_bias.prepare(mdp, behaviour, critic, trajectories)
  return meta_gradient_bias.surrogate(evaluator, data, weights)


def test_meta_gradients_are_those_of_differentiated_adaptation(found, epsilon):
  problem, key = derivative_accuracy.start_trial(
    jax.random.PRNGKey(5), epsilon, _NUMBER, _SETTING
  )
  mdp = problem.mdp
  logits = derivative_accuracy.target_logits(problem, epsilon)
  evaluator = derivative_accuracy.make_evaluator(_NAMES[1])
  inner = _objective(key, mdp, problem.behaviour, problem.critic, evaluator)

  def adapt(logits):
    return logits + _STEP_SIZE * jax.grad(inner)(logits)

  data_key, critic_key = jax.random.split(jax.random.split(key)[0])
  policy = tabular.softmax_policy(adapt(logits))
  critic = meta_gradient_bias.noisy_critic(
    critic_key, tabular.state_values(mdp, policy), 1.0
  )
  outer = _objective(data_key, mdp, policy, critic, evaluator)
  exact = tabular.meta_gradient(mdp, logits, _STEP_SIZE)
  estimate = jax.jit(jax.grad(lambda x: outer(adapt(x))))(logits)
  np.testing.assert_allclose(
    found.meta_gradient[1],
    derivative_accuracy.correlation(estimate, exact),
    atol=1e-12,
  )
  # With the exact gradient at the exactly adapted policy in its place.
  adapted = tabular.adapt(mdp, logits, _STEP_SIZE)
  direction = tabular.value_gradient(mdp, adapted)
  _, estimate = jax.jvp(adapt, (logits,), (direction,))
  np.testing.assert_allclose(
    found.of_hessian[1],
    derivative_accuracy.correlation(estimate, exact),
    atol=1e-12,
  )
