"""Adaptation to a task: prepare a stage of data, step the policy's parameters.

The actor runs both functions to act, the learner differentiates the second,
evaluation uses both. There is no other implementation.
"""

from collections.abc import Callable

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import ratios, reductions
from acme_metarl.meta import baselines, policies

# (v_tm1, v_t, r_t, discount_t, rho_tm1) -> [T] estimates of one trajectory.
Evaluator = Callable[..., chex.Array]


def prepare(
  stage: types.Stage,
  *,
  discount: float,
  gae_lambda: float = 1.0,
  baseline: baselines.Baseline | None = None,
  normalize: bool = True,
) -> types.Prepared:
  """Turns a stage of one task into what adaptation needs; knows no policy.

  Fits the baseline to the discounted returns-to-go of this stage alone,
  estimates advantages, and normalises them over all steps of the task. Batches
  of stages and tasks are made by `jax.vmap`.

  Args:
    stage: one stage of one task.
    discount: discount factor γ in [0, 1].
    gae_lambda: λ of generalised advantage estimation.
    baseline: fits the critic; the linear feature baseline by default.
    normalize: whether advantages get mean 0 and standard deviation 1, which
      moves critic and rewards with them (`reductions.normalize_advantages`).

  Returns:
    The prepared stage.

  Raises:
    ValueError: if the stage's shapes do not fit together.
  """
  _check_stage(stage)
  if baseline is None:
    baseline = baselines.LinearFeature()
  mask = stage.mask.astype(stage.reward.dtype)
  r_t = jnp.where(mask > 0, stage.reward, 0.0)
  discount_t = discount * stage.discount * mask
  returns = discounted_sums(r_t, discount_t)
  values = lax.stop_gradient(baseline(stage.observation, returns, mask))
  v_tm1, v_t = values[:, :-1], values[:, 1:]
  td_errors = r_t + discount_t * v_t - v_tm1
  advantage = discounted_sums(td_errors * mask, gae_lambda * discount_t)
  if normalize:
    v_tm1, v_t, r_t, advantage = reductions.normalize_advantages(
      v_tm1, v_t, r_t, advantage, mask
    )
  return types.Prepared(
    observation=jax.tree_util.tree_map(lambda x: x[:, :-1], stage.observation),
    action=stage.action,
    v_tm1=v_tm1,
    v_t=v_t,
    r_t=r_t,
    discount_t=discount_t,
    advantage=advantage,
    mask=mask,
    behaviour_log_prob=stage.behaviour_log_prob,
    behaviour_params=stage.behaviour_params,
  )


def discounted_sums(x: chex.Array, discount_t: chex.Array) -> chex.Array:
  """Returns y_t = x_t + discount_t y_{t+1}, `[B, T]`, with y_T = 0."""

  def step(following, inputs):
    x_t, discount = inputs
    y = x_t + discount * following
    return y, y

  _, y = lax.scan(
    step, jnp.zeros_like(x[:, 0]), (x.T, discount_t.T), reverse=True
  )
  return y.T


def adapt(
  params: types.PyTree,
  prepared: types.Prepared,
  log_prob: policies.LogProbFn,
  evaluator: Evaluator,
  reduction: reductions.Reduction,
  step_sizes: types.PyTree,
) -> types.PyTree:
  """One step of gradient ascent on a reduced evaluator; differentiable.

  θ' = θ + η ∇_θ reduction(evaluator(…, ρ)) with ρ = π_θ/μ from the stored
  log-probabilities of the behaviour policy μ, so that data of an older policy
  are corrected for.

  Args:
    params: policy parameters θ.
    prepared: a prepared stage of one task.
    log_prob: `(params, observation, action) -> [B, T]`, summed over the
      dimensions of the action.
    evaluator: off-policy evaluator of one trajectory, see `evaluators`.
    reduction: turns its estimates into one objective, see `reductions`.
    step_sizes: η, a scalar or a pytree shaped like `params`.

  Returns:
    Adapted parameters θ'.
  """

  def objective(candidate):
    new_log_prob = log_prob(candidate, prepared.observation, prepared.action)
    return inner_objective(new_log_prob, prepared, evaluator, reduction)

  return ascend(params, jax.grad(objective)(params), step_sizes)


