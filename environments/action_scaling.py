"""How a policy's action becomes an actuator's: one tenth of its range.

Every published curve of model-agnostic meta-reinforcement learning was made
with this convention, so every continuous environment here follows it: the
policy's action `a` is neither squashed nor clipped, and `a = ±10` are the ends
of the actuator's range. A Gaussian of unit standard deviation thus uses a tenth
of it. Log-probabilities are those of `a`; control costs are those of `u`.
"""

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
