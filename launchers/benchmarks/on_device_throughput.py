"""How fast meta-training on a device is: seeds at once, other environments."""

from collections.abc import Iterator, Sequence
import dataclasses
import time

from absl import logging
import jax

from acme_metarl import config as config_lib
from acme_metarl import environments, on_device
from acme_metarl.launchers.benchmarks import benchmark, timing

# Environment steps per second, end to end: ten times the fastest published
# system (24.2 k on 31 CPU workers and a GPU).
STEPS_TARGET = 240_000.0
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


def measure_seeds(
  config: config_lib.AlgorithmConfig, num_seeds: int, num_turns: int, seed: int
) -> list[benchmark.Row]:
  """Times iterations of several seeds by vmap against one after the other."""
  train = on_device.make_train(
    dataclasses.replace(config, num_iterations=1),
    environments.make('navigation_2d'),
    num_eval_tasks=1,
  )
  keys = jax.random.split(jax.random.PRNGKey(seed), num_seeds)
  together = timing.compile_ahead(jax.vmap(train), keys)
  alone = jax.jit(train)
  case = f'{num_seeds} seeds, {benchmark.case_name("navigation_2d", config)}'
  seconds = timing.take_turns(
    {
      'vmap': together.call,
      'one by one': lambda: jax.block_until_ready([alone(x) for x in keys]),
    },
    num_turns,
  )
  vmap, one_by_one = benchmark.rows_of_turns(
    case, seconds, 'one by one', {'vmap': together.seconds}
  )
  return [vmap.at_most(1.0), one_by_one]


def measure_tabular(
  config: config_lib.AlgorithmConfig, num_turns: int, seed: int
) -> list[benchmark.Row]:
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

  programs = {
    'meta-training': timing.compile_ahead(trainer.iterate, state),
    'its random numbers alone': timing.compile_ahead(draw, key),
  }
  rows = benchmark.compare(
    benchmark.case_name('tabular_mdp', config), programs, num_turns
  )
  return [_steps(row, num_steps) for row in rows]


def _steps(row: benchmark.Row, num_steps: int) -> benchmark.Row:
  """Steps a second instead of seconds."""
  return row._replace(value=num_steps / row.value, unit='steps/s')


def measure_environments(
  config: config_lib.AlgorithmConfig,
  names: Sequence[str],
  task_counts: Sequence[int],
  num_turns: int,
  seed: int,
  deadline: float,
) -> Iterator[benchmark.Row]:
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
      case = benchmark.case_name(name, sized)
      to_compile, to_run = seen.get(name, (_FIRST_GUESS, 0.0))
      # Once for warming up, once for timing.
      needed = _MARGIN * (to_compile + 2 * to_run * num_tasks)
      if time.monotonic() + needed > deadline:
        yield benchmark.Row(case, 'steps', None, 'left out: no time left')
        continue
      logging.info('Measuring %s.', case)
      try:
        row = _measure_one(case, name, sized, num_turns, seed)
      except (RuntimeError, MemoryError) as error:  # Out of memory, mostly.
        reason = str(error).partition('\n')[0]
        yield benchmark.Row(case, 'steps', None, f'failed: {reason}')
        continue
      seen[name] = (row.compilation, row.value / num_tasks)
      yield row
      steps = _steps(row, steps_per_iteration(sized))
      yield steps._replace(name='steps').at_least(STEPS_TARGET)


def _measure_one(case, name, config, num_turns, seed) -> benchmark.Row:
  options = dict(ENVIRONMENTS)[name]
  trainer = on_device.make_trainer(config, environments.make(name, **options))
  state = trainer.init(jax.random.PRNGKey(seed))
  whole = timing.compile_ahead(trainer.iterate, state)
  seconds = timing.take_turns(
    {'an iteration': whole.call}, num_turns, _MAX_RUN_SECONDS
  )
  (row,) = benchmark.rows_of_turns(
    case, seconds, compilation={'an iteration': whole.seconds}
  )
  return row


def steps_per_iteration(config: config_lib.AlgorithmConfig) -> int:
  """Environment steps of one meta-iteration."""
  return (
    config.num_tasks
    * config.num_rollouts
    * config.horizon
    * (config.num_inner_steps + 1)
  )
