"""Preparing stages and adapting to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from acme_metarl import evaluators
from acme_metarl.evaluators import reductions
from acme_metarl.meta import adaptation, baselines, policies, synthetic

GAMMA, LAMBDA = 0.9, 0.8


@pytest.fixture(scope='module')
def policy():
  return policies.gaussian(2, hidden_sizes=(4,))


@pytest.fixture(scope='module')
def params(policy, _float64):
  return policy.init(jax.random.PRNGKey(0), jnp.zeros(3))


@pytest.fixture(scope='module')
def stage(policy, params):
  """One stage of one task, rollouts of different lengths."""
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


class TestPrepare:
  def test_discounts_are_gamma_where_the_episode_goes_on(self, stage):
    """A peer stores done·γ, which is γ exactly where it should be 0."""
    prepared = adaptation.prepare(stage, discount=GAMMA)
    last = np.sum(np.asarray(stage.mask), axis=1).astype(int) - 1
    for row, end in zip(np.asarray(prepared.discount_t), last, strict=True):
      np.testing.assert_allclose(row[:end], GAMMA)
      np.testing.assert_array_equal(row[end:], 0)

  def test_advantages_are_generalised_advantage_estimates(self, stage):
    prepared = adaptation.prepare(
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

  def test_baseline_sees_discounted_returns_to_go(self, stage):
    seen = []

    def baseline(observation, returns, mask):
      seen.append((observation, returns, mask))
      return jnp.zeros((5, 13))

    adaptation.prepare(stage, discount=GAMMA, baseline=baseline)
    ((observation, returns, mask),) = seen
    for b in range(5):
      expected, following = np.zeros(12), 0.0
      for t in reversed(range(12)):
        following = (
          stage.reward[b, t] + GAMMA * stage.discount[b, t] * following
        )
        expected[t] = following
      np.testing.assert_allclose(returns[b], expected)
    np.testing.assert_array_equal(observation, stage.observation)
    np.testing.assert_array_equal(mask, stage.mask)

  def test_critic_is_aligned(self, stage):
    prepared = adaptation.prepare(stage, discount=GAMMA, normalize=False)
    np.testing.assert_array_equal(prepared.v_tm1[:, 1:], prepared.v_t[:, :-1])
    returns = adaptation.discounted_sums(stage.reward, GAMMA * stage.discount)
    values = baselines.LinearFeature()(stage.observation, returns, stage.mask)
    np.testing.assert_allclose(prepared.v_tm1, values[:, :-1])
    np.testing.assert_array_equal(
      prepared.observation, stage.observation[:, :-1]
    )

  def test_normalised_advantages_reach_the_evaluator(self, stage):
    """Mean 0 and deviation 1 over the steps of the task that count."""
    prepared = adaptation.prepare(stage, discount=GAMMA)
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

  def test_no_leakage_between_tasks(self, stage):
    other = stage._replace(
      reward=stage.reward + 7 * stage.observation[:, 1:, 1]
    )
    prepare = jax.jit(jax.vmap(lambda x: adaptation.prepare(x, discount=GAMMA)))
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

  def test_what_is_masked_does_not_matter(self, stage):
    junk = 1e6 * (1 - stage.mask)
    dirty = stage._replace(
      reward=stage.reward + junk, discount=stage.discount + junk
    )
    clean = adaptation.prepare(stage, discount=GAMMA)
    other = adaptation.prepare(dirty, discount=GAMMA)
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
  def test_refuses_shapes_that_do_not_fit(self, stage, name, change):
    wrong = stage._replace(**{name: change(getattr(stage, name))})
    with pytest.raises(ValueError, match=name):
      adaptation.prepare(wrong, discount=GAMMA)


class TestAdapt:
  def _adapt(self, policy, params, prepared, evaluator, step_sizes, **kwargs):
    return adaptation.adapt(
      params,
      prepared,
      policies.log_prob_fn(policy),
      evaluator,
      kwargs.get('reduction', reductions.per_step),
      step_sizes,
    )

  def test_is_a_policy_gradient_step(self, policy, params, stage):
    """Of the mean of A log π over the steps that count, log-std included."""
    prepared = adaptation.prepare(stage, discount=GAMMA)

    def objective(p):
      log_prob = policy.apply(p, prepared.observation).log_prob(prepared.action)
      weight = prepared.advantage * stage.mask
      return jnp.sum(log_prob * weight) / jnp.sum(stage.mask)

    gradient = jax.grad(objective)(params)
    adapted = self._adapt(
      policy, params, prepared, evaluators.log_likelihood, 0.1
    )
    for new, old, g in zip(
      *map(jax.tree_util.tree_leaves, (adapted, params, gradient)), strict=True
    ):
      np.testing.assert_allclose(new, old + 0.1 * g, atol=1e-10)
    assert np.all(adapted['~']['log_std'] != params['~']['log_std'])

  @pytest.mark.parametrize(
    'name',
    ['dice', 'doubly_robust', 'vtrace', 'taylor_expansion', 'log_likelihood'],
  )
  def test_on_policy_all_evaluators_take_nearly_the_same_step(
    self, policy, params, stage, name
  ):
    """Without a critic, the same one exactly."""
    prepared = adaptation.prepare(
      stage, discount=GAMMA, baseline=baselines.Zero(), normalize=False
    )
    reduction = reductions.start_state
    steps = [
      self._adapt(policy, params, prepared, e, 0.1, reduction=reduction)
      for e in (getattr(evaluators, name), evaluators.log_likelihood)
    ]
    for a, b in zip(*map(jax.tree_util.tree_leaves, steps), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)

  def test_step_sizes_per_parameter(self, policy, params, stage):
    prepared = adaptation.prepare(stage, discount=GAMMA)
    sizes = jax.tree_util.tree_map(lambda p: 0.3 * jnp.ones_like(p), params)
    sizes['~'] = {'log_std': jnp.zeros(2)}
    scalar, each = (
      self._adapt(policy, params, prepared, evaluators.lvc, s)
      for s in (0.3, sizes)
    )
    np.testing.assert_array_equal(each['~']['log_std'], params['~']['log_std'])
    np.testing.assert_allclose(each['linear']['w'], scalar['linear']['w'])

  def test_refuses_other_step_sizes(self, policy, params, stage):
    prepared = adaptation.prepare(stage, discount=GAMMA)
    for sizes in (jnp.ones(2), {'linear': 0.1}):
      with pytest.raises(ValueError, match='step_sizes'):
        self._adapt(policy, params, prepared, evaluators.lvc, sizes)

  def test_masked_steps_do_not_matter(self, policy, params, stage):
    prepared = adaptation.prepare(stage, discount=GAMMA)
    dirty = prepared._replace(
      action=jnp.where(stage.mask[..., None] > 0, prepared.action, 1e3)
    )
    for evaluator in (evaluators.dice, evaluators.lvc):
      a, b = (
        self._adapt(policy, params, x, evaluator, 0.1)
        for x in (prepared, dirty)
      )
      for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True):
        np.testing.assert_array_equal(x, y)

  def test_corrects_for_data_of_another_policy(self, policy, params, stage):
    """The gradient is weighted by π/μ, not taken as if on-policy."""
    prepared = adaptation.prepare(
      stage, discount=0.0, baseline=baselines.Zero(), normalize=False
    )
    other = jax.tree_util.tree_map(lambda p: p + 0.1, params)
    log_prob = policies.log_prob_fn(policy)

    def weighted(p):
      ratio = jnp.exp(
        log_prob(p, prepared.observation, prepared.action)
        - stage.behaviour_log_prob
      )
      return jnp.sum(ratio * stage.reward * stage.mask) / jnp.sum(stage.mask)

    expected = jax.grad(weighted)(other)
    adapted = self._adapt(policy, other, prepared, evaluators.dice, 1.0)
    for new, old, g in zip(
      *map(jax.tree_util.tree_leaves, (adapted, other, expected)), strict=True
    ):
      np.testing.assert_allclose(new, old + g, atol=1e-12)
