r"""Measures `train_distributed`: its load, and how it scales with actors.

    python -m acme_metarl.launchers.benchmark_distributed
    python -m acme_metarl.launchers.benchmark_distributed \
      --num_actors=8 --minutes=10 --output=results/distributed_load

Runs the program with each number of actors and prints what an iteration takes;
how much memory the processes have at a fifth of the time and at the end; and
whether every trial that was inserted was learned from once. With `--output`
that also goes to `results.json`.
"""

from collections.abc import Sequence
import dataclasses
import os
import sys

from absl import app, flags

from acme_metarl import presets
from acme_metarl.launchers.distributed import measuring
from acme_metarl.launchers.runs import outputs

_NUM_ACTORS = flags.DEFINE_list(
  'num_actors', ['1', '2', '4'], 'Numbers of actors to measure.'
)
_MINUTES = flags.DEFINE_float(
  'minutes', 2.0, 'Of each number, from the first iteration on.'
)
_ENVIRONMENT = flags.DEFINE_string(
  'environment', 'navigation_2d', 'Task distribution.'
)
_ALGORITHM = flags.DEFINE_enum(
  'algorithm', 'promp_taypo2', presets.names(), 'Preset.'
)
_NUM_TASKS = flags.DEFINE_integer('num_tasks', 40, 'Tasks.')
_NUM_ROLLOUTS = flags.DEFINE_integer(
  'num_rollouts', 20, 'Rollouts of each task and stage.'
)
_HORIZON = flags.DEFINE_integer('horizon', 100, 'Steps of a rollout.')
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Directory for results.json; none if empty.'
)


def run() -> None:
  """Measures as the flags say.

  Raises:
    ValueError: if that cannot be done.
    OSError: if results cannot be written.
  """
  try:
    numbers = [int(text) for text in _NUM_ACTORS.value]
  except ValueError:
    numbers = []
  if not numbers or min(numbers) < 1:
    raise ValueError(f'num_actors: got {_NUM_ACTORS.value}, need numbers.')
  if _MINUTES.value <= 0:
    raise ValueError(f'minutes: got {_MINUTES.value}, need more than 0.')
  directory = _OUTPUT.value and outputs.writable_directory(_OUTPUT.value)
  measured = {}
  for number in numbers:
    measured[number] = measuring.measure(_flags(number), _MINUTES.value * 60)
    print(_report(number, measured[number]), flush=True)
  if directory:
    outputs.write_json(
      directory / 'results.json',
      {
        'num_cores': len(os.sched_getaffinity(0)),
        'flags': _flags(numbers[0]),
        'measured': {k: dataclasses.asdict(v) for k, v in measured.items()},
      },
    )


def _flags(num_actors: int) -> list[str]:
  return [
    f'--num_actors={num_actors}',
    f'--environment={_ENVIRONMENT.value}',
    f'--algorithm={_ALGORITHM.value}',
    f'--num_tasks={_NUM_TASKS.value}',
    f'--num_rollouts={_NUM_ROLLOUTS.value}',
    f'--horizon={_HORIZON.value}',
    # Acting and learning only.
    '--eval_every=0',
  ]


def _report(num_actors: int, measured: measuring.Measurement) -> str:
  per_iteration = {
    'all': measured.seconds / measured.iterations,
    'learning': measured.learning_seconds,
    'waiting': measured.waiting_seconds,
  }
  lines = [
    f'{num_actors} actors, {measured.iterations} iterations in '
    f'{measured.seconds:.0f} s; lag {measured.lag:.2f}',
    f'  seconds an iteration: {_sentence(per_iteration)}',
    f'  seconds of cores:     {_sentence(measured.cpu_seconds)}',
    f'  tasks of the run:     {_sentence(measured.tasks)}',
    '  resident MB:          '
    + ', '.join(f'{k} {a} → {b}' for k, (a, b) in measured.megabytes.items()),
  ]
  return '\n'.join(lines)


def _sentence(values: dict[str, float]) -> str:
  return ', '.join(f'{name} {value:.4g}' for name, value in values.items())


def main(argv: Sequence[str]) -> None:
  """Measures, and tells mistakes without a traceback."""
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    run()
  except (OSError, ValueError) as error:
    sys.exit(f'benchmark_distributed: {error}')


if __name__ == '__main__':
  app.run(main)
