"""Tests of what the benchmarks time with."""

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.launchers.benchmarks import timing


def test_a_products_operations_are_counted():
  shapes = [jax.ShapeDtypeStruct(x, jnp.float32) for x in ((9, 5), (5, 7))]
  assert timing.count_flops(jnp.dot, *shapes) == 2 * 9 * 5 * 7


def test_turns_alternate_and_their_order_does():
  calls = []
  functions = {'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}
  seconds = timing.take_turns(functions, 3)
  assert calls == ['a', 'b', 'b', 'a'] * 2  # The first turn is not timed.
  assert {name: len(x) for name, x in seconds.items()} == {'a': 3, 'b': 3}


def test_seconds_are_those_of_the_function(monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])

  def lasts(seconds):
    def function():
      clock[0] += seconds

    return function

  functions = {'a': lasts(2.0), 'b': lasts(5.0)}
  taken = timing.take_turns(functions, 2)
  np.testing.assert_array_equal(taken['a'], [2.0, 2.0])
  np.testing.assert_array_equal(taken['b'], [5.0, 5.0])
  # After 14 seconds it is enough; the warming up does not count.
  assert timing.take_turns(functions, 9, max_seconds=13.0)['a'].size == 2
  assert timing.take_turns(functions, 9, max_seconds=0.0)['a'].size == 1


def test_rates_of_products(monkeypatch):
  monkeypatch.setattr(timing, '_PRODUCT_SHAPE', (4, 3, 2))
  products = timing.Products()
  for function in products.functions.values():
    function()
  rates = products.rates({name: np.ones(2) for name in products.functions})
  plain, shared = rates['product'], rates[timing.YARDSTICK]
  assert plain[0] == plain[1] > 10 * (2 * 4 * 3 * 2)
  # Several devices have to share four rows evenly.
  assert np.all(shared >= plain)
