"""Timing of the meta-update and of what it is made of.

The parts are found by leaving things out: programs that do less and less of an
update, down to the bare network, are timed in turns, and neighbours compared.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from acme_metarl import config as config_lib
from acme_metarl import presets, types
from acme_metarl.launchers.benchmarks import benchmark, timing
from acme_metarl.launchers.runs import host_devices
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic, task_batching
from acme_metarl.meta import task_loss as task_loss_lib

# The update should reach this share of the yardstick's rate.
TARGET = 0.8


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    algorithm: preset whose update is timed, one of those with PROMP's
      objective.
    num_tasks: tasks, G.
    num_rollouts: rollouts, B.
    horizon: steps of a rollout, T.
    num_inner_steps: adaptation steps, K.
    num_epochs: outer epochs.
    observation_size: elements of an observation.
    action_size: dimensions of an action.
    chunk_size: tasks at once on each device; by default what suits the backend.
    num_devices: CPU devices that share the tasks; by default one per core.
    num_turns: timed runs of each.
  """

  algorithm: str = 'promp_taypo2'
  num_tasks: int = 40
  num_rollouts: int = 20
  horizon: int = 100
  num_inner_steps: int = 1
  num_epochs: int = 5
  observation_size: int = 2
  action_size: int = 2
  chunk_size: int | None = None
  num_devices: int | None = None
  num_turns: int = 10

  def __post_init__(self):
    benchmark.check_positive(
      self, 'num_turns', 'observation_size', 'action_size'
    )
    known = [name for name in presets.names() if name.startswith('promp')]
    benchmark.check_names('algorithm', [self.algorithm], known)
    _ = self.algorithm_config  # Refuses what there is not.

  @property
  def algorithm_config(self) -> config_lib.AlgorithmConfig:
    return presets.make(
      self.algorithm,
      num_tasks=self.num_tasks,
      num_rollouts=self.num_rollouts,
      horizon=self.horizon,
      num_inner_steps=self.num_inner_steps,
      num_outer_epochs=self.num_epochs,
      chunk_size=self.chunk_size,
    )


class Problem(NamedTuple):
  """A meta-batch of random trials, and what updates from it."""

  config: config_lib.AlgorithmConfig
  policy: types.Policy
  learner: learner_lib.MetaLearner
  state: learner_lib.MetaState
  trials: types.Stage
  devices: tuple[jax.Device, ...]


def measure(config: Config) -> list[benchmark.Row]:
  """Times an update as settings say, see `measure_problem`."""
  host_devices.set_up(config.num_devices, config.num_tasks)
  problem = make_problem(
    config.algorithm_config, config.observation_size, config.action_size
  )
  return measure_problem(problem, config.num_turns)


def make_problem(
  config: config_lib.AlgorithmConfig,
  observation_size: int = 2,
  action_size: int = 2,
) -> Problem:
  """Draws a meta-batch from the initial policy."""
  policy = policies.gaussian(action_size, config.hidden_sizes)
  devices = tuple(jax.local_devices())
  learner = learner_lib.make_meta_learner(config, policy, devices)
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(observation_size))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    state.params.policy,
    observation_size=observation_size,
    num_tasks=config.num_tasks,
    num_inner_steps=config.num_inner_steps,
    num_rollouts=config.num_rollouts,
    horizon=config.horizon,
  )
  return Problem(config, policy, learner, state, trials, devices)


