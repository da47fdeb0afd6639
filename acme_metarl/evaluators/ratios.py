"""Importance ratios from log-probabilities."""

import chex
import jax.numpy as jnp
import numpy as np

from acme_metarl.evaluators import input_checks

# A ratio counts as truncated only beyond its threshold by this much: on-policy
# ratios are 1 only up to rounding.
_TRUNCATION_MARGIN = 1e-5


def importance_ratios(
  log_prob: chex.Array, behaviour_log_prob: chex.Array
) -> chex.Array:
  """Ratios ρ = π_θ(a|x) / μ(a|x) = exp(log π − log μ), always finite.

  The logarithm of the ratio is held within the range where its exponential is
  a normal, finite number of the dtype: [-87, 88] in float32, [-708, 709] in
  float64. So the ratio of finite log-probabilities is finite and positive.
  Beyond the range the ratio is constant, and its derivatives of every order
  are zero: such a sample says only "never" or "too far off", and a
  derivative would be infinite or lost. Within the range nothing is changed,
  and on the behaviour policy itself (equal log-probabilities) ρ is exactly 1.
  Products of ratios over many steps can still overflow.

  Nothing is held constant for differentiation, and NaN stays NaN.

  Args:
    log_prob: `[...]` log-probability of the action under the target policy,
      summed over the action's dimensions (the mean would give ρ^(1/d)).
    behaviour_log_prob: `[...]` the same under the policy that drew it.

  Returns:
    `[...]` ratios.

  Raises:
    ValueError: if the two are not floating-point arrays of the same shape.

  Example:
    >>> importance_ratios(jnp.log(jnp.array([0.5])), jnp.log(jnp.array([0.25])))
    Array([2.], dtype=float32)
  """
  needs = 'a floating-point array'
  log_prob = input_checks.float_array('log_prob', log_prob, needs)
  behaviour_log_prob = input_checks.float_array(
    'behaviour_log_prob', behaviour_log_prob, needs
  )
  if log_prob.shape != behaviour_log_prob.shape:
    raise ValueError(
      'log_prob and behaviour_log_prob need the same shape, one entry an'
      f' action, but got {log_prob.shape} and {behaviour_log_prob.shape}.'
    )
  dtype = input_checks.common_dtype(log_prob, behaviour_log_prob)
  log_ratio = log_prob.astype(dtype) - behaviour_log_prob.astype(dtype)
  lowest, highest = log_ratio_range(log_ratio.dtype)
  # Selected, not clipped by min and max: NaN passes both comparisons.
  log_ratio = jnp.where(log_ratio < lowest, lowest, log_ratio)
  log_ratio = jnp.where(log_ratio > highest, highest, log_ratio)
  return jnp.exp(log_ratio)


def masked_importance_ratios(
  log_prob: chex.Array,
  behaviour_log_prob: chex.Array,
  mask: chex.Array | None,
) -> chex.Array:
  """Importance ratios that are exactly 1, and constant, where masked.

  A step of ratio 1 changes no evaluator, whatever stands in its place.

  Args:
    log_prob: `[...]` as in `importance_ratios`.
    behaviour_log_prob: `[...]` likewise.
    mask: `[...]`, 0 after an early termination; None for no masked steps.

  Returns:
    `[...]` ratios.

  Raises:
    ValueError: if the shapes differ, or hold no floats.

  Example:
    >>> new, old = jnp.log(jnp.array([0.5, 0.1])), jnp.log(jnp.full(2, 0.25))
    >>> masked_importance_ratios(new, old, jnp.array([1.0, 0.0]))
    Array([2., 1.], dtype=float32)
  """
  if mask is not None:
    shapes = [jnp.shape(x) for x in (log_prob, behaviour_log_prob, mask)]
    if len(set(shapes)) > 1:
      raise ValueError(
        'log_prob, behaviour_log_prob and mask need the same shape, one entry'
        f' an action, but got {shapes[0]}, {shapes[1]} and {shapes[2]}.'
      )
    counts = jnp.asarray(mask) > 0
    # Both: behind a mask even the stored ones may be anything.
    log_prob = jnp.where(counts, log_prob, 0.0)
    behaviour_log_prob = jnp.where(counts, behaviour_log_prob, 0.0)
  return importance_ratios(log_prob, behaviour_log_prob)


def truncated(
  rho_tm1: chex.Array,
  threshold: chex.Numeric,
  leak: chex.Numeric = 1.0,
  names: tuple[str, str] = ('threshold', 'leak'),
) -> chex.Array:
  """Ratios a min(ρ, threshold) + (1 − a) ρ, a the leak.

  A ratio is truncated only beyond its threshold by a factor of 1 + 1e-5; up to
  there it stays as it is, derivatives included.

  Args:
    rho_tm1: `[T]` importance ratios.
    threshold: number or `[T]` > 0, may be infinite.
    leak: a, number or `[T]` in [0, 1]: 1 makes a truncated ratio constant, less
      gives it 1 − a of its derivative back.
    names: of the two, for messages.

  Returns:
    `[T]` ratios.

  Raises:
    ValueError: if the threshold is not above 0, or the leak outside [0, 1].

  Example:
    >>> print(truncated(jnp.array([0.5, 2.0]), 1.0))
    [0.5 1. ]
    >>> print(truncated(jnp.array([0.5, 3.0]), 1.0, leak=0.5))
    [0.5 2. ]
  """
  kind = rho_tm1.dtype, rho_tm1.shape[0]
  leaks = not input_checks.is_one(leak)
  is_infinite = isinstance(threshold, float) and threshold == float('inf')
  threshold = input_checks.threshold(names[0], threshold, *kind)
  leak = input_checks.mixing(names[1], leak, *kind)
  if is_infinite:
    return rho_tm1
  # Selected, not min: up to the margin ρ and its derivatives are untouched,
  # NaN stays, and an infinite threshold never enters arithmetic.
  beyond = rho_tm1 > threshold * (1.0 + _TRUNCATION_MARGIN)
  if not leaks:
    return jnp.where(beyond, threshold, rho_tm1)
  finite = jnp.where(beyond, threshold, 1.0)
  return jnp.where(beyond, leak * finite + (1.0 - leak) * rho_tm1, rho_tm1)


def log_ratio_range(dtype: chex.ArrayDType) -> tuple[float, float]:
  """The smallest and largest log-ratio whose exponential is normal.

  Example:
    >>> log_ratio_range(jnp.float32)
    (-87.0, 88.0)
  """
  limits = jnp.finfo(dtype)
  return (
    float(np.ceil(np.log(float(limits.tiny)))),
    float(np.floor(np.log(float(limits.max)))),
  )
