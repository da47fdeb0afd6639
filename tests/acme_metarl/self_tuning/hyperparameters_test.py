"""Ranges of what is tuned, and what is refused."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.self_tuning import hyperparameters as lib


@pytest.mark.parametrize(
  ('own', 'number'),
  [
    (lib.Range(), 0.99),
    (lib.Range(0.9, 1.0), 0.95),
    (lib.Range(0.0, math.inf), 1e-3),
    (lib.Range(0.5, math.inf), 50.0),
  ],
)
def test_ranges_are_inverted_and_kept(_float64, own, number):
  x = own.from_number(number)
  np.testing.assert_allclose(own.to_number(x), number, rtol=1e-12)
  for extreme in (-30.0, 30.0):
    assert own.low < own.to_number(x + extreme) < own.high


def test_starts_of_the_atari_study(_float64):
  tuned = lib.ranges(['discount', 'lambda_', 'value_cost', 'entropy_cost'])
  start = lib.initial(lib.Hyperparameters(), tuned)
  np.testing.assert_allclose(
    list(start.values()), [4.6, 2.944, 0.0, -4.6], atol=6e-3
  )


def test_only_what_is_tuned_moves(_float64):
  tuned = lib.ranges(['lambda_'])
  start = lib.Hyperparameters()
  now = lib.current(start, tuned, {'lambda_': jnp.zeros(())})
  assert now._replace(lambda_=start.lambda_) == start
  assert now.lambda_ == 0.5


@pytest.mark.parametrize(
  ('start', 'tuned', 'sentence'),
  [
    ({'discount': 1.1}, [], r'discount is 1.1; it needs to be in \[0, 1\]'),
    ({'value_cost': -1.0}, [], 'value_cost is -1.0; it needs to be in'),
    ({'entropy_cost': math.nan}, [], 'entropy_cost is nan'),
    ({'discount': '.9'}, [], 'discount is .9; it needs to be in'),
    ({'discount': (0.9, 1.0)}, [], r'discount is \(0.9, 1.0\); it needs'),
    ({'discount': 1.0}, ['discount'], 'starts at 1.0, but is tuned inside'),
    (
      {'discount': 0.8},
      {'discount': lib.Range(0.9, 1.0)},
      'starts at 0.8, but is tuned inside',
    ),
    (
      {},
      {'lambda_': lib.Range(0.0, math.inf)},
      r"tuned\['lambda_'\] is .* inside of \[0, 1.0\]",
    ),
    ({}, ['gamma'], "tuned has 'gamma'; what can be tuned are discount, "),
    ({}, 'discount', "tuned is 'discount'; it needs to be names"),
    ({}, None, 'tuned is None; it needs to be names'),
    (
      {},
      {'discount': (0.9, 1.0)},
      r"tuned\['discount'\] is \(0.9, 1.0\); it needs to be a Range",
    ),
  ],
)
def test_mistakes_are_a_sentence(start, tuned, sentence):
  with pytest.raises(ValueError, match=sentence):
    lib.check(lib.Hyperparameters(**start), lib.ranges(tuned))


def test_start_values_have_names():
  with pytest.raises(ValueError, match='it needs to be a Hyperparameters'):
    lib.check({'discount': 0.9}, {})


def test_a_range_needs_room():
  with pytest.raises(ValueError, match='low needs to be finite and less'):
    lib.Range(1.0, 1.0)
