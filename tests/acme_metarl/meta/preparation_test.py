"""Preparing stages."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl.meta import baselines, policies, preparation, synthetic

GAMMA, LAMBDA = 0.9, 0.8


@pytest.fixture(scope='module')
def stage(_float64):
  """One stage of one task, rollouts of different lengths."""
  policy = policies.gaussian(2, hidden_sizes=(4,))
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    params,
    observation_size=3,
    num_tasks=1,
    num_rollouts=5,
    horizon=12,
    early_termination=True,
  )
  return jax.tree_util.tree_map(lambda x: x[0, 0], trials)


def test_discounts_are_gamma_where_the_episode_goes_on(stage):
  """A peer stores done·γ, which is γ exactly where it should be 0."""
  prepared = preparation.prepare(stage, discount=GAMMA)
  last = np.sum(np.asarray(stage.mask), axis=1).astype(int) - 1
  for row, end in zip(np.asarray(prepared.discount_t), last, strict=True):
    np.testing.assert_allclose(row[:end], GAMMA)
    np.testing.assert_array_equal(row[end:], 0)


def test_advantages_are_generalised_advantage_estimates(stage):
  prepared = preparation.prepare(
    stage, discount=GAMMA, gae_lambda=LAMBDA, normalize=False
  )
  for b in range(5):
    end = int(stage.mask[b].sum())
    values = np.append(prepared.v_tm1[b, :end], prepared.v_t[b, end - 1])
    expected = rlax.truncated_generalized_advantage_estimation(
      stage.reward[b, :end],
      GAMMA * stage.discount[b, :end],
      LAMBDA,
      jnp.asarray(values),
    )
    np.testing.assert_allclose(prepared.advantage[b, :end], expected)
    np.testing.assert_array_equal(prepared.advantage[b, end:], 0)


def test_baseline_sees_discounted_returns_to_go(stage):
  seen = []

  def baseline(observation, returns, mask):
    seen.append((observation, returns, mask))
    return jnp.zeros((5, 13))

  preparation.prepare(stage, discount=GAMMA, baseline=baseline)
  ((observation, returns, mask),) = seen
  for b in range(5):
    expected, following = np.zeros(12), 0.0
    for t in reversed(range(12)):
      following = stage.reward[b, t] + GAMMA * stage.discount[b, t] * following
      expected[t] = following
    np.testing.assert_allclose(returns[b], expected)
  np.testing.assert_array_equal(observation, stage.observation)
  np.testing.assert_array_equal(mask, stage.mask)


def test_critic_is_aligned(stage):
  prepared = preparation.prepare(stage, discount=GAMMA, normalize=False)
  np.testing.assert_array_equal(prepared.v_tm1[:, 1:], prepared.v_t[:, :-1])
  returns = preparation.discounted_sums(stage.reward, GAMMA * stage.discount)
  values = baselines.LinearFeature()(stage.observation, returns, stage.mask)
  np.testing.assert_allclose(prepared.v_tm1, values[:, :-1])
  np.testing.assert_array_equal(prepared.observation, stage.observation[:, :-1])


def test_normalised_advantages_reach_the_evaluator(stage):
  """Mean 0 and deviation 1 over the steps of the task that count."""
  prepared = preparation.prepare(stage, discount=GAMMA)
  mask = np.asarray(stage.mask) > 0
  np.testing.assert_allclose(np.mean(prepared.advantage[mask]), 0, atol=1e-12)
  np.testing.assert_allclose(np.std(prepared.advantage[mask]), 1, rtol=1e-6)
  # λ-return minus critic, as an evaluator forms it.
  returns = jax.vmap(rlax.lambda_returns)(
    prepared.r_t, prepared.discount_t, prepared.v_t
  )
  np.testing.assert_allclose(
    (returns - prepared.v_tm1)[mask], prepared.advantage[mask], atol=1e-9
  )


def test_no_leakage_between_tasks(stage):
  other = stage._replace(reward=stage.reward + 7 * stage.observation[:, 1:, 1])
  prepare = jax.jit(jax.vmap(lambda x: preparation.prepare(x, discount=GAMMA)))
  stack = lambda *x: jnp.stack(x)  # noqa: E731
  together = prepare(jax.tree_util.tree_map(stack, stage, other))
  twice = prepare(jax.tree_util.tree_map(stack, stage, stage))
  for a, b in zip(
    jax.tree_util.tree_leaves(together),
    jax.tree_util.tree_leaves(twice),
    strict=True,
  ):
    np.testing.assert_array_equal(a[0], b[0])
  assert np.any(together.advantage[1] != twice.advantage[1])


def test_what_is_masked_does_not_matter(stage):
  junk = 1e6 * (1 - stage.mask)
  dirty = stage._replace(
    reward=stage.reward + junk, discount=stage.discount + junk
  )
  clean = preparation.prepare(stage, discount=GAMMA)
  other = preparation.prepare(dirty, discount=GAMMA)
  for name in ('v_tm1', 'v_t', 'r_t', 'discount_t', 'advantage'):
    np.testing.assert_array_equal(getattr(clean, name), getattr(other, name))


@pytest.mark.parametrize(
  ('name', 'change'),
  [
    ('discount', lambda x: x[:, 1:]),
    ('mask', lambda x: x[:-1]),
    ('behaviour_log_prob', lambda x: x[..., None]),
    ('action', lambda x: x[:, 1:]),
    ('observation', lambda x: x[:, 1:]),
    ('reward', lambda x: x[0]),
  ],
)
def test_refuses_shapes_that_do_not_fit(stage, name, change):
  wrong = stage._replace(**{name: change(getattr(stage, name))})
  with pytest.raises(ValueError, match=name):
    preparation.prepare(wrong, discount=GAMMA)


def test_an_eager_call_compiles_nothing_the_second_time(stage, caplog):
  def compilations():
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
      jax.block_until_ready(preparation.prepare(stage, discount=GAMMA))
    return [x.message for x in caplog.records if 'ompil' in x.message]

  jax.clear_caches()
  assert compilations()
  assert not compilations()


def test_a_time_limit_that_is_no_end_is_bootstrapped(stage):
  """Reward 1 for ever: the value of x_T is 100, and no action did better."""
  ones = jnp.ones((5, 12))
  stage = stage._replace(reward=ones, discount=ones, mask=ones)
  prepared = preparation.prepare(stage, discount=0.99, normalize=False)
  np.testing.assert_allclose(prepared.v_t[:, -1], 100, rtol=0.02)
  np.testing.assert_allclose(prepared.discount_t[:, -1], 0.99)
  np.testing.assert_allclose(prepared.advantage, 0, atol=0.5)
  closed = stage._replace(discount=ones.at[:, -1].set(0))
  prepared = preparation.prepare(closed, discount=0.99, normalize=False)
  assert np.all(np.abs(prepared.v_t[:, -1]) < 1)


def test_what_a_rollout_did_non_finitely_is_no_data(stage):
  """It is recorded under a mask of 0, in trials on the host."""
  mask = stage.mask.at[:, 5:].set(0)
  dirty = stage._replace(
    mask=mask,
    action=jnp.where(mask[..., jnp.newaxis] > 0, stage.action, jnp.nan),
    behaviour_log_prob=jnp.where(mask > 0, stage.behaviour_log_prob, jnp.nan),
  )
  prepared = preparation.prepare(dirty, discount=GAMMA)
  for x in jax.tree_util.tree_leaves(prepared._replace(behaviour_params=())):
    assert np.all(np.isfinite(x))
  np.testing.assert_array_equal(prepared.action[:, :5], stage.action[:, :5])
