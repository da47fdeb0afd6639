"""Meta-gradients: finite differences and closed forms."""

import dataclasses
import functools
import types as builtin_types

import distrax
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import evaluators, types
from acme_metarl.evaluators import derivatives, reductions
from acme_metarl.meta import (
  adaptation,
  inner_loop,
  objectives,
  policies,
  synthetic,
)
from acme_metarl.meta import task_loss as task_loss_lib

ALL = {
  'importance_sampling': evaluators.importance_sampling,
  'doubly_robust': evaluators.doubly_robust,
  'truncated': functools.partial(
    evaluators.truncated_doubly_robust,
    clip_rho_threshold=1.1,
    clip_c_threshold=1.05,
  ),
  'order 1': evaluators.taylor_expansion,
  'order 2': functools.partial(evaluators.taylor_expansion, order=2),
  'order 3': functools.partial(evaluators.taylor_expansion, order=3),
  'log_likelihood': evaluators.log_likelihood,
}


POLICY = policies.gaussian(2, hidden_sizes=(3,))
LINEAR = policies.gaussian(2, hidden_sizes=())


@pytest.fixture(scope='module')
def policy():
  return POLICY


@pytest.fixture(scope='module')
def params(_float64):
  return _init(POLICY)


def _init(policy):
  return policy.init(jax.random.PRNGKey(0), jnp.zeros(2))


@functools.cache
def _make_task(policy, num_inner_steps, num_rollouts=3):
  """One task, its data from another policy than the initial one."""
  return jax.jit(
    functools.partial(_draw_task, policy, num_inner_steps, num_rollouts)
  )(_init(policy))


def _draw_task(policy, num_inner_steps, num_rollouts, params):
  behaviour = jax.tree_util.tree_map(lambda p: p + 0.1 * jnp.sin(p), params)
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    behaviour,
    observation_size=2,
    num_tasks=1,
    num_inner_steps=num_inner_steps,
    num_rollouts=num_rollouts,
    horizon=5,
    early_termination=True,
  )
  trial = jax.tree_util.tree_map(lambda x: x[0], trials)
  stages = jax.vmap(functools.partial(adaptation.prepare, discount=0.9))(trial)
  return task_loss_lib.Task(
    stages._replace(behaviour_params=()),
    stages.behaviour_params,
    jnp.asarray(0.7),
  )


def _make_loss(policy, evaluator, num_inner_steps=1, kind='full', **kwargs):
  inner = inner_loop.GradientAscent(
    policies.log_prob_fn(policy),
    evaluator,
    kwargs.get('reduction', reductions.per_step),
    kind=kind,
    differentiation=kwargs.get('differentiation', 'reverse'),
    optimizer=kwargs.get('optimizer', optax.sgd(1.0)),
  )
  return task_loss_lib.TaskLoss(
    policy=policy,
    inner=inner,
    num_inner_steps=num_inner_steps,
    outer_objective=kwargs.get('objective', objectives.Surrogate()),
    kind=kind,
  )


def _flat(tree):
  return flatten_util.ravel_pytree(tree)[0]


