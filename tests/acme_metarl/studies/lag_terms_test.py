"""Terms by lag: they add up to what the evaluators give, and to the truth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import derivative_accuracy, lag_terms

_HORIZON = 4


def _mdp(terminal=None, discount=0.9):
  transition = tabular.random_transition(
    jax.random.PRNGKey(0), (3, 2, 3), jnp.asarray(1.0)
  )
  reward = jax.random.normal(jax.random.PRNGKey(1), (3, 2))
  if terminal is not None:
    terminal = jnp.arange(3) == terminal
    transition = jnp.where(
      terminal[:, None, None], jnp.eye(3)[:, None], transition
    )
    reward = jnp.where(terminal[:, None], 0.0, reward)
  return tabular.make_mdp(transition, reward, discount, terminal=terminal)


_CRITIC = np.array([0.3, -0.2, 0.5])


def _policies():
  behaviour = tabular.softmax_policy(
    jax.random.normal(jax.random.PRNGKey(2), (3, 2))
  )
  logits = jnp.log(behaviour) + 0.3 * jax.random.normal(
    jax.random.PRNGKey(3), (3, 2)
  )
  return behaviour, logits


def test_lags_add_up_to_the_evaluators_with_any_causal_lambda():
  """First order is lag 0, second order all of them; episodes may end early."""
  mdp = _mdp(terminal=2)
  behaviour, logits = _policies()
  trajectories = tabular.sample_trajectories(
    jax.random.PRNGKey(4), mdp, behaviour, 7, _HORIZON
  )
  assert 0 < trajectories.mask.mean() < 1
  weights = jnp.linspace(0.5, 1.5, 7) / 7
  causal_lambdas = jnp.array([0.0, 0.3, 1.0])
  critic = jnp.where(mdp.terminal, 0.0, _CRITIC)

  @jax.jit
  def both(trajectories):
    lags = lag_terms.derivatives(
      lag_terms.tables(mdp, critic, trajectories, weights), logits, behaviour
    )
    found = jax.tree.map(
      lambda x: jnp.tensordot(lag_terms.powers(causal_lambdas, _HORIZON), x, 1),
      lags,
    )
    names = 'taylor_1', 'taylor_2@0.3', 'taylor_2'
    evaluate = [derivative_accuracy.make_evaluator(name) for name in names]
    expected = tabular.estimate_derivatives(
      evaluate, mdp, logits, behaviour, critic, trajectories, weights
    )
    return found, expected

  found, expected = both(trajectories)
  for name in ('gradient', 'hessian'):
    np.testing.assert_allclose(
      getattr(found, name), getattr(expected, name), rtol=0, atol=1e-13
    )
  # Values are without the constant, the mean of the returns.
  difference = expected.value - found.value
  np.testing.assert_allclose(difference, difference[0], atol=1e-13)


def test_the_closed_form_is_the_sum_over_all_trajectories():
  mdp = _mdp()
  behaviour, _ = _policies()
  probabilities, trajectories = tabular.enumerate_trajectories(
    mdp, behaviour, _HORIZON
  )
  expected = lag_terms.tables(mdp, _CRITIC, trajectories, probabilities)
  found = jax.jit(
    functools.partial(lag_terms.expected_tables, horizon=_HORIZON)
  )(mdp, behaviour, _CRITIC)
  assert np.abs(expected.pairs).max() > 0.01
  for x, y in zip(found, expected, strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-14)


def test_on_policy_all_lags_are_the_exact_gradient_and_hessian():
  mdp = _mdp(discount=0.2)
  behaviour, _ = _policies()
  logits = jnp.log(behaviour)
  horizon = 20  # 0.2^20 is 1e-14.
  lags = lag_terms.derivatives(
    lag_terms.expected_tables(mdp, behaviour, _CRITIC, horizon),
    logits,
    behaviour,
  )
  for found, expected in (
    (lags.gradient.sum(0), tabular.value_gradient(mdp, logits)),
    (lags.hessian.sum(0), tabular.value_hessian(mdp, logits)),
  ):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_closed_form_knows_no_terminal_states():
  with pytest.raises(ValueError, match='terminal states'):
    lag_terms.expected_tables(_mdp(terminal=2), *_policies(), _HORIZON)
