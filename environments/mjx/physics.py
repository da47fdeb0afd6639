"""MuJoCo's physics as a pure function of positions, velocities and controls."""

import contextlib
import copy
import dataclasses
import functools
from importlib import metadata
import io
import re

import chex
import jax
from jax import lax
import jax.numpy as jnp
import mujoco
import numpy as np

try:
  # Without the optional Warp backend MJX prints lines about it, to stdout.
  with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx
except ImportError as error:
  raise ImportError(
    "backend='mjx' needs MuJoCo's JAX version: pip install mujoco-mjx "
    f'({error}).'
  ) from error

# The classical Runge-Kutta method of order 4. A stage starts from the state
# plus this part of a time step along the previous stage's derivative …
_RK4_OFFSETS = np.array([0.0, 0.5, 0.5, 1.0], np.float32)
# … and counts this much in the mean derivative.
_RK4_WEIGHTS = np.array([1.0, 2.0, 2.0, 1.0], np.float32) / 6
_INTEGRATORS = (
  mujoco.mjtIntegrator.mjINT_EULER,
  mujoco.mjtIntegrator.mjINT_RK4,
)
_PLANE_AND_CAPSULE = (
  mujoco.mjtGeom.mjGEOM_PLANE,
  mujoco.mjtGeom.mjGEOM_CAPSULE,
)
# A capsule's axis of unit length, projected onto the floor, has a direction if
# it is longer than this.
_MIN_PROJECTION = 1e-6
# The last release of mujoco-mjx that is known to need `_align_frames`.
LAST_UNALIGNED_RELEASE = (3, 17)
_IMPLEMENTATIONS = ('jax', 'warp')
# Warp has room for so many contacts, of all rollouts of a batch together.
_MAX_WARP_CONTACTS = 100_000
# Of a free joint.
_NUM_FREE_POSITIONS, _NUM_FREE_VELOCITIES = 7, 6


@dataclasses.dataclass(frozen=True)
class SolverSettings:
  """How the constraint solver (Newton, pyramidal cones) is cut short.

  Attributes:
    iterations: at most so many Newton steps; it stops earlier when every
      rollout of the batch has converged. 1 compiles to a program without a loop
      that waits for that, the fastest and least exact choice.
    line_search_iterations: always so many in each of them.
    impl: MJX's implementation: `'jax'`, or `'warp'`, which needs the package
      warp-lang and compiles its kernels for minutes when it first runs.
  """

  iterations: int = 6
  line_search_iterations: int = 4
  impl: str = 'jax'

  def __post_init__(self):
    if self.impl not in _IMPLEMENTATIONS:
      raise ValueError(
        f'impl: got {self.impl!r}, need one of {", ".join(_IMPLEMENTATIONS)}.'
      )
    for name, value in (
      ('solver_iterations', self.iterations),
      ('line_search_iterations', self.line_search_iterations),
    ):
      if not isinstance(value, int) or value < 1:
        raise ValueError(f'{name}: got {value!r}, need an integer from 1 on.')


