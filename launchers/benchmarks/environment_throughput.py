"""How fast environments are, beside what they cannot be faster than."""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments
from acme_metarl.environments import action_scaling
from acme_metarl.launchers.benchmarks import benchmark, timing

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


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    environments: environments to measure: navigation_2d, or names of MuJoCo
      environments; +contact_forces behind an ant turns them on.
    num_tasks: tasks, G.
    num_rollouts: rollouts of each task, B.
    num_steps: MuJoCo: timed steps of all rollouts. 2-D navigation: timed loops
      of 100 steps.
    num_threads: threads that step MuJoCo; by default one per processor.
    seed: seed of all randomness.
  """

  environments: tuple[str, ...] = (
    'navigation_2d',
    'half_cheetah_direction',
    'half_cheetah_velocity',
    'ant_direction',
    'ant_goal',
    f'ant_goal{CONTACT}',
    'walker2d_direction',
    'hopper_params',
    'humanoid_direction',
  )
  num_tasks: int = 40
  num_rollouts: int = 20
  num_steps: int = 100
  num_threads: int | None = None
  seed: int = 0

  def __post_init__(self):
    benchmark.check_positive(self, 'num_tasks', 'num_rollouts', 'num_steps')
    if self.num_threads is not None:
      benchmark.check_positive(self, 'num_threads')
    known = ['navigation_2d']
    if set(self.environments) != set(known):  # Otherwise MuJoCo may be missing.
      from acme_metarl.environments.mujoco import locomotion

      known += locomotion.TASKS
      known += [
        f'{name}{CONTACT}'
        for name, task in locomotion.TASKS.items()
        if task.contact_is_optional
      ]
    benchmark.check_names('environments', self.environments, known)


def measure(config: Config) -> Iterator[benchmark.Row]:
  """Yields two rows an environment: its steps a second, and the bare ones."""
  for name in config.environments:
    if name == 'navigation_2d':
      yield from measure_navigation(
        config.num_tasks, config.num_rollouts, config.num_steps, config.seed
      )
    else:
      yield from measure_locomotion(
        name,
        config.num_tasks,
        config.num_rollouts,
        config.num_steps,
        config.seed,
        config.num_threads,
      )


def _rows(
  name: str,
  num_simulations: int,
  seconds: Mapping[str, np.ndarray],
  target: float | None,
) -> list[benchmark.Row]:
  """Rows of the seconds per environment step of both sides."""
  ratio = float(np.median(seconds['bare'] / seconds['environment']))
  rows = [
    benchmark.Row(
      f'{name}, {num_simulations} simulations',
      side,
      float(1 / np.median(own)),
      'steps/s',
      ratio=ratio if side == 'environment' else None,
    )
    for side, own in seconds.items()
  ]
  if target is not None:
    rows[0] = rows[0].at_least(target)
  return rows


def measure_navigation(
  num_tasks: int, num_rollouts: int, num_loops: int, seed: int
) -> list[benchmark.Row]:
  """Times 2-D navigation on JAX's default device.

  Args:
    num_tasks: G.
    num_rollouts: B.
    num_loops: timed loops of 100 steps.
    seed: of all randomness.

  Returns:
    Rows; the bare computation draws the actions and does nothing with them.
  """
  environment = environments.make('navigation_2d')
  num_simulations = num_tasks * num_rollouts
  keys = jax.random.split(jax.random.PRNGKey(seed), 3)
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

  seconds = timing.take_turns(
    {
      'environment': lambda: jax.block_until_ready(play(state, keys[2])),
      'bare': lambda: jax.block_until_ready(draw(keys[2])),
    },
    num_loops,
  )
  steps = _HORIZON * num_simulations
  return _rows(
    'navigation_2d',
    num_simulations,
    {name: own / steps for name, own in seconds.items()},
    _NAVIGATION_TARGET,
  )


def measure_locomotion(
  name: str,
  num_tasks: int,
  num_rollouts: int,
  num_steps: int,
  seed: int,
  num_threads: int | None = None,
) -> list[benchmark.Row]:
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
    Rows.
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
  action = returned = None

  def step():
    nonlocal returned
    returned = environment.step(action)

  turns = timing.turns({'environment': step, 'bare': bare.step})
  taken = []
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
    seconds = next(turns)
    if turn >= _NUM_WARM_UPS:
      taken.append({name: x / live.sum() for name, x in seconds.items()})
    live &= returned[2] > 0  # The discounts.
  environment.close()
  seconds = {name: np.array([x[name] for x in taken]) for name in taken[0]}
  return _rows(name, live.size, seconds, _TARGETS.get(name))


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
