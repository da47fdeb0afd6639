"""How fast environments are, beside what they cannot be faster than."""

from collections.abc import Callable, Sequence
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments
from acme_metarl.environments import action_scaling

# Behind the name of an environment: make it with this option.
CONTACT = '+contact_forces'
_NUM_WARM_UPS = 3
_HORIZON = 100
_NAVIGATION_TARGET = 0.5
# Of bare stepping; the others are measured without a target.
_TARGETS = {
  'half_cheetah_direction': 0.85,
  'half_cheetah_velocity': 0.85,
  'ant_direction': 0.9,
  'ant_direction_2d': 0.9,
  'ant_goal': 0.9,
}


class Result(NamedTuple):
  """One row of the table.

  Attributes:
    environment: its name.
    num_simulations: G × B, rollouts stepped together.
    steps_per_second: environment steps per second, all rollouts together.
    bare_steps_per_second: the same of the bare computation.
    ratio: of the two, the median over the turns: what else the machine does
      comes and goes, but both sides of one turn mostly share it.
    target: what the ratio should be at least; None where there is no target.
    is_met: whether it is; None where there is no target.
  """

  environment: str
  num_simulations: int
  steps_per_second: float
  bare_steps_per_second: float
  ratio: float
  target: float | None
  is_met: bool | None


def _result(
  name: str,
  num_simulations: int,
  seconds: Sequence[float],
  bare_seconds: Sequence[float],
  target: float | None,
) -> Result:
  """Makes a row of the seconds per environment step of both sides."""
  seconds, bare_seconds = np.asarray(seconds), np.asarray(bare_seconds)
  ratio = float(np.median(bare_seconds / seconds))
  return Result(
    name,
    num_simulations,
    float(1 / np.median(seconds)),
    float(1 / np.median(bare_seconds)),
    ratio,
    target,
    None if target is None else ratio >= target,
  )


def _take_turns(
  turn: int, function: Callable[[], Any], bare: Callable[[], Any]
) -> tuple[Any, tuple[float, float]]:
  """Runs and times both; the order alternates, as caches favour the second.

  Args:
    turn: its parity says who goes first.
    function: what is measured.
    bare: what it is compared with.

  Returns:
    What `function` returned, and the seconds of both.
  """
  if turn % 2:
    _, bare_seconds = _timed(bare)
    returned, seconds = _timed(function)
  else:
    returned, seconds = _timed(function)
    _, bare_seconds = _timed(bare)
  return returned, (seconds, bare_seconds)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
  start = time.perf_counter()
  returned = function()
  return returned, time.perf_counter() - start


def measure_navigation(
  num_tasks: int, num_rollouts: int, num_loops: int, seed: int
) -> Result:
  """Times 2-D navigation on JAX's default device.

  Args:
    num_tasks: G.
    num_rollouts: B.
    num_loops: timed loops of 100 steps.
    seed: of all randomness.

  Returns:
    A row; the bare computation draws the actions and does nothing with them.
  """
  environment = environments.make('navigation_2d')
  num_simulations = num_tasks * num_rollouts
  keys = jax.random.split(jax.random.PRNGKey(seed), 2 + num_loops)
  state, _ = jax.vmap(environment.reset)(
    jax.random.split(keys[0], num_simulations),
    jax.vmap(environment.sample_task)(
      jax.random.split(keys[1], num_simulations)
    ),
  )

  # One call for the actions of all steps is the fastest way to draw them.
  @jax.jit
  def draw(key):
    shape = environment.action_spec().shape
    return jax.random.normal(key, (_HORIZON, num_simulations, *shape))

  @jax.jit
  def play(state, key):
    def step(carry, action):
      state, total = carry
      state, time_step = jax.vmap(environment.step)(state, action)
      return (state, total + time_step.reward), ()

    carry = state, jnp.zeros(num_simulations)
    return jax.lax.scan(step, carry, draw(key))[0]

  def wait_for(function, *args):
    return jax.block_until_ready(function(*args))

  for _ in range(_NUM_WARM_UPS):
    jax.block_until_ready((play(state, keys[2]), draw(keys[2])))
  seconds = [
    _take_turns(
      turn,
      functools.partial(wait_for, play, state, key),
      functools.partial(wait_for, draw, key),
    )[1]
    for turn, key in enumerate(keys[2:])
  ]
  seconds = np.array(seconds) / (_HORIZON * num_simulations)
  return _result(
    'navigation_2d', num_simulations, *seconds.T, _NAVIGATION_TARGET
  )


