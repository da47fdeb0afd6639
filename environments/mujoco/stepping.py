"""Stepping many simulations at once.

Two steppers with one interface and the same physics, bit for bit:
`NativeStepper` runs MuJoCo's own batch call in C threads and knows only the
state afterwards; `ThreadedStepper` loops in Python threads (MuJoCo releases the
interpreter lock) and can read any other field of the simulation too.

A simulation is its row `[qpos, qvel]`: the solver's warm start is zeroed before
every control step, so that nothing outside the row carries over, rows can be
saved and restored exactly, and any thread may run any simulation. Within the
substeps of one control step the solver does warm-start.
"""

from collections.abc import Sequence
from concurrent import futures
import os
from typing import NamedTuple, Protocol

import mujoco
from mujoco import rollout
import numpy as np

# Every control step starts at this simulated time, in seconds. MuJoCo answers
# divergence by resetting the simulation, its clock included, and the batch call
# stops at any warning: a wrong time at the end betrays both.
_START_TIME = 1.0
_FULL_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
_CONTROL = mujoco.mjtState.mjSTATE_CTRL.value
# Python work per simulation is small: enough chunks to balance the threads.
_CHUNKS_PER_THREAD = 8


class Stepped(NamedTuple):
  """What `n` simulations became; the arrays are valid until the next call.

  Attributes:
    state: `[n, nq + nv]` positions and velocities.
    completed: `[n]` whether every substep was taken without a complaint.
    fields: by name `[n, size]`, the fields of `MjData` that were asked for.
  """

  state: np.ndarray
  completed: np.ndarray
  fields: dict[str, np.ndarray]


class Stepper(Protocol):
  """Steps simulations given as rows, each on a model of its own."""

  def forward(
    self, models: Sequence[mujoco.MjModel], state: np.ndarray
  ) -> dict[str, np.ndarray]:
    """The fields at `state`, `[n, nq + nv]`, without stepping."""

  def step(
    self,
    models: Sequence[mujoco.MjModel],
    state: np.ndarray,
    control: np.ndarray,
  ) -> Stepped:
    """One control step under `control`, `[n, nu]`."""

  def close(self) -> None:
    """Ends the threads."""


