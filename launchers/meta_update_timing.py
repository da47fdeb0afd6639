"""Timing of the meta-update and of what it is made of.

The parts are found by leaving things out: programs that do less and less of an
update, down to the bare network, are timed in turns, and neighbours compared.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import (
  diagnostics,
  meta_gradients,
  meta_learning,
  policies,
  synthetic,
  task_batching,
  types,
)
from acme_metarl.launchers import on_device_throughput as throughput

# (80000 × 64) · (64 × 64) in float32: the yardstick.
PRODUCT = (80_000, 64, 64)
# How often it runs in a turn, so that it takes about as long as the rest.
_PRODUCTS = 25
# The update should reach this share of the yardstick's rate.
TARGET = 0.8


class Problem(NamedTuple):
  """A meta-batch of random trials, and what updates from it."""

  config: config_lib.AlgorithmConfig
  policy: types.Policy
  learner: meta_learning.MetaLearner
  state: meta_learning.MetaState
  trials: types.Stage
  devices: tuple[jax.Device, ...]


class Report(NamedTuple):
  """What was measured; medians over turns.

  Attributes:
    seconds: of each program, the update first.
    compilation: seconds of tracing and compiling each.
    flops: of one epoch without a scan, as the compiler counts.
    rate: the yardstick's, in operations a second.
    share: of that rate that the whole update reaches.
    split: of the update's seconds; adds up to the whole.
  """

  seconds: dict[str, float]
  compilation: dict[str, float]
  flops: float
  rate: float
  share: float
  split: dict[str, float]


def make_problem(
  config: config_lib.AlgorithmConfig,
  observation_size: int = 2,
  action_size: int = 2,
) -> Problem:
  """Draws a meta-batch from the initial policy."""
  policy = policies.gaussian(action_size, config.hidden_sizes)
  devices = tuple(jax.local_devices())
  learner = meta_learning.make_meta_learner(config, policy, devices)
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
  loss = meta_learning.make_task_loss(config, problem.policy)
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
  programs['product'] = _product()
  compiled = {
    name: throughput.compile_ahead(function, *args)
    for name, (function, args) in programs.items()
  }
  repeats = {name: _PRODUCTS if name == 'product' else 1 for name in programs}

  def runner(name):
    call, args = compiled[name].call, programs[name][1]

    def run():
      for _ in range(repeats[name]):
        call(*args)  # The result's memory is free for the next one.

    return run

  turns = throughput.take_turns(
    {name: runner(name) for name in programs}, num_turns
  )
  turns = {name: x / repeats[name] for name, x in turns.items()}
  one_task = jax.tree_util.tree_map(lambda x: x[0], tasks)
  flops = config.num_tasks * throughput.count_flops(
    gradients['gradient'], state.params.policy, one_task
  )
  rate = 2.0 * np.prod(PRODUCT) / turns['product']
  all_flops = config.num_outer_epochs * flops
  # Turn by turn, so that a busy machine slows both sides of a ratio.
  floor = all_flops / rate
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
    seconds={name: float(np.median(x)) for name, x in turns.items()},
    compilation={name: program.seconds for name, program in compiled.items()},
    flops=flops,
    rate=float(np.median(rate)),
    share=float(np.median(floor / turns['update'])),
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
  is_met = 'met' if report.share >= TARGET else 'missed'
  lines += [
    '',
    f'operations of an epoch: {report.flops / 1e9:.2f} Gflop',
    f'rate of the product: {report.rate / 1e9:.0f} Gflop/s',
    f'share of that rate that the update reaches: {report.share:.0%}'
    f' (target {TARGET:.0%}: {is_met})',
  ]
  return '\n'.join(lines)


def _make_tasks(problem: Problem) -> meta_gradients.Task:
  prepared = jax.jit(jax.vmap(jax.vmap(problem.learner.prepare)))(
    problem.trials
  )
  return meta_gradients.Task(
    stages=prepared._replace(behaviour_params=()),
    reference=prepared.behaviour_params,
    score_weight=jnp.zeros(problem.config.num_tasks),
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


def _loss_gradient(loss: meta_gradients.MetaGradient, state):
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
      stage = meta_gradients.take_stage(task.stages, index)
      gradient = jax.grad(error)(params, stage)
      params = jax.tree_util.tree_map(
        lambda p, g: p - state.params.step_sizes * g, params, gradient
      )
    return error(params, meta_gradients.take_stage(task.stages, -1))

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


def _product():
  """The yardstick: a function and its arguments."""
  num_rows, num_inner, num_columns = PRODUCT
  left = jnp.ones((num_rows, num_inner), jnp.float32)
  right = jnp.full((num_inner, num_columns), 0.5, jnp.float32)
  return jnp.dot, (left, right)
