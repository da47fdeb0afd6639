"""The two ways to go backwards are the same function."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators
from acme_metarl.evaluators import recurrences


@pytest.fixture(autouse=True)
def _strict_ranks():
  with jax.numpy_rank_promotion('raise'):
    yield


def make_inputs(length, seed=0):
  """Coefficients with zeros among them, weights, constants, the last."""
  rng = np.random.default_rng(seed)
  coefficient = rng.uniform(0.5, 1.5, length)
  coefficient[length // 2 :: 3] = 0.0
  weight, constant = rng.normal(size=(2, length))
  return tuple(map(jnp.asarray, (coefficient, weight, constant, rng.normal())))


def both(function, *args):
  """Values and two derivatives of a function of arrays, both ways."""
  results = []
  for method in ('scan', 'associative'):

    def evaluate(*args, method=method):
      with recurrences.use(method):
        return function(*args)

    argnums = tuple(range(len(args)))
    jacobian = jax.jacrev(evaluate, argnums)
    hessian = jax.jacfwd(jacobian, argnums)
    results.append(
      jax.jit(
        lambda *args, fs=(evaluate, jacobian, hessian): [f(*args) for f in fs]
      )(*args)
    )
  return results


@pytest.mark.parametrize('length', [1, 2, 7])
def test_linear(length):
  coefficient, _, constant, last = make_inputs(length)
  scanned, associated = both(recurrences.linear, coefficient, constant, last)
  chex.assert_trees_all_close(scanned, associated, atol=1e-12)
  expected, x = [], last
  for a, b in zip(coefficient[::-1], constant[::-1], strict=True):
    x = b + a * x
    expected.append(x)
  np.testing.assert_allclose(scanned[0], expected[::-1], atol=1e-13)


@pytest.mark.parametrize('length', [1, 2, 7])
@pytest.mark.parametrize('order', [1, 2, 3, 6, 9])
def test_nested(order, length):
  scanned, associated = both(
    functools.partial(recurrences.nested, order=order), *make_inputs(length)
  )
  chex.assert_trees_all_close(scanned, associated, atol=1e-11)


@pytest.mark.parametrize('method', ['scan', 'associative'])
@pytest.mark.parametrize('order', [1, 2, 5])
def test_the_method_asked_for_is_the_one_used(method, order):
  def nested(*args):  # Traced anew each time.
    return recurrences.nested(*args, order=order)

  with recurrences.use(method):
    program = str(jax.make_jaxpr(nested)(*make_inputs(6)))
  assert ('scan[' in program) == (method == 'scan')


def test_nothing_passes_a_zero_coefficient():
  coefficient, _, constant, last = make_inputs(9)
  coefficient = coefficient.at[4].set(0.0)
  changed = constant.at[5:].add(100.0)
  with recurrences.use('associative'):
    np.testing.assert_array_equal(
      recurrences.linear(coefficient, constant, last)[:5],
      recurrences.linear(coefficient, changed, last + 100.0)[:5],
    )


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_long_rows_in_batches(dtype):
  rng = np.random.default_rng(0)
  coefficient = np.where(rng.uniform(size=(3, 500)) < 0.02, 0.0, 0.99)
  args = [
    jnp.asarray(x, dtype)
    for x in (coefficient, rng.normal(size=(3, 500)), rng.normal(size=3))
  ]
  results = []
  for method in ('scan', 'associative'):
    with recurrences.use(method):
      results.append(jax.vmap(recurrences.linear)(*args))
      assert results[-1].dtype == dtype
  tolerance = 500 * np.finfo(dtype).eps
  np.testing.assert_allclose(*results, atol=50 * tolerance)


EVALUATORS = {
  'doubly_robust': evaluators.doubly_robust,
  'vtrace': functools.partial(evaluators.vtrace, lambda_=0.9, leak_c=0.5),
  'taylor_2': functools.partial(evaluators.taylor_expansion, order=2),
  'causal': functools.partial(
    evaluators.taylor_expansion, order=3, causal_lambda=0.5
  ),
  'log_likelihood': evaluators.log_likelihood,
}


@pytest.mark.parametrize('name', EVALUATORS)
def test_evaluators(name):
  rng = np.random.default_rng(0)
  v_tm1, v_t, r_t = jnp.asarray(rng.normal(size=(3, 6)))
  discount_t = jnp.asarray([0.9, 0.8, 0.0, 0.9, 0.9, 0.9])
  rho = jnp.asarray(rng.uniform(0.5, 2.0, 6))
  results = both(
    functools.partial(EVALUATORS[name], v_tm1, v_t, r_t, discount_t), rho
  )
  chex.assert_trees_all_close(*results, atol=1e-12)


def test_the_context_ends_and_can_be_nested():
  assert recurrences._method() == 'scan'  # On a CPU.
  with recurrences.use('associative'):
    with recurrences.use('scan'):
      assert recurrences._method() == 'scan'
    with recurrences.use(None):
      assert recurrences._method() == 'scan'
    assert recurrences._method() == 'associative'
  assert recurrences._method() == 'scan'
  with pytest.raises(ValueError, match="method .*but got 'loop'"):
    with recurrences.use('loop'):
      pass


@pytest.mark.parametrize('method', ['scan', 'associative'])
def test_eager_calls_compile_once(method):
  args = make_inputs(6)
  with recurrences.use(method):
    evaluate = functools.partial(recurrences.linear, args[0], args[2])
    other = 2.0 * args[3]
    evaluate(args[3])
    with jax.log_compiles(), _counted() as programs:
      evaluate(other)
  assert not programs


class _counted:  # noqa: N801
  """Messages about programs that are compiled."""

  def __enter__(self):
    import logging

    self.messages = []
    self.handler = logging.Handler()
    self.handler.emit = lambda record: self.messages.append(record)
    self.logger = logging.getLogger('jax._src.interpreters.pxla')
    self.logger.addHandler(self.handler)
    return self.messages

  def __exit__(self, *_):
    self.logger.removeHandler(self.handler)
