"""What an iteration costs through Acme and Reverb, and where the time goes."""

from collections import defaultdict
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import itertools
import time
from typing import Any

from acme import specs
import jax
import numpy as np

from acme_metarl import presets, types
from acme_metarl.agents import maml
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.launchers.benchmarks import benchmark, timing
from acme_metarl.launchers.runs import agent_trainer, host_devices
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.meta import learner as learner_lib

ENVIRONMENT = 'environment'
POLICY = 'policy'
REPLAY = 'adder and Reverb'
PREPARATION = 'preparation'
ADAPTATION = 'adaptation'
LEARNER = 'learner'
OTHER = 'other'
PARTS = (
  ENVIRONMENT,
  POLICY,
  REPLAY,
  PREPARATION,
  ADAPTATION,
  LEARNER,
  OTHER,
)


_THROUGH = 'through Acme and Reverb'
# Of it to direct calls.
_TARGET = 1.5


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    environment: task distribution.
    algorithm: preset.
    num_tasks: tasks.
    num_rollouts: rollouts of each task and stage.
    horizon: steps of a rollout.
    num_inner_steps: adaptation steps.
    num_turns: iterations of either side to measure.
    num_devices: CPU devices; by default one per core.
  """

  environment: str = 'navigation_2d'
  algorithm: str = 'promp_taypo2'
  num_tasks: int = 40
  num_rollouts: int = 20
  horizon: int = 100
  num_inner_steps: int = 1
  num_turns: int = 10
  num_devices: int | None = None

  def __post_init__(self):
    benchmark.check_positive(self, 'num_turns')
    benchmark.check_names('algorithm', [self.algorithm], presets.names())
    _ = self.run_config  # Refuses what there is not.

  @property
  def run_config(self) -> run_config.RunConfig:
    return run_config.RunConfig(
      environment=self.environment,
      preset=self.algorithm,
      algorithm=presets.make(
        self.algorithm,
        num_tasks=self.num_tasks,
        num_rollouts=self.num_rollouts,
        horizon=self.horizon,
        num_inner_steps=self.num_inner_steps,
      ),
    )


class _Clock:
  """Adds up the seconds that wrapped methods take, by label."""

  def __init__(self):
    self._seconds = defaultdict(float)

  def wrap(self, owner: Any, name: str, label: str) -> None:
    """Times a method or function attribute of an object from now on."""
    setattr(owner, name, self.timed(getattr(owner, name), label))

  def timed(self, function: Callable[..., Any], label: str):
    """Returns the function, timed until its results are there."""

    def call(*args, **kwargs):
      start = time.perf_counter()
      result = function(*args, **kwargs)
      jax.block_until_ready(result)
      self._seconds[label] += time.perf_counter() - start
      return result

    return call

  def iterate(self, iterator: Iterator[Any], label: str) -> Iterator[Any]:
    """Yields from the iterator, its work timed."""
    advance = self.timed(lambda: next(iterator), label)
    while True:
      yield advance()

  def take(self) -> dict[str, float]:
    """Returns the seconds since the last call."""
    seconds, self._seconds = self._seconds, defaultdict(float)
    return dict(seconds)


class _Direct:
  """An iteration without Acme and Reverb: the same compiled functions."""

  def __init__(self, config: run_config.RunConfig):
    algorithm = config.algorithm
    trial = config.trial_environment('train')
    spec = specs.make_environment_spec(trial)
    networks = maml.make_networks(spec, algorithm)
    learner = learner_lib.make_meta_learner(algorithm, networks.policy)
    policy = maml.MAMLBuilder(config.agent_config).make_policy(networks, spec)
    self._algorithm = algorithm
    self._environment = trial.environment
    self._start = jax.jit(policy.start, static_argnums=1)
    self._select_action = jax.jit(policy.select_action)
    self._adapt = jax.jit(policy.adapt)
    self._update = jax.jit(learner.update)
    self._device = jax.local_devices(backend=config.agent['actor_backend'])[0]
    self._rng = np.random.default_rng(config.seed)
    self._key = jax.device_put(jax.random.PRNGKey(config.seed), self._device)
    self._sharding = _sharding(algorithm.num_tasks)
    self._state = jax.device_put(
      learner.init(self._key, networks_lib.example_observation(spec)),
      _sharding(None),
    )
    self._iteration = 0

  def iterate(self) -> None:
    """Samples, adapts, learns."""
    algorithm = self._algorithm
    tasks = self._environment.sample_tasks(self._rng, algorithm.num_tasks)
    meta_params = jax.device_put(
      jax.device_get(self._state.params), self._device
    )
    params = self._start(meta_params, algorithm.num_tasks)
    stages = []
    for stage in range(algorithm.num_inner_steps + 1):
      if stage:
        params = self._adapt(meta_params, params, stages[-1])
      stages.append(self._sample(params, tasks, stage))
    trials = jax.tree_util.tree_map(lambda *x: np.stack(x, axis=1), *stages)
    self._state, metrics = self._update(
      self._state, jax.device_put(trials, self._sharding)
    )
    jax.device_get(metrics)
    self._iteration += 1

  def _sample(self, params, tasks, stage: int) -> types.Stage:
    algorithm = self._algorithm
    observation = self._environment.reset(
      tasks, algorithm.num_rollouts, self._rng
    )
    observations, steps = [observation], []
    first_step = stage * algorithm.horizon
    for step in range(first_step, first_step + algorithm.horizon):
      selection = self._select_action(
        params,
        observation,
        self._key,
        np.uint32(self._iteration),
        np.uint32(step),
      )
      selection = jax.tree_util.tree_map(np.asarray, selection)
      observation, reward, discount = self._environment.step(selection.action)
      observations.append(observation)
      steps.append(
        types.Stage(
          observation=(),
          action=selection.action,
          reward=reward,
          discount=discount,
          mask=np.ones_like(reward),
          behaviour_log_prob=selection.log_prob,
          behaviour_params=selection.params,
        )
      )

    def stack(*x):
      return np.stack(x, axis=2)

    return jax.tree_util.tree_map(stack, *steps)._replace(
      observation=jax.tree_util.tree_map(stack, *observations)
    )


def measure(config: Config) -> list[benchmark.Row]:
  """Measures both sides in turns, after a first one that compiles.

  Args:
    config: what is measured.

  Returns:
    Rows: an iteration through Acme and Reverb, its ratio to the same work by
    direct calls, and each of `PARTS` of it, with its share. Medians over turns.
  """
  host_devices.set_up(config.num_devices, config.num_tasks)
  run = config.run_config
  clock = _Clock()
  taken, parts = [], []
  direct = _Direct(run)
  with contextlib.closing(agent_trainer.Trainer(run)) as trainer:
    _instrument(trainer, clock)
    prepare = _Preparation(run, trainer)
    sides = {_THROUGH: trainer.iterate, 'direct': direct.iterate}
    turns = itertools.islice(timing.turns(sides), config.num_turns + 1)
    for turn, seconds in enumerate(turns):
      by_part = _split(seconds[_THROUGH], clock.take(), *prepare.seconds())
      if turn:
        taken.append(seconds)
        parts.append(by_part)
  case = benchmark.case_name(config.environment, run.algorithm)
  seconds = {name: np.array([x[name] for x in taken]) for name in sides}
  through, directly = benchmark.rows_of_turns(case, seconds, 'direct')
  median = {
    name: float(np.median([part[name] for part in parts])) for name in PARTS
  }
  total = sum(median.values())
  compute = sum(median[name] for name in PARTS if name not in (REPLAY, OTHER))
  return [
    through.at_most(_TARGET),
    directly,
    benchmark.Row(case, 'physics or XLA', compute, ratio=compute / total),
    *(
      benchmark.Row(case, f'part: {name}', x, ratio=x / total)
      for name, x in median.items()
    ),
  ]


def _instrument(trainer: agent_trainer.Trainer, clock: _Clock) -> None:
  """Times the parts of a trainer, which are private as a rule."""
  actor, learner = trainer.actor, trainer.learner
  recorder = actor._recorder
  clock.wrap(trainer.environment, 'reset', ENVIRONMENT)
  clock.wrap(trainer.environment, 'step', ENVIRONMENT)
  clock.wrap(actor, 'select_action', POLICY)
  clock.wrap(actor, '_adapt', ADAPTATION)
  clock.wrap(recorder, 'add_first', REPLAY)
  clock.wrap(recorder, 'add', REPLAY)
  clock.wrap(learner, '_update', LEARNER)
  learner._iterator = clock.iterate(learner._iterator, REPLAY)


class _Preparation:
  """Times `prepare` alone, which adaptation and learner contain."""

  def __init__(
    self, config: run_config.RunConfig, trainer: agent_trainer.Trainer
  ):
    algorithm = config.algorithm
    spec = specs.make_environment_spec(trainer.environment)
    networks = maml.make_networks(spec, algorithm)
    prepare = functools.partial(
      learner_lib.make_meta_learner(algorithm, networks.policy).prepare,
      trainer.learner.state.params,
    )
    self._recorder = trainer.actor._recorder
    # As the actor does it, on a CPU: task after task.
    self._one = jax.jit(lambda stage: jax.lax.map(prepare, stage))
    self._all = jax.jit(jax.vmap(jax.vmap(prepare)))
    self._num_inner_steps = algorithm.num_inner_steps
    self._num_updates = config.agent['reuse']
    self._sharding = _sharding(algorithm.num_tasks)

  def seconds(self) -> tuple[float, float]:
    """Seconds per iteration in adaptation, and in the learner."""
    one = _seconds(self._one, self._recorder.stage(0))
    trials = jax.device_put(self._recorder.trial, self._sharding)
    everything = _seconds(self._all, trials)
    return one * self._num_inner_steps, everything * self._num_updates


def _seconds(function: Callable[[Any], Any], argument: Any) -> float:
  start = time.perf_counter()
  jax.block_until_ready(function(argument))
  return time.perf_counter() - start


def _split(
  total: float,
  seconds: dict[str, float],
  in_adaptation: float,
  in_learner: float,
) -> dict[str, float]:
  """Seconds of every part, preparation taken out of what contains it."""
  # A part cannot contain more than it took, whatever the noise says.
  in_adaptation = min(in_adaptation, seconds.get(ADAPTATION, 0.0))
  in_learner = min(in_learner, seconds[LEARNER])
  parts = dict.fromkeys(PARTS, 0.0) | seconds
  parts[PREPARATION] = in_adaptation + in_learner
  parts[ADAPTATION] -= in_adaptation
  parts[LEARNER] -= in_learner
  parts[OTHER] = total - sum(seconds.values())
  return parts


def _sharding(num_tasks: int | None) -> jax.sharding.Sharding:
  """Tasks shared out to all devices, where they can be evenly."""
  mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), ('tasks',))
  is_even = num_tasks is not None and num_tasks % mesh.size == 0
  spec = jax.sharding.PartitionSpec(*['tasks'] * is_even)
  return jax.sharding.NamedSharding(mesh, spec)
