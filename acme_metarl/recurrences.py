"""Linear recurrences along a trajectory, backwards in time.

The evaluators are made of these. All of them are exact where discounts are
zero in the middle of the row: nothing is divided.
"""

import chex
import jax
from jax import lax
import jax.numpy as jnp


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

  def step(x, inputs):
    a, b = inputs
    x = b + a * x
    return x, x

  _, xs = lax.scan(step, last, (coefficient, constant), reverse=True)
  return xs


def nested_by_scan(
  coefficient: chex.Array,
  weight: chex.Array,
  constant: chex.Array,
  last: chex.Array,
  order: int,
) -> chex.Array:
  """Σ_{k ≤ order} w_k(t) of the nested recurrences, in O(order · T).

  w_1(t) = constant_t + coefficient_t w_1(t+1) and, for k > 1,
  w_k(t) = coefficient_t (weight_t w_{k-1}(t+1) + w_k(t+1)), with
  w_1(T) = last and w_k(T) = 0.

  Args:
    coefficient: `[T]`.
    weight: `[T]`.
    constant: `[T]`.
    last: scalar.
    order: how many recurrences.

  Returns:
    `[T]` the sum over k.
  """
  if order == 1:
    return linear(coefficient, constant, last)

  def step(w, inputs):  # w [order] at t + 1
    a, p, b = inputs
    below = jnp.concatenate([jnp.zeros_like(w[:1]), w[:-1]])
    w = a * (w + p * below)
    w = w.at[0].add(b)
    return w, jnp.sum(w)

  first = jnp.zeros((order,), constant.dtype).at[0].set(last)
  _, sums = lax.scan(step, first, (coefficient, weight, constant), reverse=True)
  return sums


def nested_by_triangle(
  coefficient: chex.Array,
  weight: chex.Array,
  constant: chex.Array,
  last: chex.Array,
  order: int,
) -> chex.Array:
  """The same as `nested_by_scan`, by triangular products in O(order · T²).

  For short trajectories a few dense products beat T small steps.

  Args:
    coefficient: `[T]`.
    weight: `[T]`.
    constant: `[T]`.
    last: scalar.
    order: how many recurrences.

  Returns:
    `[T]` the sum over k.
  """
  length = constant.shape[0]
  products = _products(coefficient)  # [T, T+1]
  triangle = products[:, :length]
  w = triangle @ constant + products[:, length] * last
  total = w
  following = last
  for _ in range(order - 1):
    w_next = jnp.concatenate([w[1:], following[jnp.newaxis]])
    w = triangle @ (coefficient * weight * w_next)
    total = total + w
    following = jnp.zeros_like(last)
  return total


def _products(coefficient: chex.Array) -> chex.Array:
  """`[T, T+1]` with Π_{t ≤ i < s} coefficient_i at (t, s ≥ t), else 0."""
  length = coefficient.shape[0]
  t = jnp.arange(length)[:, jnp.newaxis]
  s = jnp.arange(length + 1)[jnp.newaxis, :]
  # Row t: 1 up to and including s = t, then the coefficients from t on.
  previous = jnp.concatenate([jnp.ones_like(coefficient[:1]), coefficient])
  factors = jnp.where(
    jnp.broadcast_to(s > t, (length, length + 1)),
    jnp.broadcast_to(previous[jnp.newaxis, :], (length, length + 1)),
    jnp.ones((), coefficient.dtype),
  )
  return jnp.where(
    jnp.broadcast_to(s >= t, (length, length + 1)),
    jax.lax.cumprod(factors, axis=1),
    jnp.zeros((), coefficient.dtype),
  )
