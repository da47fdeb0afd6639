"""How fast meta-training on a device is, and what it is compared with."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import (
  environments,
  meta_learning,
  on_device,
  policies,
  presets,
)

# Environment steps per second, end to end: ten times the fastest published
# system (24.2 k on 31 CPU workers and a GPU).
STEPS_TARGET = 240_000.0
# Of a whole iteration, in times that the same floating-point operations take in
# a plain product of matrices.
RATIO_TARGET = 1.6
# That product: (80000 × 64) · (64 × 64), float32.
_PRODUCT_SHAPE = (80_000, 64, 64)
# What else is meta-trained than 2-D navigation: name and options.
ENVIRONMENTS = (
  ('navigation_2d', {}),
  ('half_cheetah_direction', {'backend': 'mjx'}),
  ('ant_goal', {'backend': 'mjx'}),
)
# Seconds of making and running an environment's program, before it is known,
# and how much longer than foreseen it may take.
_FIRST_GUESS = 60.0
_MARGIN = 1.5
# Timed runs of one environment and size stop after so many seconds.
_MAX_RUN_SECONDS = 20.0


class Row(NamedTuple):
  """One measured number.

  Attributes:
    part: of the benchmark.
    case: environment and sizes.
    quantity: what was measured.
    value: the number; None where there is none.
    unit: of the number, or why there is none.
    target: what it should be, such as `'<= 1.6'`; empty where nothing is asked.
    is_met: whether it is; None where nothing is asked.
  """

  part: str
  case: str
  quantity: str
  value: float | None
  unit: str
  target: str = ''
  is_met: bool | None = None


def _at_most(limit: float, row: Row) -> Row:
  return row._replace(target=f'<= {limit:g}', is_met=row.value <= limit)


def _at_least(limit: float, row: Row) -> Row:
  return row._replace(target=f'>= {limit:g}', is_met=row.value >= limit)


class Compiled(NamedTuple):
  """A program, and how long its making took.

  Attributes:
    call: runs it on given arguments and waits.
    seconds: of tracing and compilation.
  """

  call: Callable[..., Any]
  seconds: float


def compile_ahead(function: Callable[..., Any], *args: Any) -> Compiled:
  """Compiles a function for these arguments, without running it."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  seconds = time.perf_counter() - start
  return Compiled(lambda *args: jax.block_until_ready(compiled(*args)), seconds)


def count_flops(function: Callable[..., Any], *args: Any) -> float:
  """Floating-point operations of one call, as the compiler counts them.

  What is in a loop counts once, so the function must have none that matters.

  Args:
    function: of arrays.
    *args: arrays, or their shapes (`jax.ShapeDtypeStruct`).

  Returns:
    The number.
  """
  analysis = jax.jit(function).lower(*args).compile().cost_analysis()
  if isinstance(analysis, Sequence):  # A list of one, before JAX 0.5.
    analysis = analysis[0]
  return float(analysis['flops'])


def take_turns(
  functions: dict[str, Callable[[], Any]], num_turns: int
) -> dict[str, np.ndarray]:
  """Times functions one after the other, again and again.

  What else the machine does comes and goes, but one turn mostly shares it.

  Args:
    functions: by name; each waits for its result.
    num_turns: how often each runs, after once for warming up.

  Returns:
    Seconds by name, `[num_turns]`.
  """
  for function in functions.values():
    function()
  seconds = {name: [] for name in functions}
  for _ in range(num_turns):
    for name, function in functions.items():
      start = time.perf_counter()
      function()
      seconds[name].append(time.perf_counter() - start)
  return {name: np.asarray(values) for name, values in seconds.items()}


def _product() -> tuple[Callable[[], Any], float]:
  """A plain product of matrices, ready to run, and its operations."""
  num_rows, num_inner, num_columns = _PRODUCT_SHAPE
  left = jnp.ones((num_rows, num_inner), jnp.float32)
  right = jnp.full((num_inner, num_columns), 0.5, jnp.float32)
  compiled = compile_ahead(jnp.dot, left, right)
  return lambda: compiled.call(left, right), 2.0 * np.prod(_PRODUCT_SHAPE)


