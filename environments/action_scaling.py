"""How a policy's action becomes an actuator's: one tenth of its range.

Every published curve of model-agnostic meta-reinforcement learning was made
with this convention, so every continuous environment here follows it: the
policy's action `a` is neither squashed nor clipped, and `a = ±10` are the ends
of the actuator's range. A Gaussian of unit standard deviation thus uses a tenth
of it. Log-probabilities are those of `a`; control costs are those of `u`.
"""

from typing import Any

import chex
from dm_env import specs
import numpy as np

# The raw action that reaches the end of the actuator's range.
ACTION_RANGE = 10.0


def scale_action(
  action: chex.Array, minimum: chex.Numeric, maximum: chex.Numeric
) -> chex.Array:
  """Maps a policy's raw action onto an actuator's range.

  `u = clip(lo + (a + 10)(hi - lo) / 20, lo, hi)`, the action normalisation of
  the ProMP code base (Rothfuss et al. 2019, https://arxiv.org/abs/1810.06784).

  >>> scale_action(np.array([0.0, 5.0, 99.0], np.float32), -1.0, 1.0)
  array([0. , 0.5, 1. ], dtype=float32)

  Args:
    action: `[..., D]` floating point, a numpy or a JAX array.
    minimum: scalar or `[D]`, the lower ends of the actuators' ranges.
    maximum: scalar or `[D]`, the upper ends.

  Returns:
    `[..., D]`, of the action's kind and type.
  """
  minimum = np.asarray(minimum, np.float64)
  maximum = np.asarray(maximum, np.float64)
  # The centre plus a tenth of the half-range: the same map, without adding ten
  # to a small number.
  slope = ((maximum - minimum) / (2 * ACTION_RANGE)).astype(action.dtype)
  centre = ((maximum + minimum) / 2).astype(action.dtype)
  return (centre + slope * action).clip(
    minimum.astype(action.dtype), maximum.astype(action.dtype)
  )


def raw_action_spec(*shape: int) -> specs.Array:
  """The spec of raw actions: any finite float32, because they are not clipped.

  Args:
    *shape: of one action, usually just how many numbers it has.

  Returns:
    A spec without bounds.
  """
  return specs.Array(shape, np.float32, name='action')


def bounds(spec: specs.BoundedArray) -> tuple[np.ndarray, np.ndarray]:
  """The ends of an actuator's range, infinite where there is none.

  The largest number of a type, or of float32, as a bound means no bound.

  Args:
    spec: of floating-point actions.

  Returns:
    Minimum and maximum, of the spec's shape and type.
  """
  largest = min(
    np.finfo(spec.dtype).max.astype(np.float64),
    np.finfo(np.float32).max.astype(np.float64),
  )

  def widen(bound):
    bound = np.broadcast_to(np.asarray(bound, spec.dtype), spec.shape)
    is_none = np.abs(bound.astype(np.float64)) >= largest
    return np.where(is_none, np.copysign(np.inf, bound), bound).astype(
      spec.dtype
    )

  return widen(spec.minimum), widen(spec.maximum)


class Actions:
  """How the policy's actions become those of other people's environments."""

  def __init__(self, user_spec: specs.Array, scale: bool):
    """Decides whether actions are scaled.

    Args:
      user_spec: of one action of the environment.
      scale: whether a continuous action that is bounded on all sides is scaled;
        one that is not scaled is clipped to the bounds that there are.
    """
    self.user_spec = user_spec
    self._bounds = None
    is_float = np.issubdtype(user_spec.dtype, np.floating)
    if is_float and hasattr(user_spec, 'minimum'):
      self._bounds = bounds(user_spec)
    self._is_scaled = (
      scale
      and self._bounds is not None
      and bool(np.isfinite(self._bounds).all())
    )
    self.spec = user_spec
    if self._is_scaled:
      self.spec = raw_action_spec(*user_spec.shape)
    elif self._bounds is not None and np.isinf(self._bounds).any():
      self.spec = specs.BoundedArray(
        user_spec.shape, user_spec.dtype, *self._bounds, user_spec.name
      )

  def to_theirs(self, action: Any) -> np.ndarray:
    """Fresh actions `[..., *shape]` that the environment takes."""
    return self.apply(np.array(action, self.user_spec.dtype))

  def apply(self, action: chex.Array) -> chex.Array:
    """The same of a numpy or a JAX array of the environment's type."""
    if self._is_scaled:
      return scale_action(action, *self._bounds)
    return action if self._bounds is None else action.clip(*self._bounds)
