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
  index = resamples(len(y), num_resamples, seed)
  (law,) = fit_product(x[:, np.newaxis], y.mean(0), y[index].mean(1))
  return law


def resamples(num_problems: int, num_resamples: int, seed: int) -> np.ndarray:
  """Indices `[R, M]` of a bootstrap over M problems."""
  rng = np.random.default_rng(seed)
  return rng.integers(0, num_problems, (num_resamples, num_problems))


def fit_product(
  x: np.ndarray, y: np.ndarray, resampled: np.ndarray
) -> tuple[PowerLaw, ...]:
  """Fits y = coefficient · Π_d x_d^exponent_d by least squares in logarithms.

  Args:
    x: `[P, D]` positive positions.
    y: `[P]` values.
    resampled: `[R, P]` the values of R resamples, whose exponents' quantiles
      are the 95 % intervals. Those that are not positive somewhere have no
      logarithm and are left out.

  Returns:
    D laws of one coefficient; NaN where positions do not tell exponents apart
    or a value is not positive.

  Example:
    >>> x = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 3.0]])
    >>> y = 5.0 * x[:, 0] ** 2 / x[:, 1]
    >>> [round(law.exponent, 6) for law in fit_product(x, y, y[np.newaxis])]
    [2.0, -1.0]
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  design = np.column_stack([np.log(x), np.ones(len(x))])
  num_points, num_unknowns = design.shape
  if (
    num_points < num_unknowns
    or np.linalg.matrix_rank(design) < num_unknowns
    or not np.all(y > 0)
  ):
    return (PowerLaw(*(math.nan,) * len(PowerLaw._fields)),) * x.shape[1]
  solve = np.linalg.pinv(design)
  *exponents, offset = solve @ np.log(y)
  resampled = np.asarray(resampled, np.float64)
  resampled = resampled[(resampled > 0).all(-1)]
  drawn = np.log(resampled) @ solve.T  # [R, D + 1]
  low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
  return tuple(
    PowerLaw(
      float(exponent),
      float(drawn[:, i].std()),
      float(low[i]),
      float(high[i]),
      float(np.exp(offset)),
    )
    for i, exponent in enumerate(exponents)
  )


def _line(x, y, weights):
  """Slope, height at x = 0 and the spread of x `[P]`, of y `[P]`."""
  centre = np.average(x, weights=weights)
  spread = np.sum(weights * (x - centre) ** 2)
  slope = np.sum(weights * (x - centre) * y) / spread
  height = np.average(y, weights=weights)
  return slope, height - slope * centre, spread
