"""Seeds: one whole number for all randomness of a run, and its random keys."""

import operator
from typing import Any

import jax

_HALF = 2**32
_END = 2**64


def whole_number(name: str, value: Any) -> int:
  """Returns a whole number as Python's, NumPy's too.

  Raises:
    ValueError: if it is none, naming the setting.
  """
  try:
    if isinstance(value, bool):
      raise TypeError
    return operator.index(value)
  except TypeError:
    raise ValueError(f'{name}: got {value!r}, need a whole number.') from None


def check(name: str, seed: Any) -> int:
  """Returns the seed.

  Raises:
    ValueError: unless it is a whole number in [0, 2**64).
  """
  seed = whole_number(name, seed)
  if not 0 <= seed < _END:
    raise ValueError(f'{name}: got {seed}, need a number in [0, 2**64).')
  return seed


def key(seed: int) -> jax.Array:
  """The random key of a seed; different ones for all of [0, 2**64)."""
  high, low = divmod(seed, _HALF)
  made = jax.random.PRNGKey(low)
  return jax.random.fold_in(made, high) if high else made


def fold_in(made: jax.Array, number: int) -> jax.Array:
  """A key of its own for every number in [0, 2**64)."""
  high, low = divmod(number, _HALF)
  made = jax.random.fold_in(made, low)
  return jax.random.fold_in(made, high) if high else made


def key_kind() -> str:
  """How JAX makes its keys; the same seed means other numbers in another."""
  return str(jax.config.jax_default_prng_impl)
