"""The MuJoCo locomotion tasks of the meta-reinforcement-learning papers.

One row of `TASKS` per environment: which robot, how tasks are drawn, what is
rewarded, when an episode ends. Facts: the ProMP code base (Rothfuss et al.
2019, https://arxiv.org/abs/1810.06784) and Tang et al. 2021, Figure 2
(https://arxiv.org/abs/2106.13125), written down anew.
"""

import dataclasses
from types import MappingProxyType

from acme_metarl.environments.mujoco import (
  definitions,
  random_params,
  task_distributions,
)

HALF_CHEETAH = definitions.Robot(
  model_file='half_cheetah.xml',
  frame_skip=5,
  position_noise=0.1,
  velocity_noise=0.1,
  velocity_noise_is_normal=True,
)
ANT = definitions.Robot(
  model_file='ant.xml',
  frame_skip=5,
  num_hidden_positions=2,
  position_noise=0.1,
  velocity_noise=0.1,
  velocity_noise_is_normal=True,
)
WALKER2D = definitions.Robot(
  model_file='walker2d.xml',
  frame_skip=8,
  max_velocity=10.0,
  position_noise=0.005,
  velocity_noise=0.005,
)
HOPPER = definitions.Robot(
  model_file='hopper.xml',
  frame_skip=4,
  max_velocity=10.0,
  position_noise=0.005,
  velocity_noise=0.005,
)
HUMANOID = definitions.Robot(
  model_file='humanoid.xml',
  frame_skip=5,
  num_hidden_positions=2,
  position_noise=0.01,
  velocity_noise=0.01,
  observed_fields=('cinert', 'cvel', 'qfrc_actuator', 'cfrc_ext'),
  velocity_is_of_mass_centre=True,
)
_ANT_CONTACT = definitions.ContactForces(limit=1.0, cost=0.5e-3)
_HUMANOID_CONTACT = definitions.ContactForces(cost=0.5e-6, max_cost=10.0)
_SIGNS = task_distributions.Signs()
_UNIT_CIRCLE = task_distributions.UnitCircle()


# What is rewarded: (task [..., :], position [..., 2], velocity [..., 2]) ->
# [...], of the root's first two coordinates after the step. These functions and
# the next use nothing but what numpy's and JAX's arrays have in common: MJX
# runs them too.


def _along_x(task, position, velocity):
  del position
  return task * velocity[..., 0]


def _along_direction(task, position, velocity):
  del position
  return (task * velocity).sum(axis=-1)


def _at_speed(task, position, velocity):
  del position
  return -abs(velocity[..., 0] - task)


def _near_goal(task, position, velocity):
  del velocity
  return -abs(position - task).sum(axis=-1)


def _forward(task, position, velocity):
  del task, position
  return velocity[..., 0]


# When the robot is well: (qpos [..., nq], qvel [..., nv]) -> [...] bool.


def _ant_is_well(qpos, qvel):
  del qvel  # Non-finite states end the rollout of any robot.
  return (qpos[..., 2] >= 0.0) & (qpos[..., 2] <= 1.0)


def _walker2d_is_well(qpos, qvel):
  del qvel
  height, angle = qpos[..., 1], qpos[..., 2]
  return (height > 0.8) & (height < 2.0) & (abs(angle) < 1.0)


def _hopper_is_well(qpos, qvel):
  height, angle = qpos[..., 1], qpos[..., 2]
  return (
    (height > 0.7)
    & (abs(angle) < 0.2)
    & (abs(qpos[..., 2:]) < 100.0).all(axis=-1)
    & (abs(qvel) < 100.0).all(axis=-1)
  )


def _humanoid_is_well(qpos, qvel):
  del qvel
  return (qpos[..., 2] >= 1.0) & (qpos[..., 2] <= 2.0)


def _half_cheetah(sample_tasks, progress):
  return definitions.Locomotion(
    HALF_CHEETAH, sample_tasks, progress=progress, control_cost=0.05
  )


def _ant(sample_tasks, progress, task_shape=()):
  return definitions.Locomotion(
    ANT,
    sample_tasks,
    task_shape=task_shape,
    progress=progress,
    control_cost=0.5,
    alive_bonus=1.0,
    contact=_ANT_CONTACT,
    contact_is_optional=True,
    is_well=_ant_is_well,
  )


def _walker2d(sample_tasks, progress, alive_bonus):
  return definitions.Locomotion(
    WALKER2D,
    sample_tasks,
    progress=progress,
    control_cost=1e-3,
    alive_bonus=alive_bonus,
    is_well=_walker2d_is_well,
  )


def _humanoid(sample_tasks, progress, task_shape=()):
  return definitions.Locomotion(
    HUMANOID,
    sample_tasks,
    task_shape=task_shape,
    progress=progress,
    progress_weight=1.25,
    control_cost=0.1,
    alive_bonus=5.0,
    contact=_HUMANOID_CONTACT,
    is_well=_humanoid_is_well,
  )


def _params(robot, is_well):
  return definitions.Locomotion(
    robot,
    random_params.sample,
    has_random_params=True,
    progress=_forward,
    control_cost=1e-3,
    alive_bonus=1.0,
    is_well=is_well,
  )


TASKS = MappingProxyType(
  {
    'half_cheetah_direction': _half_cheetah(_SIGNS, _along_x),
    'half_cheetah_velocity': _half_cheetah(
      task_distributions.Speeds(3.0), _at_speed
    ),
    'ant_direction': _ant(_SIGNS, _along_x),
    'ant_direction_2d': _ant(_UNIT_CIRCLE, _along_direction, (2,)),
    'ant_goal': definitions.Locomotion(
      dataclasses.replace(ANT, num_hidden_positions=0),
      task_distributions.Disc(3.0),
      task_shape=(2,),
      progress=_near_goal,
      control_cost=0.1,
      contact=_ANT_CONTACT,
      contact_is_optional=True,
    ),
    'walker2d_direction': _walker2d(_SIGNS, _along_x, alive_bonus=1.0),
    'walker2d_velocity': _walker2d(
      task_distributions.Speeds(10.0), _at_speed, alive_bonus=15.0
    ),
    'humanoid_direction': _humanoid(_SIGNS, _along_x),
    'humanoid_direction_2d': _humanoid(_UNIT_CIRCLE, _along_direction, (2,)),
    'hopper_params': _params(HOPPER, _hopper_is_well),
    'walker2d_params': _params(
      dataclasses.replace(WALKER2D, frame_skip=4), _walker2d_is_well
    ),
  }
)
