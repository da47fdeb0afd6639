"""Bias and variance of a vector-valued estimate whose target is known.

The mean error of n estimates, squared, is the squared bias plus a variance / n:
at the numbers of trials of such studies mostly variance. The product of the
errors of two independent halves of the trials has no such term. What is
computed here is the average over all ways to pair trials,

    |bias|^2 ~ (|sum of errors|^2 - sum of |error|^2) / (n (n - 1)),

which is unbiased, and negative now and then where the bias is small.
"""

from typing import NamedTuple

import chex
import numpy as np


class Moments(NamedTuple):
  """Sums over a batch of trials, all that the statistics need.

  Attributes:
    count: `[...]` number of trials.
    error: `[..., D]` sum of estimate - exact.
    square: `[...]` sum of |estimate - exact|^2.
    correlation: `[...]` sum of the correlations of estimate and exact.
    exact: `[..., D]` what was estimated.
  """

  count: chex.Numeric
  error: chex.Numeric
  square: chex.Numeric
  correlation: chex.Numeric
  exact: chex.Numeric


class Measurement(NamedTuple):
  """Statistics of each of M problems, `[M]`, per component of the estimate.

  Attributes:
    correlation: mean over trials of the correlation with the exact one.
    squared_bias: unbiased, so it can be negative.
    squared_bias_noise: standard error of `squared_bias` from the trials,
      by the jackknife over batches; NaN for a single batch.
    variance: unbiased.
    exact_square: mean square of the components of the exact one.
  """

  correlation: np.ndarray
  squared_bias: np.ndarray
  squared_bias_noise: np.ndarray
  variance: np.ndarray
  exact_square: np.ndarray


def squared_bias(
  count: np.ndarray, error: np.ndarray, square: np.ndarray
) -> np.ndarray:
  """Returns the unbiased squared bias `[...]`, NaN for fewer than 2 trials.

  Args:
    count: `[...]` n, number of trials.
    error: `[..., D]` sum of their errors.
    square: `[...]` sum of their squared norms.
  """
  pairs = (error**2).sum(-1) - square
  return pairs / np.where(count > 1, count * (count - 1), np.nan)


def variance(
  count: np.ndarray, error: np.ndarray, square: np.ndarray
) -> np.ndarray:
  """Returns the unbiased total variance `[...]`, NaN for fewer than 2 trials.

  Args:
    count: `[...]` n, number of trials.
    error: `[..., D]` sum of their errors.
    square: `[...]` sum of their squared norms.
  """
  deviations = square - (error**2).sum(-1) / count
  return deviations / np.where(count > 1, count - 1, np.nan)


def summarise(batches: Moments) -> Measurement:
  """Returns the statistics of B batches `[B, M, ...]` of equal size."""
  batches = Moments(*(np.asarray(x, np.float64) for x in batches))
  num_batches = len(batches.count)
  exact = batches.exact[0]
  size = exact.shape[-1]
  count = batches.count.sum(0)
  error, square = batches.error.sum(0), batches.square.sum(0)
  noise = np.full(square.shape, np.nan)
  if num_batches > 1:
    without = np.stack(
      [
        squared_bias(
          count - batches.count[b],
          error - batches.error[b],
          square - batches.square[b],
        )
        for b in range(num_batches)
      ]
    )
    spread = ((without - without.mean(0)) ** 2).sum(0)
    noise = np.sqrt(spread * (num_batches - 1) / num_batches)
  return Measurement(
    correlation=batches.correlation.sum(0) / count,
    squared_bias=squared_bias(count, error, square) / size,
    squared_bias_noise=noise / size,
    variance=variance(count, error, square) / size,
    exact_square=(exact**2).mean(-1),
  )