def _assert_gradient_is_slope(function, point, seed=0, rtol=1e-6):
  """Central differences along random directions, in one compiled call."""
  rng = np.random.default_rng(seed)
  directions = rng.normal(size=(3, point.size))
  step = 1e-5
  function = jax.jit(function)  # Traced once.

  @jax.jit
  def values_and_gradient(point):
    steps = step * jnp.array([directions, -directions])
    return jax.vmap(jax.vmap(function))(point + steps), jax.grad(function)(
      point
    )

  (ahead, behind), gradient = values_and_gradient(point)
  slopes = (ahead - behind) / (2 * step)
  expected = directions @ gradient
  np.testing.assert_allclose(slopes, expected, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize('num_inner_steps', [1, 2, 3])
@pytest.mark.parametrize('name', list(ALL))
def test_meta_gradient_against_finite_differences(name, num_inner_steps):
  """Of policy parameters and of step sizes, with the inner KL penalty."""
  policy = POLICY if num_inner_steps == 1 else LINEAR
  params = _init(policy)
  loss = _make_loss(policy, ALL[name], num_inner_steps)
  task = _make_task(policy, num_inner_steps)
  sizes = jax.tree_util.tree_map(lambda p: 0.3 + 0.1 * jnp.sin(p), params)
  point, unravel = flatten_util.ravel_pytree(
    task_loss_lib.MetaParams(params, sizes)
  )
  kl_coefficient = 0.1 * jnp.arange(1.0, num_inner_steps + 1)
  _assert_gradient_is_slope(
    lambda x: loss.task_loss(unravel(x), task, kl_coefficient)[0], point
  )


@pytest.mark.parametrize(
  'objective',
  [
    objectives.ClippedSurrogate(0.3),
    objectives.PolicyGradient(),
    objectives.Evaluated(evaluators.doubly_robust),
  ],
  ids=lambda x: type(x).__name__,
)
def test_other_objectives_and_reductions(policy, params, objective):
  loss = _make_loss(
    policy,
    ALL['order 2'],
    objective=objective,
    reduction=reductions.start_state,
  )
  task = _make_task(policy, 1)
  point, unravel = flatten_util.ravel_pytree(params)

  def value(x):
    meta_params = task_loss_lib.MetaParams(unravel(x), jnp.asarray(0.3))
    return loss.task_loss(meta_params, task, jnp.zeros(1))[0]

  _assert_gradient_is_slope(value, point)


class TestKinds:
  """Against the formulas, with explicit Jacobians of a small policy."""

  STEP_SIZE = 0.3

  def _on_policy_task(self, policy, params):
    task = _make_task(policy, 1, num_rollouts=4)
    log_prob = jax.vmap(lambda o, a: policy.apply(params, o).log_prob(a))(
      task.stages.observation, task.stages.action
    )
    return task._replace(
      stages=task.stages._replace(behaviour_log_prob=log_prob)
    )

  def _pieces(self, policy, params, evaluator):
    """θ', ∇ objective at θ', and functions of flat parameters."""
    task = self._on_policy_task(policy, params)
    first, last = (
      task_loss_lib.take_stage(task.stages, index) for index in (0, 1)
    )
    point, unravel = flatten_util.ravel_pytree(params)

    def log_prob(x, stage):
      return policy.apply(unravel(x), stage.observation).log_prob(stage.action)

    def inner(x):
      return derivatives.reduced_estimate(
        log_prob(x, first), first, evaluator, reductions.per_step
      )

    def outer(x):
      return objectives.Surrogate()(log_prob(x, last), last)

    return task, point, log_prob, inner, outer

  def _gradient(self, policy, params, task, evaluator, kind):
    loss = _make_loss(policy, evaluator, kind=kind)

    def value(p):
      meta_params = task_loss_lib.MetaParams(p, jnp.asarray(self.STEP_SIZE))
      return -loss.task_loss(meta_params, task, jnp.zeros(1))[0]

    return _flat(jax.jit(jax.grad(value))(params))

  def test_full_is_one_plus_hessian(self, policy, params):
    task, point, _, inner, outer = self._pieces(policy, params, evaluators.dice)

    @jax.jit
    def expected(x):
      adapted = x + self.STEP_SIZE * jax.grad(inner)(x)
      slope = jax.grad(outer)(adapted)
      return slope + self.STEP_SIZE * jax.hessian(inner)(x) @ slope

    actual = self._gradient(policy, params, task, evaluators.dice, 'full')
    np.testing.assert_allclose(actual, expected(point), atol=1e-12)

  def test_first_order_leaves_the_hessian_out(self, policy, params):
    task, point, _, inner, outer = self._pieces(policy, params, evaluators.dice)

    @jax.jit
    def expected(x):
      return jax.grad(outer)(x + self.STEP_SIZE * jax.grad(inner)(x))

    actual = self._gradient(
      policy, params, task, evaluators.dice, 'first_order'
    )
    np.testing.assert_allclose(actual, expected(point), atol=1e-12)

  def test_emaml_adds_the_mean_score(self, policy, params):
    evaluator = evaluators.log_likelihood
    task, point, log_prob, _, _ = self._pieces(policy, params, evaluator)
    first = task_loss_lib.take_stage(task.stages, 0)
    full, emaml = (
      self._gradient(policy, params, task, evaluator, kind)
      for kind in ('full', 'emaml')
    )

    def mean_log_prob(x):
      total = jnp.sum(log_prob(x, first) * first.mask)
      return total / jnp.sum(first.mask)

    expected = 0.7 * jax.grad(mean_log_prob)(point)
    np.testing.assert_allclose(emaml - full, expected, atol=1e-12)

  def test_score_function_adds_the_score_of_all_rollouts(self, policy, params):
    evaluator = evaluators.log_likelihood
    task, point, log_prob, _, _ = self._pieces(policy, params, evaluator)
    first = task_loss_lib.take_stage(task.stages, 0)
    full, score = (
      self._gradient(policy, params, task, evaluator, kind)
      for kind in ('full', 'score_function')
    )

    def total(x):
      return jnp.sum(log_prob(x, first) * first.mask)

    np.testing.assert_allclose(
      score - full, 0.7 * jax.grad(total)(point), atol=1e-12
    )

  def test_linearised_has_the_trajectory_level_hessian(self, policy, params):
    """(I + ηĤ)∇V with Ĥ = (1/N) Σ_i (∇X_i + X_i ∇log p(τ_i)ᵀ)."""
    evaluator = evaluators.log_likelihood
    task, point, log_prob, inner, outer = self._pieces(
      policy, params, evaluator
    )
    first = task_loss_lib.take_stage(task.stages, 0)

    def rollout_terms(x):
      weighted = log_prob(x, first) * first.advantage * first.mask
      return jnp.sum(weighted, 1) / jnp.sum(first.mask)

    def rollout_scores(x):
      return jnp.sum(log_prob(x, first) * first.mask, 1)

    @jax.jit
    def expected(x):
      slope = jax.grad(outer)(x + self.STEP_SIZE * jax.grad(inner)(x))
      gradients = jax.jacobian(rollout_terms)(x)  # [B, D], the X_i / N.
      scores = jax.jacobian(rollout_scores)(x)
      hessian = jax.hessian(inner)(x) + scores.T @ gradients
      return slope + self.STEP_SIZE * hessian @ slope

    actual = self._gradient(policy, params, task, evaluator, 'linearised')
    np.testing.assert_allclose(actual, expected(point), atol=1e-10)

  def _adapted(self, params, task, loss):
    meta_params = task_loss_lib.MetaParams(params, 0.3)
    return _flat(jax.jit(loss.unroll)(meta_params, task.stages)[0])

  def test_kinds_share_the_adapted_parameters(self, policy, params):
    evaluator = evaluators.log_likelihood
    task = self._on_policy_task(policy, params)
    adapted = [
      self._adapted(params, task, _make_loss(policy, evaluator, kind=kind))
      for kind in ('full', 'first_order', 'emaml', 'linearised')
    ]
    for other in adapted[1:]:
      np.testing.assert_allclose(other, adapted[0], atol=1e-14)

  def test_order_one_and_log_likelihood_share_the_step_not_its_derivative(
    self, policy, params
  ):
    task = self._on_policy_task(policy, params)
    pair = (evaluators.lvc, evaluators.log_likelihood)
    steps = [
      self._adapted(params, task, _make_loss(policy, evaluator))
      for evaluator in pair
    ]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-14)
    gradients = [
      self._gradient(policy, params, task, evaluator, 'full')
      for evaluator in pair
    ]
    assert np.max(np.abs(gradients[0] - gradients[1])) > 1e-4


