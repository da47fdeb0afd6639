"""The interface of environments that run inside compiled functions."""

from typing import Any, NamedTuple, Protocol

import chex

from acme_metarl import types


class TimeStep(NamedTuple):
  """What an environment shows after a reset or a step.

  Attributes:
    observation: what the policy sees; never shows the task.
    reward: scalar, for the action that led here; 0 after a reset.
    discount: scalar, 0 where the episode ended here, 1 otherwise.
  """

  observation: chex.ArrayTree
  reward: chex.Numeric
  discount: chex.Numeric


class Environment(Protocol):
  """A distribution over tasks, as pure functions of one rollout.

  Batches are made by `jax.vmap`. The task is a pytree given at reset, so that
  one compiled function serves every task. There is no time limit in here: the
  horizon, and what happens at it, belong to whoever samples.
  """

  def sample_task(self, key: chex.PRNGKey) -> types.PyTree:
    """Draws one task."""

  def reset(
    self, key: chex.PRNGKey, task: types.PyTree
  ) -> tuple[types.PyTree, TimeStep]:
    """Starts an episode of `task`; the returned state carries the task."""

  def step(
    self, state: types.PyTree, action: chex.Array
  ) -> tuple[types.PyTree, TimeStep]:
    """Takes a raw action, as the policy drew it."""

  def observation_spec(self) -> Any:
    """A `dm_env.specs.Array` for one observation."""

  def action_spec(self) -> Any:
    """A `dm_env.specs` array or discrete array for one action."""
