"""Adaptation to a task: prepare a stage of data, step the policy's parameters.

The actor runs both functions to act, the learner differentiates the second,
evaluation uses both. There is no other implementation.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import ratios, reductions
from acme_metarl.meta import policies, preparation

prepare = preparation.prepare

# (v_tm1, v_t, r_t, discount_t, rho_tm1) -> [T] estimates of one trajectory.
Evaluator = Callable[..., chex.Array]


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
