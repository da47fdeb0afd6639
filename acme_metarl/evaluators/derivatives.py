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

from acme_metarl import types
from acme_metarl.evaluators import input_checks, protocols, ratios, reductions

# Numbers in an intermediate array that a CPU's cache holds well.
_CACHED_NUMBERS = 2**18

# log_prob(params, observation, action) -> scalar, for one step.
LogProb = Callable[[types.PyTree, chex.ArrayTree, chex.Array], chex.Array]


def objective(
  log_prob: LogProb,
  data: types.Prepared,
  evaluator: protocols.Evaluator,
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

  Example:
    Two rollouts of one step, rewards 1 and 3, under π(1) = sigmoid(θ):

    >>> from acme_metarl import evaluators, types
    >>> x, r_t = jnp.zeros((2, 1)), jnp.array([[1.0], [3.0]])
    >>> data = types.Prepared(
    ...   observation=x, action=jnp.array([[0], [1]]), v_tm1=x, v_t=x, r_t=r_t,
    ...   discount_t=x, advantage=x, mask=None,
    ...   behaviour_log_prob=jnp.log(x + 0.5))
    >>> def log_prob(theta, observation, action):
    ...   return jax.nn.log_sigmoid(jnp.where(action == 1, theta, -theta))
    >>> estimate = objective(log_prob, data, evaluators.doubly_robust)
    >>> print(f'{estimate(0.0):.3f} {jax.grad(estimate)(0.0):.3f}')
    2.000 0.500
  """
  step_log_prob = jax.vmap(
    jax.vmap(log_prob, in_axes=(None, 0, 0)), in_axes=(None, 0, 0)
  )
  _check_batch(data)

  def estimate(params: types.PyTree) -> chex.Array:
    return reduced_estimate(
      step_log_prob(params, data.observation, data.action),
      data,
      evaluator,
      reduction,
    )

  return estimate


def reduced_estimate(
  log_prob: chex.Array,
  data: types.Prepared,
  evaluator: protocols.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
  weights: chex.Array | None = None,
) -> chex.Array:
  """From log-probabilities to one objective: ratios, evaluator, reduction.

  Everything in the library that evaluates a batch of trajectories does it here.
  Ratios are exactly 1 where masked.

  Args:
    log_prob: `[B, T]` log-probabilities of the stored actions under the target
      policy, summed over the action's dimensions.
    data: `types.Prepared`, or anything with the attributes `v_tm1`, `v_t`,
      `r_t`, `discount_t`, `mask` (or None) and `behaviour_log_prob`, each
      `[B, T]`.
    evaluator: of `acme_metarl.evaluators` or your own.
    reduction: of `acme_metarl.evaluators.reductions` or your own. Must be
      linear in its first two arguments if `weights` are given.
    weights: `[B]` weight of each rollout's contribution; ones by default.

  Returns:
    A scalar.

  Raises:
    ValueError: if the data are not of shape `[B, T]`, or the evaluator does not
      return one estimate a step.

  Example:
    >>> from acme_metarl import evaluators, types
    >>> x, r_t = jnp.zeros((2, 1)), jnp.array([[1.0], [3.0]])
    >>> data = types.Prepared(
    ...   observation=x, action=x, v_tm1=x, v_t=x, r_t=r_t,
    ...   discount_t=x, advantage=x, mask=x + 1, behaviour_log_prob=x)
    >>> jax.grad(reduced_estimate)(x, data, evaluators.doubly_robust)
    Array([[0.5],
           [1.5]], dtype=float32)
  """
  _check_batch(data)
  rho_tm1 = ratios.masked_importance_ratios(
    log_prob, data.behaviour_log_prob, data.mask
  )
  estimates = input_checks.estimates(
    jax.vmap(evaluator)(
      data.v_tm1, data.v_t, data.r_t, data.discount_t, rho_tm1
    ),
    rho_tm1.shape,
  )
  v_t = data.v_t
  if weights is not None:
    if jnp.shape(weights) != rho_tm1.shape[:1]:
      raise ValueError(
        f'weights must be of shape [B] = {rho_tm1.shape[:1]}, one a rollout,'
        f' but got shape {jnp.shape(weights)}.'
      )
    estimates = estimates * weights[:, jnp.newaxis]
    v_t = v_t * weights[:, jnp.newaxis]
  return reduction(estimates, v_t, data.discount_t, data.mask)


def _check_batch(data: types.Prepared) -> None:
  shape = jnp.shape(data.behaviour_log_prob)
  if len(shape) != 2 or 0 in shape:
    raise ValueError(
      'data.behaviour_log_prob must be of shape [B, T], at least one rollout'
      f' of at least one step, but got shape {shape}. vmap over further axes.'
    )


def value(
  log_prob: LogProb,
  params: types.PyTree,
  data: types.Prepared,
  evaluator: protocols.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> chex.Array:
  """Returns the estimate of the value, a scalar. See `objective`.

  Example:
    >>> from acme_metarl import evaluators, types
    >>> x = jnp.ones((1, 1))
    >>> data = types.Prepared(
    ...   observation=x, action=x, v_tm1=x, v_t=x, r_t=3 * x, discount_t=x,
    ...   advantage=x, mask=x, behaviour_log_prob=0 * x)
    >>> def log_prob(theta, observation, action):
    ...   return theta * action
    >>> print(value(log_prob, 0.0, data, evaluators.doubly_robust))
    4.0
  """
  return objective(log_prob, data, evaluator, reduction)(params)


def gradient(
  log_prob: LogProb,
  params: types.PyTree,
  data: types.Prepared,
  evaluator: protocols.Evaluator,
  reduction: reductions.Reduction = reductions.start_state,
) -> types.PyTree:
  """Returns the gradient, a pytree like `params`. See `objective`.

  Example:
    >>> from acme_metarl import evaluators, types
    >>> x = jnp.ones((1, 1))
    >>> data = types.Prepared(
    ...   observation=x, action=x, v_tm1=x, v_t=x, r_t=3 * x, discount_t=x,
    ...   advantage=x, mask=x, behaviour_log_prob=0 * x)
    >>> def log_prob(theta, observation, action):
    ...   return theta * action
    >>> print(gradient(log_prob, 0.0, data, evaluators.doubly_robust))
    3.0
  """
  return jax.grad(objective(log_prob, data, evaluator, reduction))(params)


def hessian_vector_product(
  log_prob: LogProb,
  params: types.PyTree,
  vector: types.PyTree,
  data: types.Prepared,
  evaluator: protocols.Evaluator,
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

  Example:
    >>> from acme_metarl import evaluators, types
    >>> x = jnp.ones((1, 1))
    >>> data = types.Prepared(
    ...   observation=x, action=x, v_tm1=x, v_t=x, r_t=3 * x, discount_t=x,
    ...   advantage=x, mask=x, behaviour_log_prob=0 * x)
    >>> def log_prob(theta, observation, action):
    ...   return theta * action
    >>> print(hessian_vector_product(
    ...   log_prob, 0.0, 2.0, data, evaluators.doubly_robust))
    6.0
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
  evaluator: protocols.Evaluator,
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

  Example:
    >>> from acme_metarl import evaluators, types
    >>> x = jnp.ones((1, 1))
    >>> data = types.Prepared(
    ...   observation=x, action=x, v_tm1=x, v_t=x, r_t=3 * x, discount_t=x,
    ...   advantage=x, mask=x, behaviour_log_prob=0 * x)
    >>> def log_prob(theta, observation, action):
    ...   return theta * action
    >>> print(hessian(log_prob, 0.0, data, evaluators.doubly_robust))
    [[3.]]
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
