"""What a locomotion environment is made of, as data."""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import mujoco
import numpy as np

# MuJoCo itself calls larger numbers a divergence (`mjMAXVAL`).
MAX_STATE = 1e10


@dataclasses.dataclass(frozen=True)
class Robot:
  """A model, and what of it is seen.

  Observations are positions (without the first few, which only say where the
  robot is), velocities, then further fields.

  Attributes:
    model_file: one of gymnasium's models.
    frame_skip: physics steps per environment step.
    position_noise: start positions are the model's ± U(0, this).
    velocity_noise: half-width, or standard deviation, of start velocities.
    velocity_noise_is_normal: normal rather than uniform start velocities.
    num_hidden_positions: how many leading positions are not observed.
    max_velocity: observed velocities are clipped to ± this.
    observed_fields: fields of `MjData` that are observed besides, in order.
    velocity_is_of_mass_centre: whether progress is the displacement of the
      centre of mass (Σ mᵢ xᵢ / Σ mᵢ over the bodies' own centres) rather than
      that of the root.
  """

  model_file: str
  frame_skip: int
  position_noise: float
  velocity_noise: float
  velocity_noise_is_normal: bool = False
  num_hidden_positions: int = 1
  max_velocity: float = math.inf
  observed_fields: tuple[str, ...] = ()
  velocity_is_of_mass_centre: bool = False

  def observed_state(self, qpos: Any, qvel: Any) -> tuple[Any, Any]:
    """What of the state is observed: numpy's or JAX's arrays, any batch axes.

    Args:
      qpos: `[..., nq]`.
      qvel: `[..., nv]`.

    Returns:
      Positions and velocities, the parts that an observation begins with.
    """
    if self.max_velocity < math.inf:
      qvel = qvel.clip(-self.max_velocity, self.max_velocity)
    return qpos[..., self.num_hidden_positions :], qvel


@dataclasses.dataclass(frozen=True)
class ContactForces:
  """External forces and torques on the bodies (`cfrc_ext`), live.

  Attributes:
    cost: weight of the sum of their squares in the reward.
    limit: they are clipped to ± this, as observed and as paid for.
    max_cost: the cost per step is at most this.
  """

  cost: float
  limit: float = math.inf
  max_cost: float = math.inf


@dataclasses.dataclass(frozen=True)
class Locomotion:
  """A distribution over tasks for a robot.

  The reward of a step is `progress_weight · progress + alive_bonus
  - control_cost · ‖u‖² - contact cost`, u being the scaled and clipped action.

  Attributes:
    robot: who moves.
    sample_tasks: `(model, rng, num_tasks) -> [G, ...]` float32, or a
      `PhysicalScales` of such; see `task_distributions`.
    progress: `(task [..., :], position [..., 2], velocity [..., 2]) -> [...]`,
      of the first two coordinates: position after the step, mean velocity over
      it. Like `is_well` it takes numpy's and JAX's arrays.
    control_cost: weight of ‖u‖².
    task_shape: shape of one task, where it is an array.
    has_random_params: whether a task is a robot of its own (`random_params`).
    progress_weight: weight of `progress`.
    alive_bonus: added at every step, a terminal one included.
    contact: whether contact forces are computed, observed and paid for.
    contact_is_optional: whether the user chooses that.
    is_well: `(qpos [..., nq], qvel [..., nv]) -> [...]` bool, episodes end
      where it is false; None if they never do.
  """

  robot: Robot
  sample_tasks: Callable[[mujoco.MjModel, np.random.Generator, int], Any]
  _: dataclasses.KW_ONLY
  progress: Callable[[Any, Any, Any], Any]
  control_cost: float
  task_shape: tuple[int, ...] = ()
  has_random_params: bool = False
  progress_weight: float = 1.0
  alive_bonus: float = 0.0
  contact: ContactForces | None = None
  contact_is_optional: bool = False
  is_well: Callable[[Any, Any], Any] | None = None

  @property
  def has_finite_tasks(self) -> bool:
    """Whether there are few tasks, as there are of directions ±1."""
    return getattr(self.sample_tasks, 'is_finite', False)

  def motion_reward(
    self, task: Any, position: Any, velocity: Any, control: Any
  ) -> Any:
    """The reward but for the contact cost: numpy's or JAX's arrays.

    Args:
      task: `[..., *task_shape]`.
      position: `[..., 2]`, after the step.
      velocity: `[..., 2]`, the mean over the step.
      control: `[..., nu]`, scaled and clipped.

    Returns:
      `[...]`.
    """
    reward = self.progress_weight * self.progress(task, position, velocity)
    reward = reward + self.alive_bonus
    return reward - self.control_cost * (control * control).sum(axis=-1)
