"""Linear recurrences along a trajectory, backwards in time.

The evaluators are made of these. All of them are exact where a coefficient (a
discount) is zero in the middle of the row, because nothing is divided, and
cost is linear in the length. The other way to do it, dense triangular products,
is not used: on a CPU it is level at best for a few short trajectories, where
either takes microseconds, and costs a multiple for long or many ones. See
`python -m acme_metarl.launchers.benchmark_evaluators`.
"""

import chex
from jax import lax
import jax.numpy as jnp

# Up to this order each recurrence is a scalar of its own, which fuses best;
# beyond, compilation would take seconds.
_LARGEST_UNSTACKED_ORDER = 4


def linear(
  coefficient: chex.Array, constant: chex.Array, last: chex.Array
) -> chex.Array:
  """Solves x_t = constant_t + coefficient_t x_{t+1} for t = T-1 … 0.

  Args:
    coefficient: `[T]`.
    constant: `[T]`.
    last: scalar x_T.

  Returns:
    `[T]`, x_0 … x_{T-1}.
  """
  return _backwards(_linear_step, last, (coefficient, constant))


def nested(
  coefficient: chex.Array,
  weight: chex.Array,
  constant: chex.Array,
  last: chex.Array,
  order: int,
) -> chex.Array:
  """The sum w_1 + … + w_order of nested recurrences, in O(order · T).

  w_1(t) = constant_t + coefficient_t w_1(t+1) and, for k > 1,
  w_k(t) = coefficient_t (weight_t w_{k-1}(t+1) + w_k(t+1)), with
  w_1(T) = last and w_k(T) = 0.

  From order T on that is the sum of all of them, which obeys one recurrence
  with the coefficient times 1 + weight.

  Args:
    coefficient: `[T]`.
    weight: `[T]`.
    constant: `[T]`.
    last: scalar.
    order: how many recurrences, at least 1.

  Returns:
    `[T]` the sum over k at t = 0 … T-1.
  """
  if order >= constant.shape[0]:
    return linear(coefficient * (1.0 + weight), constant, last)
  if order == 1:
    return linear(coefficient, constant, last)
  inputs = (coefficient, weight, constant)
  zero = jnp.zeros_like(last)
  if order <= _LARGEST_UNSTACKED_ORDER:
    return _backwards(_unstacked_step, (last, *(zero,) * (order - 1)), inputs)
  first = jnp.concatenate([last[jnp.newaxis], jnp.zeros(order - 1, last.dtype)])
  return _backwards(_stacked_step, first, inputs)


# Steps are functions of the module so that JAX recognises them and compiles
# once also where the caller does not jit.
def _linear_step(x, inputs):
  a, b = inputs
  x = b + a * x
  return x, x


def _unstacked_step(w, inputs):
  a, p, b = inputs
  below = zip(w[1:], w[:-1], strict=True)
  w = (b + a * w[0], *(a * (same + p * lower) for same, lower in below))
  return w, sum(w)


def _stacked_step(w, inputs):  # w is [order], at t + 1.
  a, p, b = inputs
  w = jnp.concatenate([b + a * w[:1], a * (w[1:] + p * w[:-1])])
  return w, jnp.sum(w)


def _backwards(step, last, inputs):
  _, outputs = lax.scan(step, last, inputs, reverse=True)
  return outputs
