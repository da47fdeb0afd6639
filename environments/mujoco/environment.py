"""One class for every locomotion task; what differs is data."""

from collections.abc import Callable
from typing import NamedTuple

from dm_env import specs
import mujoco
import numpy as np

from acme_metarl import types
from acme_metarl.environments import action_scaling, batched
from acme_metarl.environments.mujoco import (
  definitions,
  models,
  random_params,
  stepping,
)


class PhysicsState(NamedTuple):
  """All that a simulation carries from one environment step to the next.

  Attributes:
    qpos: `[G, B, nq]` positions.
    qvel: `[G, B, nv]` velocities.
  """

  qpos: np.ndarray
  qvel: np.ndarray


class LocomotionEnvironment:
  """A `BatchedEnvironment` of MuJoCo simulations.

  A rollout that has ended is not simulated any more: it repeats its last
  observation with reward 0 and discount 0 until the next reset.

  A rollout whose physics diverges ends there: its last finite observation,
  reward 0, discount 0, never a NaN. `diverged` says which the last step ended
  so; the trial counts them.

  The bare state decides the future exactly: the solver starts every environment
  step cold. gymnasium's environments warm-start it from the previous step, so
  they agree bit for bit only where that is switched off.
  """

  def __init__(
    self,
    name: str,
    task: definitions.Locomotion,
    num_threads: int | None = None,
  ):
    """Compiles the model and starts the threads.

    Args:
      name: what it is called, for messages.
      task: the distribution over tasks.
      num_threads: threads that step the simulations; by default as many as
        there are processors to use.

    Raises:
      ValueError: if `num_threads` is less than 1.
    """
    if num_threads is None:
      num_threads = stepping.num_usable_cpus()
    if num_threads < 1:
      raise ValueError(f'num_threads: got {num_threads}, need at least 1.')
    self._name = name
    self._task = task
    self._robot = robot = task.robot
    self._model = model = models.load(robot.model_file)
    fields = list(robot.observed_fields)
    if task.contact and 'cfrc_ext' not in fields:
      fields.append('cfrc_ext')
    self._observed_fields = tuple(fields)
    if robot.velocity_is_of_mass_centre:
      fields.append('xipos')
    if fields:
      self._stepper = stepping.ThreadedStepper(
        model, robot.frame_skip, num_threads, fields
      )
    else:
      self._stepper = stepping.NativeStepper(
        model, robot.frame_skip, num_threads
      )
    self._control_range = model.actuator_ctrlrange.T.copy()
    self._mass_fraction = model.body_mass / model.body_mass.sum()
    self._batch_shape = None
    self._compiled_tasks = None

  def __repr__(self) -> str:
    return f'LocomotionEnvironment({self._name!r})'

  @property
  def has_finite_tasks(self) -> bool:
    """Whether evaluation may meet the tasks of training."""
    return self._task.has_finite_tasks

  @property
  def model(self) -> mujoco.MjModel:
    """The model; that of random-parameter tasks before any scaling."""
    return self._model

  @property
  def model_path(self) -> str:
    """Path of the XML file that `model` was compiled from."""
    return models.find(self._robot.model_file)

  @property
  def frame_skip(self) -> int:
    """Physics steps per environment step."""
    return self._robot.frame_skip

  @property
  def dt(self) -> float:
    """Seconds per environment step."""
    return self._robot.frame_skip * self._model.opt.timestep

  @property
  def diverged(self) -> np.ndarray:
    """Which rollouts the last step ended because they diverged, `[G, B]`."""
    self._check_started('diverged')
    return self._diverged.reshape(self._batch_shape).copy()

  def observation_spec(self) -> specs.Array:
    """Positions, velocities, further fields; see `definitions.Robot`."""
    size = self._model.nq - self._robot.num_hidden_positions + self._model.nv
    data = mujoco.MjData(self._model)
    size += sum(getattr(data, field).size for field in self._observed_fields)
    return specs.Array((size,), np.float32, 'observation')

  def action_spec(self) -> specs.Array:
    """Raw actions: unbounded, see `action_scaling`."""
    return action_scaling.raw_action_spec(self._model.nu)

  @property
  def task_distribution(self) -> Callable[..., types.PyTree]:
    """How tasks are drawn, see `task_distributions`."""
    return self._task.sample_tasks

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    """Draws `num_tasks` tasks, `[G, ...]` float32 arrays."""
    if num_tasks < 1:
      raise ValueError(f'num_tasks: got {num_tasks}, need at least 1.')
    return self._task.sample_tasks(self._model, rng, num_tasks)

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Starts `num_rollouts` rollouts of each task: `[G, B, ...]` float32."""
    if num_rollouts < 1:
      raise ValueError(f'num_rollouts: got {num_rollouts}, need at least 1.')
    num_tasks = self._set_tasks(tasks, num_rollouts)
    self._batch_shape = (num_tasks, num_rollouts)
    model, robot = self._model, self._robot
    num_simulations = num_tasks * num_rollouts
    qpos = model.qpos0 + rng.uniform(
      -robot.position_noise, robot.position_noise, (num_simulations, model.nq)
    )
    shape = (num_simulations, model.nv)
    if robot.velocity_noise_is_normal:
      qvel = robot.velocity_noise * rng.standard_normal(shape)
    else:
      qvel = rng.uniform(-robot.velocity_noise, robot.velocity_noise, shape)
    return self._start(np.concatenate([qpos, qvel], axis=1))

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Takes raw actions `[G, B, A]`; see `BatchedEnvironment`."""
    self._check_started('step')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    action = action.reshape(len(self._live), -1).astype(np.float64)
    control = action_scaling.scale_action(action, *self._control_range)
    reward = np.zeros(len(control), np.float32)
    discount = np.zeros(len(control), np.float32)
    self._diverged = np.zeros(len(control), bool)
    if self._live.all():
      self._advance(slice(None), control, reward, discount)
    elif self._live.any():
      self._advance(np.flatnonzero(self._live), control, reward, discount)
    shape = self._batch_shape
    return (
      self._observation.reshape(*shape, -1).copy(),
      reward.reshape(shape),
      discount.reshape(shape),
    )

  def get_state(self) -> PhysicsState:
    """The physics of all rollouts, a copy."""
    self._check_started('get_state')
    state = self._state.reshape(*self._batch_shape, -1).copy()
    return PhysicsState(
      state[..., : self._model.nq], state[..., -self._model.nv :]
    )

  def set_state(self, state: PhysicsState) -> np.ndarray:
    """Puts all rollouts into a state, as if a reset had led there.

    Observed fields other than the state are computed at the state; after a step
    they are those of the last physics substep, see `stepping.ThreadedStepper`.

    Args:
      state: of the shapes that `get_state` returns.

    Returns:
      Observations `[G, B, ...]`.

    Raises:
      ValueError: on other shapes, numbers that are not finite, or before the
        first reset.
    """
    self._check_started('set_state')
    parts = []
    for name, size in (('qpos', self._model.nq), ('qvel', self._model.nv)):
      part = np.asarray(getattr(state, name), np.float64)
      if part.shape != (*self._batch_shape, size):
        raise ValueError(
          f'state: {name} has shape {part.shape}, need '
          f'{(*self._batch_shape, size)}.'
        )
      if not np.isfinite(part).all():
        raise ValueError(f'state: {name} is not finite.')
      parts.append(part.reshape(-1, size))
    return self._start(np.concatenate(parts, axis=1))

  def close(self) -> None:
    """Ends the threads; the environment cannot be used afterwards."""
    self._stepper.close()

  # Inside: everything is [N, ...] with N = G·B, or [n, ...] for live rollouts.

  def _check_started(self, what: str) -> None:
    if self._batch_shape is None:
      raise ValueError(f'{what}: there is no rollout yet; call reset first.')

  def _set_tasks(self, tasks: types.PyTree, num_rollouts: int) -> int:
    """Gives every rollout its task and its model; returns G."""
    if not self._task.has_random_params:
      tasks = np.asarray(tasks, np.float32)
      shape = self._task.task_shape
      if (
        tasks.ndim != 1 + len(shape)
        or tasks.shape[1:] != shape
        or not len(tasks)
      ):
        raise ValueError(
          f'tasks: got shape {tasks.shape}, need (G, *{shape}) with G >= 1.'
        )
      self._tasks = np.repeat(tasks.astype(np.float64), num_rollouts, axis=0)
      self._models = [self._model] * len(self._tasks)
      return len(tasks)
    tasks = random_params.check(self._model, tasks)
    # The stages of a trial reset to the same tasks: compile them once.
    if self._compiled_tasks is None or not all(
      map(np.array_equal, tasks, self._compiled_tasks)
    ):
      self._task_models = random_params.compile_models(self._model, tasks)
      self._compiled_tasks = random_params.PhysicalScales(
        *[scale.copy() for scale in tasks]
      )
    self._tasks = np.zeros(len(tasks.body_mass) * num_rollouts)
    self._models = [m for m in self._task_models for _ in range(num_rollouts)]
    return len(tasks.body_mass)

  def _start(self, state: np.ndarray) -> np.ndarray:
    """Begins all rollouts at `state` and returns their observations."""
    fields = self._stepper.forward(self._models, state)
    self._state = state
    self._live = np.ones(len(state), bool)
    self._diverged = np.zeros(len(state), bool)
    self._observation = self._observe(state, fields)
    self._centre = self._mass_centre(fields)
    return self._shown()

  def _shown(self) -> np.ndarray:
    """Observations `[G, B, ...]`, a copy."""
    return self._observation.reshape(*self._batch_shape, -1).copy()

  def _advance(self, index, control, reward, discount) -> None:
    """One environment step of the rollouts in `index`, written to the rest."""
    simulated = self._models
    if not isinstance(index, slice):
      simulated = [self._models[i] for i in index]
    before, control = self._state[index], control[index]
    after, completed, fields = self._stepper.step(simulated, before, control)
    # What has diverged may overflow float32; it is sorted out right here.
    with np.errstate(over='ignore', invalid='ignore'):
      observation = self._observe(after, fields)
      centre = self._mass_centre(fields)
      if centre is None:
        velocity = (after[:, :2] - before[:, :2]) / self.dt
      else:
        velocity = (centre - self._centre[index]) / self.dt
      gain = self._reward(self._tasks[index], after, velocity, control, fields)
      gain = gain.astype(np.float32)
      finite = (
        completed
        & (np.abs(after).max(axis=1) < definitions.MAX_STATE)
        & np.isfinite(observation).all(axis=1)
        & np.isfinite(gain)
      )
    well = finite
    if self._task.is_well is not None:
      nq = self._model.nq
      well = finite & self._task.is_well(after[:, :nq], after[:, nq:])
    if not finite.all():
      self._diverged[index] = ~finite
      after = np.where(finite[:, None], after, before)
      observation = np.where(
        finite[:, None], observation, self._observation[index]
      )
      gain = np.where(finite, gain, 0.0)
    self._state[index] = after
    self._observation[index] = observation
    if centre is not None:
      self._centre[index] = centre
    self._live[index] = well
    reward[index] = gain
    discount[index] = well

  def _observe(self, state, fields) -> np.ndarray:
    nq = self._model.nq
    parts = list(self._robot.observed_state(state[:, :nq], state[:, nq:]))
    parts += [
      self._contact_forces(fields) if name == 'cfrc_ext' else fields[name]
      for name in self._observed_fields
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting='same_kind')

  def _contact_forces(self, fields) -> np.ndarray:
    limit = self._task.contact.limit
    return fields['cfrc_ext'].clip(-limit, limit)

  def _mass_centre(self, fields) -> np.ndarray | None:
    """Horizontal position of the centre of mass, `[n, 2]`."""
    if not self._robot.velocity_is_of_mass_centre:
      return None
    positions = fields['xipos'].reshape(-1, self._model.nbody, 3)
    return np.einsum('b,nbc->nc', self._mass_fraction, positions[..., :2])

  def _reward(self, tasks, state, velocity, control, fields) -> np.ndarray:
    task = self._task
    reward = task.motion_reward(tasks, state[:, :2], velocity, control)
    if task.contact is not None:
      forces = self._contact_forces(fields)
      cost = task.contact.cost * np.square(forces).sum(axis=1)
      reward -= np.minimum(cost, task.contact.max_cost)
    return reward
