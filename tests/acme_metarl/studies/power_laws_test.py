"""Fits of power laws: exact ones, and how often intervals hold the exponent."""

import numpy as np
import pytest

from acme_metarl.studies import power_laws


def test_recovers_an_exact_law_of_any_sign():
  x = np.array([1.0, 3.0, 10.0])
  law = power_laws.fit(x, -2 * x**-1.5, [0.1, 0.2, 0.001])
  np.testing.assert_allclose(law.exponent, -1.5, rtol=1e-12)
  np.testing.assert_allclose(law.coefficient, 2.0, rtol=1e-12)
  np.testing.assert_allclose(
    (law.low, law.high),
    law.exponent + 1.96 * law.exponent_stderr * np.array([-1, 1]),
  )


def test_weights_are_those_of_the_errors():
  # As polyfit has it, whose weights multiply residuals.
  x, y = np.array([1.0, 2.0, 5.0]), np.array([3.0, 5.0, 20.0])
  stderr = np.array([0.5, 0.1, 3.0])
  law = power_laws.fit(x, y, stderr)
  slope, height = np.polyfit(np.log(x), np.log(y), 1, w=y / stderr)
  np.testing.assert_allclose(law.exponent, slope, rtol=1e-12)
  np.testing.assert_allclose(law.coefficient, np.exp(height), rtol=1e-12)


def test_the_interval_covers_as_often_as_it_says():
  rng = np.random.default_rng(0)
  x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
  stderr = 0.05 * x**0.5
  covered = 0
  for _ in range(2000):
    law = power_laws.fit(
      x, 3 * x**0.5 + stderr * rng.standard_normal(5), stderr
    )
    covered += law.low < 0.5 < law.high
  # Within four standard errors of 95 %.
  assert abs(covered / 2000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(
  ('x', 'y', 'stderr'),
  [
    ([1.0, 1.0], [1.0, 2.0], [1.0, 1.0]),
    ([0.0, 1.0], [1.0, 2.0], [1.0, 1.0]),
    ([1.0, 2.0], [0.0, 2.0], [1.0, 1.0]),
    ([1.0, 2.0], [1.0, 2.0], [1.0, 0.0]),
  ],
)
def test_refuses(x, y, stderr):
  with pytest.raises(ValueError, match='needs two different|must not be'):
    power_laws.fit(x, y, stderr)


def test_the_law_of_a_mean_is_recovered():
  x = np.array([1.0, 2.0, 5.0, 10.0])
  rng = np.random.default_rng(0)
  scale = np.exp(rng.normal(size=(30, 1)))  # Problems differ in size only.
  law = power_laws.fit_mean(x, 3.0 * scale * x**-1.5)
  np.testing.assert_allclose(
    (law.exponent, law.low, law.high), -1.5, rtol=1e-10
  )
  np.testing.assert_allclose(law.coefficient, 3.0 * scale.mean())
  np.testing.assert_allclose(law.exponent_stderr, 0.0, atol=1e-12)


def test_the_bootstrap_holds_the_exponent():
  x = np.array([1.0, 2.0, 4.0, 8.0])
  rng = np.random.default_rng(0)
  held = 0
  for _ in range(60):
    noise = np.exp(0.5 * rng.normal(size=(25, 4)))
    law = power_laws.fit_mean(x, x**2 * noise, 200)
    held += law.low < 2.0 < law.high
  # Within four standard errors of 95 %, and the bootstrap is a bit short.
  assert held >= 60 * (0.95 - 4 * np.sqrt(0.95 * 0.05 / 60))


def test_there_is_no_law_without_points_or_with_negative_means():
  assert np.isnan(power_laws.fit_mean([], np.ones((3, 0)))).all()
  assert np.isnan(power_laws.fit_mean([1.0], np.ones((3, 1)))).all()
  assert np.isnan(power_laws.fit_mean([1.0, 2.0], -np.ones((3, 2)))).all()


def test_a_law_in_two_numbers_is_recovered():
  x = np.array([[n, t] for n in (10.0, 100.0, 1000.0) for t in (10.0, 40.0)])
  y = 3.0 * x[:, 0] ** -0.4 * x[:, 1] ** 0.5
  rng = np.random.default_rng(0)
  resampled = y * np.exp(0.1 * rng.normal(size=(2000, 1)))
  resampled[0] = -1.0  # No logarithm: left out.
  first, second = power_laws.fit_product(x, y, resampled)
  for law, exponent in ((first, -0.4), (second, 0.5)):
    np.testing.assert_allclose(
      (law.exponent, law.low, law.high), exponent, rtol=1e-9
    )
    np.testing.assert_allclose(law.coefficient, 3.0)
  # As ordinary least squares has it where there is scatter.
  scattered = y * np.exp(0.3 * rng.normal(size=6))
  design = np.column_stack([np.log(x), np.ones(6)])
  expected, *_ = np.linalg.lstsq(design, np.log(scattered), rcond=None)
  first, second = power_laws.fit_product(x, scattered, resampled)
  np.testing.assert_allclose(
    (first.exponent, second.exponent), expected[:2], rtol=1e-9
  )


def test_numbers_that_vary_together_have_no_laws():
  x = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
  laws = power_laws.fit_product(x, np.ones(3), np.ones((1, 3)))
  assert np.isnan(laws).all()
