"""Value and derivatives of an evaluator over a batch of trajectories.

For any policy given as `log_prob(params, observation, action)`. What follows
is plain automatic differentiation of one scalar function of the parameters,
`objective`; where a critic depends on the parameters too, or a third
derivative is wanted, write that function yourself and use `jax.grad` and
`jax.jvp` as this module does.
"""

from collections.abc import Callable

import chex
import jax
from jax import flatten_util, lax
import jax.numpy as jnp

from acme_metarl import evaluators, types
from acme_metarl.evaluators import input_checks, ratios, reductions

# Numbers in an intermediate array that a CPU's cache holds well.
_CACHED_NUMBERS = 2**18

# log_prob(params, observation, action) -> scalar, for one step.
LogProb = Callable[[types.PyTree, chex.ArrayTree, chex.Array], chex.Array]


def objective(
  log_prob: LogProb,
  data: types.Prepared,
  evaluator: evaluators.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> Callable[[types.PyTree], chex.Array]:
  """Returns params -> estimate, a function to differentiate as you like.

  Args:
    log_prob: `(params, observation, action) -> scalar` for one step, summed
      over the action's dimensions; it is vmapped over rollouts and steps.
    data: `types.Prepared`, or anything with the attributes `observation`,
      `action`, `v_tm1`, `v_t`, `r_t`, `discount_t`, `mask` (or None) and
      `behaviour_log_prob`, each `[B, T, ...]`.
    evaluator: of `acme_metarl.evaluators` or your own; bind its options with
      `functools.partial`.
    reduction: of `acme_metarl.reductions` or your own.

  Returns:
    The function of the parameters, a scalar.

  Raises:
    ValueError: if the data are not of shape `[B, T]`.
  """
  shape = jnp.shape(data.behaviour_log_prob)
  if len(shape) != 2 or 0 in shape:
    raise ValueError(
      'data.behaviour_log_prob must be of shape [B, T], at least one rollout'
      f' of at least one step, but got shape {shape}. vmap over further axes.'
    )
  step_log_prob = jax.vmap(
    jax.vmap(log_prob, in_axes=(None, 0, 0)), in_axes=(None, 0, 0)
  )

  def estimate(params: types.PyTree) -> chex.Array:
    rho_tm1 = ratios.importance_ratios(
      step_log_prob(params, data.observation, data.action),
      data.behaviour_log_prob,
    )
    estimates = jax.vmap(evaluator)(
      data.v_tm1, data.v_t, data.r_t, data.discount_t, rho_tm1
    )
    return reduction(estimates, data.v_t, data.discount_t, data.mask)

  return estimate


def value(
  log_prob: LogProb,
  params: types.PyTree,
  data: types.Prepared,
  evaluator: evaluators.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> chex.Array:
  """Returns the estimate of the value, a scalar. See `objective`."""
  return objective(log_prob, data, evaluator, reduction)(params)


def gradient(
  log_prob: LogProb,
  params: types.PyTree,
  data: types.Prepared,
  evaluator: evaluators.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> types.PyTree:
  """Returns the gradient, a pytree like `params`. See `objective`."""
  return jax.grad(objective(log_prob, data, evaluator, reduction))(params)


def hessian_vector_product(
  log_prob: LogProb,
  params: types.PyTree,
  vector: types.PyTree,
  data: types.Prepared,
  evaluator: evaluators.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> types.PyTree:
  """Returns the Hessian times `vector`, without forming the Hessian.

  Args:
    log_prob: as for `objective`.
    params: the parameters.
    vector: pytree like `params`.
    data: as for `objective`.
    evaluator: as for `objective`.
    reduction: as for `objective`.

  Returns:
    A pytree like `params`, at a few times the cost of a gradient.

  Raises:
    ValueError: if `vector` is not like `params`.
  """
  expected, got = jax.tree.structure(params), jax.tree.structure(vector)
  shapes = [jnp.shape(x) for x in jax.tree.leaves(params)]
  if expected != got or shapes != [
    jnp.shape(x) for x in jax.tree.leaves(vector)
  ]:
    raise ValueError(
      'vector must have the structure and shapes of params,'
      f' {jax.tree.map(jnp.shape, params)}, but got'
      f' {jax.tree.map(jnp.shape, vector)}.'
    )
  vector = jax.tree.map(
    lambda v, p: jnp.asarray(v, jnp.result_type(p)), vector, params
  )
  estimate = objective(log_prob, data, evaluator, reduction)
  return jax.jvp(jax.grad(estimate), (params,), (vector,))[1]


def hessian(
  log_prob: LogProb,
  params: types.PyTree,
  data: types.Prepared,
  evaluator: evaluators.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
  *,
  chunk_size: int | None = None,
) -> chex.Array:
  """Returns the dense Hessian over the ravelled parameters, `[D, D]`.

  The order of rows and columns is that of `jax.flatten_util.ravel_pytree`.

  Args:
    log_prob: as for `objective`.
    params: the parameters, D numbers in all.
    data: as for `objective`.
    evaluator: as for `objective`.
    reduction: as for `objective`.
    chunk_size: columns computed at a time; intermediate arrays hold
      `chunk_size` · B · T numbers. None: as many as keep those small enough
      for a CPU's cache.

  Returns:
    `[D, D]`.

  Raises:
    ValueError: if `chunk_size` is no integer of at least 1.
  """
  flat, unravel = flatten_util.ravel_pytree(params)
  size = flat.shape[0]
  if chunk_size is None:
    steps = jnp.size(data.behaviour_log_prob)
    chunk_size = max(1, _CACHED_NUMBERS // max(1, steps))
  chunk_size = min(
    size, input_checks.positive_integer('chunk_size', chunk_size)
  )
  estimate = objective(log_prob, data, evaluator, reduction)
  # Linearised once: what does not depend on the column is not repeated.
  _, product = jax.linearize(jax.grad(lambda x: estimate(unravel(x))), flat)
  basis = jnp.eye(size, dtype=flat.dtype)
  if chunk_size == size:
    return jax.vmap(product)(basis)
  return lax.map(product, basis, batch_size=chunk_size)
