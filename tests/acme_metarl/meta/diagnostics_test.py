"""Diagnostics against their definitions."""

import jax.numpy as jnp
import numpy as np

from acme_metarl.meta import diagnostics


def _log_rho():
  log_rho = np.random.default_rng(0).normal(size=(2, 3, 4))
  mask = np.ones((2, 3, 4))
  mask[0, 1, 2:] = 0
  return log_rho, mask


def test_effective_sample_size():
  log_rho, mask = _log_rho()
  actual = diagnostics.effective_sample_size(log_rho, mask)
  for stage in range(2):
    rho = np.exp(log_rho[stage][mask[stage] > 0])
    expected = rho.sum() ** 2 / (rho.size * (rho**2).sum())
    np.testing.assert_allclose(actual[stage], expected)


def test_effective_sample_size_at_its_ends():
  """1 on-policy, 1/N where one ratio is everything; no overflow, no NaN."""
  ones = jnp.ones((2, 5))
  np.testing.assert_allclose(
    diagnostics.effective_sample_size(jnp.zeros((2, 5)), ones), 1
  )
  peak = jnp.zeros((2, 5)).at[0, 0].set(1e5)
  np.testing.assert_allclose(diagnostics.effective_sample_size(peak, ones), 0.1)
  np.testing.assert_array_equal(
    diagnostics.effective_sample_size(peak, 0 * ones), 0
  )


def test_clipped_share():
  rho = jnp.array([[0.5, 0.75, 1.0], [1.25, 1.4, 9.0]])
  mask = jnp.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
  share = diagnostics.clipped_share(jnp.log(rho), mask, 0.3)
  np.testing.assert_allclose(share, 2 / 5)


def test_gradient_statistics():
  gradients = np.random.default_rng(1).normal(size=(5, 7))
  halves = np.arange(5) % 2
  sums = [
    diagnostics.gradient_sums({'a': g[:3], 'b': g[3:]}, h)
    for g, h in zip(gradients, halves, strict=True)
  ]
  total = diagnostics.GradientSums(
    {k: sum(s.halves[k] for s in sums) for k in 'ab'},
    sum(s.squares for s in sums),
  )
  mean = diagnostics.mean_gradient(total, 5)
  expected = gradients.mean(0)
  np.testing.assert_allclose(np.concatenate([mean['a'], mean['b']]), expected)

  statistics = diagnostics.gradient_statistics(total, 5)
  np.testing.assert_allclose(
    statistics['meta_gradient_norm'], np.linalg.norm(expected)
  )
  np.testing.assert_allclose(
    statistics['meta_gradient_variance'], gradients.var(0).sum()
  )
  first, second = (gradients[halves == h].mean(0) for h in (0, 1))
  cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
  np.testing.assert_allclose(statistics['meta_gradient_cosine'], cosine)


def test_statistics_of_nothing_are_finite():
  sums = diagnostics.gradient_sums(jnp.zeros(3), jnp.int32(0))
  for value in diagnostics.gradient_statistics(sums, 1).values():
    np.testing.assert_array_equal(value, 0)
