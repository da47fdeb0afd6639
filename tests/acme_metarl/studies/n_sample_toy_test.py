"""Tests of `acme_metarl.n_sample_toy`."""

import jax
import numpy as np
import pytest

from acme_metarl.studies import n_sample_toy as toy
from acme_metarl.studies import power_laws

# A correct program fails a two-sided test at this many once in 2,000.
_NUM_STDERRS = 3.5


class TestExactMoments:
  @pytest.mark.parametrize('name', toy.ESTIMATORS)
  def test_are_measured(self, name):
    theta, num_samples, scale = -0.5, 6, 0.7
    key = jax.random.PRNGKey(5)
    measured = toy.measure(name, key, theta, num_samples, 40_000, scale)
    bias, variance = toy.exact_moments(name, theta, num_samples, scale)
    assert abs(measured.bias - bias) < _NUM_STDERRS * measured.bias_stderr
    assert (
      abs(measured.variance - variance)
      < _NUM_STDERRS * measured.variance_stderr
    )
    # Tight enough to tell the estimators apart.
    assert measured.variance_stderr < 0.1 * variance

  def test_what_vanishes_where(self):
    assert toy.exact_moments('linearised_score_function', 0.0, 8)[0] == 0.0
    _, few = toy.exact_moments('score_function', toy.TARGET, 8)
    _, many = toy.exact_moments('score_function', toy.TARGET, 800)
    assert many < few

  @pytest.mark.parametrize(
    ('name', 'exponent'),
    [
      ('score_function', 1),
      ('score_function_with_baseline', 0),
      ('linearised_score_function', -1),
      ('path_wise', -1),
    ],
  )
  def test_asymptotic_variance(self, name, exponent):
    num_samples = [10**6, 10**7]
    variances = [toy.exact_moments(name, 3.0, n)[1] for n in num_samples]
    slope = np.diff(np.log(variances)) / np.diff(np.log(num_samples))
    np.testing.assert_allclose(slope, exponent, atol=1e-3)


@pytest.mark.parametrize(
  ('name', 'quantities'),
  [
    ('score_function', ['variance']),
    ('linearised_score_function', ['bias', 'variance']),
    ('path_wise', ['variance']),
  ],
)
def test_slopes_match_theory(name, quantities):
  num_samples = [8, 64]
  key = jax.random.PRNGKey(9)
  measured = [
    toy.measure(name, jax.random.fold_in(key, n), 3.0, n, 20_000)
    for n in num_samples
  ]
  exact = [
    dict(
      zip(('bias', 'variance'), toy.exact_moments(name, 3.0, n), strict=True)
    )
    for n in num_samples
  ]
  for quantity in quantities:
    y = np.array([getattr(m, quantity) for m in measured])
    stderr = np.array([getattr(m, f'{quantity}_stderr') for m in measured])
    exact_y = np.array([moments[quantity] for moments in exact])
    fit = power_laws.fit(num_samples, y, stderr, _NUM_STDERRS)
    theory = power_laws.fit(num_samples, exact_y, np.abs(stderr / y * exact_y))
    assert fit.low < theory.exponent < fit.high
    assert fit.high - fit.low < 0.7


def test_optimise_reaches_the_fixed_point_of_its_mean():
  """The linearised score function's is N/(N + 1), the path-wise one's is 1."""
  num_samples, keys = 4, jax.random.split(jax.random.PRNGKey(1), 100)
  for name, expected in (
    ('linearised_score_function', num_samples / (num_samples + 1)),
    ('path_wise', 1.0),
  ):

    def ascend(key, name=name):
      return toy.optimise(name, key, 2.0, num_samples, 0.02, 300)

    thetas = np.asarray(jax.jit(jax.vmap(ascend))(keys))
    assert thetas.shape == (100, 301)
    np.testing.assert_array_equal(thetas[:, 0], 2.0)
    ends = thetas[:, 200:].mean(axis=1)
    stderr = ends.std(ddof=1) / np.sqrt(len(ends))
    assert abs(ends.mean() - expected) < _NUM_STDERRS * stderr
    assert stderr < 0.01


@pytest.mark.parametrize(
  ('changed', 'match'),
  [
    ({'name': 'dice'}, 'Unknown estimator'),
    ({'num_samples': 0}, 'num_samples'),
    ({'num_replications': 3}, 'num_replications is 3'),
    ({'scale': 0.0}, 'scale is 0.0'),
    ({'num_batches': 1}, 'num_batches is 1'),
  ],
)
def test_refuses(changed, match):
  arguments = {
    'name': 'path_wise',
    'key': jax.random.PRNGKey(0),
    'theta': 0.5,
    'num_samples': 2,
    'num_replications': 200,
    **changed,
  }
  with pytest.raises(ValueError, match=match):
    toy.measure(**arguments)