def iteration_flops(
  config: config_lib.AlgorithmConfig, environment: Any
) -> dict[str, float]:
  """Floating-point operations of one meta-iteration: analysis and arithmetic.

  The compiler counts those of one task, of one step of its rollouts and of one
  outer epoch, none of which has a loop that matters; the rest is counting.

  Args:
    config: the algorithm.
    environment: a pure-JAX environment.

  Returns:
    Operations of `'sampling'` and `'learning'`.
  """
  policy = config.make_policy(environment.action_spec())
  one = dataclasses.replace(config, num_tasks=1, num_outer_epochs=1)
  devices = jax.local_devices()[:1]
  learner = meta_learning.make_meta_learner(one, policy, devices)
  trainer = on_device.make_trainer(one, environment, devices=devices)
  key = jax.random.PRNGKey(0)
  state = trainer.init(key).meta
  trials = jax.eval_shape(
    lambda params, key: trainer.sample(params, key, 1), state.params, key
  )
  stage = jax.tree_util.tree_map(
    lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), trials
  )
  prepared = jax.eval_shape(learner.prepare, stage)
  keys = jax.random.split(key, config.num_rollouts)
  rollouts, first = jax.vmap(environment.reset, (0, None))(
    keys, environment.sample_task(key)
  )

  def step(params, rollouts, observation, key):
    distribution = policy.apply(params, observation)
    action = distribution.sample(seed=key)
    return (
      jax.vmap(environment.step)(rollouts, action),
      distribution.log_prob(action),
      policies.distribution_params(distribution),
    )

  flops_of_step = count_flops(
    step, state.params.policy, rollouts, first.observation, key
  )
  flops_of_prepare = count_flops(learner.prepare, stage)
  flops_of_adapt = count_flops(learner.adapt, state.params, prepared)
  num_stages = config.num_inner_steps + 1
  epoch = count_flops(learner.update, state, trials)
  epoch -= num_stages * flops_of_prepare
  return {
    'sampling': config.num_tasks
    * (
      num_stages * config.horizon * flops_of_step
      + config.num_inner_steps * (flops_of_prepare + flops_of_adapt)
    ),
    'learning': config.num_tasks
    * (num_stages * flops_of_prepare + config.num_outer_epochs * epoch),
  }


def measure_iteration(
  config: config_lib.AlgorithmConfig, num_turns: int, seed: int
) -> list[Row]:
  """Times sampling, learning and whole iterations of 2-D navigation.

  Args:
    config: the algorithm.
    num_turns: how often.
    seed: of all randomness.

  Returns:
    Rows; the last says how much longer an iteration takes than its
    floating-point operations would at the rate of a plain product.
  """
  environment = environments.make('navigation_2d')
  trainer = on_device.make_trainer(config, environment)
  learner = meta_learning.make_meta_learner(
    config, config.make_policy(environment.action_spec())
  )
  key = jax.random.PRNGKey(seed)
  state = trainer.init(key)

  def draw(params, key):
    return trainer.sample(params, key, config.num_tasks)

  sample = compile_ahead(draw, state.meta.params, key)
  trials = sample.call(state.meta.params, key)
  learn = compile_ahead(learner.update, state.meta, trials)
  whole = compile_ahead(trainer.iterate, state)
  product, product_flops = _product()
  seconds = take_turns(
    {
      'product': product,
      'sampling': lambda: sample.call(state.meta.params, key),
      'learning': lambda: learn.call(state.meta, trials),
      'whole iteration': lambda: whole.call(state),
    },
    num_turns,
  )
  flops = iteration_flops(config, environment)
  rate = product_flops / seconds['product']
  ratio = seconds['whole iteration'] * rate / sum(flops.values())
  case = _case('navigation_2d', config)
  rows = [
    Row('navigation', case, f'{name}: compilation', part.seconds, 's')
    for name, part in (
      ('sampling', sample),
      ('learning', learn),
      ('whole iteration', whole),
    )
  ]
  rows += [
    Row('navigation', case, name, float(np.median(values)), 's')
    for name, values in seconds.items()
  ]
  rows += [
    Row('navigation', case, f'{name}: operations', value / 1e9, 'Gflop')
    for name, value in flops.items()
  ]
  rows.append(
    Row('navigation', case, 'rate of product', np.median(rate) / 1e9, 'Gflop/s')
  )
  rows.append(
    _at_most(
      RATIO_TARGET,
      Row(
        'navigation',
        case,
        'whole iteration / its operations at that rate',
        float(np.median(ratio)),
        '',
      ),
    )
  )
  return rows


def measure_seeds(
  config: config_lib.AlgorithmConfig, num_seeds: int, num_turns: int, seed: int
) -> list[Row]:
  """Times iterations of several seeds by vmap against one after the other."""
  train = on_device.make_train(
    dataclasses.replace(config, num_iterations=1),
    environments.make('navigation_2d'),
    num_eval_tasks=1,
  )
  keys = jax.random.split(jax.random.PRNGKey(seed), num_seeds)
  together = compile_ahead(jax.vmap(train), keys)
  single = compile_ahead(train, keys[0])
  seconds = take_turns(
    {
      'together': lambda: together.call(keys),
      'alone': lambda: [single.call(key) for key in keys],
    },
    num_turns,
  )
  case = f'{num_seeds} seeds, {_case("navigation_2d", config)}'
  medians = {name: float(np.median(x)) for name, x in seconds.items()}
  ratio = float(np.median(seconds['together'] / seconds['alone']))
  return [
    Row('seeds', case, 'vmap: compilation', together.seconds, 's'),
    Row('seeds', case, 'vmap: an iteration', medians['together'], 's'),
    Row('seeds', case, 'one by one: an iteration', medians['alone'], 's'),
    _at_most(1.0, Row('seeds', case, 'vmap / one by one', ratio, '')),
  ]


