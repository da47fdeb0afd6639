"""Statistics of known distributions."""

import numpy as np

from acme_metarl.studies import meta_gradient_bias


def _moments(errors, exact):
  """Moments `[B, ...]` of errors `[B, R, M, D]`."""
  batches, trials = errors.shape[:2]
  count = np.full((batches, errors.shape[2]), trials)
  return meta_gradient_bias.Moments(
    count=count,
    error=errors.sum(1),
    square=(errors**2).sum((1, 3)),
    correlation=np.full(count.shape, 0.5 * trials),
    exact=np.broadcast_to(exact, (batches, *exact.shape)),
  )


def test_two_trials_are_the_product_of_two_halves():
  errors = np.array([[1.0, 2.0], [3.0, -1.0]])
  args = 2, errors.sum(0), (errors**2).sum()
  assert meta_gradient_bias.squared_bias(*args) == 1.0 * 3.0 - 2.0 * 1.0
  np.testing.assert_allclose(
    meta_gradient_bias.variance(*args), errors.var(0, ddof=1).sum()
  )


def test_squared_bias_and_variance_are_unbiased():
  rng = np.random.default_rng(0)
  bias, scale = np.array([0.3, -0.1, 0.0]), np.array([1.0, 2.0, 0.5])
  # Many studies of 2 batches of 3 trials, as if each were an MDP.
  errors = bias + scale * rng.normal(size=(2, 3, 40_000, 3))
  exact = np.broadcast_to(np.array([1.0, 2.0, 2.0]), (40_000, 3))
  got = meta_gradient_bias.summarise(_moments(errors, exact))
  for estimates, truth in (
    (got.squared_bias, (bias**2).sum() / 3),
    (got.variance, (scale**2).sum() / 3),
  ):
    stderr = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - truth) < 4 * stderr
    assert stderr < 0.02 * (scale**2).sum()
  # What the square of the mean error would be: mostly variance.
  naive = (errors.mean((0, 1)) ** 2).mean(-1)
  assert naive.mean() > 5 * (bias**2).sum() / 3
  np.testing.assert_allclose(got.exact_square, 3.0)
  np.testing.assert_allclose(got.correlation, 0.5)


def test_noise_is_the_spread_of_the_squared_bias():
  rng = np.random.default_rng(1)
  errors = 1.0 + rng.normal(size=(10, 20, 3000, 2))
  got = meta_gradient_bias.summarise(_moments(errors, np.ones((3000, 2))))
  spread = got.squared_bias.std()
  np.testing.assert_allclose(got.squared_bias_noise.mean(), spread, rtol=0.05)


def test_one_batch_has_no_noise_and_one_trial_no_bias():
  errors = np.ones((1, 5, 2, 3))
  got = meta_gradient_bias.summarise(_moments(errors, np.ones((2, 3))))
  assert np.isnan(got.squared_bias_noise).all()
  np.testing.assert_allclose(got.squared_bias, 1.0)
  np.testing.assert_allclose(got.variance, 0.0)
  one = meta_gradient_bias.summarise(_moments(errors[:, :1], np.ones((2, 3))))
  assert np.isnan(one.squared_bias).all() and np.isnan(one.variance).all()
