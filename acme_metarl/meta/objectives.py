"""Outer objectives: what an adapted policy is judged by.

Each takes the log-probabilities of the last stage's actions under the adapted
policy and that prepared stage, and returns a scalar to maximise.
"""

import dataclasses
from typing import Protocol

import chex
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import (
  derivatives,
  protocols,
  ratios,
  reductions,
)


class OuterObjective(Protocol):
  """Judges an adapted policy on the last stage of one task.

  Where its value is no estimate of the adapted policy's value, but its
  gradient is one of that value's gradient (surrogates have the value 0 on
  their own data), a method `value` of the same arguments gives that estimate;
  score-function meta-gradients weigh samples by it.
  """

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns a scalar to maximise, from log-probabilities `[B, T]`."""


@dataclasses.dataclass(frozen=True)
class ClippedSurrogate:
  """Mean of min(ρA, clip(ρ, 1 − ε, 1 + ε)A), as in PPO and ProMP.

  Schulman et al. (2017), https://arxiv.org/abs/1707.06347, eq. 7; in the outer
  loop Rothfuss et al. (2019), https://arxiv.org/abs/1810.06784, eq. 12.

  Attributes:
    clip_epsilon: ε > 0.
  """

  clip_epsilon: float = 0.3

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    rho = _ratios(log_prob, prepared)
    clipped = jnp.clip(rho, 1 - self.clip_epsilon, 1 + self.clip_epsilon)
    advantage = prepared.advantage
    return reductions.masked_mean(
      jnp.minimum(rho * advantage, clipped * advantage), prepared.mask
    )

  def value(self, log_prob: chex.Array, prepared: types.Prepared) -> chex.Array:
    """Returns the mean reward per step, see `value`."""
    return _reward_per_step(self(log_prob, prepared), prepared)


@dataclasses.dataclass(frozen=True)
class Surrogate:
  """Mean of ρA, the objective of trust-region methods.

  Schulman et al. (2015), https://arxiv.org/abs/1502.05477, eq. 14.
  """

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    rho = _ratios(log_prob, prepared)
    return reductions.masked_mean(rho * prepared.advantage, prepared.mask)

  def value(self, log_prob: chex.Array, prepared: types.Prepared) -> chex.Array:
    """Returns the mean reward per step, see `value`."""
    return _reward_per_step(self(log_prob, prepared), prepared)


@dataclasses.dataclass(frozen=True)
class PolicyGradient:
  """Mean of A log π, whose gradient is right only on its own data."""

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    log_prob = jnp.where(prepared.mask > 0, log_prob, 0.0)
    return reductions.masked_mean(log_prob * prepared.advantage, prepared.mask)

  def value(self, log_prob: chex.Array, prepared: types.Prepared) -> chex.Array:
    """Returns the mean reward per step, see `value`."""
    del log_prob
    return reductions.masked_mean(prepared.r_t, prepared.mask)


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """Any off-policy evaluator as the outer objective.

  Attributes:
    evaluator: of one trajectory, see `evaluators`.
    reduction: see `reductions`.
  """

  evaluator: protocols.Evaluator
  reduction: reductions.Reduction = reductions.start_state

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    return derivatives.reduced_estimate(
      log_prob, prepared, self.evaluator, self.reduction
    )


def value(
  objective: OuterObjective, log_prob: chex.Array, prepared: types.Prepared
) -> chex.Array:
  """An outer objective's estimate of the adapted policy's value.

  An objective without a method `value` estimates it itself. Those that average
  over steps, whose gradient is that of `reductions.per_step`, have its value:
  the mean over steps of r + ρA − A, on the scale of the prepared rewards.

  Args:
    objective: the objective.
    log_prob: `[B, T]` log-probabilities of the stage's actions.
    prepared: the last stage of one task.

  Returns:
    A scalar.

  Example:
    >>> ones = jnp.ones((1, 1))
    >>> last = types.Prepared(
    ...   observation=ones, action=ones, v_tm1=2 * ones, v_t=ones, r_t=5 * ones,
    ...   discount_t=0 * ones, advantage=3 * ones, mask=ones,
    ...   behaviour_log_prob=0 * ones)
    >>> float(Surrogate()(0 * ones, last)), float(value(Surrogate(), 0 * ones,
    ...                                                 last))
    (3.0, 5.0)
  """
  estimate = getattr(objective, 'value', objective)
  return estimate(log_prob, prepared)


def _reward_per_step(
  surrogate: chex.Array, prepared: types.Prepared
) -> chex.Array:
  rest = prepared.r_t - prepared.advantage
  return surrogate + reductions.masked_mean(rest, prepared.mask)


def _ratios(log_prob: chex.Array, prepared: types.Prepared) -> chex.Array:
  return ratios.masked_importance_ratios(
    log_prob, prepared.behaviour_log_prob, prepared.mask
  )
