"""Measures a distributed program from outside, while it runs."""

from collections.abc import Iterator, Sequence
import dataclasses
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import benchmark
from acme_metarl.launchers.runs import checkpointing, tables
from acme_metarl.launchers.runs import config as run_config

# Memory and time are compared between this share of a run, and its end.
FIRST_SHARE = 0.2
_START_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    num_actors: numbers of actors to measure.
    minutes: how long each number of actors is measured, from its first
      iteration on.
    engine: that runs the program; what `train_distributed` takes by default if
      empty.
    environment: task distribution.
    algorithm: preset.
    num_tasks: tasks.
    num_rollouts: rollouts of each task and stage.
    horizon: steps of a rollout.
  """

  num_actors: tuple[int, ...] = (1, 2, 4)
  minutes: float = 2.0
  engine: str = ''
  environment: str = 'navigation_2d'
  algorithm: str = 'promp_taypo2'
  num_tasks: int = 40
  num_rollouts: int = 20
  horizon: int = 100

  def __post_init__(self):
    benchmark.check_positive(self, 'num_actors')
    benchmark.check_names('algorithm', [self.algorithm], presets.names())
    if self.minutes <= 0:
      raise ValueError(f'minutes: got {self.minutes}, need more than 0.')

  def flags(self, num_actors: int) -> list[str]:
    """What `train_distributed` is told."""
    own = ('environment', 'algorithm', 'num_tasks', 'num_rollouts', 'horizon')
    return [
      f'--num_actors={num_actors}',
      *(f'--{name}={getattr(self, name)}' for name in own),
      # Acting and learning only.
      '--eval_every=0',
      *([f'--engine={self.engine}'] if self.engine else []),
    ]


def measure(config: Config) -> Iterator[benchmark.Row]:
  """Yields rows, number of actors by number of actors."""
  for number in config.num_actors:
    measured = run(config.flags(number), config.minutes * 60)
    yield from rows_of(f'{number} actors', measured)


def rows_of(case: str, measured: 'Measurement') -> Iterator[benchmark.Row]:
  """Yields what was measured, what can be so by the iteration."""
  for name, seconds in (
    ('an iteration', measured.seconds / measured.iterations),
    ('learning, in an iteration', measured.learning_seconds),
    ('waiting for data, in an iteration', measured.waiting_seconds),
  ):
    yield benchmark.Row(case, name, seconds)
  yield benchmark.Row(case, 'iterations', measured.iterations, '')
  yield benchmark.Row(case, 'lag', measured.lag, 'updates')
  for name, seconds in measured.cpu_seconds.items():
    yield benchmark.Row(
      case,
      f'core seconds of {name}, in an iteration',
      seconds / measured.iterations,
    )
  for name, count in measured.tasks.items():
    yield benchmark.Row(case, f'tasks {name}', count, 'tasks')
  for name, (first, last) in measured.megabytes.items():
    yield benchmark.Row(case, f'{name}: resident at first', first, 'MB')
    yield benchmark.Row(
      case, f'{name}: resident at the end', last, 'MB', last / first
    )


@dataclasses.dataclass
class Measurement:
  """What a program did between two moments.

  Attributes:
    seconds: between them.
    iterations: between them.
    environment_steps: that were learned from between them.
    learning_seconds: of an iteration, on average.
    waiting_seconds: of the learner for data in an iteration, on average.
    lag: of the trials that were learned from, on average.
    cpu_seconds: by kind of process, between them.
    megabytes: resident sizes by process, at both moments.
    tasks: counts of the whole run: inserted, sampled, learned, dropped, lost,
      duplicated.
  """

  seconds: float
  iterations: int
  environment_steps: int
  learning_seconds: float
  waiting_seconds: float
  lag: float
  cpu_seconds: dict[str, float]
  megabytes: dict[str, tuple[float, float]]
  tasks: dict[str, int]


@dataclasses.dataclass
class _Sample:
  time: float
  num_rows: int
  processes: dict[tuple[int, str], Any]


def run(flags: Sequence[str], seconds: float) -> Measurement:
  """Runs the program for a while.

  Args:
    flags: of `train_distributed`.
    seconds: from its first iterations to the last moment.

  Raises:
    ValueError: if the program does not do what it should.
  """
  with tempfile.TemporaryDirectory(prefix='acme_metarl.') as folder:
    directory = pathlib.Path(folder) / 'run'
    log = pathlib.Path(folder) / 'output'
    with open(log, 'wb') as file:
      process = subprocess.Popen(
        [
          sys.executable,
          '-m',
          'acme_metarl.launchers.train_distributed',
          f'--logdir={directory}',
          '--num_iterations=1000000000',
          *flags,
        ],
        stdout=file,
        stderr=file,
      )
    try:
      first, last = _watch(process, directory, seconds)
    except _EndedError as error:
      raise ValueError(f'It ended early: {log.read_text()}') from error
    finally:
      process.send_signal(signal.SIGTERM)
      code = process.wait()
    if code or 'anew' in log.read_text():
      raise ValueError(f'Processes died: {log.read_text()}')
    return _evaluate(directory, first, last)


class _EndedError(Exception):
  pass


def _watch(
  process: subprocess.Popen, directory: pathlib.Path, seconds: float
) -> tuple[_Sample, _Sample]:
  # The first ones still compile, here and there.
  _wait(process, _START_SECONDS, lambda: len(_rows(directory)) > 5)
  _wait(process, seconds * FIRST_SHARE)
  first = _sample(process, directory)
  _wait(process, seconds * (1 - FIRST_SHARE))
  return first, _sample(process, directory)


def _wait(process, seconds, condition=lambda: False) -> None:
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline and not condition():
    if process.poll() is not None:
      raise _EndedError
    time.sleep(0.2)


def _rows(directory: pathlib.Path) -> list[dict[str, str]]:
  path = directory / tables.LEARNER_CSV
  return tables.read_csv(path) if path.exists() else []


def _sample(process: subprocess.Popen, directory: pathlib.Path) -> _Sample:
  supervisor = psutil.Process(process.pid)
  processes = {(supervisor.pid, 'supervisor'): _figures(supervisor)}
  for child in supervisor.children(recursive=True):
    name = child.name().removeprefix('ray::').lower()
    # Those that Launchpad colours the output with do nothing else.
    if name not in ('bash', 'sed', 'decorate_output'):
      processes[child.pid, name] = _figures(child)
  return _Sample(time.monotonic(), len(_rows(directory)), processes)


def _figures(process: psutil.Process) -> tuple[float, float]:
  """CPU seconds and megabytes."""
  times = process.cpu_times()
  return times.user + times.system, process.memory_info().rss / 1e6


def _evaluate(
  directory: pathlib.Path, first: _Sample, last: _Sample
) -> Measurement:
  rows = _rows(directory)[first.num_rows - 1 : last.num_rows]
  if len(rows) < 2:
    raise ValueError('seconds: there was no iteration; take more of them.')

  def mean(name):
    return sum(float(row[name]) for row in rows[1:]) / (len(rows) - 1)

  cpu_seconds, megabytes = {}, {}
  for (pid, name), (seconds, size) in last.processes.items():
    if (pid, name) not in first.processes:
      raise ValueError(f'{name} was started anew.')
    first_seconds, first_size = first.processes[pid, name]
    cpu_seconds[name] = cpu_seconds.get(name, 0) + seconds - first_seconds
    megabytes[f'{name} {pid}'] = (round(first_size, 1), round(size, 1))
  checkpoint = checkpointing.Checkpointer(
    directory / run_config.CHECKPOINTS
  ).load_latest()
  return Measurement(
    seconds=last.time - first.time,
    iterations=len(rows) - 1,
    environment_steps=int(rows[-1]['environment_steps'])
    - int(rows[0]['environment_steps']),
    learning_seconds=mean('learning_seconds'),
    waiting_seconds=mean('waiting_seconds'),
    lag=mean('lag'),
    cpu_seconds=cpu_seconds,
    megabytes=megabytes,
    tasks={
      'inserted': checkpoint.metadata['counts']['inserted_tasks'],
      **checkpoint.metadata['task_counts'],
    },
  )