def num_usable_cpus() -> int:
  """How many processors this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


class _Clock:
  """Sizes of the model, and what time it is after a step.

  Args:
    model: gives the sizes; the models stepped must be of the same sizes.
    frame_skip: substeps in a control step.
  """

  def __init__(self, model: mujoco.MjModel, frame_skip: int):
    self._sizes = _Sizes(model)
    self._frame_skip = frame_skip
    self._end_time = _START_TIME + frame_skip * model.opt.timestep
    self._tolerance = model.opt.timestep / 2
    self._capacity = 0

  def _is_complete(self, time: np.ndarray) -> np.ndarray:
    """Whether all substeps were taken, by the times afterwards."""
    return np.abs(time - self._end_time) < self._tolerance


class NativeStepper(_Clock):
  """All simulations in one call of `mujoco.rollout`, on a lasting thread pool.

  Args:
    model: gives the sizes; the models stepped must be of the same sizes.
    frame_skip: substeps in a control step.
    num_threads: C threads; 1 runs on the calling thread.
  """

  def __init__(self, model: mujoco.MjModel, frame_skip: int, num_threads: int):
    super().__init__(model, frame_skip)
    self._pool = rollout.Rollout(nthread=num_threads if num_threads > 1 else 0)
    self._data = [mujoco.MjData(model) for _ in range(num_threads)]

  def forward(self, models, state):
    del models, state
    return {}

  def step(self, models, state, control):
    num_simulations = len(state)
    self._reserve(num_simulations)
    initial = self._initial[:num_simulations]
    initial[:, 1:] = state
    controls = self._controls[:num_simulations]
    controls[:] = control[:, None]
    trajectory = self._trajectory[:num_simulations]
    # Unchecked: the checks walk over every model and copy every input.
    self._pool.rollout(
      models,
      self._data,
      initial,
      controls,
      control_spec=_CONTROL,
      skip_checks=True,
      nstep=self._frame_skip,
      state=trajectory,
    )
    after = trajectory[:, -1]
    return Stepped(after[:, 1:], self._is_complete(after[:, 0]), {})

  def close(self):
    self._pool.close()

  def _reserve(self, num_simulations: int) -> None:
    if num_simulations <= self._capacity:
      return
    sizes, steps = self._sizes, self._frame_skip
    self._initial = np.full((num_simulations, sizes.full), _START_TIME)
    self._controls = np.empty((num_simulations, steps, sizes.control))
    self._trajectory = np.empty((num_simulations, steps, sizes.full))
    self._capacity = num_simulations


class ThreadedStepper(_Clock):
  """One `MjData` a thread, each simulation's row loaded into it in turn.

  After the substeps `mj_rnePostConstraint` computes the contact forces, which
  MuJoCo leaves at zero otherwise. Fields other than the state describe the
  beginning of the last substep (with the Runge-Kutta integrator: its last
  stage), as after any `mj_step`; gymnasium's environments read the same values.

  Args:
    model: gives the sizes; the models stepped must be of the same sizes.
    frame_skip: substeps in a control step.
    num_threads: Python threads; 1 runs on the calling thread.
    fields: names of the `MjData` arrays to report.
  """

  def __init__(
    self,
    model: mujoco.MjModel,
    frame_skip: int,
    num_threads: int,
    fields: Sequence[str],
  ):
    super().__init__(model, frame_skip)
    self._names = tuple(fields)
    self._workers = [_Worker(model, fields) for _ in range(num_threads)]
    self._pool = (
      futures.ThreadPoolExecutor(num_threads) if num_threads > 1 else None
    )

  def forward(self, models, state):
    self._run(models, state, None)
    return self._fields(len(state))

  def step(self, models, state, control):
    self._run(models, state, control)
    after = self._state[: len(state)]
    completed = self._is_complete(after[:, 0])
    return Stepped(after[:, 1:], completed, self._fields(len(state)))

  def close(self):
    if self._pool is not None:
      self._pool.shutdown()

  def _fields(self, num_simulations: int) -> dict[str, np.ndarray]:
    return dict(
      zip(
        self._names,
        [output[:num_simulations] for output in self._outputs],
        strict=True,
      )
    )

  def _run(self, models, state, control) -> None:
    num_simulations = len(state)
    self._reserve(num_simulations)
    self._state[:num_simulations, 0] = _START_TIME
    self._state[:num_simulations, 1:] = state
    size = -(-num_simulations // (_CHUNKS_PER_THREAD * len(self._workers)))
    chunks = [
      range(start, min(start + size, num_simulations))
      for start in range(0, num_simulations, size)
    ]
    if self._pool is None:
      self._drain(self._workers[0], chunks, models, control)
      return
    running = [
      self._pool.submit(self._drain, worker, chunks, models, control)
      for worker in self._workers
    ]
    for future in running:
      future.result()

  def _drain(self, worker, chunks, models, control) -> None:
    """Simulates chunks until none is left; several threads share the list."""
    while True:
      try:
        chunk = chunks.pop()
      except IndexError:
        return
      for i in chunk:
        row = self._state[i]
        if control is None:
          worker.forward(models[i], row)
        else:
          worker.step(models[i], row, control[i], self._frame_skip)
        for output, view in zip(self._outputs, worker.views, strict=True):
          output[i] = view

  def _reserve(self, num_simulations: int) -> None:
    if num_simulations <= self._capacity:
      return
    self._state = np.empty((num_simulations, self._sizes.full))
    self._outputs = [
      np.empty((num_simulations, view.size)) for view in self._workers[0].views
    ]
    self._capacity = num_simulations


class _Worker:
  """One `MjData` and views of those of its arrays that are read or written."""

  def __init__(self, model: mujoco.MjModel, fields: Sequence[str]):
    self._data = mujoco.MjData(model)
    self._warm_start = self._data.qacc_warmstart
    self._control = self._data.ctrl
    self.views = [getattr(self._data, name).reshape(-1) for name in fields]

  def step(self, model, row, control, frame_skip) -> None:
    """Steps the simulation whose full state is `row`, in place."""
    data = self._data
    mujoco.mj_setState(model, data, row, _FULL_STATE)
    self._warm_start[:] = 0.0
    self._control[:] = control
    mujoco.mj_step(model, data, frame_skip)
    mujoco.mj_rnePostConstraint(model, data)
    mujoco.mj_getState(model, data, row, _FULL_STATE)

  def forward(self, model, row) -> None:
    """Computes the fields at `row`, under no control."""
    data = self._data
    mujoco.mj_setState(model, data, row, _FULL_STATE)
    self._warm_start[:] = 0.0
    self._control[:] = 0.0
    mujoco.mj_forward(model, data)
    mujoco.mj_rnePostConstraint(model, data)


class _Sizes:
  """Sizes of a model whose state is its positions and velocities only."""

  def __init__(self, model: mujoco.MjModel):
    self.control = model.nu
    self.full = mujoco.mj_stateSize(model, _FULL_STATE)
    if self.full != 1 + model.nq + model.nv:
      raise ValueError(
        'Argument `model` has a state beyond time, positions and velocities '
        f'({self.full} numbers for nq={model.nq}, nv={model.nv}): models with '
        'activations or plugins cannot be stepped here.'
      )
