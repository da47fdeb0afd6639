"""What turns the estimates of every step into one objective.

Evaluators know neither masks nor weights; both act here. Every function takes
any leading batch axes, `[..., T]`, and reduces all of them.
"""

from typing import Protocol

import chex
import jax.numpy as jnp

from acme_metarl.evaluators import input_checks

_NEEDS = 'a floating-point array of shape [..., T]'


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
  """
  estimates, v_t, discount_t, mask = _check(
    estimates=estimates, v_t=v_t, discount_t=discount_t, mask=mask
  )
  following = jnp.concatenate([estimates[..., 1:], v_t[..., -1:]], axis=-1)
  return _masked_mean(estimates - discount_t * following, mask)


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

  Where there is no spread to divide by (a single step, everything masked,
  advantages equal up to rounding), σ is 1.

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
  """
  v_tm1, v_t, r_t, advantage, mask = _check(
    v_tm1=v_tm1, v_t=v_t, r_t=r_t, advantage=advantage, mask=mask
  )
  mean = _masked_mean(advantage, mask)
  centred = (advantage - mean) * mask
  std = jnp.sqrt(_masked_mean(centred**2, mask))
  rounding = 8 * jnp.finfo(std.dtype).eps * jnp.max(jnp.abs(advantage * mask))
  scale = jnp.where(std <= rounding, 1.0, std + 1e-8)
  return (
    (v_tm1 + mean) / scale,
    (v_t + mean) / scale,
    r_t / scale,
    centred / scale,
  )


def _masked_mean(x: chex.Array, mask: chex.Array) -> chex.Array:
  total = jnp.sum(mask)
  return jnp.sum(x * mask) / jnp.where(total == 0, 1.0, total)


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
  dtype = jnp.result_type(*checked.values())
  return tuple(x.astype(dtype) for x in checked.values())
