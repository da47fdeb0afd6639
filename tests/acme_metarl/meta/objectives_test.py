"""Outer objectives: values, and gradients that vanish where they should."""

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import evaluators, types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import objectives

EPSILON = 0.3


def _prepared(advantage, mask=None):
  zeros = jnp.zeros_like(advantage)
  return types.Prepared(
    observation=zeros,
    action=zeros,
    v_tm1=zeros,
    v_t=zeros,
    r_t=advantage,
    discount_t=zeros,
    advantage=advantage,
    mask=jnp.ones_like(advantage) if mask is None else mask,
    behaviour_log_prob=zeros - 1.5,
  )


def test_clipped_surrogate_by_hand():
  rho = jnp.array([[0.5, 1.0, 1.2, 2.0], [0.5, 0.69, 1.31, 2.0]])
  advantage = jnp.array([[1.0, 1.0, 2.0, 1.0], [-1.0, -2.0, -1.0, 0.0]])
  value = objectives.ClippedSurrogate(EPSILON)(
    jnp.log(rho) - 1.5, _prepared(advantage)
  )
  terms = [0.5, 1.0, 2.4, 1.3, -0.7, -1.4, -1.31, 0.0]
  np.testing.assert_allclose(value, np.mean(terms))


def test_clipped_surrogate_gradient_vanishes_exactly_where_it_should():
  """Where the ratio has left 1 ± ε in the direction the advantage asks for."""
  ratios = np.array([0.2, 0.69, 0.71, 0.9, 1.0, 1.1, 1.29, 1.31, 3.0])
  rho, advantage = np.meshgrid(ratios, [-2.0, -0.5, 0.5, 2.0])
  prepared = _prepared(jnp.asarray(advantage))
  gradient = jax.grad(objectives.ClippedSurrogate(EPSILON))(
    jnp.log(rho) - 1.5, prepared
  )
  is_left = ((advantage > 0) & (rho > 1.3)) | ((advantage < 0) & (rho < 0.7))
  np.testing.assert_array_equal(np.asarray(gradient) == 0, is_left)
  plain = jax.grad(objectives.Surrogate())(jnp.log(rho) - 1.5, prepared)
  np.testing.assert_allclose(gradient[~is_left], plain[~is_left])


def test_surrogates_share_gradients_on_policy():
  key = jax.random.PRNGKey(0)
  advantage = jax.random.normal(key, (3, 4))
  mask = jnp.ones((3, 4)).at[2, 1:].set(0.0)
  prepared = _prepared(advantage, mask)
  log_prob = prepared.behaviour_log_prob
  expected = advantage * mask / jnp.sum(mask)
  for objective in (
    objectives.ClippedSurrogate(EPSILON),
    objectives.Surrogate(),
    objectives.PolicyGradient(),
    objectives.Evaluated(evaluators.lvc, reductions.per_step),
  ):
    np.testing.assert_allclose(
      jax.grad(objective)(log_prob, prepared), expected
    )


def test_masked_steps_do_not_matter():
  mask = jnp.ones((3, 4)).at[2, 1:].set(0.0)
  prepared = _prepared(jnp.ones((3, 4)), mask)
  log_prob = prepared.behaviour_log_prob
  dirty = jnp.where(mask > 0, log_prob, jnp.inf)
  for objective in (
    objectives.ClippedSurrogate(EPSILON),
    objectives.Surrogate(),
    objectives.PolicyGradient(),
  ):
    np.testing.assert_array_equal(
      objective(log_prob, prepared), objective(dirty, prepared)
    )
  np.testing.assert_array_equal(
    reductions.masked_mean(jnp.ones(3), jnp.zeros(3)), 0
  )
