"""Reductions and the normalisation of advantages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl import evaluators
from acme_metarl.evaluators import recurrences, reductions
from acme_metarl.meta import baselines

B, T = 3, 6
taylor_1 = functools.partial(evaluators.taylor_expansion, order=1)
taylor_2 = functools.partial(evaluators.taylor_expansion, order=2)
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-14)


@pytest.fixture(autouse=True)
def _strict_ranks():
  with jax.numpy_rank_promotion('raise'):
    yield


@pytest.fixture
def batch():
  """Rollouts with a termination in the row, discount 0 at the end; a mask."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(B, T + 1))
  discount_t = rng.uniform(0.8, 1.0, (B, T))
  discount_t[0, 3] = 0.0
  discount_t[:, -1] = 0.0
  mask = np.ones((B, T))
  mask[0, 4:] = 0.0
  return {
    'v_tm1': jnp.asarray(values[:, :-1]),
    'v_t': jnp.asarray(values[:, 1:]),
    'r_t': jnp.asarray(rng.normal(size=(B, T))),
    'discount_t': jnp.asarray(discount_t),
    'rho_tm1': jnp.asarray(rng.uniform(0.5, 2.0, (B, T))),
    'mask': jnp.asarray(mask),
  }


def evaluate(evaluator, batch, **changes):
  batch = {**batch, **changes}
  names = ('v_tm1', 'v_t', 'r_t', 'discount_t', 'rho_tm1')
  return jax.vmap(evaluator)(*(batch[name] for name in names))


def per_step(evaluator, batch, **changes):
  batch = {**batch, **changes}
  return reductions.per_step(
    evaluate(evaluator, batch),
    batch['v_t'],
    batch['discount_t'],
    batch['mask'],
  )


def monte_carlo_returns(batch):
  return jax.vmap(rlax.lambda_returns)(
    batch['r_t'], batch['discount_t'], batch['v_t']
  )


def masked_mean(x, mask):
  return np.sum(x * mask) / np.sum(mask)


def test_start_state_by_hand():
  estimates = np.array([[1.0, 5.0], [3.0, 7.0]])
  assert reductions.start_state(estimates, estimates, estimates) == 2.0
  mask = np.array([[1.0, 0.0], [1.0, 1.0]])
  assert reductions.start_state(estimates, estimates, estimates, mask) == 2.0


def test_per_step_by_hand():
  estimates = np.array([[1.0, 5.0], [3.0, 7.0]])
  v_t = np.array([[np.pi, 2.0], [np.e, 4.0]])
  discount_t = np.array([[0.5, 1.0], [0.0, 0.25]])
  # 1 − .5 · 5, 5 − 2, 3 − 0, 7 − .25 · 4.
  steps = np.array([-1.5, 3.0, 3.0, 6.0])
  close(reductions.per_step(estimates, v_t, discount_t), steps.mean())
  mask = np.array([[1, 0], [1, 1]])
  for dtype in (int, bool, float):
    close(
      reductions.per_step(estimates, v_t, discount_t, mask.astype(dtype)),
      steps[[0, 2, 3]].mean(),
    )


def test_any_leading_axes(batch):
  estimates = evaluate(taylor_2, batch)
  rest = (batch['v_t'], batch['discount_t'], batch['mask'])
  for reduction in (reductions.per_step, reductions.start_state):
    expected = reduction(estimates, *rest)
    stacked = [x.reshape(B, 1, T) for x in (estimates, *rest)]
    close(reduction(*stacked), expected)
    one = [x[1] for x in (estimates, *rest)]
    close(reduction(*one), reduction(*(x[None] for x in one)))


def test_per_step_of_first_order_is_lvc(batch):
  advantage = monte_carlo_returns(batch) - batch['v_tm1']
  terms = batch['r_t'] + (batch['rho_tm1'] - 1.0) * advantage
  close(per_step(taylor_1, batch), masked_mean(terms, batch['mask']))


