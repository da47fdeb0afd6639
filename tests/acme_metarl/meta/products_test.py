"""Products and their derivatives, against those of `jnp.matmul`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.meta import products


def _matmul(left, right):
  return left.T @ right


def _inputs(*batch):
  keys = jax.random.split(jax.random.PRNGKey(0), 2)
  return (
    jax.random.normal(keys[0], (*batch, 3, 4)),
    jax.random.normal(keys[1], (*batch, 3, 5)),
  )


def _scalar(product):
  return lambda inputs: jnp.sum(jnp.sin(product(*inputs)) ** 2)


@pytest.mark.parametrize(
  'derivative',
  [
    jax.grad,
    jax.hessian,
    lambda f: jax.jacrev(jax.jacrev(f)),
    lambda f: jax.jacfwd(jax.jacfwd(f)),
    lambda f: jax.jacfwd(jax.hessian(f)),
  ],
)
def test_derivatives_of_every_order_and_mode(derivative):
  actual, expected = (
    jax.tree_util.tree_leaves(jax.jit(derivative(_scalar(product)))(_inputs()))
    for product in (products.left_transposed, _matmul)
  )
  for a, b in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-12)


def test_no_derivative_is_transposed():
  """What the module is for."""

  def times_vector(inputs):
    gradient = jax.grad(_scalar(products.left_transposed))
    return jax.jvp(gradient, (inputs,), (inputs,))

  assert 'transpose[' not in str(jax.make_jaxpr(times_vector)(_inputs()))


@pytest.mark.parametrize('axes', [(0, 0), (0, None), (None, 0)])
def test_batches(axes):
  left, right = (
    x if axis == 0 else x[0] for x, axis in zip(_inputs(6), axes, strict=True)
  )
  actual, expected = (
    jax.jit(jax.vmap(product, axes, out_axes=1))(left, right)
    for product in (products.left_transposed, _matmul)
  )
  np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_without_jit_and_in_low_precision():
  left, right = (x.astype(jnp.bfloat16) for x in _inputs())
  actual = products.left_transposed(left, right)
  assert actual.dtype == jnp.bfloat16
  np.testing.assert_array_equal(actual, left.T @ right)
