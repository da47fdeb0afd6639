"""Outer objectives: what an adapted policy is judged by.

Each takes the log-probabilities of the last stage's actions under the adapted
policy and that prepared stage, and returns a scalar to maximise.
"""

import dataclasses
from typing import Any, Protocol

import chex
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import adaptation


class OuterObjective(Protocol):
  """Judges an adapted policy on the last stage of one task."""

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
    rho = adaptation.masked_ratios(log_prob, prepared)
    clipped = jnp.clip(rho, 1 - self.clip_epsilon, 1 + self.clip_epsilon)
    advantage = prepared.advantage
    return masked_mean(
      jnp.minimum(rho * advantage, clipped * advantage), prepared.mask
    )


@dataclasses.dataclass(frozen=True)
class Surrogate:
  """Mean of ρA, the objective of trust-region methods.

  Schulman et al. (2015), https://arxiv.org/abs/1502.05477, eq. 14.
  """

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    rho = adaptation.masked_ratios(log_prob, prepared)
    return masked_mean(rho * prepared.advantage, prepared.mask)


@dataclasses.dataclass(frozen=True)
class PolicyGradient:
  """Mean of A log π, whose gradient is right only on its own data."""

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    log_prob = jnp.where(prepared.mask > 0, log_prob, 0.0)
    return masked_mean(log_prob * prepared.advantage, prepared.mask)


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """Any off-policy evaluator as the outer objective.

  Attributes:
    evaluator: of one trajectory, see `evaluators`.
    reduction: see `reductions`.
  """

  evaluator: Any
  reduction: reductions.Reduction = reductions.start_state

  def __call__(
    self, log_prob: chex.Array, prepared: types.Prepared
  ) -> chex.Array:
    """Returns the objective."""
    return adaptation.inner_objective(
      log_prob, prepared, self.evaluator, self.reduction
    )


def masked_mean(x: chex.Array, mask: chex.Array) -> chex.Array:
  """Mean of `x` where the mask is 1; 0 where everything is masked."""
  return jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1.0)