def measure_problem(problem: Problem, num_turns: int) -> list[benchmark.Row]:
  """Times an update, its parts and the yardstick in turns.

  Args:
    problem: a meta-batch.
    num_turns: how often each runs.

  Returns:
    Rows, medians over turns: every program, the update first, with its ratio to
    the update; a split of the update's seconds, which adds up to the whole; the
    operations of an epoch without a scan, as the compiler counts them; and
    products of matrices, with the share of their rate that the update reaches.
  """
  config, state, trials = problem.config, problem.state, problem.trials
  tasks = _make_tasks(problem)
  loss = learner_lib.make_task_loss(config, problem.policy)
  gradients = {
    'gradient': _loss_gradient(loss, state),
    'network': _network_gradient(problem.policy, state),
  }
  compile_ahead = timing.compile_ahead
  programs = {'update': compile_ahead(problem.learner.update, state, trials)}
  for name, gradient in gradients.items():
    programs[name] = compile_ahead(
      _epochs(gradient, problem), state.params.policy, tasks
    )
  programs['preparation'] = compile_ahead(_preparation(problem), trials)
  products = timing.Products()
  turns = timing.take_turns(
    {name: x.call for name, x in programs.items()} | products.functions,
    num_turns,
  )
  one_task = jax.tree_util.tree_map(lambda x: x[0], tasks)
  flops = config.num_tasks * gradient_flops(loss, state, one_task)
  rates = products.rates(turns)
  # Turn by turn, so that a busy machine slows both sides of a ratio.
  floors = {
    name: config.num_outer_epochs * flops / rate for name, rate in rates.items()
  }
  floor = floors[timing.YARDSTICK]
  split = {
    'operations at the rate of the product': floor,
    'rest of the network': turns['network'] - floor,
    'evaluators, objectives, KL': turns['gradient'] - turns['network'],
    'diagnostics, optimiser': turns['update']
    - turns['gradient']
    - turns['preparation'],
    'preparation': turns['preparation'],
  }
  case = benchmark.case_name(
    f'{len(problem.devices)} x {problem.devices[0].device_kind}', config
  )
  rows = benchmark.rows_of_turns(
    case,
    {name: turns[name] for name in programs},
    'update',
    {name: program.seconds for name, program in programs.items()},
  )
  rows += benchmark.rows_of_turns(
    case,
    {f'part: {name}': x for name, x in split.items()} | {'': turns['update']},
    '',
  )[:-1]
  rows.append(
    benchmark.Row(case, 'operations of an epoch', flops / 1e9, 'Gflop')
  )
  for name, rate in rates.items():
    share = float(np.median(floors[name] / turns['update']))
    row = benchmark.Row(
      case, name, float(np.median(rate)) / 1e9, 'Gflop/s', share
    )
    rows.append(row.at_least(TARGET) if name == timing.YARDSTICK else row)
  return rows


def gradient_flops(
  loss: task_loss_lib.TaskLoss,
  state: learner_lib.MetaState,
  task: task_loss_lib.Task,
) -> float:
  """Floating-point operations of one task's meta-gradient, without a scan.

  Args:
    loss: of one task.
    state: arrays, or their shapes.
    task: arrays, or their shapes.

  Returns:
    As the compiler counts them.
  """
  return timing.count_flops(
    _loss_gradient(loss, state), state.params.policy, task
  )


def _make_tasks(problem: Problem) -> task_loss_lib.Task:
  prepare = functools.partial(problem.learner.prepare, problem.state.params)
  prepared = jax.jit(jax.vmap(jax.vmap(prepare)))(problem.trials)
  return make_task(prepared, jnp.zeros(problem.config.num_tasks))


def make_task(
  prepared: types.Prepared, score_weight: chex.Array
) -> task_loss_lib.Task:
  """Prepared stages as the data of a loss that needs no scores."""
  return task_loss_lib.Task(
    stages=prepared._replace(behaviour_params=()),
    reference=prepared.behaviour_params,
    score_weight=score_weight,
  )


def _preparation(problem: Problem):
  one = functools.partial(problem.learner.prepare, problem.state.params)

  def prepare(trials):
    return task_batching.map_tasks(
      lambda _, x: jax.vmap(jax.vmap(one))(x),
      (),
      trials,
      problem.devices,
    )

  return prepare


def _loss_gradient(loss: task_loss_lib.TaskLoss, state):
  """The meta-gradient of the whole loss, and nothing else."""

  def task_loss(params, task):
    meta_params = state.params._replace(policy=params)
    return loss.task_loss(meta_params, task, state.kl_coefficient)[0]

  return jax.grad(task_loss)


def _network_gradient(policy: types.Policy, state):
  """Second-order backpropagation through the network, and nothing else.

  Squared errors of its outputs stand for all that is between outputs and loss.
  """

  def error(params, stage):
    distribution = policy.apply(params, stage.observation)
    mean = policies.distribution_params(distribution)[0]
    return jnp.mean((mean - stage.action) ** 2)

  def task_loss(params, task):
    for index in range(task.stages.r_t.shape[0] - 1):
      stage = task_loss_lib.take_stage(task.stages, index)
      gradient = jax.grad(error)(params, stage)
      params = jax.tree_util.tree_map(
        lambda p, g: p - state.params.step_sizes * g, params, gradient
      )
    return error(params, task_loss_lib.take_stage(task.stages, -1))

  return jax.grad(task_loss)


def _epochs(gradient: Callable[[Any, Any], Any], problem: Problem):
  """All epochs with that gradient, in the chunks that an update has."""
  config, devices = problem.config, problem.devices
  chunk_size = config.chunk_size or task_batching.default_chunk_size(devices)

  def run(params, tasks):
    batches = task_batching.batch_tasks(tasks, chunk_size, len(devices))

    def epoch(params, _):
      total = task_batching.sum_over_tasks(gradient, params, batches, devices)
      step = 1e-3 / config.num_tasks
      return jax.tree_util.tree_map(
        lambda p, g: p - step * g, params, total
      ), optax.tree_utils.tree_vdot(total, total)

    return lax.scan(epoch, params, None, length=config.num_outer_epochs)

  return run
