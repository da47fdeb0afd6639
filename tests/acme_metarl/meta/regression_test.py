"""Fixed points of linear fits."""

import jax
import numpy as np
import pytest

from acme_metarl.meta import regression


def _problem(seed=0, rows=300, size=4):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(rows, size))
  following = 0.6 * rng.normal(size=(rows, size)) + 0.2 * features
  return features, following, rng.normal(size=rows) + features[:, 0]


def test_equals_a_direct_solution():
  x, y, targets = _problem()
  expected = np.linalg.solve(x.T @ (x - y) + 0.1 * np.eye(4), x.T @ targets)
  actual = regression.fixed_point_regression(x, y, targets, 0.1)
  np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_is_where_repeated_fits_end():
  x, y, targets = _problem()
  weights = np.zeros(4)
  for _ in range(300):
    weights = np.linalg.lstsq(x, targets + y @ weights, rcond=None)[0]
  actual = regression.fixed_point_regression(x, y, targets, 0.0)
  np.testing.assert_allclose(actual, weights, rtol=1e-9)


def test_without_anything_following_it_is_ridge_regression():
  x, _, targets = _problem()
  np.testing.assert_allclose(
    regression.fixed_point_regression(x, np.zeros_like(x), targets, 0.1),
    regression.ridge_regression(x, targets, 0.1),
    rtol=1e-9,
  )


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e3])
def test_float32_is_good_to_the_fourth_digit(scale):
  """Although columns differ in size and three of them are dependent."""
  x, y, targets = _problem()
  x, y = (
    np.concatenate([scale * v, v[:, :1] + 3, np.ones_like(v[:, :1])], 1)
    for v in (x, y)
  )
  y *= 0.9
  exact = regression.fixed_point_regression(x, y, targets, 1e-5)
  single = jax.jit(regression.fixed_point_regression)(
    *(v.astype(np.float32) for v in (x, y, targets)), 1e-5
  )
  error = np.abs((x @ single) - (x @ exact))
  assert single.dtype == np.float32
  assert np.max(error) < 1e-4 * np.max(np.abs(x @ exact))


def test_unstable_fits_stay_bounded():
  """States grow: what repeated fits make of it goes to infinity."""
  x = np.arange(1.0, 51)[:, np.newaxis]
  y = 1.5 * x
  weights = regression.fixed_point_regression(x, y, np.ones(50), 1e-5)
  assert np.all(np.abs(x @ weights) < 100)
  assert np.all(weights > 0)
  nothing = regression.fixed_point_regression(0 * x, 0 * x, np.ones(50), 0.0)
  np.testing.assert_array_equal(nothing, 0)
