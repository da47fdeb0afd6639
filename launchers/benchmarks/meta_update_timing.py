"""Timing of the meta-update and of what it is made of.

The parts are found by leaving things out: programs that do less and less of an
update, down to the bare network, are timed in turns, and neighbours compared.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.launchers.benchmarks import timing
from acme_metarl.meta import diagnostics, policies, synthetic, task_batching
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import task_loss as task_loss_lib

# The update should reach this share of the yardstick's rate.
TARGET = 0.8


class Problem(NamedTuple):
  """A meta-batch of random trials, and what updates from it."""

  config: config_lib.AlgorithmConfig
  policy: types.Policy
  learner: learner_lib.MetaLearner
  state: learner_lib.MetaState
  trials: types.Stage
  devices: tuple[jax.Device, ...]


class Report(NamedTuple):
  """What was measured; medians over turns.

  Attributes:
    seconds: of each program, the update first.
    compilation: seconds of tracing and compiling each.
    flops: of one epoch without a scan, as the compiler counts.
    rates: of products of matrices, in operations a second; see
      `timing.Products`.
    shares: of each of those rates that the whole update reaches.
    split: of the update's seconds; adds up to the whole.
  """

  seconds: dict[str, float]
  compilation: dict[str, float]
  flops: float
  rates: dict[str, float]
  shares: dict[str, float]
  split: dict[str, float]


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


def measure(problem: Problem, num_turns: int) -> Report:
  """Times an update, its parts and the yardstick in turns.

  Args:
    problem: a meta-batch.
    num_turns: how often each runs.

  Returns:
    The report.
  """
  config, state, trials = problem.config, problem.state, problem.trials
  tasks = _make_tasks(problem)
  loss = learner_lib.make_task_loss(config, problem.policy)
  gradients = {
    'gradient': _loss_gradient(loss, state),
    'network': _network_gradient(problem.policy, state),
  }
  programs = {'update': (problem.learner.update, (state, trials))}
  for name, gradient in gradients.items():
    programs[name] = (
      _epochs(gradient, problem),
      (state.params.policy, tasks),
    )
  programs['preparation'] = (_preparation(problem), (trials,))
  compiled = {
    name: timing.compile_ahead(function, *args)
    for name, (function, args) in programs.items()
  }
  products = timing.Products()
  turns = timing.take_turns(
    {
      **{
        name: functools.partial(compiled[name].call, *args)
        for name, (_, args) in programs.items()
      },
      **products.functions,
    },
    num_turns,
  )
  one_task = jax.tree_util.tree_map(lambda x: x[0], tasks)
  flops = config.num_tasks * gradient_flops(loss, state, one_task)
  # Turn by turn, so that a busy machine slows both sides of a ratio.
  floors = {
    name: config.num_outer_epochs * flops / rate
    for name, rate in products.rates(turns).items()
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
  return Report(
    seconds={name: float(np.median(turns[name])) for name in programs},
    compilation={name: program.seconds for name, program in compiled.items()},
    flops=flops,
    rates={
      name: float(np.median(rate))
      for name, rate in products.rates(turns).items()
    },
    shares={
      name: float(np.median(floor / turns['update']))
      for name, floor in floors.items()
    },
    split={name: float(np.median(x)) for name, x in split.items()},
  )


def table(report: Report, problem: Problem) -> str:
  """The report as text."""
  config = problem.config
  sizes = (
    f'{config.num_tasks} tasks x {config.num_rollouts} rollouts x'
    f' {config.horizon} steps x {config.num_inner_steps + 1} stages,'
    f' network {"x".join(map(str, config.hidden_sizes))},'
    f' {config.num_outer_epochs} epochs'
  )
  devices = f'{len(problem.devices)} x {problem.devices[0].device_kind}'
  lines = [
    f'{sizes}; {devices}',
    '',
    f'{"":40s}{"seconds":>10s}{"compile s":>12s}',
  ]
  lines += [
    f'{name:40s}{seconds:10.4f}{report.compilation[name]:12.2f}'
    for name, seconds in report.seconds.items()
  ]
  lines += ['', f'{"split of the update":40s}{"seconds":>10s}{"share":>12s}']
  lines += [
    f'{name:40s}{seconds:10.4f}{seconds / report.seconds["update"]:12.0%}'
    for name, seconds in report.split.items()
  ]
  lines += [
    '',
    f'operations of an epoch: {report.flops / 1e9:.2f} Gflop',
    '',
    f'{"":40s}{"Gflop/s":>10s}{"reached":>12s}',
  ]
  lines += [
    f'{name:40s}{report.rates[name] / 1e9:10.0f}{share:12.0%}'
    for name, share in report.shares.items()
  ]
  is_met = 'met' if report.shares[timing.YARDSTICK] >= TARGET else 'missed'
  lines.append(f'target: {TARGET:.0%} of the {timing.YARDSTICK}: {is_met}')
  return '\n'.join(lines)


def gradient_flops(
  loss: task_loss_lib.MetaGradient,
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
  prepared = jax.jit(jax.vmap(jax.vmap(problem.learner.prepare)))(
    problem.trials
  )
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
  def prepare(trials):
    return task_batching.map_tasks(
      lambda _, x: jax.vmap(jax.vmap(problem.learner.prepare))(x),
      (),
      trials,
      problem.devices,
    )

  return prepare


def _loss_gradient(loss: task_loss_lib.MetaGradient, state):
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
      ), diagnostics.inner_product(total, total)

    return lax.scan(epoch, params, None, length=config.num_outer_epochs)

  return run
