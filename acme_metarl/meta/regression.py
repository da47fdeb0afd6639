"""Linear least squares that hold in float32."""

import functools

import chex
import jax
from jax import lax
import jax.numpy as jnp

# With a unit diagonal, ten times as much a try ends long before.
_MAX_TRIES = 20
# Whether an error is smaller after 2^12 fits says whether they converge.
_LOG2_FITS = 12


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

  >>> features = jnp.array([[1., 0.], [1., 1.], [1., 2.]])
  >>> weights = ridge_regression(features, jnp.array([1., 3., 5.]), 1e-5)
  >>> weights.round(3).tolist()
  [1.0, 2.0]

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
    scaled = gram * scale[:, jnp.newaxis] * scale[jnp.newaxis]
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


@functools.partial(jax.jit, static_argnames='num_refinements')
def fixed_point_regression(
  features: chex.Array,
  following: chex.Array,
  targets: chex.Array,
  ridge: float,
  num_refinements: int = 3,
) -> chex.Array:
  """Fits Xw to y + Yw, the targets being made of the fit itself.

  Solves Xᵀ(y + Yw − Xw) = ridge w, the fixed point of fitting again and again.
  With the features of states in X and those that their returns end with,
  discounted, in Y it is least-squares temporal-difference learning (Bradtke and
  Barto, "Linear Least-Squares Algorithms for Temporal Difference Learning",
  1996, equation 13, https://doi.org/10.1007/BF00114723).

  Where repeated fits would not get there, because what is wrong with one grows
  in the next, the penalty is raised, relative to the features' size, until they
  do.

  >>> features = jnp.ones((4, 1))
  >>> weights = fixed_point_regression(
  ...     features, .9 * features, jnp.ones(4), 1e-5)
  >>> weights.round(3).tolist()
  [10.0]

  Args:
    features: X, `[N, F]`.
    following: Y, `[N, F]`.
    targets: y, `[N]`.
    ridge: penalty.
    num_refinements: steps of iterative refinement, see `ridge_regression`.

  Returns:
    `[F]` weights w.
  """
  dtype = features.dtype
  size = features.shape[1]
  difference = features - following
  total = jnp.sum(features**2, axis=0) + ridge
  scale = jnp.where(total > 0, lax.rsqrt(total), 1.0)
  gram, bootstrap = (
    (features.T @ x) * scale[:, jnp.newaxis] * scale[jnp.newaxis]
    for x in (features, following)
  )
  rounding = 10 * size**0.5 * float(jnp.finfo(dtype).eps)

  def penalty(factor):
    # The first try leaves rounding to the refinement; later ones mean it.
    return ridge * factor + rounding * (factor - 1) * total

  def raised(factor):
    return gram + jnp.diag(penalty(factor) * scale**2 + rounding)

  def is_unstable(carry):
    tries, factor = carry
    cholesky = jnp.linalg.cholesky(raised(factor))
    fit = jax.scipy.linalg.cho_solve((cholesky, True), bootstrap)
    for _ in range(_LOG2_FITS):
      fit = fit @ fit
    # NaN is not below 1 either.
    return ~(jnp.sum(fit**2) < 1) & (tries < _MAX_TRIES)

  _, factor = lax.while_loop(
    is_unstable,
    lambda carry: (carry[0] + 1, carry[1] * 10),
    (jnp.int32(0), jnp.ones((), dtype)),
  )
  factorised = jax.scipy.linalg.lu_factor(raised(factor) - bootstrap)

  def refine(weights, _):
    residual = targets - difference @ weights
    descent = features.T @ residual - penalty(factor) * weights
    step = jax.scipy.linalg.lu_solve(factorised, scale * descent)
    return weights + scale * step, None

  weights, _ = lax.scan(
    refine, jnp.zeros((size,), dtype), None, length=1 + num_refinements
  )
  return weights
