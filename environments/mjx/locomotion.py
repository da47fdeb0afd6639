"""The locomotion tasks of `environments.mujoco` as pure functions, on MJX.

The same table of tasks, the same models, the same rewards; only the physics is
computed by MJX, in float32 (see `physics`).
"""

import dataclasses
from typing import NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from acme_metarl import types as environment
from acme_metarl.environments import action_scaling
from acme_metarl.environments.mjx import physics
from acme_metarl.environments.mujoco import definitions, models, tasks

# What can be made on MJX.
NAMES = (
  'half_cheetah_direction',
  'half_cheetah_velocity',
  'ant_direction',
  'ant_direction_2d',
  'ant_goal',
  'walker2d_direction',
  'walker2d_velocity',
)


class State(NamedTuple):
  """All that a simulation carries from one environment step to the next.

  Attributes:
    qpos: `[nq]` positions.
    qvel: `[nv]` velocities.
    task: the task, as `sample_task` draws it.
  """

  qpos: chex.Array
  qvel: chex.Array
  task: chex.Array


class MjxLocomotion:
  """An `acme_metarl.types.Environment` of one MuJoCo simulation.

  A step whose physics diverges shows the state before it and a reward of NaN,
  by which whoever samples knows that the rollout has ended, masks it and counts
  it.

  There are no contact forces in observations and rewards.
  """

  def __init__(
    self,
    name: str,
    task: definitions.Locomotion,
    settings: physics.SolverSettings,
  ):
    """Compiles the model for MJX; nothing runs on a device yet.

    Args:
      name: what it is called, for messages.
      task: the distribution over tasks, without contact forces.
      settings: of the contact solver.
    """
    self._name = name
    self._task = task
    self._model = model = models.load(task.robot.model_file)
    self._physics = physics.Physics(model, task.robot.frame_skip, settings)
    self._control_range = model.actuator_ctrlrange.T.copy()
    self._start = model.qpos0.astype(np.float32)

  def __repr__(self) -> str:
    return f'MjxLocomotion({self._name!r})'

  @property
  def has_finite_tasks(self) -> bool:
    """Whether evaluation may meet the tasks of training."""
    return self._task.has_finite_tasks

  @property
  def model(self) -> mujoco.MjModel:
    """The model as MuJoCo compiled it, with its own solver settings."""
    return self._model

  @property
  def dt(self) -> float:
    """Seconds per environment step."""
    return self._task.robot.frame_skip * self._model.opt.timestep

  def sample_task(self, key: chex.PRNGKey) -> chex.Array:
    """Draws one task, float32."""
    return self._task.sample_tasks.draw(key)

  def reset(
    self, key: chex.PRNGKey, task: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Starts near the model's own position; `task` as `sample_task` draws."""
    robot = self._task.robot
    position_key, velocity_key = jax.random.split(key)
    qpos = self._start + _uniform(
      position_key, self._model.nq, robot.position_noise
    )
    if robot.velocity_noise_is_normal:
      noise = jax.random.normal(velocity_key, (self._model.nv,), jnp.float32)
      qvel = robot.velocity_noise * noise
    else:
      qvel = _uniform(velocity_key, self._model.nv, robot.velocity_noise)
    state = State(qpos, qvel, jnp.asarray(task, jnp.float32))
    return state, environment.TimeStep(
      self._observe(state), jnp.float32(0), jnp.float32(1)
    )

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Takes a raw action `[nu]`, scaled as `action_scaling` says."""
    action = jnp.asarray(action, jnp.float32)
    control = action_scaling.scale_action(action, *self._control_range)
    qpos, qvel = self._physics.step(state.qpos, state.qvel, control)
    velocity = (qpos[:2] - state.qpos[:2]) / self.dt
    reward = self._task.motion_reward(state.task, qpos[:2], velocity, control)
    # A NaN compares false.
    is_finite = jnp.isfinite(reward) & jnp.all(
      jnp.abs(jnp.concatenate([qpos, qvel])) < definitions.MAX_STATE
    )
    is_well = is_finite
    if self._task.is_well is not None:
      is_well &= self._task.is_well(qpos, qvel)
    state = State(
      jnp.where(is_finite, qpos, state.qpos),
      jnp.where(is_finite, qvel, state.qvel),
      state.task,
    )
    return state, environment.TimeStep(
      self._observe(state),
      jnp.where(is_finite, reward, jnp.nan).astype(jnp.float32),
      is_well.astype(jnp.float32),
    )

  def observation_spec(self) -> specs.Array:
    """Positions and velocities; see `definitions.Robot`."""
    hidden = self._task.robot.num_hidden_positions
    size = self._model.nq - hidden + self._model.nv
    return specs.Array((size,), np.float32, 'observation')

  def action_spec(self) -> specs.Array:
    """Raw actions: unbounded, see `action_scaling`."""
    return action_scaling.raw_action_spec(self._model.nu)

  def _observe(self, state: State) -> chex.Array:
    return jnp.concatenate(
      self._task.robot.observed_state(state.qpos, state.qvel)
    )


def make(
  name: str,
  *,
  solver_iterations: int = 6,
  line_search_iterations: int = 4,
  impl: str = 'jax',
) -> MjxLocomotion:
  """Makes a locomotion environment on MJX.

  Args:
    name: one of `NAMES`.
    solver_iterations: see `physics.SolverSettings`.
    line_search_iterations: likewise.
    impl: likewise.

  Returns:
    The environment.

  Raises:
    ValueError: on another name or implementation, or a number less than 1.
    ImportError: if MuJoCo and MJX do not go together.
  """
  if name not in NAMES:
    raise ValueError(
      f"name: there is no {name!r} with backend='mjx'; there are "
      f'{", ".join(NAMES)}.'
    )
  task = dataclasses.replace(tasks.TASKS[name], contact=None)
  settings = physics.SolverSettings(
    solver_iterations, line_search_iterations, impl
  )
  return MjxLocomotion(name, task, settings)


def _uniform(key: chex.PRNGKey, size: int, half_width: float) -> chex.Array:
  return jax.random.uniform(key, (size,), jnp.float32, -half_width, half_width)
