"""Critics for one task, fitted to its own data at every stage.

A baseline is a pure function of a stage's observations and returns; it keeps
nothing between stages or tasks.
"""

import dataclasses
import functools
from typing import Protocol

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl.meta import observations

# With a unit diagonal, ten times as much a try ends long before.
_MAX_TRIES = 20


class Baseline(Protocol):
  """Fits a critic to one stage of one task, and evaluates it there."""

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Returns values `[B, T+1]` of the observations `[B, T+1, ...]`.

    `returns` `[B, T]` are the targets at the first T of them; steps with
    `mask` `[B, T]` 0 take no part in the fit.
    """


@dataclasses.dataclass(frozen=True)
class Zero:
  """No critic: every value is zero."""

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Returns zeros `[B, T+1]`."""
    del observation, mask
    return jnp.zeros((returns.shape[0], returns.shape[1] + 1), returns.dtype)


@dataclasses.dataclass(frozen=True)
class LinearTime:
  """Ridge regression on time alone: [t, t², t³, 1] with t in `time_scale`s.

  Attributes:
    ridge: penalty on the squared coefficients.
    time_scale: steps that make one unit of time.
  """

  ridge: float = 1e-5
  time_scale: float = 100.0

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Fits and returns values `[B, T+1]`."""
    del observation
    features = time_features(
      returns.shape[0], returns.shape[1] + 1, self.time_scale, returns.dtype
    )
    return _fit_values(features, returns, mask, self.ridge)


@dataclasses.dataclass(frozen=True)
class LinearFeature:
  """Ridge regression on [o, o², t, t², t³, 1].

  The baseline of Duan et al., "Benchmarking Deep Reinforcement Learning for
  Continuous Control" (2016), https://arxiv.org/abs/1604.06778, as published
  meta-RL code uses it.

  Attributes:
    ridge: penalty on the squared coefficients; ten times as much, as often as
      needed, where the system is singular.
    observation_clip: observations are clipped to plus or minus this.
    time_scale: steps that make one unit of time.
  """

  ridge: float = 1e-5
  observation_clip: float = 10.0
  time_scale: float = 100.0

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Fits and returns values `[B, T+1]`."""
    batch, length = returns.shape[0], returns.shape[1] + 1
    flat = [
      jnp.asarray(leaf).reshape((batch, length, -1))
      for leaf in jax.tree_util.tree_leaves(observation)
    ]
    o = observations.flatten(flat).astype(returns.dtype)
    o = jnp.clip(o, -self.observation_clip, self.observation_clip)
    time = time_features(batch, length, self.time_scale, returns.dtype)
    features = jnp.concatenate([o, o**2, time], axis=-1)
    return _fit_values(features, returns, mask, self.ridge)


def time_features(
  batch: int, length: int, time_scale: float, dtype: chex.ArrayDType
) -> chex.Array:
  """Returns [t, t², t³, 1] as `[batch, length, 4]`."""
  t = jnp.arange(length, dtype=dtype) / time_scale
  features = jnp.stack([t, t**2, t**3, jnp.ones_like(t)], axis=-1)
  return jnp.broadcast_to(features, (batch, *features.shape))


def _fit_values(
  features: chex.Array, returns: chex.Array, mask: chex.Array, ridge: float
) -> chex.Array:
  """Fits features `[B, :T, F]` to returns `[B, T]`; returns `[B, T+1]`."""
  size = features.shape[-1]
  rows = (features[:, :-1] * mask[..., jnp.newaxis]).reshape((-1, size))
  targets = (returns * mask).reshape((-1,))
  # One matrix product for all the rollouts of a task.
  weights = ridge_regression(rows, targets, ridge)
  return features @ weights


# Compiled, so that who does not jit gets the loops inside from a cache.
@functools.partial(jax.jit, static_argnames='num_refinements')
def ridge_regression(
  features: chex.Array,
  targets: chex.Array,
  ridge: float,
  num_refinements: int = 3,
) -> chex.Array:
  """Minimises |Xw − y|² + ridge |w|² by preconditioned normal equations.

  The condition number of the Gram matrix is the square of that of the
  features, and a ridge of 1e-5 is far below the rounding of float32 sums over
  thousands of steps. So the factorised matrix only preconditions: its columns
  are scaled to a unit diagonal, and the diagonal is raised by a few units of
  rounding. The solution is then refined on the residuals of the rows
  themselves, where only the ridge counts.

  Args:
    features: `[N, F]`.
    targets: `[N]`.
    ridge: penalty; ten times as much, as often as needed, where Cholesky's
      factorisation fails.
    num_refinements: steps of iterative refinement.

  Returns:
    `[F]` weights; not finite only if the inputs are not.
  """
  dtype = features.dtype
  size = features.shape[1]
  gram = features.T @ features
  diagonal = jnp.diagonal(gram)
  rounding = 10 * size**0.5 * float(jnp.finfo(dtype).eps)

  def factorise(factor):
    total = diagonal + ridge * factor
    scale = jnp.where(total > 0, lax.rsqrt(total), 1.0)
    scaled = gram * scale[:, jnp.newaxis] * scale
    raised = jnp.where(
      jnp.eye(size, dtype=bool), 1.0 + rounding * factor, scaled
    )
    return scale, jnp.linalg.cholesky(raised)

  def is_singular(carry):
    tries, _, _, cholesky = carry
    return ~jnp.all(jnp.isfinite(cholesky)) & (tries < _MAX_TRIES)

  def strengthen(carry):
    tries, factor, _, _ = carry
    return tries + 1, factor * 10, *factorise(factor * 10)

  factor = jnp.ones((), dtype)
  start = (jnp.int32(0), factor, *factorise(factor))
  _, factor, scale, cholesky = lax.while_loop(is_singular, strengthen, start)

  def refine(weights, _):
    residual = targets - features @ weights
    descent = features.T @ residual - ridge * factor * weights
    step = jax.scipy.linalg.cho_solve((cholesky, True), scale * descent)
    return weights + scale * step, None

  # The first step, from zero, is the plain solution.
  weights, _ = lax.scan(
    refine, jnp.zeros((size,), dtype), None, length=1 + num_refinements
  )
  return weights