class Physics:
  """Control steps of one simulation, in float32.

  The state is `(qpos, qvel)` and nothing else: as in the CPU environments the
  solver starts every control step cold and warm-starts from substep to substep.

  Everything that only depends on the model is held as numpy arrays: constants
  of whatever program is compiled, for whatever device.
  """

  def __init__(
    self, model: mujoco.MjModel, frame_skip: int, settings: SolverSettings
  ):
    """Prepares a model.

    Args:
      model: compiled by MuJoCo; left as it is.
      frame_skip: substeps in a control step.
      settings: of the solver.

    Raises:
      ValueError: if the model has what cannot be simulated here.
    """
    self._has_free_root = _check_joints(model)
    integrator = mujoco.mjtIntegrator(int(model.opt.integrator))
    if integrator not in _INTEGRATORS:
      raise ValueError(
        f'Argument `model` has the integrator {integrator.name}, need Euler or '
        'RK4.'
      )
    self._is_rk4 = integrator == mujoco.mjtIntegrator.mjINT_RK4
    self._frame_skip = frame_skip
    self._timestep = float(model.opt.timestep)
    model = copy.copy(model)
    model.opt.iterations = settings.iterations
    model.opt.ls_iterations = settings.line_search_iterations
    self._impl = settings.impl
    self._model, self._data = _put(model, settings.impl)
    # Traced once, however many times a program steps.
    self._jitted_step = jax.jit(self._step)

  def step(
    self, qpos: chex.Array, qvel: chex.Array, control: chex.Array
  ) -> tuple[chex.Array, chex.Array]:
    """One control step.

    Args:
      qpos: `[nq]`.
      qvel: `[nv]`.
      control: `[nu]`, within the actuators' ranges.

    Returns:
      Positions and velocities afterwards, float32.
    """
    return self._jitted_step(qpos, qvel, control)

  def _step(self, qpos, qvel, control):
    model, data = jax.tree_util.tree_map(jnp.asarray, (self._model, self._data))
    data = data.replace(ctrl=control)
    if self._impl != 'jax':
      substep = _whole_substep
    else:
      substep = self._rk4_substep if self._is_rk4 else _euler_substep

    def body(carry, _):
      new = substep(model, data, *carry)
      # MJX computes in float64 where JAX's x64 mode is on.
      return tuple(x.astype(jnp.float32) for x in new), None

    qpos, qvel = qpos.astype(jnp.float32), qvel.astype(jnp.float32)
    carry = (qpos, qvel, jnp.zeros_like(qvel))
    (qpos, qvel, _), _ = lax.scan(body, carry, length=self._frame_skip)
    return qpos, qvel

  def _rk4_substep(self, model, data, qpos, qvel, warm_start):
    """One Runge-Kutta step, the four stages in a loop.

    `mjx.step` does the same with the stages unrolled: four times the program,
    and minutes of compilation.
    """

    def stage(carry, coefficients):
      velocity, acceleration, velocity_sum, acceleration_sum = carry
      offset, weight = coefficients
      position = self._integrate(qpos, velocity, offset * self._timestep)
      velocity = qvel + offset * self._timestep * acceleration
      acceleration = _forward(
        model,
        data.replace(qpos=position, qvel=velocity, qacc_warmstart=warm_start),
      ).qacc.astype(jnp.float32)
      carry = (
        velocity,
        acceleration,
        velocity_sum + weight * velocity,
        acceleration_sum + weight * acceleration,
      )
      return carry, None

    (_, last_acceleration, velocity, acceleration), _ = lax.scan(
      stage, (jnp.zeros_like(qvel),) * 4, (_RK4_OFFSETS, _RK4_WEIGHTS)
    )
    return (
      self._integrate(qpos, velocity, self._timestep),
      qvel + self._timestep * acceleration,
      last_acceleration,
    )

  def _integrate(self, qpos, qvel, duration):
    """Positions after moving with constant velocity."""
    if not self._has_free_root:
      return qpos + duration * qvel
    return jnp.concatenate(
      [
        qpos[:3] + duration * qvel[:3],
        _rotate(qpos[3:_NUM_FREE_POSITIONS], duration * qvel[3:6]),
        qpos[_NUM_FREE_POSITIONS:] + duration * qvel[_NUM_FREE_VELOCITIES:],
      ]
    )


def _whole_substep(model, data, qpos, qvel, warm_start):
  """MJX's own step, for implementations that cannot be taken apart."""
  data = data.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warm_start)
  data = mjx.step(model, data)
  return data.qpos, data.qvel, data.qacc_warmstart


def _euler_substep(model, data, qpos, qvel, warm_start):
  """One semi-implicit Euler step."""
  data = data.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warm_start)
  data = mjx.euler(model, _forward(model, data))
  return data.qpos, data.qvel, data.qacc_warmstart


def _forward(model, data):
  """`mjx.forward`, without sensors, and with MuJoCo's own contact frames."""
  data = mjx.kinematics(model, data)
  data = mjx.com_pos(model, data)
  data = mjx.crb(model, data)
  data = mjx.factor_m(model, data)
  data = mjx.collision(model, data)
  if _must_align_frames():
    data = _align_frames(model, data)
  data = mjx.make_constraint(model, data)
  data = mjx.transmission(model, data)
  data = mjx.fwd_velocity(model, data)
  data = mjx.fwd_actuation(model, data)
  data = mjx.fwd_acceleration(model, data)
  return mjx.solve(model, data)


@functools.cache
def _must_align_frames() -> bool:
  """Whether MJX lays contact frames otherwise than MuJoCo.

  Known of the releases until now; a later one is tried.
  """
  release = re.findall(r'\d+', metadata.version('mujoco-mjx'))[:2]
  if tuple(map(int, release)) <= LAST_UNALIGNED_RELEASE:
    return True
  return not mjx_aligns_frames()


