"""What the outer loop can say about itself at next to no cost."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from acme_metarl import types
from acme_metarl.evaluators import reductions

_dot = optax.tree_utils.tree_vdot


class TaskDiagnostics(NamedTuple):
  """Of one task, or summed or averaged over tasks.

  Attributes:
    objective: the outer objective.
    inner_kl: `[K]` KL(reference ‖ policy) on each pre-update stage; None where
      the distribution has no such divergence.
    outer_kl: the same on the last stage, between adapted policies.
    effective_sample_size: `[K+1]` of each stage's importance ratios, as a share
      of its steps: (Σρ)² / (N Σρ²).
    clipped_share: share of the last stage's ratios outside 1 ± ε.
  """

  objective: chex.Array
  inner_kl: chex.Array | None
  outer_kl: chex.Array | None
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
  inner_kl: chex.Array | None,
  outer_kl: chex.Array | None,
  log_prob: chex.Array,
  stages: types.Prepared,
  clip_epsilon: float,
) -> TaskDiagnostics:
  """Diagnostics of one task; `log_prob` is `[K+1, B, T]`.

  Example:
    >>> ones = jnp.ones((2, 1, 3))
    >>> stages = types.Prepared(
    ...   observation=ones, action=ones, v_tm1=ones, v_t=ones, r_t=ones,
    ...   discount_t=ones, advantage=ones, mask=ones, behaviour_log_prob=ones)
    >>> made = task_diagnostics(
    ...   objective=jnp.array(2.0), inner_kl=None, outer_kl=None,
    ...   log_prob=ones, stages=stages, clip_epsilon=0.3)
    >>> made.effective_sample_size.tolist()
    [1.0, 1.0]
  """
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
  """(Σρ)² / (N Σρ²) over the last two axes, in (0, 1]; never overflows.

  Example:
    >>> log_rho = jnp.log(jnp.array([[1.0, 3.0]]))
    >>> print(f'{effective_sample_size(log_rho, jnp.ones((1, 2))):.2f}')
    0.80
  """
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
  """Share of the steps that count whose ratio is outside 1 ± ε.

  Example:
    >>> log_rho = jnp.log(jnp.array([1.0, 1.2, 2.0, 9.0]))
    >>> float(clipped_share(log_rho, jnp.array([1.0, 1.0, 1.0, 0.0]), 0.3))
    0.3333333432674408
  """
  outside = jnp.abs(jnp.exp(log_rho) - 1) > clip_epsilon
  return reductions.masked_mean(outside.astype(mask.dtype), mask)


def gradient_sums(gradient: types.PyTree, half: chex.Array) -> GradientSums:
  """One task's part of the sums; `half` (0 or 1) is the half it belongs to.

  Example:
    >>> sums = gradient_sums(jnp.array([3.0, 4.0]), jnp.array(1))
    >>> sums.halves.tolist(), float(sums.squares)
    ([[0.0, 0.0], [3.0, 4.0]], 25.0)
  """
  share = jnp.stack([1 - half, half]).astype(jnp.result_type(float))

  def split(x):
    return x * share.astype(x.dtype).reshape((2,) + (1,) * x.ndim)

  return GradientSums(
    halves=jax.tree_util.tree_map(split, gradient),
    squares=_dot(gradient, gradient),
  )


def mean_gradient(sums: GradientSums, num_tasks: int) -> types.PyTree:
  """The meta-gradient: the mean over tasks.

  Example:
    >>> sums = GradientSums(jnp.array([[1.0], [3.0]]), jnp.array(10.0))
    >>> mean_gradient(sums, 2).tolist()
    [2.0]
  """
  return jax.tree_util.tree_map(
    lambda x: (x[0] + x[1]) / num_tasks, sums.halves
  )


def gradient_statistics(
  sums: GradientSums, num_tasks: int
) -> dict[str, chex.Array]:
  """Norm of the meta-gradient, its variance over tasks, and halves' cosine.

  Example:
    >>> sums = GradientSums(jnp.array([[1.0], [3.0]]), jnp.array(10.0))
    >>> found = gradient_statistics(sums, 2)
    >>> {name: float(x) for name, x in found.items()}
    {'meta_gradient_norm': 2.0, 'meta_gradient_variance': 1.0,
     'meta_gradient_cosine': 1.0}
  """
  mean = mean_gradient(sums, num_tasks)
  mean_square = _dot(mean, mean)
  first, second = (
    jax.tree_util.tree_map(lambda x, i=i: x[i], sums.halves) for i in (0, 1)
  )
  norms = jnp.sqrt(_dot(first, first) * _dot(second, second))
  cosine = _dot(first, second) / jnp.where(norms > 0, norms, 1.0)
  return {
    'meta_gradient_norm': jnp.sqrt(mean_square),
    # The trace of the covariance of single tasks' gradients.
    'meta_gradient_variance': jnp.maximum(
      sums.squares / num_tasks - mean_square, 0.0
    ),
    'meta_gradient_cosine': cosine,
  }


def metrics(
  loss_before: chex.Array,
  loss: chex.Array,
  statistics: Mapping[str, chex.Array],
  objective_before: chex.Array,
  after: TaskDiagnostics,
) -> dict[str, chex.Array]:
  """What an outer step says about itself, by name.

  Args:
    loss_before: the outer loss before it.
    loss: after it.
    statistics: of the meta-gradient before it, `gradient_statistics`.
    objective_before: the outer objective before it.
    after: means over tasks after it.

  Returns:
    Scalars by name.

  Example:
    >>> one = jnp.ones(())
    >>> after = TaskDiagnostics(one, one[None], one, jnp.ones(2), one)
    >>> found = metrics(one, 0.5 * one, {}, one, after)
    >>> float(found['loss_before']), float(found['loss'])
    (1.0, 0.5)
    >>> [name for name in found if 'kl' in name]
    ['outer_kl', 'inner_kl_0']
  """
  found = {
    'loss_before': loss_before,
    'loss': loss,
    'objective_before': objective_before,
    'objective': after.objective,
    'clipped_share': after.clipped_share,
    **statistics,
  }
  if after.outer_kl is not None and after.inner_kl is not None:
    found['outer_kl'] = after.outer_kl
    for index in range(after.inner_kl.shape[0]):
      found[f'inner_kl_{index}'] = after.inner_kl[index]
  for index in range(after.effective_sample_size.shape[0]):
    found[f'effective_sample_size_{index}'] = after.effective_sample_size[index]
  return found


def kl_coefficients(kl_coefficient: chex.Array) -> dict[str, chex.Array]:
  """Weights `[K]` of the inner steps' KL penalties, by name.

  Example:
    >>> kl_coefficients(jnp.array([0.5]))
    {'kl_coefficient_0': Array(0.5, dtype=float32)}
  """
  return {
    f'kl_coefficient_{index}': kl_coefficient[index]
    for index in range(kl_coefficient.shape[0])
  }
