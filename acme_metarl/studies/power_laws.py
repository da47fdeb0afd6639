"""Power laws y = coefficient · x^exponent: straight lines on log-log axes."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import chex
import numpy as np


class PowerLaw(NamedTuple):
  """A fitted power law; NaN where there is none.

  Attributes:
    exponent: the slope on log-log axes.
    exponent_stderr: its standard error.
    low: lower end of an interval of the exponent.
    high: upper end.
    coefficient: the value at x = 1.
  """

  exponent: float
  exponent_stderr: float
  low: float
  high: float
  coefficient: float


def fit(
  x: Sequence[float],
  y: Sequence[float],
  y_stderr: Sequence[float],
  num_stderrs: float = 1.96,
) -> PowerLaw:
  """Fits |y| by weighted least squares in logarithms.

  The weights are the inverse variances of log |y|, to first order
  (y_stderr / y)²; the standard error of the exponent follows from them.

  Args:
    x: positive.
    y: not zero.
    y_stderr: standard errors of y, positive.
    num_stderrs: half of the interval's length; 95 % by default.

  Returns:
    The law.

  Raises:
    ValueError: if there are fewer than two different x, or a number is outside
      of its range.
  """
  x, y, y_stderr = (np.asarray(z, np.float64) for z in (x, y, y_stderr))
  if len(np.unique(x)) < 2 or not (x > 0).all():
    raise ValueError(
      f'x is {x.tolist()}; a power law needs two different positive numbers.'
    )
  if not ((y != 0) & (y_stderr > 0)).all():
    raise ValueError(
      'y must not be zero and y_stderr must be positive, but got'
      f' {y.tolist()} and {y_stderr.tolist()}.'
    )
  weights = (y / y_stderr) ** 2
  exponent, offset, spread = _line(np.log(x), np.log(np.abs(y)), weights)
  stderr = float(1 / np.sqrt(spread))
  half = num_stderrs * stderr
  return PowerLaw(
    float(exponent),
    stderr,
    float(exponent) - half,
    float(exponent) + half,
    float(np.exp(offset)),
  )


def fit_mean(
  x: Sequence[float],
  y: chex.Array,
  num_resamples: int = 1000,
  seed: int = 0,
) -> PowerLaw:
  """Fits the mean over problems of y by least squares in logarithms.

  The 95 % interval and the standard error come from resampling the problems.
  Resamples whose mean is not positive somewhere have no logarithm and are left
  out.

  Args:
    x: `[P]` positive positions, two different ones at least.
    y: `[M, P]` values of M problems.
    num_resamples: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    The law; NaN where fewer than two positions or no positive mean is given.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  if len(set(x)) < 2 or not np.all(y.mean(0) > 0):
    return PowerLaw(*(math.nan,) * len(PowerLaw._fields))
  exponent, offset, _ = _line(np.log(x), np.log(y.mean(0)))
  rng = np.random.default_rng(seed)
  index = rng.integers(0, len(y), (num_resamples, len(y)))
  means = y[index].mean(1)
  means = means[(means > 0).all(-1)]
  exponents, *_ = _line(np.log(x), np.log(means))
  low, high = np.quantile(exponents, (0.025, 0.975))
  return PowerLaw(
    float(exponent),
    float(exponents.std()),
    float(low),
    float(high),
    float(np.exp(offset)),
  )


def _line(x, y, weights=None):
  """Slopes, heights at x = 0 and the spread of x `[P]`, of y `[..., P]`."""
  weights = np.ones_like(x) if weights is None else weights
  centre = np.average(x, weights=weights)
  spread = np.sum(weights * (x - centre) ** 2)
  slope = np.sum(weights * (x - centre) * y, axis=-1) / spread
  height = np.average(y, axis=-1, weights=np.broadcast_to(weights, y.shape))
  return slope, height - slope * centre, spread