def test_per_step_of_second_order(batch):
  advantage = np.asarray(monte_carlo_returns(batch) - batch['v_tm1'])
  weight = np.asarray(batch['rho_tm1']) - 1.0
  discount_t = np.asarray(batch['discount_t'])
  w_1, following = np.zeros((B, T + 1)), np.zeros((B, T))
  for t in reversed(range(T)):
    following[:, t] = discount_t[:, t] * w_1[:, t + 1]
    w_1[:, t] = weight[:, t] * advantage[:, t] + following[:, t]
  terms = batch['r_t'] + weight * (advantage + following)
  close(per_step(taylor_2, batch), masked_mean(terms, batch['mask']))


def test_per_step_gradient_on_policy(batch):
  """Of doubly robust: that of the mean of A_t log π_t."""

  def objective(log_rho):
    return per_step(evaluators.doubly_robust, batch, rho_tm1=jnp.exp(log_rho))

  advantage = monte_carlo_returns(batch) - batch['v_tm1']
  close(
    jax.grad(objective)(jnp.zeros((B, T))),
    advantage * batch['mask'] / batch['mask'].sum(),
  )


def test_steps_telescope_to_the_start(batch):
  batch['discount_t'] = batch['discount_t'].at[:, -1].set(0.9)
  estimates = evaluate(evaluators.doubly_robust, batch)
  following = np.concatenate([estimates[:, 1:], batch['v_t'][:, -1:]], 1)
  steps = estimates - batch['discount_t'] * following
  products = np.cumprod(batch['discount_t'], axis=1)
  before = np.concatenate([np.ones((B, 1)), products[:, :-1]], 1)
  close(
    np.sum(before * steps, 1) + products[:, -1] * batch['v_t'][:, -1],
    estimates[:, 0],
  )


def test_everything_masked_counts_zero(batch):
  value, gradient = jax.value_and_grad(
    lambda rho: per_step(taylor_2, batch, rho_tm1=rho, mask=jnp.zeros((B, T)))
  )(batch['rho_tm1'])
  assert value == 0.0
  np.testing.assert_array_equal(gradient, np.zeros((B, T)))


def test_nan_in_nan_out(batch):
  estimates = evaluate(taylor_1, batch)
  rest = (batch['v_t'], batch['discount_t'], batch['mask'])
  broken = estimates.at[1, 0].set(np.nan)
  assert np.isnan(reductions.start_state(broken, *rest))
  assert np.isnan(reductions.per_step(broken, *rest))
  normalised = reductions.normalize_advantages(
    broken, batch['v_t'], batch['r_t'], broken, batch['mask']
  )
  assert all(np.isnan(x).any() for x in normalised)


def normalize(batch, advantage):
  v_tm1, v_t, r_t, advantage = reductions.normalize_advantages(
    batch['v_tm1'], batch['v_t'], batch['r_t'], advantage, batch['mask']
  )
  return {**batch, 'v_tm1': v_tm1, 'v_t': v_t, 'r_t': r_t}, advantage


def test_normalised_inputs_give_normalised_advantages(batch):
  mask = np.asarray(batch['mask'], bool)
  raw = np.asarray(monte_carlo_returns(batch) - batch['v_tm1'])
  mean, std = raw[mask].mean(), raw[mask].std() + 1e-8
  changed, advantage = normalize(batch, jnp.asarray(raw))
  inside = monte_carlo_returns(changed) - changed['v_tm1']
  close(advantage, np.where(mask, (raw - mean) / std, 0.0))
  close(inside[mask], advantage[mask])
  close(advantage[mask].mean(), 0.0)
  close(advantage[mask].std(), 1.0, atol=1e-7)

  # What every evaluator sees: LVC weighs its ratios with them,
  def objective(rho):
    return per_step(taylor_1, changed, rho_tm1=rho)

  close(jax.grad(objective)(batch['rho_tm1']), advantage / mask.sum())
  # and any evaluator is the one of the shifted critic, scaled.
  for evaluator in (evaluators.doubly_robust, taylor_1, taylor_2):
    shifted = evaluate(
      evaluator,
      batch,
      v_tm1=batch['v_tm1'] + mean,
      v_t=batch['v_t'] + mean,
    )
    close(evaluate(evaluator, changed), shifted / std, atol=1e-13)


