"""What turns the estimates of every step into one objective.

Evaluators know neither masks nor weights; both act here. Every function takes
any leading batch axes, `[..., T]`, and reduces all of them.
"""

from typing import Protocol

import chex
import jax.numpy as jnp

from acme_metarl.evaluators import input_checks

_NEEDS = 'a floating-point array of shape [..., T]'

# Spread of advantages, as a share of the largest return, up to which it is the
# baseline's own error. Ridge regression does not fit even what it could: with a
# penalty of 1e-5, a reward of -1 at every step and 10 rollouts of 20 steps it
# leaves 1.9e-5 in float32 and in float64 alike, 60 to 2e11 units of rounding;
# as many or more features than rows (20 rows, 44 features) leave 4.6e-5, ten
# rows 1e-5. Rounding alone stays below 1e-6. What actions do is seldom below
# 1e-3 of the return.
_SMALLEST_SPREAD = 1e-4
# Units of rounding by which v + A of equal returns may differ. Up to T = 4000,
# with 10 rollouts and a fitted critic in float32, 4 were the most.
_ROUNDING = 16


class Reduction(Protocol):
  """Turns estimates of V^π at x_0 … x_{T-1} into a scalar objective."""

  def __call__(
    self,
    estimates: chex.Array,
    v_t: chex.Array,
    discount_t: chex.Array,
    mask: chex.Array | None = None,
  ) -> chex.Array:
    """Reduces `[..., T]` arrays to a scalar."""


def start_state(
  estimates: chex.Array,
  v_t: chex.Array,
  discount_t: chex.Array,
  mask: chex.Array | None = None,
) -> chex.Array:
  """The mean over rollouts of the estimate at their start, V̂_0.

  The value of the start states itself: its derivatives are those of the
  expected return. A rollout's first step is never masked, so the mask plays
  no part.

  Args:
    estimates: `[..., T]` an evaluator's output.
    v_t: `[..., T]`, not used.
    discount_t: `[..., T]`, not used.
    mask: `[..., T]` or None, not used.

  Returns:
    A scalar.

  Raises:
    ValueError: if the shapes differ, are empty, or hold no floats.

  Example:
    >>> estimates, v_t = jnp.array([[1.0, 5.0], [3.0, 7.0]]), jnp.zeros((2, 2))
    >>> start_state(estimates, v_t, v_t)
    Array(2., dtype=float32)
  """
  estimates, _, _, _ = _check(
    estimates=estimates, v_t=v_t, discount_t=discount_t, mask=mask
  )
  return jnp.mean(estimates[..., 0])


def per_step(
  estimates: chex.Array,
  v_t: chex.Array,
  discount_t: chex.Array,
  mask: chex.Array | None = None,
) -> chex.Array:
  """The masked mean over all steps of Δ_t = V̂_t − γ_t V̂_{t+1}.

  V̂_T is the last entry of `v_t`. This is the objective of published deep-RL
  code: an undiscounted mean of per-step terms. With a Monte Carlo return the
  Taylor expansion of order 1 gives r_t + (ρ_t − 1) A_t, which is LVC; order 2
  gives r_t + (ρ_t − 1)(A_t + γ_t W_1(t+1)); doubly robust has, on-policy, the
  gradient of the mean of A_t log π_t.

  Args:
    estimates: `[..., T]` an evaluator's output.
    v_t: `[..., T]` critic at x_1 … x_T.
    discount_t: `[..., T]` discount factor times the environment's discount.
    mask: `[..., T]` weight of each step, 1 for real ones and 0 after an early
      termination; None for all ones. What is masked everywhere counts 0.

  Returns:
    A scalar.

  Raises:
    ValueError: if the shapes differ, are empty, or hold no floats.

  Example:
    >>> estimates, v_t = jnp.array([[1.0, 5.0]]), jnp.array([[0.0, 2.0]])
    >>> per_step(estimates, v_t, jnp.array([[0.5, 1.0]]))  # 1 − 2.5, 5 − 2.
    Array(0.75, dtype=float32)
  """
  estimates, v_t, discount_t, mask = _check(
    estimates=estimates, v_t=v_t, discount_t=discount_t, mask=mask
  )
  following = jnp.concatenate([estimates[..., 1:], v_t[..., -1:]], axis=-1)
  return masked_mean(estimates - discount_t * following, mask)


def masked_mean(x: chex.Array, mask: chex.Array) -> chex.Array:
  """The mean of `x` weighted by a mask: Σ x · mask / Σ mask, over all axes.

  0 where everything is masked. What stands where the mask is 0 does not count,
  not even NaN, nor do derivatives there.

  Args:
    x: `[...]`.
    mask: `[...]` weights ≥ 0, fractional ones too; booleans and integers are
      accepted.

  Returns:
    A scalar of the dtype of `x`.

  Raises:
    ValueError: if the shapes differ.

  Example:
    >>> masked_mean(jnp.array([1.0, 4.0, jnp.nan]), jnp.array([1.0, 0.5, 0.0]))
    Array(2., dtype=float32)
  """
  x, mask = jnp.asarray(x), jnp.asarray(mask)
  if x.shape != mask.shape:
    raise ValueError(
      f'mask must have the shape of x, {x.shape}, but got {mask.shape}.'
    )
  mask = mask.astype(x.dtype)
  total = jnp.sum(mask)
  weighted = jnp.where(mask == 0, 0.0, x) * mask
  return jnp.sum(weighted) / jnp.where(total == 0, 1.0, total)


