"""Statistics, by hand."""

import itertools
import math

import numpy as np
import pytest

from acme_metarl.launchers.runs import statistics


def test_interval_is_students():
  # Standard error 1 / sqrt(3); 97.5 % quantile for 2 degrees of freedom.
  mean, low, high = statistics.mean_and_interval([1.0, 2.0, 3.0], 0.95)
  half = 4.302652729696142 / math.sqrt(3)
  np.testing.assert_allclose(
    [mean, low, high], [2, 2 - half, 2 + half], rtol=1e-9
  )


def test_interval_needs_two_values():
  mean, low, high = statistics.mean_and_interval([5.0], 0.95)
  assert mean == 5 and math.isnan(low) and math.isnan(high)
  assert all(math.isnan(x) for x in statistics.mean_and_interval([], 0.95))


@pytest.mark.parametrize('confidence', [0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(confidence):
  rng = np.random.default_rng(0)
  num_trials = 2000
  covered = 0
  for values in rng.normal(3.0, 2.0, (num_trials, 4)):
    _, low, high = statistics.mean_and_interval(values, confidence)
    covered += low <= 3.0 <= high
  stderr = math.sqrt(confidence * (1 - confidence) / num_trials)
  assert abs(covered / num_trials - confidence) < 3 * stderr


def test_interquartile_mean_leaves_quarters_out():
  middle, *_ = statistics.interquartile_mean([[0, 1, 2, 3, 4, 5, 6, 999]], 0.95)
  assert middle == (2 + 3 + 4 + 5) / 4
  # Of five, one at each end; of three, none.
  assert statistics.interquartile_mean([[-9, 1, 2, 3, 99]], 0.95)[0] == 2
  assert statistics.interquartile_mean([[1, 2, 6]], 0.95)[0] == 3


def test_the_bootstrap_agrees_with_all_resamples():
  scores = [0.0, 1.0, 3.0, 7.0]
  every = [np.sort(x)[1:3].mean() for x in itertools.product(scores, repeat=4)]
  _, low, high = statistics.interquartile_mean([scores], 0.8)
  assert low == np.quantile(every, 0.1)
  assert high == np.quantile(every, 0.9)


def test_resamples_keep_to_their_stratum():
  # Within each task all runs are equal, so nothing varies.
  found = statistics.interquartile_mean([[1.0] * 3, [5.0] * 3], 0.95)
  assert found == (3.0, 3.0, 3.0)


def test_interquartile_mean_needs_three_runs_of_every_task():
  found = statistics.interquartile_mean([[1.0, 2.0, 3.0], [1.0, 2.0]], 0.95)
  assert all(math.isnan(x) for x in found)
  assert all(math.isnan(x) for x in statistics.interquartile_mean([], 0.95))
