"""Signal and noise by lag, against sums over all trajectories."""

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import tabular
from acme_metarl.studies import derivative_accuracy, lag_moments, lag_terms

# Dense enough transitions that noise is no matter of a few trajectories.
_SETTING = derivative_accuracy.Setting(
  num_states=2, num_actions=2, horizon=3, concentration=1.0
)


def test_a_trial_measures_the_moments_of_all_trajectories():
  """Noise within five standard errors of 4000 trajectories."""
  key, epsilon, count = jax.random.PRNGKey(0), 0.3, 4000
  found = lag_moments.trial(key, epsilon, count, _SETTING)
  problem, _ = derivative_accuracy.start_trial(key, epsilon, count, _SETTING)
  logits = derivative_accuracy.target_logits(problem, epsilon)
  probabilities, trajectories = tabular.enumerate_trajectories(
    problem.mdp, problem.behaviour, _SETTING.horizon
  )

  @jax.vmap
  def hessians(trajectory):
    one = jax.tree.map(lambda x: x[None], trajectory)
    data = lag_terms.tables(problem.mdp, problem.critic, one, jnp.ones(1))
    found = lag_terms.derivatives(data, logits, problem.behaviour).hessian
    return found.reshape(_SETTING.horizon, -1)

  every = np.asarray(hessians(trajectories))
  exact = np.ravel(tabular.value_hessian(problem.mdp, logits))
  unit = exact @ exact
  mean = np.tensordot(probabilities, every, 1)
  np.testing.assert_allclose(found.signal, mean @ mean.T / unit, atol=1e-12)
  np.testing.assert_allclose(found.share, mean @ exact / unit, atol=1e-12)
  products = np.einsum('nlh,nmh->nlm', every - mean, every - mean) / unit
  expected = np.tensordot(probabilities, products, 1)
  variance = np.tensordot(probabilities, (products - expected) ** 2, 1)
  error = np.abs(found.noise - expected)
  assert np.all(error < 5 * np.sqrt(variance / count))
  assert np.all(np.diag(expected) > 10 * np.sqrt(np.diag(variance) / count))


def test_the_error_is_that_of_weighted_means():
  """Over all pairs of independent draws of a finite set, exactly."""
  rng = np.random.default_rng(0)
  mean, noise = rng.normal(size=(3, 4)), rng.normal(size=(5, 3, 4))
  noise -= noise.mean(0)
  moments = lag_moments.Moments(
    mean @ mean.T, np.einsum('nlh,nmh->lm', noise, noise) / 5, np.ones(3)
  )
  weights = np.array([[1.0, 0.5, 0.25], [1.0, 0.1, 2.0]])
  of_two = mean + (noise[:, None] + noise) / 2  # [5, 5, T, H]
  error = np.einsum('wl,ijlh->wijh', weights, of_two) - mean.sum(0)
  np.testing.assert_allclose(
    lag_moments.squared_error(moments, weights, 2),
    np.mean(np.sum(error**2, -1), (1, 2)),
  )


def test_no_weights_are_better_where_lags_are_independent():
  moments = lag_moments.Moments(
    jnp.diag(jnp.array([1.0, 0.5, 0.01])),
    jnp.diag(jnp.array([2.0, 4.0, 3.0])),
    jnp.ones(3),
  )
  best = lag_moments.best_weights(moments, 10)
  np.testing.assert_allclose(best[:2], [1 / 1.2, 0.5 / 0.9])
  slope = jax.grad(lag_moments.squared_error, 1)(moments, best, 10)
  np.testing.assert_allclose(slope, 0.0, atol=1e-14)