class TestScoreWeights:
  def _stages(self, reward, mask):
    zeros = jnp.zeros_like(reward)
    return types.Prepared(
      *(zeros,) * 4,
      r_t=reward,
      discount_t=zeros,
      advantage=zeros,
      mask=mask,
      behaviour_log_prob=zeros,
    )

  def test_emaml_normalises_rewards_over_all_tasks(self):
    reward = jax.random.normal(jax.random.PRNGKey(0), (3, 2, 4, 5))
    mask = jnp.ones_like(reward).at[1, 1, 2, 3:].set(0.0)
    last, keep = np.asarray(reward[:, 1]), np.asarray(mask[:, 1]) > 0
    mean, std = last[keep].mean(), last[keep].std()
    expected = [
      ((last[g] - mean) / (std + 1e-8))[keep[g]].mean() for g in range(3)
    ]
    weights = task_loss_lib.emaml_weights(self._stages(reward, mask), reward)
    # Tight enough to see the 1e-8.
    np.testing.assert_allclose(weights, expected, rtol=1e-12)

  def test_score_function_is_centred_by_the_other_tasks(self):
    values = np.random.default_rng(0).normal(size=3)
    weights = task_loss_lib.score_function_weights(jnp.asarray(values))
    expected = [values[g] - np.delete(values, g).mean() for g in range(3)]
    np.testing.assert_allclose(weights, expected)
    one = jnp.array([2.0])
    assert task_loss_lib.score_function_weights(one).tolist() == [2.0]


