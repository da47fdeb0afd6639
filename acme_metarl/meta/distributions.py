"""Distributions over integer actions, and action masks."""

from typing import Any

import chex
import distrax
import jax
import jax.numpy as jnp
import numpy as np

# A masked action's log-probability. Its exponential is 0, and unlike -inf it
# has differences and products.
MASKED = -1e9


class Integers(distrax.Independent):
  """Independent categoricals over `minimum`, `minimum` + 1, …

  An integer box, or what Gymnasium calls MultiDiscrete. What it draws are the
  values themselves, so the stored action is the one that the log-probability
  belongs to.

  >>> logits = jnp.log(jnp.array([[.5, .5], [.1, .9]]))
  >>> action = Integers(logits, minimum=(3, 0))
  >>> float(jnp.exp(action.log_prob(jnp.array([4, 1])))).__round__(3)
  0.45
  >>> action.mode().tolist()
  [3, 1]
  """

  def __init__(self, logits: chex.Array, minimum: Any):
    """Makes the distribution.

    Args:
      logits: `[..., *shape, n]`, n the largest number of values; those that a
        dimension does not have are `MASKED`.
      minimum: smallest value of each dimension, nested sequences or an array of
        the action's shape.
    """
    # Integers are kept as tuples: parameters are what is an array.
    shape = np.shape(minimum)
    self._minimum = tuple(int(x) for x in np.ravel(minimum))
    super().__init__(
      distrax.Categorical(logits=logits), reinterpreted_batch_ndims=len(shape)
    )

  def _sample_n(self, key, n):
    return self._shift(super()._sample_n(key, n), 1)

  def _sample_n_and_log_prob(self, key, n):
    sample, log_prob = super()._sample_n_and_log_prob(key, n)
    return self._shift(sample, 1), log_prob

  def log_prob(self, value):
    """See `Distribution.log_prob`; −inf outside the box."""
    return super().log_prob(self._shift(jnp.asarray(value), -1))

  def mode(self):
    """See `Distribution.mode`."""
    return self._shift(super().mode(), 1)

  def _shift(self, value, sign):
    if not any(self._minimum):
      return value
    minimum = jnp.array(self._minimum, value.dtype).reshape(self.event_shape)
    return value + sign * minimum


def mask_logits(logits: chex.Array, is_allowed: chex.Array) -> chex.Array:
  """Makes actions impossible, for policies of your own.

  The probability is exactly 0, as with −inf, but derivatives of every order and
  mode stay finite.

  >>> logits = mask_logits(jnp.zeros(3), jnp.array([True, False, True]))
  >>> distrax.Categorical(logits=logits).probs.tolist()
  [0.5, 0.0, 0.5]

  Args:
    logits: `[..., n]`.
    is_allowed: `[..., n]` bool.

  Returns:
    `[..., n]`.
  """
  return jnp.where(is_allowed, logits, jnp.asarray(MASKED, logits.dtype))


def without_infinite_logits(distribution: Any) -> Any:
  """The same categorical distribution with −inf made `MASKED`.

  Values and gradients of −inf are right already, but linearising a gradient, as
  trust regions do, makes it NaN.

  >>> masked = distrax.Categorical(logits=jnp.array([0., -jnp.inf]))
  >>> without_infinite_logits(masked).logits.tolist()
  [0.0, -1000000000.0]

  Args:
    distribution: any; only distrax's categorical ones are touched, alone or
      inside `Independent`.

  Returns:
    A distribution of the same kind.
  """
  inner = distribution
  while isinstance(inner, distrax.Independent):
    inner = inner.distribution
  if not isinstance(inner, distrax.Categorical):
    return distribution
  return jax.tree_util.tree_map(
    lambda x: jnp.where(jnp.isneginf(x), jnp.asarray(MASKED, x.dtype), x),
    distribution,
  )
