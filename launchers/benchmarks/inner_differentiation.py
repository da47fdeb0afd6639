"""Memory and time of the two ways to differentiate inner updates."""

from collections.abc import Iterator
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import benchmark, timing
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic
from acme_metarl.meta import task_loss as task_loss_lib

_OBSERVATION_SIZE, _ACTION_SIZE = 17, 6  # Those of half-cheetah.


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured: the meta-gradient of one task.

  Attributes:
    num_inner_steps: numbers K of inner updates.
    hidden_sizes: units of both hidden layers.
    algorithm: a preset without a trust region.
    num_rollouts: rollouts of a stage.
    horizon: steps of a rollout.
    rounds: how often everything is timed.
  """

  num_inner_steps: tuple[int, ...] = (1, 5, 20)
  hidden_sizes: tuple[int, ...] = (64, 512)
  algorithm: str = 'promp_taypo2'
  num_rollouts: int = 20
  horizon: int = 100
  rounds: int = 5

  def __post_init__(self):
    benchmark.check_positive(
      self,
      'num_inner_steps',
      'hidden_sizes',
      'num_rollouts',
      'horizon',
      'rounds',
    )
    if presets.make(self.algorithm).uses_trust_region:
      raise ValueError(
        f'algorithm: {self.algorithm} has a trust region, which takes forward'
        ' derivatives of the update; choose another one.'
      )


def measure(config: Config) -> Iterator[benchmark.Row]:
  """Yields seconds and peak memory; ratios are to plain reverse mode."""
  for size in config.hidden_sizes:
    for num_inner_steps in config.num_inner_steps:
      yield from _compare(config, size, num_inner_steps)


def _compare(
  config: Config, size: int, num_inner_steps: int
) -> Iterator[benchmark.Row]:
  policy = policies.gaussian(_ACTION_SIZE, (size, size))
  settings = presets.make(
    config.algorithm,
    num_tasks=1,
    num_inner_steps=num_inner_steps,
    num_rollouts=config.num_rollouts,
    horizon=config.horizon,
    hidden_sizes=(size, size),
  )
  devices = jax.local_devices()[:1]
  learner = learner_lib.make_meta_learner(settings, policy, devices)
  params = learner.init(
    jax.random.PRNGKey(0), jnp.zeros(_OBSERVATION_SIZE)
  ).params
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    params.policy,
    observation_size=_OBSERVATION_SIZE,
    num_tasks=1,
    num_inner_steps=num_inner_steps,
    num_rollouts=config.num_rollouts,
    horizon=config.horizon,
  )
  trial = jax.tree_util.tree_map(lambda x: x[0], trials)
  prepare = functools.partial(learner.prepare, params)
  stages = jax.jit(jax.vmap(prepare))(trial)
  task = task_loss_lib.Task(
    stages._replace(behaviour_params=()),
    stages.behaviour_params,
    jnp.zeros(()),
  )

  def gradient(differentiation):
    loss = learner_lib.make_task_loss(
      dataclasses.replace(settings, inner_differentiation=differentiation),
      policy,
    )

    def task_loss(params, task):
      coefficient = jnp.zeros(num_inner_steps)
      return loss.task_loss(params, task, coefficient)[0]

    return jax.grad(task_loss)

  names = ('reverse', 'mixed')
  case = f'K {num_inner_steps}, {size} units'
  memory = {}
  for name in names:
    compiled = jax.jit(gradient(name)).lower(params, task).compile()
    memory[name] = compiled.memory_analysis().temp_size_in_bytes / 2**20
  programs = {
    name: timing.compile_ahead(gradient(name), params, task) for name in names
  }
  yield from benchmark.compare(case, programs, config.rounds, 'reverse')
  for name in names:
    yield benchmark.Row(
      case,
      f'{name}, peak of temporary memory',
      float(memory[name]),
      'MiB',
      ratio=float(np.divide(memory[name], memory['reverse'])),
    )
