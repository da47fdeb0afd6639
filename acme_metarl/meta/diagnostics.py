"""What the outer loop can say about itself at next to no cost."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types


class TaskDiagnostics(NamedTuple):
  """Of one task, or summed or averaged over tasks.

  Attributes:
    objective: the outer objective.
    inner_kl: `[K]` KL(reference ‖ policy) on each pre-update stage.
    outer_kl: the same on the last stage, between adapted policies.
    effective_sample_size: `[K+1]` of each stage's importance ratios, as a share
      of its steps: (Σρ)² / (N Σρ²).
    clipped_share: share of the last stage's ratios outside 1 ± ε.
  """

  objective: chex.Array
  inner_kl: chex.Array
  outer_kl: chex.Array
  effective_sample_size: chex.Array
  clipped_share: chex.Array


class GradientSums(NamedTuple):
  """Sums over tasks that the gradient's statistics are made of.

  Attributes:
    halves: pytree `[2, ...]`, the sum over each half of the meta-batch.
    squares: Σ_g |gradient_g|².
  """

  halves: types.PyTree
  squares: chex.Array


def task_diagnostics(
  *,
  objective: chex.Array,
  inner_kl: chex.Array,
  outer_kl: chex.Array,
  log_prob: chex.Array,
  stages: types.Prepared,
  clip_epsilon: float,
) -> TaskDiagnostics:
  """Diagnostics of one task; `log_prob` is `[K+1, B, T]`."""
  mask = stages.mask
  log_prob = jax.lax.stop_gradient(log_prob)
  log_rho = jnp.where(mask > 0, log_prob - stages.behaviour_log_prob, 0.0)
  return TaskDiagnostics(
    objective=objective,
    inner_kl=inner_kl,
    outer_kl=outer_kl,
    effective_sample_size=effective_sample_size(log_rho, mask),
    clipped_share=clipped_share(log_rho[-1], mask[-1], clip_epsilon),
  )


def effective_sample_size(log_rho: chex.Array, mask: chex.Array) -> chex.Array:
  """(Σρ)² / (N Σρ²) over the last two axes, in (0, 1]; never overflows."""
  axes = (-2, -1)
  log_rho = jnp.where(mask > 0, log_rho, -jnp.inf)
  highest = jnp.max(log_rho, axis=axes, keepdims=True)
  highest = jnp.where(jnp.isfinite(highest), highest, 0.0)
  rho = jnp.exp(log_rho - highest)
  steps = jnp.maximum(jnp.sum(mask, axis=axes), 1.0)
  squares = jnp.sum(rho**2, axis=axes)
  return jnp.sum(rho, axis=axes) ** 2 / jnp.where(
    squares > 0, steps * squares, 1.0
  )


def clipped_share(
  log_rho: chex.Array, mask: chex.Array, clip_epsilon: float
) -> chex.Array:
  """Share of the steps that count whose ratio is outside 1 ± ε."""
  outside = jnp.abs(jnp.exp(log_rho) - 1) > clip_epsilon
  return jnp.sum(outside * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def gradient_sums(gradient: types.PyTree, half: chex.Array) -> GradientSums:
  """One task's part of the sums; `half` (0 or 1) is the half it belongs to."""
  share = jnp.stack([1 - half, half]).astype(jnp.result_type(float))

  def split(x):
    return x * share.astype(x.dtype).reshape((2,) + (1,) * x.ndim)

  return GradientSums(
    halves=jax.tree_util.tree_map(split, gradient),
    squares=inner_product(gradient, gradient),
  )


def mean_gradient(sums: GradientSums, num_tasks: int) -> types.PyTree:
  """The meta-gradient: the mean over tasks."""
  return jax.tree_util.tree_map(
    lambda x: (x[0] + x[1]) / num_tasks, sums.halves
  )


def gradient_statistics(
  sums: GradientSums, num_tasks: int
) -> dict[str, chex.Array]:
  """Norm of the meta-gradient, its variance over tasks, and halves' cosine."""
  mean = mean_gradient(sums, num_tasks)
  mean_square = inner_product(mean, mean)
  first, second = (
    jax.tree_util.tree_map(lambda x, i=i: x[i], sums.halves) for i in (0, 1)
  )
  norms = jnp.sqrt(inner_product(first, first) * inner_product(second, second))
  cosine = inner_product(first, second) / jnp.where(norms > 0, norms, 1.0)
  return {
    'meta_gradient_norm': jnp.sqrt(mean_square),
    # The trace of the covariance of single tasks' gradients.
    'meta_gradient_variance': jnp.maximum(
      sums.squares / num_tasks - mean_square, 0.0
    ),
    'meta_gradient_cosine': cosine,
  }


def inner_product(a: types.PyTree, b: types.PyTree) -> chex.Array:
  """Σ a·b over the leaves of two pytrees."""
  products = jax.tree_util.tree_map(lambda x, y: jnp.sum(x * y), a, b)
  return sum(jax.tree_util.tree_leaves(products))
