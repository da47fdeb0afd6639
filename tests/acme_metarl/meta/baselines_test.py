"""Baselines against a direct least-squares solve."""

from dm_env import specs
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


class TestBootstrapping:
  """Where the time limit is no end, time says nothing about what follows."""

  @pytest.mark.parametrize('dtype', [np.float32, np.float64])
  @pytest.mark.parametrize(
    'baseline', [baselines.LinearFeature(), baselines.LinearTime()]
  )
  @pytest.mark.parametrize('horizon', [5, 100])
  def test_reward_one_for_ever(self, dtype, baseline, horizon):
    """Its value is 1 / (1 − γ) wherever the row is cut."""
    ones = np.ones((20, horizon), dtype)
    returns = _returns(ones, 0.99 * ones)
    observation = 0.3 * np.ones((20, horizon + 1, 3), dtype)
    values = jax.jit(baselines.evaluate, static_argnums=0)(
      baseline, observation, returns, dtype(0.99) * ones, ones
    )
    assert values.dtype == dtype
    np.testing.assert_allclose(values, 100, rtol=0.02)

  @pytest.mark.parametrize('dtype', [np.float32, np.float64])
  def test_a_value_that_is_linear_is_found(self, dtype):
    """AR(1), x' = .8 x + noise, reward x: V(x) = x / (1 − .8 γ)."""
    rng = np.random.default_rng(0)
    x = np.zeros((4000, 61, 2))
    x[:, 0] = rng.normal(size=(4000, 2))
    for t in range(60):
      x[:, t + 1] = 0.8 * x[:, t] + 0.3 * rng.normal(size=(4000, 2))
    reward, discount = x[:, :-1, 0], np.full((4000, 60), 0.95)
    returns = _returns(reward, discount)
    values = baselines.evaluate(
      baselines.LinearFeature(),
      *(v.astype(dtype) for v in (x, returns, discount, np.ones_like(reward))),
    )
    error = values - x[..., 0] / (1 - 0.95 * 0.8)
    # A return differs from V by 3.8; 4000 rollouts of about three independent
    # parts each, and 1 − .33 of the constant is not bootstrapped: .05.
    assert np.sqrt(np.mean(error**2)) < 4 * 0.05

  def test_rows_that_end_and_rows_that_do_not(self):
    """Each state's own value, of a chain that ends at random."""
    rng = np.random.default_rng(1)
    batch, length = 2000, 8
    ends = rng.random((batch, length)) < 0.2
    mask = np.cumsum(ends, 1) - ends == 0
    discount = 0.9 * (~ends & mask)
    returns = _returns(mask * 1.0, discount)
    values = baselines.evaluate(
      baselines.LinearFeature(),
      np.ones((batch, length + 1, 1)),
      returns,
      discount,
      mask * 1.0,
    )
    # 1 + .8 · .9 v = v.
    np.testing.assert_allclose(values, 1 / (1 - 0.72), rtol=0.02)

  @pytest.mark.parametrize('kind', KINDS)
  def test_float32_agrees_with_float64(self, kind):
    observation, reward, mask = _data(_observations(kind))
    reward = np.cos(reward)
    discount = 0.99 * np.ones_like(reward)
    discount[:, -1] *= np.arange(20) % 3 > 0
    discount *= mask
    returns = _returns(reward * mask, discount)
    single, double = (
      baselines.evaluate(
        baselines.LinearFeature(),
        *(x.astype(dtype) for x in (observation, returns, discount, mask)),
      )
      for dtype in (np.float32, np.float64)
    )
    assert np.max(np.abs(single - double)) < 1e-3 * np.max(np.abs(double))

  def test_only_tasks_with_an_open_row_change(self):
    observation, returns, mask = _data(_observations('walk'))
    closed = np.ones_like(returns)
    closed[:, -1] = 0
    opened = np.ones_like(returns)
    fit = jax.vmap(
      lambda discount: baselines.evaluate(
        baselines.LinearFeature(), observation, returns, discount, mask
      )
    )
    first, second = fit(0.9 * jnp.stack([closed, opened]))
    plain = baselines.LinearFeature()(observation, returns, mask)
    np.testing.assert_array_equal(first, plain)
    assert np.max(np.abs(second - plain)) > 1

  def test_a_baseline_of_a_users_own_needs_no_second_method(self):
    def mine(observation, returns, mask):
      del observation, mask
      return jnp.full((returns.shape[0], returns.shape[1] + 1), 7.0)

    ones = jnp.ones((2, 3))
    values = baselines.evaluate(mine, jnp.zeros((2, 4, 1)), ones, ones, ones)
    np.testing.assert_array_equal(values, 7)

  def test_is_constant_in_every_derivative(self):
    observation, returns, mask = _data(_observations('walk'))

    def total(returns, discount):
      return jnp.sum(
        baselines.evaluate(
          baselines.LinearFeature(), observation, returns, discount, mask
        )
      )

    gradient = jax.grad(total, (0, 1))(returns, 0.9 * mask)
    for x in gradient:
      np.testing.assert_array_equal(x, 0)


def _returns(reward, discount):
  following, returns = 0.0, np.zeros_like(reward)
  for t in reversed(range(reward.shape[1])):
    following = reward[:, t] + discount[:, t] * following
    returns[:, t] = following
  return returns


class TestDiscreteObservations:
  def test_are_one_hot_by_their_spec(self):
    """Each state's mean return, which no parabola in its number is."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, 6, size=(50, 11))
    returns = np.array([3.0, -1, 5, 0, 2, -4])[state[:, :-1]]
    spec = {'state': specs.DiscreteArray(6)}
    baseline = baselines.for_observations(baselines.LinearFeature(), spec)
    assert baseline == baselines.LinearFeature(num_values=[6])
    assert hash(baseline) == hash(baselines.LinearFeature(num_values=(6,)))
    values = baseline({'state': state}, returns, np.ones_like(returns))
    np.testing.assert_allclose(values[:, :-1], returns, atol=1e-4)
    as_numbers = baselines.LinearFeature()(
      state, returns, np.ones_like(returns)
    )
    assert np.max(np.abs(as_numbers[:, :-1] - returns)) > 1

  def test_other_baselines_and_specs_are_left_alone(self):
    for baseline in (baselines.Zero(), baselines.LinearFeature()):
      spec = specs.Array((2,), np.float32)
      assert baselines.for_observations(baseline, spec) is baseline

  def test_refuses_a_number_too_few(self):
    with pytest.raises(ValueError, match='num_values has 1 entries'):
      baselines.LinearFeature(num_values=(2,))(
        (jnp.zeros((1, 2)), jnp.zeros((1, 2))),
        jnp.ones((1, 1)),
        jnp.ones((1, 1)),
      )
