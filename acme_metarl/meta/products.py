"""Products of matrices whose derivatives keep the order of their axes.

The derivatives of JAX's own products are products with their axes swapped, and
then transposed. Mostly XLA swaps the factors instead; but not in the forward
derivative of a reverse one (a Hessian or Gauss-Newton matrix times a vector),
where it is a sum that gets transposed. On a CPU that takes an eighth of the
whole update of a trust region. Here every derivative, of any order and mode, is
A·B, A·Bᵀ or Aᵀ·B.
"""

import functools

import chex
import jax
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

# The axes that are summed over.
_PLAIN, _RIGHT_TRANSPOSED, _LEFT_TRANSPOSED = (1, 0), (1, 1), (0, 0)


def left_transposed(left: chex.Array, right: chex.Array) -> chex.Array:
  """Returns AᵀB for `[n, m]` and `[n, N]` of one dtype."""
  return _product(left, right, _LEFT_TRANSPOSED)


def _product(left, right, axes) -> chex.Array:
  return _product_p.bind(left, right, axes=axes)


def _left_derivative(cotangent, left, right, *, axes):
  del left
  if axes == _PLAIN:
    return _product(cotangent, right, _RIGHT_TRANSPOSED)
  if axes == _RIGHT_TRANSPOSED:
    return _product(cotangent, right, _PLAIN)
  return _product(right, cotangent, _RIGHT_TRANSPOSED)


def _right_derivative(cotangent, left, right, *, axes):
  del right
  if axes == _PLAIN:
    return _product(left, cotangent, _LEFT_TRANSPOSED)
  if axes == _RIGHT_TRANSPOSED:
    return _product(cotangent, left, _LEFT_TRANSPOSED)
  return _product(left, cotangent, _PLAIN)


def _dot(left, right, *, axes):
  left_axis, right_axis = axes
  return lax.dot_general(left, right, (((left_axis,), (right_axis,)), ((), ())))


def _shape(left, right, *, axes):
  shape = (left.shape[1 - axes[0]], right.shape[1 - axes[1]])
  return left.update(shape=shape)


def _batch(arguments, batch_axes, *, axes):
  dot = functools.partial(_dot, axes=axes)
  return jax.vmap(dot, batch_axes)(*arguments), 0


_product_p = core.Primitive('product')
_product_p.def_impl(jax.jit(_dot, static_argnames='axes'))
_product_p.def_abstract_eval(_shape)
ad.defbilinear(_product_p, _left_derivative, _right_derivative)
batching.primitive_batchers[_product_p] = _batch
mlir.register_lowering(_product_p, mlir.lower_fun(_dot, multiple_results=False))
