"""One meta-iteration on a device: its time beside its operations."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import environments, on_device
from acme_metarl.launchers.benchmarks import (
  benchmark,
  meta_update_timing,
  timing,
)
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies

# Of a whole iteration, in times that the same floating-point operations take in
# a plain product of matrices.
RATIO_TARGET = 1.6


def measure(
  config: config_lib.AlgorithmConfig, num_turns: int, seed: int
) -> list[benchmark.Row]:
  """Times sampling, learning and whole iterations of 2-D navigation.

  Args:
    config: the algorithm.
    num_turns: how often.
    seed: of all randomness.

  Returns:
    Rows. Unless the algorithm has a trust region, whose steps are not counted,
    the last say how much longer an iteration takes than its floating-point
    operations would at the rates of a plain product.
  """
  environment = environments.make('navigation_2d')
  trainer = on_device.make_trainer(config, environment)
  learner = learner_lib.make_meta_learner(
    config, config.make_policy(environment.action_spec())
  )
  key = jax.random.PRNGKey(seed)
  state = trainer.init(key)

  def draw(params, key):
    return trainer.sample(params, key, config.num_tasks)

  sample = timing.compile_ahead(draw, state.meta.params, key)
  programs = {
    'sampling': sample,
    'learning': timing.compile_ahead(learner.update, state.meta, sample.call()),
    'whole iteration': timing.compile_ahead(trainer.iterate, state),
  }
  products = timing.Products()
  seconds = timing.take_turns(
    {name: x.call for name, x in programs.items()} | products.functions,
    num_turns,
  )
  case = benchmark.case_name('navigation_2d', config)
  rows = benchmark.rows_of_turns(
    case,
    {name: seconds[name] for name in programs},
    compilation={name: x.seconds for name, x in programs.items()},
  )
  if config.uses_trust_region:
    return rows
  flops = iteration_flops(config, environment)
  rows += [
    benchmark.Row(case, f'{name}: operations', value / 1e9, 'Gflop')
    for name, value in flops.items()
  ]
  needed = seconds['whole iteration'] / sum(flops.values())
  for name, rate in products.rates(seconds).items():
    row = benchmark.Row(
      case,
      f'{name}; the iteration takes longer by',
      float(np.median(rate)) / 1e9,
      'Gflop/s',
      ratio=float(np.median(needed * rate)),
    )
    rows.append(row.at_most(RATIO_TARGET) if name == timing.YARDSTICK else row)
  return rows


def iteration_flops(
  config: config_lib.AlgorithmConfig, environment: Any
) -> dict[str, float]:
  """Floating-point operations of one meta-iteration: analysis and arithmetic.

  The compiler counts those of one step of a task's rollouts, of one adaptation
  and of one meta-gradient, none of which has a loop that matters; the rest is
  counting.

  Args:
    config: the algorithm; without a trust region.
    environment: a pure-JAX environment.

  Returns:
    Operations of `'sampling'` and `'learning'`.
  """
  policy = config.make_policy(environment.action_spec())
  learner = learner_lib.make_meta_learner(config, policy)
  trainer = on_device.make_trainer(config, environment)
  key = jax.random.PRNGKey(0)
  state = trainer.init(key).meta
  trials = jax.eval_shape(
    lambda params, key: trainer.sample(params, key, 1), state.params, key
  )
  stages, stage = (
    jax.tree_util.tree_map(
      lambda x, n=n: jax.ShapeDtypeStruct(x.shape[n:], x.dtype), trials
    )
    for n in (1, 2)
  )
  one = functools.partial(learner.prepare, state.params)
  prepared = jax.eval_shape(one, stage)
  task = jax.eval_shape(
    lambda stages: meta_update_timing.make_task(
      jax.vmap(one)(stages), jnp.zeros(())
    ),
    stages,
  )
  prepare = timing.count_flops(one, stage)
  adapt = timing.count_flops(
    learner.update_inner,
    state.params,
    *learner.init_inner(state.params),
    prepared,
  )
  gradient = meta_update_timing.gradient_flops(
    learner_lib.make_task_loss(config, policy), state, task
  )
  num_stages = config.num_inner_steps + 1
  steps = num_stages * config.horizon
  return {
    'sampling': config.num_tasks
    * (
      steps * _step_flops(config, environment, policy, state.params.policy)
      + config.num_inner_steps * (prepare + adapt)
    ),
    'learning': config.num_tasks
    * (num_stages * prepare + config.num_outer_epochs * gradient),
  }


def _step_flops(config, environment, policy, params) -> float:
  """Operations of a step of one task's rollouts."""
  key = jax.random.PRNGKey(0)
  rollouts, first = jax.vmap(environment.reset, (0, None))(
    jax.random.split(key, config.num_rollouts), environment.sample_task(key)
  )

  def step(params, rollouts, observation, key):
    distribution = policy.apply(params, observation)
    action = distribution.sample(seed=key)
    return (
      jax.vmap(environment.step)(rollouts, action),
      distribution.log_prob(action),
      policies.distribution_params(distribution),
    )

  return timing.count_flops(step, params, rollouts, first.observation, key)