def inner_objective(
  log_prob: chex.Array,
  prepared: types.Prepared,
  evaluator: Evaluator,
  reduction: reductions.Reduction,
  weights: chex.Array | None = None,
) -> chex.Array:
  """The objective that adaptation climbs, from log-probabilities.

  Args:
    log_prob: `[B, T]` log-probabilities of the stored actions under θ.
    prepared: a prepared stage of one task.
    evaluator: off-policy evaluator of one trajectory.
    reduction: must be linear in its first two arguments if `weights` are given.
    weights: `[B]` weight of each rollout's contribution; ones by default.

  Returns:
    A scalar.
  """
  rho_tm1 = masked_ratios(log_prob, prepared)
  estimates = jax.vmap(evaluator)(
    prepared.v_tm1,
    prepared.v_t,
    prepared.r_t,
    prepared.discount_t,
    rho_tm1,
  )
  v_t = prepared.v_t
  if weights is not None:
    estimates = estimates * weights[:, jnp.newaxis]
    v_t = v_t * weights[:, jnp.newaxis]
  return reduction(estimates, v_t, prepared.discount_t, prepared.mask)


def masked_ratios(log_prob: chex.Array, prepared: types.Prepared) -> chex.Array:
  """Importance ratios `[B, T]`, exactly 1 (and constant) where masked."""
  behaviour = prepared.behaviour_log_prob
  log_prob = jnp.where(prepared.mask > 0, log_prob, behaviour)
  return ratios.importance_ratios(log_prob, behaviour)


def ascend(
  params: types.PyTree, gradient: types.PyTree, step_sizes: types.PyTree
) -> types.PyTree:
  """Returns θ + η ∘ gradient, η a scalar or a pytree shaped like θ.

  Raises:
    ValueError: if the step sizes are neither.
  """
  structure = jax.tree_util.tree_structure(params)
  step_structure = jax.tree_util.tree_structure(step_sizes)
  if step_structure == structure:
    return jax.tree_util.tree_map(
      lambda p, g, s: p + s * g, params, gradient, step_sizes
    )
  if jax.tree_util.treedef_is_leaf(step_structure) and not jnp.shape(
    step_sizes
  ):
    return jax.tree_util.tree_map(
      lambda p, g: p + step_sizes * g, params, gradient
    )
  raise ValueError(
    'step_sizes must be a scalar or a pytree shaped like the policy'
    f' parameters, but got {step_structure} for {structure}.'
  )


def _check_stage(stage: types.Stage) -> None:
  shape = jnp.shape(stage.reward)
  if len(shape) != 2:
    raise ValueError(
      'stage must be one stage of one task, with rewards [B, T], but reward has'
      f' shape {shape}. Use jax.vmap for stages and tasks.'
    )
  for name in ('discount', 'mask', 'behaviour_log_prob'):
    other = jnp.shape(getattr(stage, name))
    if other != shape:
      raise ValueError(
        f'stage.{name} must have the shape of stage.reward, {shape}, but has'
        f' {other}.'
      )
  if jnp.shape(stage.action)[:2] != shape:
    raise ValueError(
      f'stage.action must start with {shape}, but has shape'
      f' {jnp.shape(stage.action)}.'
    )
  for leaf in jax.tree_util.tree_leaves(stage.observation):
    if jnp.shape(leaf)[:2] != (shape[0], shape[1] + 1):
      raise ValueError(
        f'stage.observation must start with {(shape[0], shape[1] + 1)} (one'
        f' more than the steps), but has shape {jnp.shape(leaf)}.'
      )