def mjx_aligns_frames() -> bool:
  """Whether MJX's own contact frame of a steep capsule is along the capsule."""
  model = mujoco.MjModel.from_xml_string(_STEEP_CAPSULE)
  device_model = mjx.put_model(model, impl='jax')
  with jax.ensure_compile_time_eval():
    data = mjx.make_data(model, impl='jax')
    data = mjx.kinematics(device_model, data)
    data = mjx.collision(device_model, data)
    # The capsule leans in the plane of x and z.
    return bool(abs(data._impl.contact.frame[0, 1, 0]) > 0.99)


# 15° off the normal: MJX 3.17 falls back to fixed axes within 30°.
_STEEP_CAPSULE = """
<mujoco><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body pos="0 0 .5" euler="0 15 0">
    <freejoint/><geom type="capsule" size=".1 .5"/>
  </body>
</worldbody></mujoco>
"""


def _align_frames(model, data):
  """Lays the tangents of contacts between floor and capsules along these.

  So MuJoCo does at any angle, but MJX only for capsules that are more than 30°
  off the normal (https://github.com/google-deepmind/mujoco/issues/2774). With
  pyramidal friction cones the tangents matter: the ants' feet slide elsewhere.
  """
  contact = data._impl.contact
  plane, capsule = (
    jnp.asarray(model.geom_type == int(kind))[contact.geom[:, column]]
    for column, kind in enumerate(_PLANE_AND_CAPSULE)
  )
  normal, tangent = contact.frame[:, 0], contact.frame[:, 1]
  axis = data.geom_xmat[contact.geom[:, 1]][..., 2]
  along = axis - normal * jnp.sum(normal * axis, axis=-1, keepdims=True)
  length = jnp.sqrt(jnp.sum(jnp.square(along), axis=-1, keepdims=True))
  is_aligned = (plane & capsule)[:, jnp.newaxis] & (length > _MIN_PROJECTION)
  tangent = jnp.where(
    is_aligned, along / jnp.maximum(length, _MIN_PROJECTION), tangent
  )
  frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
  return data.tree_replace({'_impl.contact.frame': frame})


def _rotate(quaternion, rotation):
  """A unit quaternion `[4]`, turned by the local rotation vector `[3]`."""
  # w, x, y, z of the rotation; sinc is safe at zero: sin(πx) / (πx).
  half_angle = jnp.sqrt(jnp.sum(jnp.square(rotation))) / 2
  w = jnp.cos(half_angle)
  xyz = jnp.sinc(half_angle / np.pi) / 2 * rotation
  w0, xyz0 = quaternion[0], quaternion[1:]
  product = jnp.concatenate(
    [
      (w0 * w - jnp.dot(xyz0, xyz))[jnp.newaxis],
      w0 * xyz + w * xyz0 + jnp.cross(xyz0, xyz),
    ]
  )
  return product / jnp.sqrt(jnp.sum(jnp.square(product)))


def _check_joints(model: mujoco.MjModel) -> bool:
  """Whether the model has a free root; refuses joints not handled here."""
  types = [mujoco.mjtJoint(int(kind)) for kind in model.jnt_type]
  simple = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
  has_free_root = bool(types) and types[0] == mujoco.mjtJoint.mjJNT_FREE
  if any(joint not in simple for joint in types[has_free_root:]) or model.na:
    raise ValueError(
      'Argument `model` must have hinges and slides only, perhaps below a free '
      'root, and no activations.'
    )
  return has_free_root


def _put(model: mujoco.MjModel, impl: str):
  """The model and an empty state for MJX, as float32 numpy arrays."""
  try:
    on_device = mjx.put_model(model, impl='jax')
    data = mjx.make_data(model, impl='jax')
    if impl == 'warp':
      num_constraints = data._impl.efc_J.shape[0]
      on_device = mjx.put_model(model, impl=impl)
      data = mjx.make_data(
        model, impl=impl, naconmax=_MAX_WARP_CONTACTS, njmax=num_constraints
      )
  except (AttributeError, NotImplementedError, TypeError) as error:
    raise ImportError(
      f'mujoco-mjx cannot take a model of MuJoCo {mujoco.__version__} '
      f'({error}); install releases of both that belong together.'
    ) from error
  except RuntimeError as error:
    raise ImportError(
      f"impl='warp' needs the package warp-lang ({error})."
    ) from error
  return jax.tree_util.tree_map(_to_numpy, (on_device, data))


def _to_numpy(leaf):
  leaf = np.asarray(leaf)
  if np.issubdtype(leaf.dtype, np.floating):
    return leaf.astype(np.float32)
  return leaf
