"""Preparing stages and adapting to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators
from acme_metarl.evaluators import reductions
from acme_metarl.meta import adaptation, baselines, policies, synthetic

GAMMA = 0.9


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
