"""What an iteration costs through Acme and Reverb, and where the time goes."""

from collections import defaultdict
from collections.abc import Callable, Iterator
import contextlib
import time
from typing import Any, NamedTuple

from acme import specs
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.agents import maml
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.launchers.runs import agent_trainer
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


class Result(NamedTuple):
  """What was measured.

  Attributes:
    seconds: of an iteration through Acme and Reverb, the median.
    direct_seconds: of the same work by direct function calls.
    ratio: of the two, the median over turns: what else the machine does comes
      and goes, but both sides of one turn mostly share it.
    parts: seconds of each of `PARTS` in an iteration through Acme and Reverb,
      the median over turns.
    compute_share: share of that iteration which is physics or XLA: everything
      but replay and `OTHER`.
  """

  seconds: float
  direct_seconds: float
  ratio: float
  parts: dict[str, float]
  compute_share: float


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
    algorithm = config.agent.algorithm
    trial = config.trial_environment('train')
    spec = specs.make_environment_spec(trial)
    networks = maml.make_networks(spec, algorithm)
    learner = learner_lib.make_meta_learner(algorithm, networks.policy)
    policy = maml.MAMLBuilder(config.agent).make_policy(networks, spec)
    self._algorithm = algorithm
    self._environment = trial.environment
    self._start = jax.jit(policy.start, static_argnums=1)
    self._select_action = jax.jit(policy.select_action)
    self._adapt = jax.jit(policy.adapt)
    self._update = jax.jit(learner.update)
    self._device = jax.local_devices(backend=config.agent.actor_backend)[0]
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


def measure(config: run_config.RunConfig, num_turns: int) -> Result:
  """Measures both sides in turns, after a first one that compiles.

  Args:
    config: of a run.
    num_turns: how many turns to measure.

  Returns:
    The result.
  """
  clock = _Clock()
  through, directly, parts = [], [], []
  direct = _Direct(config)
  with contextlib.closing(agent_trainer.Trainer(config)) as trainer:
    _instrument(trainer, clock)
    prepare = _Preparation(config, trainer)
    for turn in range(num_turns + 1):
      start = time.perf_counter()
      trainer.iterate()
      middle = time.perf_counter()
      direct.iterate()
      end = time.perf_counter()
      seconds = clock.take()
      seconds_of_preparation = prepare.seconds()
      if turn:
        through.append(middle - start)
        directly.append(end - middle)
        parts.append(_split(middle - start, seconds, *seconds_of_preparation))
  median = {
    name: float(np.median([part[name] for part in parts])) for name in PARTS
  }
  compute = sum(median[name] for name in PARTS if name not in (REPLAY, OTHER))
  return Result(
    seconds=float(np.median(through)),
    direct_seconds=float(np.median(directly)),
    ratio=float(np.median(np.divide(through, directly))),
    parts=median,
    compute_share=compute / sum(median.values()),
  )


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
    algorithm = config.agent.algorithm
    spec = specs.make_environment_spec(trainer.environment)
    networks = maml.make_networks(spec, algorithm)
    prepare = learner_lib.make_meta_learner(algorithm, networks.policy).prepare
    self._recorder = trainer.actor._recorder
    # As the actor does it, on a CPU: task after task.
    self._one = jax.jit(lambda stage: jax.lax.map(prepare, stage))
    self._all = jax.jit(jax.vmap(jax.vmap(prepare)))
    self._num_inner_steps = algorithm.num_inner_steps
    self._num_updates = config.agent.reuse
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