def test_stage_weights_add_up_the_objectives_of_all_stages():
  """By hand; with all weight on the last stage it is the default."""
  params = task_loss_lib.MetaParams(_init(LINEAR), jnp.asarray(0.3))
  task = _make_task(LINEAR, 2)
  loss = _make_loss(LINEAR, ALL['order 2'], 2)
  adapted = loss.unroll(params, task.stages)

  def judged(index):
    stage = task_loss_lib.take_stage(task.stages, index)
    log_prob = loss.evaluate(adapted[index], stage).log_prob
    return (
      loss.outer_objective(log_prob, stage),
      objectives.value(loss.outer_objective, log_prob, stage),
    )

  def total(weights):
    weighted = dataclasses.replace(loss, stage_weights=weights)
    found, _ = weighted.task_loss(params, task, jnp.zeros(2))
    return found, weighted.value(params, task.stages)

  expected = np.array([judged(index) for index in range(3)])
  found = total((0.5, 0.0, 2.0))
  np.testing.assert_allclose(-found[0], [0.5, 0, 2] @ expected[:, 0])
  np.testing.assert_allclose(found[1], [0.5, 0, 2] @ expected[:, 1])
  np.testing.assert_allclose(total((0.0, 0.0, 1.0)), total(None))


def _one_number(params, observation):
  """N(θ o, 1): KL divergences are half the squared distance of the means."""
  mean = params * observation[..., 0]
  return distrax.Normal(mean, jnp.ones_like(mean))


def test_kl_divergences_are_those_of_each_stage():
  """Inner ones of stages 0 … K-1, the outer one of stage K; by hand."""
  rng = np.random.default_rng(0)
  policy = types.Policy(init=lambda key, x: jnp.zeros(()), apply=_one_number)
  shape = (3, 2, 4)  # [K+1, B, T].
  observation = rng.normal(size=(*shape, 1))
  mask = np.ones(shape)
  mask[:, 1, 2:] = 0.0
  numbers = dict.fromkeys(types.Prepared._fields, rng.normal(size=shape))
  stages = types.Prepared(
    **numbers | {'observation': observation, 'mask': mask}
  )._replace(behaviour_params=())
  reference = (rng.normal(size=shape), np.ones(shape))
  inner = inner_loop.GradientAscent(
    policies.log_prob_fn(policy), evaluators.log_likelihood
  )
  loss = task_loss_lib.TaskLoss(policy, inner, 2, objectives.Surrogate())
  params = task_loss_lib.MetaParams(jnp.asarray(0.5), jnp.asarray(0.3))
  task = task_loss_lib.Task(stages, reference, jnp.zeros(()))

  @jax.jit
  def found(coefficient):
    return loss.task_loss(params, task, coefficient), loss.unroll(
      params, stages
    )

  (value, diagnostics), thetas = found(jnp.array([0.2, 0.6]))
  distance = np.stack(thetas)[:, None, None] * observation[..., 0]
  kl = (mask * (distance - reference[0]) ** 2 / 2).sum((1, 2)) / 6
  np.testing.assert_allclose(diagnostics.inner_kl, kl[:2])
  np.testing.assert_allclose(diagnostics.outer_kl, kl[2])
  np.testing.assert_allclose(
    value, -diagnostics.objective + (0.2 * kl[0] + 0.6 * kl[1]) / 2
  )


def test_of_a_policy_without_divergences_none_are_reported():
  def apply(params, observation):
    normal = _one_number(params, observation)
    return builtin_types.SimpleNamespace(log_prob=normal.log_prob)

  policy = types.Policy(init=lambda key, x: jnp.zeros(()), apply=apply)
  inner = inner_loop.GradientAscent(
    policies.log_prob_fn(policy), evaluators.log_likelihood
  )
  loss = task_loss_lib.TaskLoss(
    policy, inner, 1, objectives.Surrogate(), needs_kl=False
  )
  ones = jnp.ones((2, 1, 2))
  stages = types.Prepared(**dict.fromkeys(types.Prepared._fields, ones))
  stages = stages._replace(observation=ones[..., None], behaviour_params=())
  params = task_loss_lib.MetaParams(jnp.asarray(0.5), jnp.asarray(0.3))
  assert jax.jit(loss.reference)(params, stages) == ()
  _, diagnostics = jax.jit(loss.task_loss)(
    params, task_loss_lib.Task(stages, (), jnp.zeros(())), jnp.zeros(1)
  )
  assert diagnostics.inner_kl is None
  assert diagnostics.outer_kl is None