@pytest.mark.parametrize('lambda_', [1.0, 0.8])
def test_documented_slip(lambda_):
  """One long rollout without an end: far from the exactness at λ = 1."""
  length, gamma = 400, 0.9
  rng = np.random.default_rng(0)
  values = rng.normal(size=length + 1)
  batch = {
    'v_tm1': values[None, :-1],
    'v_t': values[None, 1:],
    'r_t': rng.normal(size=(1, length)),
    'mask': np.ones((1, length)),
  }

  def advantages(batch):
    returns = rlax.lambda_returns(
      jnp.asarray(batch['r_t'][0]),
      jnp.full(length, gamma),
      jnp.asarray(batch['v_t'][0]),
      lambda_,
    )
    return returns - batch['v_tm1'][0]

  raw = 3.0 + advantages(batch)  # Any numbers with a mean that is not 0.
  changed, _ = normalize(batch, raw[None])
  mean, std = raw.mean(), raw.std() + 1e-8
  decay = (gamma * lambda_) ** np.arange(length, 0, -1)
  share = (1 - gamma) / (1 - gamma * lambda_)
  slip = mean * share * (1 - decay)
  expected = (advantages(batch) - slip) / std
  np.testing.assert_allclose(advantages(changed), expected, atol=1e-10)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('case', ['single', 'equal', 'masked'])
def test_no_spread_is_exactly_nothing(case, dtype):
  shape = (1, 1) if case == 'single' else (4, 5)
  v_tm1 = np.full(shape, 0.3, dtype)
  r_t = np.full(shape, 1.0, dtype)
  mask = np.zeros(shape, dtype) if case == 'masked' else np.ones(shape, dtype)
  normalised = reductions.normalize_advantages(
    v_tm1, v_tm1, r_t, r_t - v_tm1, mask
  )
  for x in normalised:
    assert x.dtype == dtype
    np.testing.assert_array_equal(x, np.zeros(shape))


def fitted(rewards, discount, features, dtype):
  """Inputs of a task whose critic is a ridge regression of its returns."""
  returns = np.zeros(rewards.shape)
  following = np.zeros(rewards.shape[0])
  for t in reversed(range(rewards.shape[1])):
    following = returns[:, t] = rewards[:, t] + discount * following
  rows = jnp.asarray(features, dtype)
  targets = jnp.asarray(returns, dtype)
  with jax.numpy_rank_promotion('allow'):
    weights = baselines.ridge_regression(
      rows[:, :-1].reshape(-1, rows.shape[-1]), targets.ravel(), 1e-5
    )
  v = rows @ weights
  discount_t = jnp.full(targets.shape, discount, dtype).at[:, -1].set(0.0)
  r_t = jnp.asarray(rewards, dtype)
  advantage = jax.vmap(recurrences.linear)(
    discount_t, r_t + discount_t * v[:, 1:] - v[:, :-1], 0 * r_t[:, 0]
  )
  return v[:, :-1], v[:, 1:], r_t, advantage, discount_t


def make_features(num_rollouts, length, size, rng):
  time = np.arange(length + 1)[:, np.newaxis] / 100
  time = np.broadcast_to(time ** np.arange(4), (num_rollouts, length + 1, 4))
  other = rng.normal(size=(num_rollouts, length + 1, size))
  return np.concatenate([time, other], axis=-1)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize(
  ('shape', 'reward', 'discount', 'size'),
  [
    ((10, 20), -1.0, 1.0, 2),
    ((10, 20), 0.0, 1.0, 2),
    ((20, 100), 1.0, 0.99, 20),
    ((4, 5), -1.0, 0.9, 3),
    ((2, 1000), 7.3, 1.0, 2),
    ((1, 8), -1.0, 1.0, 40),  # Fewer rows than features.
    ((3, 4), None, 1.0, 60),  # Likewise, rewards that differ.
  ],
)
def test_nothing_to_learn_from_gives_exactly_nothing(
  shape, reward, discount, size, dtype
):
  rng = np.random.default_rng(0)
  rewards = rng.normal(size=shape) if reward is None else np.full(shape, reward)
  *inputs, discount_t = fitted(
    rewards, discount, make_features(*shape, size, rng), dtype
  )
  v_tm1, v_t, r_t, advantage = reductions.normalize_advantages(*inputs)
  np.testing.assert_array_equal(advantage, np.zeros(shape))
  for evaluator in (evaluators.doubly_robust, taylor_1, taylor_2):
    gradient = jax.grad(
      lambda rho, evaluator=evaluator: reductions.per_step(
        jax.vmap(evaluator)(v_tm1, v_t, r_t, discount_t, rho), v_t, discount_t
      )
    )(jnp.asarray(rng.uniform(0.9, 1.1, shape), dtype))
    np.testing.assert_array_equal(gradient, np.zeros(shape))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('size', [3e-3, 1.0, 1e3])
