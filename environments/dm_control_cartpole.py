"""dm_control's cart-pole as a task distribution: how long is the pole?

It shows how an environment of the dm_control suite becomes a task distribution.
The package dm_control is not installed with this one:

    pip install dm_control
    python -m acme_metarl.launchers.train \
      --environment=acme_metarl.environments.dm_control_cartpole:make
"""

from typing import Any

import numpy as np

from acme_metarl.environments import adapters

# Lengths are uniform between these; that of the suite's own pole is 1.
MIN_LENGTH, MAX_LENGTH = 0.5, 1.5
_POLE = 'pole_1'


def make(task_name: str = 'swingup') -> adapters.DmEnvBatch:
  """Makes a `BatchedEnvironment` whose tasks are lengths of the pole.

  Args:
    task_name: of dm_control's cart-pole: `'balance'`, `'swingup'`, or either
      with `'_sparse'`.

  Returns:
    The environment; its observations are a dict of `position` and `velocity`.

  Raises:
    ValueError: without dm_control.
  """
  try:
    from dm_control import suite
  except ImportError as error:
    raise ValueError(
      'environment: dm_control_cartpole needs the package dm_control, which'
      f' cannot be imported ({error}); pip install dm_control.'
    ) from error

  return adapters.DmEnvBatch(
    factory=lambda: suite.load('cartpole', task_name),
    sample_task=lambda rng: rng.uniform(MIN_LENGTH, MAX_LENGTH),
    set_task=lambda environment, length: set_length(
      environment.physics, length
    ),
    set_seed=lambda environment, seed: environment.task.random.seed(seed),
    has_finite_tasks=False,
    render=lambda environment: environment.physics.render(
      height=240, width=320, camera_id=0
    ),
  )


def set_length(physics: Any, length: float) -> None:
  """Makes the pole, a homogeneous capsule, of this length and the same mass."""
  import mujoco

  model = physics.named.model
  radius = model.geom_size[_POLE][0]
  mass = model.body_mass[_POLE]
  half = length / 2
  model.geom_size[_POLE][1] = half
  model.geom_pos[_POLE] = model.body_ipos[_POLE] = [0.0, 0.0, half]
  # A cylinder between two halves of a sphere.
  cylinder = mass * length / (length + 4 / 3 * radius)
  sphere = mass - cylinder
  across = cylinder * (radius**2 / 4 + length**2 / 12) + sphere * (
    0.4 * radius**2 + half**2 + 0.75 * half * radius
  )
  along = cylinder * radius**2 / 2 + sphere * 0.4 * radius**2
  model.body_inertia[_POLE] = np.array([across, across, along])
  # What MuJoCo derives from masses.
  mujoco.mj_setConst(physics.model.ptr, physics.data.ptr)
