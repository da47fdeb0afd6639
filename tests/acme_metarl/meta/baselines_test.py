"""Baselines against a direct least-squares solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.meta import baselines


def _data(observation, seed=0, dtype=np.float64):
  """Returns with a trend, and rollouts that end early."""
  rng = np.random.default_rng(seed)
  batch, length = observation.shape[0], observation.shape[1] - 1
  returns = np.linspace(length, 0, length) + rng.normal(size=(batch, length))
  returns += 5 * observation[:, :-1, 0]
  mask = np.ones((batch, length))
  mask[1, length // 2 :] = 0
  return tuple(x.astype(dtype) for x in (observation, returns, mask))


def _direct(observation, returns, mask, ridge=1e-5):
  """Ridge regression as least squares on an augmented system, in float64."""
  o = np.clip(np.asarray(observation, np.float64), -10, 10)
  t = np.arange(o.shape[1]) / 100
  time = np.stack([t, t**2, t**3, np.ones_like(t)], -1)
  time = np.broadcast_to(time, (*o.shape[:2], 4))
  features = np.concatenate([o, o**2, time], -1)
  size = features.shape[-1]
  keep = np.asarray(mask, bool)
  rows = np.concatenate([features[:, :-1][keep], np.sqrt(ridge) * np.eye(size)])
  targets = np.concatenate(
    [np.asarray(returns, np.float64)[keep], np.zeros(size)]
  )
  weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
  return features @ weights


def _observations(kind, batch=20, length=100):
  o = np.random.default_rng(1).normal(size=(batch, length + 1, 4))
  return {
    'noise': o,
    'walk': np.cumsum(0.1 * o, axis=1),
    'clipped': 20 * o,
    'large': np.concatenate([o, 1e-3 * o, 9 + 0.1 * o], -1),
    'constant element': np.concatenate([o, np.full_like(o, 0.3)], -1),
    'twice the same': np.concatenate([o, o], -1),
    'time itself': np.cumsum(np.full_like(o, 0.01), axis=1),
    'zeros': np.zeros_like(o),
  }[kind]


KINDS = [
  'noise',
  'walk',
  'clipped',
  'large',
  'constant element',
  'twice the same',
  'time itself',
  'zeros',
]


@pytest.mark.parametrize('kind', KINDS)
def test_equals_direct_least_squares(kind):
  observation, returns, mask = _data(_observations(kind))
  values = baselines.LinearFeature()(observation, returns, mask)
  np.testing.assert_allclose(
    values, _direct(observation, returns, mask), rtol=1e-7, atol=1e-7
  )


@pytest.mark.parametrize('kind', KINDS)
def test_float32_is_good_to_a_few_units_in_the_fifth_digit(kind):
  """Although a ridge of 1e-5 is below the rounding of the Gram matrix."""
  observation, returns, mask = _data(_observations(kind), dtype=np.float32)
  values = jax.jit(baselines.LinearFeature())(observation, returns, mask)
  assert values.dtype == jnp.float32
  expected = _direct(observation, returns, mask)
  scale = np.max(np.abs(expected))
  assert np.max(np.abs(values - expected)) < 3e-5 * scale


def test_no_data_and_singular_systems_stay_finite():
  observation, returns, mask = _data(_observations('zeros'))
  values = baselines.LinearFeature(ridge=0.0)(observation, returns, mask)
  assert np.all(np.isfinite(values))
  residual = (returns - values[:, :-1]) * mask
  assert np.std(residual) < 0.3 * np.std(returns)
  nothing = baselines.LinearFeature()(observation, returns, 0 * mask)
  np.testing.assert_allclose(nothing, 0)


def test_masked_steps_take_no_part():
  observation, returns, mask = _data(_observations('walk'))
  values = baselines.LinearFeature()(observation, returns, mask)
  other = baselines.LinearFeature()(
    observation, np.where(mask > 0, returns, 1e3), mask
  )
  np.testing.assert_array_equal(values, other)


def test_explains_returns_at_every_fit():
  """A baseline reset before each short fit, as a peer's, explains nothing."""
  baseline = baselines.LinearFeature()
  for seed in range(3):
    observation, returns, mask = _data(_observations('noise'), seed)
    residual = returns - baseline(observation, returns, mask)[:, :-1]
    assert np.std(returns) > 20
    assert np.std(residual[mask > 0]) < 1.1


def test_observations_may_be_pytrees_images_or_states():
  _, returns, mask = _data(_observations('noise'))
  rng = np.random.default_rng(0)
  image = rng.normal(size=(20, 101, 2, 2))
  state = rng.integers(0, 5, size=(20, 101))
  values = baselines.LinearFeature()(
    {'image': image, 'state': state}, returns, mask
  )
  flat = np.concatenate([image.reshape(20, 101, 4), state[..., None]], -1)
  np.testing.assert_allclose(
    values, _direct(flat, returns, mask), rtol=1e-7, atol=1e-7
  )


def test_linear_time_ignores_observations():
  observation, returns, mask = _data(_observations('noise'))
  values = baselines.LinearTime()(observation, returns, mask)
  np.testing.assert_allclose(
    values,
    _direct(np.zeros_like(observation), returns, mask),
    rtol=1e-6,
    atol=1e-6,
  )
  assert values.shape == (20, 101)


def test_zero():
  observation, returns, mask = _data(_observations('noise'))
  values = baselines.Zero()(observation, returns, mask)
  np.testing.assert_array_equal(values, np.zeros((20, 101)))


def test_no_leakage_between_tasks():
  first = _data(_observations('noise'), seed=0)
  second = _data(_observations('walk'), seed=1)
  fit = jax.vmap(baselines.LinearFeature())
  together = fit(*(jnp.stack(x) for x in zip(first, second, strict=True)))
  changed = fit(*(jnp.stack(x) for x in zip(first, first, strict=True)))
  np.testing.assert_array_equal(together[0], changed[0])
  assert np.any(together[1] != changed[1])
