"""How fast meta-training on a device is: seeds at once, other environments."""

from collections.abc import Iterator, Sequence
import dataclasses
import time
from typing import NamedTuple

from absl import logging
import jax
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import environments, on_device, presets
from acme_metarl.launchers.benchmarks import timing

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


def at_most(limit: float, row: Row) -> Row:
  """The same row, whose value should be at most `limit`."""
  return row._replace(target=f'<= {limit:g}', is_met=row.value <= limit)


def _at_least(limit: float, row: Row) -> Row:
  return row._replace(target=f'>= {limit:g}', is_met=row.value >= limit)


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
  together = timing.compile_ahead(jax.vmap(train), keys)
  single = timing.compile_ahead(train, keys[0])
  seconds = timing.take_turns(
    {
      'together': lambda: together.call(keys),
      'alone': lambda: [single.call(key) for key in keys],
    },
    num_turns,
  )
  case = f'{num_seeds} seeds, {case_name("navigation_2d", config)}'
  medians = {name: float(np.median(x)) for name, x in seconds.items()}
  ratio = float(np.median(seconds['together'] / seconds['alone']))
  return [
    Row('seeds', case, 'vmap: compilation', together.seconds, 's'),
    Row('seeds', case, 'vmap: an iteration', medians['together'], 's'),
    Row('seeds', case, 'one by one: an iteration', medians['alone'], 's'),
    at_most(1.0, Row('seeds', case, 'vmap / one by one', ratio, '')),
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

  whole = timing.compile_ahead(trainer.iterate, state)
  bare = timing.compile_ahead(draw, key)
  seconds = timing.take_turns(
    {
      'meta-training': lambda: whole.call(state),
      'its random numbers alone': lambda: bare.call(key),
    },
    num_turns,
  )
  case = case_name('tabular_mdp', config)
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
      case = case_name(name, sized)
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
  whole = timing.compile_ahead(trainer.iterate, state)
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
  algorithm: str, num_tasks: int, num_rollouts: int, horizon: int
) -> config_lib.AlgorithmConfig:
  """The algorithm that is measured: a preset in these sizes."""
  return presets.make(
    algorithm, num_tasks=num_tasks, num_rollouts=num_rollouts, horizon=horizon
  )


def case_name(name: str, config: config_lib.AlgorithmConfig) -> str:
  """Environment and sizes of a case."""
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
