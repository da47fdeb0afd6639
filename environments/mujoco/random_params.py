"""Tasks that differ in the robot's physical parameters.

Every element of the masses, inertias, frictions and dampings is scaled by a
factor of its own, log-uniform. Facts: the `rand_param_envs` that ProMP's
hopper and walker2d tasks use.
"""

from collections.abc import Sequence
import copy
from typing import NamedTuple

import mujoco
import numpy as np

_LOG_SCALE_LIMIT = 3.0


class PhysicalScales(NamedTuple):
  """Factors on a model's parameters; a batch of tasks adds `[G]` in front.

  Attributes:
    body_mass: `[nbody]`.
    body_inertia: `[nbody, 3]`.
    geom_friction: `[ngeom, 3]`.
    dof_damping: `[nv]`.
  """

  body_mass: np.ndarray
  body_inertia: np.ndarray
  geom_friction: np.ndarray
  dof_damping: np.ndarray


# A factor is base ** U(-3, 3).
_BASES = PhysicalScales(
  body_mass=1.5, body_inertia=1.5, geom_friction=1.5, dof_damping=1.3
)


def sample(
  model: mujoco.MjModel, rng: np.random.Generator, num_tasks: int
) -> PhysicalScales:
  """Draws the factors of `num_tasks` tasks, `[G, ...]` float32."""
  drawn = []
  for name, base in zip(PhysicalScales._fields, _BASES, strict=True):
    shape = (num_tasks, *getattr(model, name).shape)
    exponent = rng.uniform(-_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT, shape)
    drawn.append((base**exponent).astype(np.float32))
  return PhysicalScales(*drawn)


def check(model: mujoco.MjModel, scales: PhysicalScales) -> PhysicalScales:
  """Returns the tasks as arrays of the right shapes.

  Args:
    model: the model that is to be scaled.
    scales: factors, `[G, ...]`.

  Returns:
    The same as numpy arrays.

  Raises:
    ValueError: if it is not a `PhysicalScales`, or a factor has a wrong shape
      or is not positive and finite.
  """
  if not isinstance(scales, PhysicalScales):
    raise ValueError(
      'Argument `tasks` must be a random_params.PhysicalScales as '
      f'`sample_tasks` returns it, got {type(scales).__name__}.'
    )
  scales = PhysicalScales(*[np.asarray(scale) for scale in scales])
  num_tasks = len(scales.body_mass) if scales.body_mass.ndim else 0
  for name, scale in zip(scales._fields, scales, strict=True):
    needed = (num_tasks, *getattr(model, name).shape)
    if scale.shape != needed or not num_tasks:
      raise ValueError(
        f'Argument `tasks`: {name} must have shape [G, ...] = {needed} with '
        f'G >= 1, got {scale.shape}.'
      )
    if not np.all((scale > 0) & np.isfinite(scale)):
      raise ValueError(
        f'Argument `tasks`: the factors of {name} must be positive and finite.'
      )
  return scales


def compile_models(
  model: mujoco.MjModel, scales: PhysicalScales
) -> Sequence[mujoco.MjModel]:
  """One compiled model per task.

  The constants that MuJoCo derives from the parameters (subtree masses, inverse
  weights of the constraints, mean inertia, …) are computed anew.

  Args:
    model: the model to scale; left as it is.
    scales: factors, `[G, ...]`.

  Returns:
    G models.
  """
  scratch = mujoco.MjData(model)
  compiled = []
  for task in zip(*scales, strict=True):
    scaled = copy.copy(model)
    for name, scale in zip(PhysicalScales._fields, task, strict=True):
      getattr(scaled, name)[:] = getattr(model, name) * scale
    mujoco.mj_setConst(scaled, scratch)
    # The scale of the solver's tolerance, which mj_setConst leaves alone.
    scaled.stat.meaninertia = scaled.dof_M0.mean()
    compiled.append(scaled)
  return compiled
