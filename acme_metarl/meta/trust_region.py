"""A trust-region step in optax's shape.

Schulman et al. (2015), "Trust Region Policy Optimization",
https://arxiv.org/abs/1502.05477, appendix C: conjugate gradients for the
natural direction, the longest step that the quadratic model of the KL
divergence allows, then a backtracking line search on the true loss and KL.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import optax

from acme_metarl import types
from acme_metarl.evaluators import reductions

# params -> (loss, mean KL from the policy at the start).
LossAndKLFn = Callable[[types.PyTree], tuple[chex.Array, chex.Array]]
# Product of the curvature of the KL divergence with a vector.
CurvatureFn = Callable[[types.PyTree], types.PyTree]


class TrustRegionState(NamedTuple):
  """What the last step did.

  Attributes:
    accepted: whether it was taken at all.
    loss: the loss after it; where it was rejected, that before.
    kl: mean KL divergence of it; 0 where it was rejected.
    num_backtracks: how often the step was shortened; one more than the most
      where there was none, because the curvature along the gradient is zero,
      negative or not finite.
    step_scale: factor of the conjugate-gradient solution, 0 where rejected.
  """

  accepted: chex.Array
  loss: chex.Array
  kl: chex.Array
  num_backtracks: chex.Array
  step_scale: chex.Array


def trust_region(
  max_kl: float = 0.01,
  cg_iterations: int = 10,
  cg_damping: float = 0.0,
  backtrack_ratio: float = 0.8,
  max_backtracks: int = 15,
) -> optax.GradientTransformationExtraArgs:
  """The trust-region step as a gradient transformation.

  Its `update(gradient, state, params, *, loss, loss_and_kl_fn, curvature_fn)`
  takes the gradient of the loss to be minimised, the loss at `params`, a
  function to `(loss, KL)` at other parameters, and the product with the KL's
  curvature at `params`. The updates it returns are zero where no candidate
  lowers the loss within the trust region, or anything needed is not finite.

  Args:
    max_kl: δ, bound on the mean KL divergence of a step.
    cg_iterations: most conjugate-gradient steps.
    cg_damping: added to the curvature's diagonal.
    backtrack_ratio: factor between one candidate step and the next.
    max_backtracks: number of candidates.

  Returns:
    An optax transformation.

  Example:
    >>> import jax.numpy as jnp
    >>> step = trust_region(max_kl=0.5)
    >>> params = jnp.array([3.0, 0.0])
    >>> def loss_and_kl(x):  # Here, half the squared distance.
    ...   return jnp.sum(x**2), 0.5 * jnp.sum((x - params) ** 2)
    >>> updates, state = step.update(
    ...   2 * params, step.init(params), params, loss=jnp.sum(params**2),
    ...   loss_and_kl_fn=loss_and_kl, curvature_fn=lambda v: v)
    >>> print(params + updates, bool(state.accepted))
    [2. 0.] True
  """

  def init_fn(params):
    dtype = jnp.result_type(*jax.tree_util.tree_leaves(params))
    zero = jnp.zeros((), dtype)
    return TrustRegionState(
      accepted=jnp.zeros((), bool),
      loss=zero,
      kl=zero,
      num_backtracks=jnp.zeros((), jnp.int32),
      step_scale=zero,
    )

  def update_fn(
    updates, state, params, *, loss, loss_and_kl_fn, curvature_fn, **extra
  ):
    del extra
    gradient = updates

    def damped(vector):
      return jax.tree_util.tree_map(
        lambda h, v: h + cg_damping * v, curvature_fn(vector), vector
      )

    direction, residual = conjugate_gradient(damped, gradient, cg_iterations)
    # xᵀHx without another product, since Hx = b − r.
    curvature = optax.tree_utils.tree_vdot(
      direction, jax.tree_util.tree_map(jnp.subtract, gradient, residual)
    )
    is_usable = (curvature > 0) & jnp.isfinite(curvature) & jnp.isfinite(loss)
    # Without a gradient there is nothing to do, and nothing wrong.
    is_at_rest = optax.tree_utils.tree_vdot(gradient, gradient) == 0
    longest = jnp.sqrt(2 * max_kl / jnp.where(is_usable, curvature, 1.0))

    def candidate(scale):
      return jax.tree_util.tree_map(
        lambda p, d: p - scale * d, params, direction
      )

    def is_searching(carry):
      return ~carry.accepted & (carry.num_backtracks < max_backtracks)

    def try_step(carry):
      ratio = jnp.asarray(backtrack_ratio, longest.dtype)
      scale = longest * ratio**carry.num_backtracks
      new_loss, kl = loss_and_kl_fn(candidate(scale))
      # NaN passes neither comparison.
      accepted = is_usable & (new_loss < loss) & (kl <= max_kl)
      return TrustRegionState(
        accepted=accepted,
        loss=jnp.where(accepted, new_loss, loss),
        kl=jnp.where(accepted, kl, 0.0),
        num_backtracks=carry.num_backtracks + jnp.where(accepted, 0, 1),
        step_scale=jnp.where(accepted, scale, 0.0),
      )

    start = state._replace(
      accepted=jnp.zeros((), bool),
      loss=loss.astype(state.loss.dtype),
      kl=jnp.zeros_like(state.kl),
      # Nothing to search along: reject at once, and say so.
      num_backtracks=jnp.where(
        is_usable, 0, jnp.where(is_at_rest, max_backtracks, max_backtracks + 1)
      ),
      step_scale=jnp.zeros_like(state.step_scale),
    )
    start = jax.tree_util.tree_map(
      lambda new, old: new.astype(old.dtype), start, state
    )
    state = lax.while_loop(is_searching, try_step, start)
    steps = jax.tree_util.tree_map(
      lambda d: jnp.where(state.accepted, -state.step_scale * d, 0.0), direction
    )
    return steps, state

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def conjugate_gradient(
  matvec: CurvatureFn,
  b: types.PyTree,
  num_iterations: int,
  tolerance: float = 1e-10,
) -> tuple[types.PyTree, types.PyTree]:
  """Solves A x = b for a positive semi-definite A, from x = 0.

  Args:
    matvec: product with A.
    b: right-hand side.
    num_iterations: most iterations.
    tolerance: stops when |r|² falls to this share of |b|².

  Returns:
    The approximate solution x and its residual b − A x.

  Example:
    >>> a = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    >>> x, _ = conjugate_gradient(lambda v: a @ v, jnp.array([3.0, 4.0]), 2)
    >>> print(x.round(4))
    [1. 1.]
  """
  dot = optax.tree_utils.tree_vdot

  def axpy(scale, x, y):
    return jax.tree_util.tree_map(lambda u, v: scale * u + v, x, y)

  threshold = tolerance * dot(b, b)

  def is_running(carry):
    iteration, _, _, _, square, ok = carry
    return (iteration < num_iterations) & (square > threshold) & ok

  def iterate(carry):
    iteration, x, residual, direction, square, _ = carry
    product = matvec(direction)
    curvature = dot(direction, product)
    # A direction without curvature (the null space) ends the search.
    ok = curvature > 0
    alpha = jnp.where(ok, square / jnp.where(ok, curvature, 1.0), 0.0)
    x = axpy(alpha, direction, x)
    residual = axpy(-alpha, product, residual)
    new_square = dot(residual, residual)
    direction = axpy(new_square / square, direction, residual)
    return iteration + 1, x, residual, direction, new_square, ok

  zeros = jax.tree_util.tree_map(jnp.zeros_like, b)
  start = (0, zeros, b, b, dot(b, b), jnp.ones((), bool))
  _, x, residual, *_ = lax.while_loop(is_running, iterate, start)
  return x, residual


def gauss_newton_product(
  distribution_fn: Callable[[types.PyTree], object],
  params: types.PyTree,
  vector: types.PyTree,
  mask: chex.Array,
) -> types.PyTree:
  """JᵀFJv: the curvature at `params` of the mean KL from the policy there.

  J is the Jacobian of the distribution's parameters, F their Fisher matrix.
  At `params` this equals the Hessian of KL(π_params ‖ π_x) in x, because the
  KL's first derivative vanishes there, and it is positive semi-definite.

  Args:
    distribution_fn: parameters to action distributions, batch `[B, T]`.
    params: where.
    vector: v, shaped like `params`.
    mask: `[B, T]` steps that count.

  Returns:
    The product, shaped like `params`.

  Example:
    >>> import distrax
    >>> def normal(mean):  # With the scale 0.5 the Fisher matrix is 4.
    ...   return distrax.Normal(mean * jnp.ones((1, 1)), jnp.full((1, 1), 0.5))
    >>> float(gauss_newton_product(
    ...   normal, jnp.zeros(()), jnp.ones(()), jnp.ones((1, 1))))
    4.0
  """
  outputs, push = jax.linearize(distribution_fn, params)
  old = lax.stop_gradient(outputs)

  def divergence(new):
    return reductions.masked_mean(old.kl_divergence(new), mask)

  _, curved = jax.jvp(jax.grad(divergence), (old,), (push(vector),))
  (product,) = jax.linear_transpose(push, params)(curved)
  return product