def measure_locomotion(
  name: str,
  num_tasks: int,
  num_rollouts: int,
  num_steps: int,
  seed: int,
  num_threads: int | None = None,
) -> Result:
  """Times a MuJoCo environment.

  Rollouts that have ended are stepped by neither side, and do not count.

  Args:
    name: of the environment, perhaps with `+contact_forces`.
    num_tasks: G.
    num_rollouts: B.
    num_steps: timed steps of all rollouts.
    seed: of all randomness.
    num_threads: of both sides; by default one per processor.

  Returns:
    A row.
  """
  from acme_metarl.environments.mujoco import random_params, stepping

  num_threads = num_threads or stepping.num_usable_cpus()
  options = {'contact_forces': True} if name.endswith(CONTACT) else {}
  environment = environments.make(
    name.removesuffix(CONTACT), num_threads=num_threads, **options
  )
  rng = np.random.default_rng(seed)
  tasks = environment.sample_tasks(rng, num_tasks)
  models = [environment.model] * num_tasks
  if isinstance(tasks, random_params.PhysicalScales):
    models = random_params.compile_models(environment.model, tasks)
  bare = _BareStepping(environment.model, environment.frame_skip, num_threads)
  low, high = environment.model.actuator_ctrlrange.T
  shape = (num_tasks, num_rollouts, environment.model.nu)
  live = np.zeros(shape[:2], bool)
  seconds = []
  for turn in range(_NUM_WARM_UPS + num_steps):
    if turn % _HORIZON == 0 or live.mean() < 0.5:
      environment.reset(tasks, num_rollouts, rng)
      live = np.ones(shape[:2], bool)
    action = rng.standard_normal(shape).astype(np.float32)
    control = action_scaling.scale_action(action.astype(np.float64), low, high)
    bare.prepare(
      [models[task] for task in np.nonzero(live)[0]],
      np.concatenate(environment.get_state(), axis=-1)[live],
      control[live],
    )
    (_, _, discount), taken = _take_turns(
      turn, functools.partial(environment.step, action), bare.step
    )
    if turn >= _NUM_WARM_UPS:
      seconds.append(np.array(taken) / live.sum())
    live &= discount > 0
  environment.close()
  return _result(name, live.size, *np.transpose(seconds), _TARGETS.get(name))


class _BareStepping:
  """MuJoCo's own batch call, with its inputs and outputs ready."""

  def __init__(self, model: Any, frame_skip: int, num_threads: int):
    # Imported here: 2-D navigation is measured without MuJoCo.
    import mujoco
    from mujoco import rollout

    self._frame_skip = frame_skip
    self._pool = rollout.Rollout(nthread=num_threads if num_threads > 1 else 0)
    self._data = [mujoco.MjData(model) for _ in range(num_threads)]

  def prepare(
    self, models: list[Any], state: np.ndarray, control: np.ndarray
  ) -> None:
    """Takes positions and velocities `[n, nq + nv]` and controls `[n, nu]`."""
    self._models = models
    self._initial = np.insert(state, 0, 0.0, axis=1)  # The time.
    self._control = np.repeat(control[:, None], self._frame_skip, axis=1)
    self._state = np.empty((len(state), self._frame_skip, state.shape[1] + 1))

  def step(self) -> None:
    """Steps all simulations."""
    self._pool.rollout(
      self._models,
      self._data,
      self._initial,
      self._control,
      skip_checks=True,
      nstep=self._frame_skip,
      state=self._state,
    )


def table(results: Sequence[Result]) -> str:
  """Formats the rows for people."""
  lines = [
    f'{"environment":<28}{"G × B":>7}{"steps/s":>13}{"bare steps/s":>14}'
    f'{"ratio":>8}{"target":>8}'
  ]
  for row in results:
    target = '' if row.target is None else f'{row.target:.2f}'
    lines.append(
      f'{row.environment:<28}{row.num_simulations:>7}'
      f'{row.steps_per_second:>13,.0f}{row.bare_steps_per_second:>14,.0f}'
      f'{row.ratio:>8.3f}{target:>8}'
      + ('  missed' if row.is_met is False else '')
    )
  return '\n'.join(lines)
