"""Statistics of returns: means, and how well they are known."""

from collections.abc import Sequence
import math

import numpy as np


def student_interval(
  mean: float, stderr: float, count: int, confidence: float
) -> tuple[float, float]:
  """Student's interval for the mean of independent values.

  Args:
    mean: of the values.
    stderr: standard error of the mean.
    count: of the values.
    confidence: in (0, 1).

  Returns:
    Lower and upper end; NaN for fewer than two values.
  """
  from scipy import stats

  if count < 2:
    return math.nan, math.nan
  half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * stderr
  return mean - half, mean + half


def mean_and_interval(
  values: Sequence[float], confidence: float
) -> tuple[float, float, float]:
  """Mean of independent values, and Student's interval for it.

  Args:
    values: finite numbers.
    confidence: in (0, 1).

  Returns:
    Mean, lower and upper end; NaN where there are too few values.
  """
  count = len(values)
  if not count:
    return math.nan, math.nan, math.nan
  mean = float(np.mean(values))
  stderr = math.nan
  if count > 1:
    stderr = float(np.std(values, ddof=1)) / math.sqrt(count)
  return mean, *student_interval(mean, stderr, count, confidence)


def interquartile_mean(
  strata: Sequence[Sequence[float]],
  confidence: float,
  num_resamples: int = 10_000,
  seed: int = 0,
) -> tuple[float, float, float]:
  """Mean of the middle half of all scores, and a bootstrap interval for it.

  The lowest and the highest quarter are left out, rounded down, so that one run
  that breaks down does not decide. The interval is between percentiles of
  resamples, which draw from every stratum as many scores as it has. See "Deep
  Reinforcement Learning at the Edge of the Statistical Precipice" by Agarwal et
  al. (2021), https://arxiv.org/abs/2108.13264, section 4.

  Args:
    strata: scores of independent runs, for every task (the stratum) its own;
      finite numbers in a unit that is comparable across tasks.
    confidence: in (0, 1).
    num_resamples: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    Interquartile mean, lower and upper end; NaN where a task has fewer than
    three runs, whose resamples say nothing.
  """
  from scipy import stats

  if not strata or min(len(scores) for scores in strata) < 3:
    return math.nan, math.nan, math.nan
  rng = np.random.default_rng(seed)
  resamples = np.concatenate(
    [
      rng.choice(np.asarray(scores, float), (num_resamples, len(scores)))
      for scores in strata
    ],
    axis=1,
  )
  tail = (1 - confidence) / 2
  low, high = np.quantile(
    stats.trim_mean(resamples, 0.25, axis=1), (tail, 1 - tail)
  )
  middle = stats.trim_mean(np.concatenate(strata), 0.25)
  return float(middle), float(low), float(high)
