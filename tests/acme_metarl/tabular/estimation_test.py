"""Derivatives by log-ratios and the chain rule to the logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators, tabular, types
from acme_metarl.evaluators import derivatives

_EVALUATORS = (
  evaluators.importance_sampling,
  evaluators.truncated_doubly_robust,
  functools.partial(evaluators.taylor_expansion, order=2, lambda_=0.7),
  evaluators.log_likelihood,
)
_HORIZON = 4


@functools.partial(jax.jit, static_argnums=6)
def _compiled(mdp, logits, behaviour, critic, data, weights, some):
  return tabular.estimate_derivatives(
    some, mdp, logits, behaviour, critic, data, weights
  )


def _estimate(mdp, *inputs, weights=None, some=_EVALUATORS):
  # Whether the process ends is in the data: one program for both.
  return _compiled(mdp._replace(terminal=None), *inputs, weights, some)


@functools.partial(jax.jit, static_argnums=0)
def _plain(evaluator, logits, prepared):
  arguments = (tabular.log_prob, logits, prepared, evaluator)
  return (
    derivatives.value(*arguments),
    derivatives.gradient(*arguments),
    derivatives.hessian(*arguments).reshape(3, 2, 3, 2),
  )


@pytest.fixture(params=[None, (False, True, False)], ids=['', 'terminating'])
def problem(request):
  keys = jax.random.split(jax.random.PRNGKey(0), 4)
  mdp = tabular.random_mdp(keys[0], 3, 2, 0.9, concentration=1.0)
  mdp = tabular.make_mdp(*mdp[:4], request.param)
  logits = jax.random.normal(keys[1], (3, 2))
  behaviour = tabular.softmax_policy(jax.random.normal(keys[2], (3, 2)))
  critic = jax.random.normal(keys[3], (3,))
  return mdp, logits, behaviour, critic


def _prepared(mdp, behaviour, critic, data):
  states = data.states[:, :-1]
  return types.Prepared(
    observation=states,
    action=data.actions,
    v_tm1=critic[states],
    v_t=critic[data.states[:, 1:]],
    r_t=data.rewards,
    discount_t=mdp.discount * data.discounts,
    advantage=None,
    mask=data.mask,
    behaviour_log_prob=jnp.log(behaviour)[states, data.actions],
  )


def test_equals_differentiation_by_the_logits(problem):
  mdp, logits, behaviour, critic = problem
  data = tabular.sample_trajectories(
    jax.random.PRNGKey(1), mdp, behaviour, 9, _HORIZON
  )
  fast = _estimate(mdp, logits, behaviour, critic, data)
  prepared = _prepared(mdp, behaviour, critic, data)
  for i, evaluator in enumerate(_EVALUATORS):
    for x, y in zip(fast, _plain(evaluator, logits, prepared), strict=True):
      np.testing.assert_allclose(x[i], y, atol=1e-12)


def test_expectation_of_doubly_robust_is_exact(problem):
  mdp, logits, behaviour, critic = problem
  probabilities, data = tabular.enumerate_trajectories(mdp, behaviour, _HORIZON)
  expectation = _estimate(
    mdp,
    logits,
    behaviour,
    critic,
    data,
    weights=probabilities,
    some=(evaluators.doubly_robust, evaluators.importance_sampling),
  )
  for i, bootstrap in enumerate([critic, None]):
    for found, exact in zip(
      expectation,
      (tabular.value, tabular.value_gradient, tabular.value_hessian),
      strict=True,
    ):
      np.testing.assert_allclose(
        found[i], exact(mdp, logits, _HORIZON, bootstrap), atol=1e-12
      )


def test_chunks_add_up(problem):
  mdp, logits, behaviour, critic = problem
  data = tabular.sample_trajectories(
    jax.random.PRNGKey(1), mdp, behaviour, 9, _HORIZON
  )
  estimate = functools.partial(_estimate, mdp, logits, behaviour, critic)
  whole = estimate(data)
  # Ones and zeros as weights, so that both parts have one shape.
  weights = (jnp.arange(9) < 4) / 9
  parts = [estimate(data, weights=w) for w in (weights, 1 / 9 - weights)]
  for x, y, z in zip(*parts, whole, strict=True):
    np.testing.assert_allclose(x + y, z, atol=1e-12)
    assert np.abs(x - y).max() > 1e-3