def measure_tabular(
  config: config_lib.AlgorithmConfig, num_turns: int, seed: int
) -> list[Row]:
  """Times meta-training on tabular MDPs against its random numbers alone."""
  environment = environments.make('tabular_mdp')
  config = dataclasses.replace(config, hidden_sizes=(), horizon=20)
  trainer = on_device.make_trainer(config, environment)
  key = jax.random.PRNGKey(seed)
  state = trainer.init(key)
  num_steps = steps_per_iteration(config)
  num_actions = environment.action_spec().num_values

  def draw(key):
    """What a categorical action and a transition are drawn with."""
    action_key, transition_key = jax.random.split(key)
    return (
      jax.random.gumbel(action_key, (num_steps, num_actions)),
      jax.random.uniform(transition_key, (num_steps,)),
    )

  whole = compile_ahead(trainer.iterate, state)
  bare = compile_ahead(draw, key)
  seconds = take_turns(
    {
      'meta-training': lambda: whole.call(state),
      'its random numbers alone': lambda: bare.call(key),
    },
    num_turns,
  )
  case = _case('tabular_mdp', config)
  rows = [Row('tabular', case, 'compilation', whole.seconds, 's')]
  rows += [
    Row('tabular', case, name, num_steps / np.median(values), 'steps/s')
    for name, values in seconds.items()
  ]
  return rows


def measure_environments(
  config: config_lib.AlgorithmConfig,
  names: Sequence[str],
  task_counts: Sequence[int],
  num_turns: int,
  seed: int,
  deadline: float,
) -> Iterator[Row]:
  """Times whole iterations, end to end, with their compilation.

  Args:
    config: the algorithm; `num_tasks` is one of `task_counts` in turn.
    names: of `ENVIRONMENTS`.
    task_counts: meta-batch sizes, small ones first.
    num_turns: how often each iteration runs, unless that takes too long.
    seed: of all randomness.
    deadline: on the clock of `time.monotonic`: what would probably end later
      is left out.

  Yields:
    Rows, as they come.
  """
  seen = {}  # By name: seconds to compile, and to run per task.
  for num_tasks in task_counts:
    for name in names:
      sized = dataclasses.replace(config, num_tasks=num_tasks)
      case = _case(name, sized)
      to_compile, to_run = seen.get(name, (_FIRST_GUESS, 0.0))
      # Once for warming up, once for timing.
      needed = _MARGIN * (to_compile + 2 * to_run * num_tasks)
      if time.monotonic() + needed > deadline:
        yield Row('environments', case, 'steps', None, 'left out: no time left')
        continue
      logging.info('Measuring %s.', case)
      try:
        to_compile, seconds = _measure_one(name, sized, num_turns, seed)
      except (RuntimeError, MemoryError) as error:  # Out of memory, mostly.
        reason = str(error).partition('\n')[0]
        yield Row('environments', case, 'steps', None, f'failed: {reason}')
        continue
      seen[name] = (to_compile, seconds / num_tasks)
      yield Row('environments', case, 'compilation', to_compile, 's')
      yield Row('environments', case, 'an iteration', seconds, 's')
      yield _at_least(
        STEPS_TARGET,
        Row(
          'environments',
          case,
          'steps',
          steps_per_iteration(sized) / seconds,
          'steps/s',
        ),
      )


def _measure_one(name, config, num_turns, seed) -> tuple[float, float]:
  options = dict(ENVIRONMENTS)[name]
  trainer = on_device.make_trainer(config, environments.make(name, **options))
  state = trainer.init(jax.random.PRNGKey(seed))
  whole = compile_ahead(trainer.iterate, state)
  whole.call(state)
  seconds = []
  while len(seconds) < num_turns and sum(seconds) < _MAX_RUN_SECONDS:
    start = time.perf_counter()
    whole.call(state)
    seconds.append(time.perf_counter() - start)
  return whole.seconds, float(np.median(seconds))


def steps_per_iteration(config: config_lib.AlgorithmConfig) -> int:
  """Environment steps of one meta-iteration."""
  return (
    config.num_tasks
    * config.num_rollouts
    * config.horizon
    * (config.num_inner_steps + 1)
  )


def make_config(
  num_tasks: int, num_rollouts: int, horizon: int
) -> config_lib.AlgorithmConfig:
  """The algorithm that is measured: five second-order outer epochs."""
  return presets.make(
    'promp_taypo2',
    num_tasks=num_tasks,
    num_rollouts=num_rollouts,
    horizon=horizon,
    num_inner_steps=1,
    num_outer_epochs=5,
  )


def _case(name: str, config: config_lib.AlgorithmConfig) -> str:
  sizes = (
    config.num_tasks,
    config.num_rollouts,
    config.horizon,
    config.num_inner_steps + 1,
  )
  return f'{name} {"x".join(map(str, sizes))}'


def table(rows: Sequence[Row]) -> str:
  """Formats the rows for people."""
  lines = []
  for row in rows:
    value = '' if row.value is None else f'{row.value:,.4g}'
    if row.value is not None and row.value >= 1e4:
      value = f'{row.value:,.0f}'
    missed = '  missed' if row.is_met is False else ''
    lines.append(
      f'{row.case:<36}{row.quantity:<47}{value:>12} {row.unit:<9}'
      f'{row.target}{missed}'.rstrip()
    )
  return '\n'.join(lines)