def normalize_advantages(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  advantage: chex.Array,
  mask: chex.Array | None = None,
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
  """Makes the advantages inside any evaluator zero-mean and unit-variance.

  An affine change of an evaluator's inputs: with m the masked mean and σ the
  masked standard deviation (plus 1e-8) of all advantages of a task,
  v ← (v + m)/σ and r ← r/σ. Every advantage Ĝ − v that an evaluator forms is
  then (A − m)/σ, and every estimate is on the scale of the returns over σ.

  That is exact for Monte Carlo returns (λ = 1) of trajectories whose last
  discount is 0. Otherwise the shift m of the critic leaks into the return: a
  bootstrap at the end of the row leaves γ^(T-t) m/σ too much in A_t, and
  λ < 1 subtracts m (1 − γ)/(1 − γλ) instead of m, far from the end.

  Where there is nothing to learn from, critic, rewards and advantages all
  become exactly 0, and so do an evaluator's derivatives: noise is not blown up
  to unit variance. That is where

  * the spread σ is at most 1e-4 of the largest return, advantages being
    differences of returns (Ĝ = v + A): so close a fit is the baseline's own
    error and no effect of actions (see `_SMALLEST_SPREAD`);
  * or two rollouts or more (axis -2) have equal returns, up to rounding, at
    every step: then no action did better than another.

  Args:
    v_tm1: `[..., T]` critic at x_0 … x_{T-1}; all axes are one task.
    v_t: `[..., T]` critic at x_1 … x_T.
    r_t: `[..., T]` rewards.
    advantage: `[..., T]` advantages Ĝ − v.
    mask: `[..., T]` 1 for real steps, 0 after an early termination; None for
      all ones.

  Returns:
    `(v_tm1, v_t, r_t, advantage)` normalised; the advantage is 0 where masked.

  Raises:
    ValueError: if the shapes differ, are empty, or hold no floats.

  Example:
    >>> r_t = jnp.array([[1.0], [3.0]])
    >>> v = jnp.zeros((2, 1))
    >>> v_tm1, _, r_t, advantage = normalize_advantages(v, v, r_t, r_t)
    >>> print(v_tm1.ravel(), r_t.ravel(), advantage.ravel())
    [2. 2.] [1. 3.] [-1.  1.]
  """
  v_tm1, v_t, r_t, advantage, mask = _check(
    v_tm1=v_tm1, v_t=v_t, r_t=r_t, advantage=advantage, mask=mask
  )
  mean = masked_mean(advantage, mask)
  centred = (advantage - mean) * mask
  std = jnp.sqrt(masked_mean(centred**2, mask))
  returns = jnp.where(mask == 0, 0.0, v_tm1 + advantage)
  nothing = std <= _SMALLEST_SPREAD * jnp.max(jnp.abs(returns))
  nothing |= _equal_between_rollouts(returns, v_tm1, mask)

  def scaled(x):
    return jnp.where(nothing, 0.0, x / (std + 1e-8))

  return (
    scaled(v_tm1 + mean),
    scaled(v_t + mean),
    scaled(r_t),
    scaled(centred),
  )


def _equal_between_rollouts(
  returns: chex.Array, v_tm1: chex.Array, mask: chex.Array
) -> chex.Array:
  """Whether no step's return differs between rollouts, and there are two."""
  if returns.ndim < 2:
    return jnp.zeros((), bool)
  length = returns.shape[-1]
  counts = (mask != 0).reshape(-1, length)
  returns = returns.reshape(-1, length)
  highest = jnp.max(jnp.where(counts, returns, -jnp.inf), axis=0)
  lowest = jnp.min(jnp.where(counts, returns, jnp.inf), axis=0)
  together = jnp.sum(counts, axis=0) > 1
  difference = jnp.max(jnp.where(together, highest - lowest, 0.0))
  size = jnp.max(jnp.abs(jnp.where(mask == 0, 0.0, v_tm1))) + jnp.max(
    jnp.abs(returns)
  )
  rounding = _ROUNDING * float(jnp.finfo(returns.dtype).eps) * size
  return jnp.any(together) & (difference <= rounding)


def _check(**arrays: chex.Array | None) -> tuple[chex.Array, ...]:
  """Arrays `[..., T]` of one shape in one dtype; no mask is a mask of ones."""
  mask = arrays.pop('mask')
  checked = {
    name: input_checks.float_array(name, x, _NEEDS)
    for name, x in arrays.items()
  }
  first, reference = next(iter(checked.items()))
  if mask is None:
    mask = jnp.ones_like(reference)
  else:
    mask = jnp.asarray(mask)
    if not jnp.issubdtype(mask.dtype, jnp.floating):
      mask = mask.astype(reference.dtype)  # Booleans and 0/1 integers.
  checked['mask'] = mask
  for name, x in checked.items():
    if x.ndim == 0 or x.shape != reference.shape:
      raise ValueError(
        f'{name} must be of shape [..., T] like {first}, but got {x.shape}'
        f' where {first} has {reference.shape}.'
      )
  if reference.size == 0:
    raise ValueError(
      f'{first} is empty: got shape {reference.shape}, needs at least one step.'
    )
  dtype = input_checks.common_dtype(*checked.values())
  return tuple(x.astype(dtype) for x in checked.values())
