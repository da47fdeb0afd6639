"""Tests of what the benchmarks time with."""

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.launchers.benchmarks import timing


def test_a_products_operations_are_counted():
  shapes = [jax.ShapeDtypeStruct(x, jnp.float32) for x in ((9, 5), (5, 7))]
  assert timing.count_flops(jnp.dot, *shapes) == 2 * 9 * 5 * 7


def test_turns_alternate():
  calls = []
  seconds = timing.take_turns(
    {'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 2
  )
  assert calls == ['a', 'b'] * 3  # The first turn is not timed.
  assert {name: len(x) for name, x in seconds.items()} == {'a': 2, 'b': 2}


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