def test_small_but_real_spread_is_normalised(size, dtype):
  """Rewards of -1 and effects of actions a thousandth of the returns."""
  rng = np.random.default_rng(0)
  rewards = -1.0 + size * rng.normal(size=(10, 20))
  *inputs, _ = fitted(rewards, 1.0, make_features(10, 20, 2, rng), dtype)
  advantage = reductions.normalize_advantages(*inputs)[3]
  np.testing.assert_allclose(advantage.std(), 1.0, rtol=1e-4)


def test_equal_returns_of_rollouts_of_different_length_are_no_information():
  """But returns that differ because of an early end are."""
  mask = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
  v = np.zeros((2, 3))
  equal = np.array([[1.0, 0.7, 0.3], [1.0, 9.0, np.nan]])
  got = reductions.normalize_advantages(v, v, v, equal, mask)
  np.testing.assert_array_equal(got[3][0], np.zeros(3))
  differ = np.array([[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
  got = reductions.normalize_advantages(v, v, v, differ, mask)
  assert np.abs(got[3]).max() > 1
  # A single rollout compares steps, not rollouts.
  got = reductions.normalize_advantages(*(x[:1] for x in (v, v, v, differ)))
  assert np.abs(got[3]).max() > 1


def test_masked_mean():
  x = jnp.array([[1.0, 4.0], [jnp.nan, jnp.inf]])
  mask = jnp.array([[0.5, 0.25], [0.0, 0.0]])
  close(reductions.masked_mean(x, mask), (0.5 + 1.0) / 0.75)
  gradient = jax.grad(reductions.masked_mean)(x, mask)
  close(gradient, mask / 0.75)
  assert reductions.masked_mean(x, jnp.zeros((2, 2))) == 0.0
  assert reductions.masked_mean(x, mask > 0) == 2.5
  assert np.isnan(reductions.masked_mean(x, jnp.ones((2, 2))))
  with pytest.raises(ValueError, match=r'mask .*\(2, 2\).*\(2,\)'):
    reductions.masked_mean(x, mask[0])


def test_no_mask_is_a_mask_of_ones(batch):
  arrays = [batch[k] for k in ('v_tm1', 'v_t', 'r_t', 'rho_tm1')]
  got = reductions.normalize_advantages(*arrays)
  expected = reductions.normalize_advantages(*arrays, jnp.ones((B, T)))
  for x, y in zip(got, expected, strict=True):
    np.testing.assert_array_equal(x, y)


def test_refuses_what_does_not_fit():
  ones = np.ones((2, 3))
  for reduction in (reductions.start_state, reductions.per_step):
    with pytest.raises(ValueError, match=r'v_t .*\(3,\).*estimates.*\(2, 3\)'):
      reduction(ones, ones[0], ones)
    with pytest.raises(ValueError, match=r'mask .*\(2,\)'):
      reduction(ones, ones, ones, ones[:, 0])
    with pytest.raises(ValueError, match=r'estimates .*\[\.\.\., T\].*\(\)'):
      reduction(1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match='estimates is empty'):
      reduction(*[np.ones((2, 0))] * 3)
    with pytest.raises(ValueError, match='discount_t .*dtype int64'):
      reduction(ones, ones, ones.astype(np.int64))
  with pytest.raises(ValueError, match=r'advantage .*\(3,\)'):
    reductions.normalize_advantages(ones, ones, ones, ones[0])
