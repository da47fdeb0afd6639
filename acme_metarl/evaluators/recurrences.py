"""Linear recurrences along a trajectory, backwards in time.

The evaluators are made of these, and so is every other sum over later steps in
the library. All of them are exact where a coefficient (a discount) is zero in
the middle of the row, because nothing is divided.

There are two ways to go backwards, equal up to rounding:

* `'scan'`, step by step: T small steps one after the other, the fastest on a
  CPU;
* `'associative'`: steps are affine maps, and maps can be composed pairwise, in
  about 2 log₂ T rounds over the whole row. It does more arithmetic, but on an
  accelerator each round is one launch instead of one a step. Products of
  coefficients are formed, so coefficients whose product over part of a row
  overflows give NaN where a scan would not.

The backend decides, unless `use` says otherwise. Dense triangular products, a
third way, cost a multiple for long or many trajectories. See
`python -m acme_metarl.launchers.benchmark_evaluators`.
"""

from collections.abc import Iterator
import contextlib
import contextvars
import functools
from typing import Literal

import chex
import jax
from jax import lax
import jax.numpy as jnp

Method = Literal['scan', 'associative']

_METHODS = ('scan', 'associative')
_override: contextvars.ContextVar[Method | None] = contextvars.ContextVar(
  'recurrence_method', default=None
)
# Up to this order each recurrence is a scalar of its own, which fuses best;
# beyond, compilation would take seconds.
_LARGEST_UNSTACKED_ORDER = 4


@contextlib.contextmanager
def use(method: Method | None) -> Iterator[None]:
  """Sets how recurrences are solved while this context is open.

  It acts when a function is traced: one that is compiled already stays as it
  is.

  Args:
    method: `'scan'`, `'associative'`, or None for what suits the backend.

  Yields:
    Nothing.

  Raises:
    ValueError: if there is no such method.

  Example:
    >>> halves, ones = jnp.full(3, 0.5), jnp.ones(3)
    >>> with use('associative'):
    ...   print(linear(halves, ones, jnp.zeros(())))
    [1.75 1.5  1.  ]
  """
  if method is not None and method not in _METHODS:
    raise ValueError(
      f'method must be one of {_METHODS} or None, but got {method!r}.'
    )
  token = _override.set(method)
  try:
    yield
  finally:
    _override.reset(token)


def linear(
  coefficient: chex.Array, constant: chex.Array, last: chex.Array
) -> chex.Array:
  """Solves x_t = constant_t + coefficient_t x_{t+1} for t = T-1 … 0.

  One trajectory; `jax.vmap` is the batch.

  Args:
    coefficient: `[T]`.
    constant: `[T]`.
    last: scalar x_T.

  Returns:
    `[T]`, x_0 … x_{T-1}.

  Example:
    >>> import jax.numpy as jnp
    >>> linear(jnp.full(3, 0.5), jnp.ones(3), jnp.zeros(()))
    Array([1.75, 1.5 , 1.  ], dtype=float32)
  """
  if _method() == 'associative':
    return _associative(coefficient, constant, last)
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

  Example:
    >>> import jax.numpy as jnp
    >>> ones = jnp.ones(3)
    >>> nested(ones, 2 * ones, ones, jnp.zeros(()), order=2)
    Array([9., 4., 1.], dtype=float32)
  """
  if order >= constant.shape[0]:
    return linear(coefficient * (1.0 + weight), constant, last)
  if order == 1:
    return linear(coefficient, constant, last)
  zero = jnp.zeros_like(last)
  if _method() == 'associative':
    w = linear(coefficient, constant, last)
    total = w
    for _ in range(order - 1):
      w = linear(coefficient, coefficient * weight * following(w, last), zero)
      total, last = total + w, zero
    return total
  inputs = (coefficient, weight, constant)
  if order <= _LARGEST_UNSTACKED_ORDER:
    return _backwards(_unstacked_step, (last, *(zero,) * (order - 1)), inputs)
  first = jnp.concatenate([last[jnp.newaxis], jnp.zeros(order - 1, last.dtype)])
  return _backwards(_stacked_step, first, inputs)


def following(x: chex.Array, last: chex.Array) -> chex.Array:
  """Returns x_1 … x_T from x_0 … x_{T-1} `[T]` and the scalar x_T.

  Example:
    >>> import jax.numpy as jnp
    >>> following(jnp.array([1.0, 2.0]), jnp.array(3.0))
    Array([2., 3.], dtype=float32)
  """
  return jnp.concatenate([x[1:], last[jnp.newaxis]])


def _method() -> Method:
  method = _override.get()
  if method is not None:
    return method
  return 'scan' if jax.default_backend() == 'cpu' else 'associative'


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


def _compose(later, earlier):
  """The affine map that applies the later step's first, then the earlier's."""
  (a, b), (c, d) = later, earlier
  return c * a, d + c * b


# Else an eager call would run every round's operations one by one.
@functools.partial(jax.jit, inline=True)
def _associative(coefficient, constant, last):
  slope, offset = lax.associative_scan(
    _compose, (coefficient, constant), reverse=True
  )
  return offset + slope * last
