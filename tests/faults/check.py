"""Harms random runs at random moments, and sees whether anything is lost.

    python tests/faults/check.py
    python tests/faults/check.py --minutes=2 --runners=train_on_device --seed=1

Draws a launcher, tiny settings, a fault and a moment: in the start-up, or after
some iteration. The run is then resumed to its end. Of `train` and
`train_on_device` the tables (columns of clocks left out) and the arrays and
settings of the last checkpoint must be, bit for bit, those of a run that nobody
disturbed. Actors of `train_distributed` race, so no two of its runs are alike;
there every iteration must be in the table once, the last one be evaluated, the
last checkpoint be of the right arrays, all finite, and rows and checkpoints of
before the fault be there still. All must end by themselves, a full disk with
code 1 and a sentence, and leave no process behind.

Prints how often each fault was survived; exits with 1 if one was not.
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import csv
import importlib.util
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple
import uuid

import numpy as np
import psutil

from acme_metarl.launchers.runs import checkpointing

_CLOCK = pathlib.Path(__file__).with_name('clock')
_MARK = 'FAULTS_TRIAL'
_SECONDS = 600  # That a launcher may take; far more than it needs.
_LEAVING_SECONDS = 20
_DISK = '16m'
TABLES = ('learner.csv', 'evaluation.csv')
# Rows of an evaluation that was interrupted go.
_TASKS_TABLE = 'evaluation_tasks.csv'
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')
FAULTS = (*SIGNALS, 'SIGSTOP', 'full disk', 'clock')
RUNNERS = ('train', 'train_on_device', 'train_distributed')
_ALGORITHMS = ('promp_taypo2', 'trpo_maml')


class LossError(Exception):
  """Something that was to survive did not."""


class Settings(NamedTuple):
  """A run.

  Attributes:
    runner: a launcher of training.
    num_iterations: of the whole run.
    flags: the others.
  """

  runner: str
  num_iterations: int
  flags: tuple[str, ...]


def draw_settings(
  rng: random.Random, runner: str, most_iterations: int = 60
) -> Settings:
  """Draws tiny settings."""
  num_iterations = rng.randint(12, most_iterations)
  return Settings(
    runner,
    num_iterations,
    (
      f'--num_iterations={num_iterations}',
      f'--algorithm={rng.choice(_ALGORITHMS)}',
      f'--seed={rng.randrange(2**64)}',
      f'--checkpoint_every={rng.randint(1, 6)}',
      f'--eval_every={rng.randint(1, 5)}',
      '--num_tasks=2',
      '--num_rollouts=3',
      '--horizon=5',
      '--config.hidden_sizes=8',
      # Else returns and gradients are zeros, which are all alike.
      '--environment_options={"reward": "dense"}',
    ),
  )


class Run:
  """A launcher at work, in a process of its own."""

  def __init__(
    self,
    settings: Settings,
    directory: pathlib.Path,
    *flags: str,
    **environment: str,
  ):
    """Starts it; `close` it."""
    self.directory = directory
    self._mark = uuid.uuid4().hex
    self._output = tempfile.TemporaryFile()
    self.process = subprocess.Popen(
      [
        sys.executable,
        '-m',
        f'acme_metarl.launchers.{settings.runner}',
        *settings.flags,
        f'--logdir={directory}',
        *flags,
      ],
      stdout=self._output,
      stderr=self._output,
      stdin=subprocess.DEVNULL,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment}
      | {_MARK: self._mark},
      start_new_session=True,
    )

  def processes(self) -> list[psutil.Process]:
    """All living processes of the run."""
    found = []
    for process in psutil.process_iter():
      with contextlib.suppress(psutil.Error, OSError):
        if (
          process.environ().get(_MARK) == self._mark
          and process.status() != psutil.STATUS_ZOMBIE
        ):
          found.append(process)
    return found

  def wait_for(self, happened: Callable[[], bool]) -> bool:
    """Waits for something; whether it came before the end of the run."""
    while not happened():
      if self.process.poll() is not None:
        return False
      time.sleep(0.01)
    return self.process.poll() is None

  def end(self) -> int:
    """Waits for the end of all processes; returns the exit code.

    Raises:
      LossError: if they do not end.
    """
    try:
      code = self.process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
      raise LossError('hangs') from None
    deadline = time.monotonic() + _LEAVING_SECONDS
    while left := self.processes():
      if time.monotonic() > deadline:
        raise LossError(f'left behind: {[x.name() for x in left]}')
      time.sleep(0.1)
    return code

  @property
  def output(self) -> str:
    self._output.seek(0)
    return self._output.read().decode(errors='replace')

  def close(self) -> None:
    for process in self.processes():
      with contextlib.suppress(psutil.Error):
        process.kill()
    self.process.wait()
    self._output.close()


def rows(directory: pathlib.Path, name: str) -> list[dict[str, str]]:
  """Rows of a table without what clocks say; a torn last one left out."""
  path = directory / name
  if not path.exists():
    return []
  text = path.read_text(encoding='utf-8')
  whole = text[: text.rfind('\n') + 1].splitlines()
  return [
    {k: v for k, v in row.items() if k and not k.endswith('_seconds')}
    for row in csv.DictReader(whole)
  ]


def latest(directory: pathlib.Path) -> checkpointing.Checkpoint | None:
  """The newest whole checkpoint of a run, which may be at work."""
  with contextlib.suppress(FileNotFoundError):
    return checkpointing.Checkpointer(directory / 'checkpoints').load_latest()
  return latest(directory)


def _state(checkpoint: checkpointing.Checkpoint) -> dict[str, Any]:
  """What a checkpoint holds, without what clocks say."""
  settings = {
    k: v
    for k, v in checkpoint.metadata.items()
    if k not in ('wall_seconds', 'tables')
  }
  arrays = {
    k: (str(x.dtype), x.shape, x.tobytes())
    for k, x in checkpoint.arrays.items()
  }
  return {'metadata': settings, **arrays}


def check_equal(directory: pathlib.Path, reference: pathlib.Path) -> None:
  """Raises a `LossError` if two runs differ in more than what clocks say."""
  for name in (*TABLES, _TASKS_TABLE):
    if rows(directory, name) != rows(reference, name):
      raise LossError(f'{name} differs')
  one, other = _state(latest(directory)), _state(latest(reference))
  different = [k for k in one | other if one.get(k) != other.get(k)]
  if different:
    raise LossError(f'the last checkpoint differs in {different}')


def _check_promises(
  directory: pathlib.Path, reference: pathlib.Path, num_iterations: int
) -> None:
  """What `docs/distributed.md` promises."""
  learned = [int(row['iteration']) for row in rows(directory, TABLES[0])]
  if learned != list(range(1, num_iterations + 1)):
    raise LossError(f'the iterations are {learned}')
  evaluated = [
    (int(row['iteration']), row['num_inner_steps_taken'])
    for row in rows(directory, TABLES[1])
  ]
  if len(set(evaluated)) < len(evaluated):
    raise LossError(f'evaluated more than once: {evaluated}')
  if evaluated[-1][0] != num_iterations:
    raise LossError(f'the last iteration is not evaluated: {evaluated}')
  one, other = latest(directory), latest(reference)
  shapes = [
    {k: (x.dtype, x.shape) for k, x in c.arrays.items()} for c in (one, other)
  ]
  if one.step != num_iterations or shapes[0] != shapes[1]:
    raise LossError('the last checkpoint is of something else')
  if not all(np.all(np.isfinite(x)) for x in one.arrays.values()):
    raise LossError('the last checkpoint is not finite')


class Saved(NamedTuple):
  """What must not be lost: a checkpoint's step, and rows until there."""

  step: int
  tables: dict[str, list[dict[str, str]]]

  @classmethod
  def of(cls, directory: pathlib.Path) -> 'Saved':
    checkpoint = latest(directory)
    step = checkpoint.step if checkpoint else 0
    return cls(
      step,
      {
        name: [r for r in rows(directory, name) if int(r['iteration']) <= step]
        if checkpoint
        else []
        for name in TABLES
      },
    )

  def check(self, directory: pathlib.Path) -> None:
    """Raises a `LossError` if something is gone."""
    now = latest(directory)
    if self.step and (now is None or now.step < self.step):
      raise LossError(f'checkpoint {self.step} is gone')
    for name, old in self.tables.items():
      if rows(directory, name)[: len(old)] != old:
        raise LossError(f'rows of {name} up to {self.step} are gone')


@contextlib.contextmanager
def _disk(folder: pathlib.Path) -> Iterator[pathlib.Path | None]:
  """A small disk, where one may be mounted; else None."""
  where = folder / 'disk'
  where.mkdir()
  try:
    subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', f'size={_DISK}', 'tmpfs', str(where)],
      check=True,
      capture_output=True,
    )
  except (OSError, subprocess.CalledProcessError):
    yield None
    return
  try:
    yield where
  finally:
    subprocess.run(['umount', str(where)], check=True)


def _fill(disk: pathlib.Path) -> None:
  with open(disk / 'filler', 'wb', buffering=0) as file:
    with contextlib.suppress(OSError):
      while True:
        file.write(bytes(2**16))
    with contextlib.suppress(OSError):
      while True:
        file.write(b'0')


class Check:
  """Undisturbed runs by their settings, and runs compared with them."""

  def __init__(self, folder: pathlib.Path, stop_seconds: float):
    """Makes it.

    Args:
      folder: for all runs.
      stop_seconds: how long SIGSTOP lasts.
    """
    self._folder = folder
    self._stop_seconds = stop_seconds
    self._references: dict[Settings, tuple[pathlib.Path, float]] = {}

  def reference(self, settings: Settings) -> tuple[pathlib.Path, float]:
    """Directory of an undisturbed run, and seconds until its first row."""
    if settings not in self._references:
      directory = self._folder / f'reference_{len(self._references)}'
      start = time.monotonic()
      with contextlib.closing(Run(settings, directory)) as run:
        run.wait_for(lambda: bool(rows(directory, TABLES[0])))
        seconds = time.monotonic() - start
        code = run.end()
        if code:
          raise RuntimeError(f'An undisturbed run failed:\n{run.output}')
      self._references[settings] = directory, seconds
    return self._references[settings]

  def harm(self, rng: random.Random, settings: Settings, fault: str) -> bool:
    """Disturbs a run, and resumes it.

    Returns:
      Whether the run was still at work when the fault came.

    Raises:
      LossError: if something is lost.
    """
    reference, start_up = self.reference(settings)
    with contextlib.ExitStack() as stack:
      folder = pathlib.Path(
        stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder))
      )
      disk = None
      if fault == 'full disk':
        disk = stack.enter_context(_disk(folder))
        if disk is None and settings.runner == 'train_distributed':
          return False  # Where a limit for files hits much besides.
      directory = (disk or folder) / 'run'
      environment = {}
      if fault == 'clock':
        paths = [str(_CLOCK), os.environ.get('PYTHONPATH', '')]
        environment = {
          'PYTHONPATH': os.pathsep.join(filter(None, paths)),
          'FAULTS_CLOCK': str(folder / 'clock'),
        }
      run = stack.enter_context(
        contextlib.closing(Run(settings, directory, **environment))
      )
      try:
        came = self._wait_for_moment(rng, run, settings, start_up)
        saved = Saved.of(directory)
        came = came and self._strike(rng, run, fault, folder, disk)
        code = run.end()
        _check_end(run, fault, code, came)
        if disk is not None:
          (disk / 'filler').unlink(missing_ok=True)
        saved.check(directory)
        run = self._resume(settings, directory, code, stack) or run
        if settings.runner == 'train_distributed':
          saved.check(directory)
          _check_promises(directory, reference, settings.num_iterations)
        else:
          check_equal(directory, reference)
      except LossError as error:
        kept = self._folder / f'lost_{folder.name}'
        with contextlib.suppress(OSError, shutil.Error):
          shutil.copytree(directory, kept)
        tail = run.output[-3000:]
        raise LossError(f'{error}; see {kept}. It said:\n{tail}') from error
      return came

  def _wait_for_moment(self, rng, run, settings, start_up) -> bool:
    if rng.random() < 0.25:
      end = time.monotonic() + rng.uniform(0, start_up)
      return run.wait_for(lambda: time.monotonic() > end)
    count = rng.randint(1, settings.num_iterations - 1)
    came = run.wait_for(lambda: len(rows(run.directory, TABLES[0])) >= count)
    time.sleep(rng.uniform(0, 0.05))
    return came and run.process.poll() is None

  def _strike(self, rng, run, fault, folder, disk) -> bool:
    """Does the harm; returns whether there was somebody to harm."""
    pids = sorted(x.pid for x in run.processes())
    if not pids or run.process.poll() is not None:
      return False
    if fault == 'full disk' and disk is not None:
      _fill(disk)
    elif fault == 'full disk':
      resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    elif fault == 'clock':
      jump = rng.choice([-1, 1]) * rng.choice([60, 3600, 10**5, 10**8])
      (folder / 'clock').write_text(str(jump))
    else:
      # One of all nodes; only the launcher is asked to end.
      victim = rng.choice(pids)
      if fault in ('SIGTERM', 'SIGINT'):
        victim = run.process.pid
      try:
        os.kill(victim, getattr(signal, fault))
      except ProcessLookupError:
        return False
      if fault == 'SIGSTOP':
        time.sleep(self._stop_seconds)
        os.kill(victim, signal.SIGCONT)
    return True

  def _resume(self, settings, directory, code, stack) -> Run | None:
    """Resumes a run that is not at its end."""
    checkpoint = latest(directory)
    step = checkpoint.step if checkpoint else 0
    if code == 0 and step == settings.num_iterations:
      return None
    has_settings = (directory / 'config.json').exists()
    flags = ['--resume'] if checkpoint or has_settings else []
    run = stack.enter_context(
      contextlib.closing(Run(settings, directory, *flags))
    )
    code = run.end()
    if code:
      raise LossError(f'cannot be resumed, code {code}: {run.output[-3000:]}')
    return run


def _check_end(run: Run, fault: str, code: int, came: bool) -> None:
  """Raises a `LossError` if the first run ended as it must not."""
  if not came or fault in ('SIGSTOP', 'clock'):
    if code:
      raise LossError(f'ended with code {code}')
  elif fault == 'full disk':
    if code not in (0, 1) or 'Traceback' in run.output:
      raise LossError(f'ended with code {code} and no sentence')
  elif code == 0 and fault in ('SIGTERM', 'SIGINT'):
    done = rows(run.directory, TABLES[0])
    checkpoint = latest(run.directory)
    step = checkpoint.step if checkpoint else 0
    if done and int(done[-1]['iteration']) > step:
      raise LossError(f'stopped, and saved no more than iteration {step}')


def installed_runners() -> tuple[str, ...]:
  """The launchers that can run here."""
  has_agent_stack = all(map(importlib.util.find_spec, ('acme', 'launchpad')))
  return RUNNERS if has_agent_stack else ('train_on_device',)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--minutes', type=float, default=10)
  parser.add_argument('--seed', type=int, default=random.randrange(2**32))
  parser.add_argument('--stop_seconds', type=float, default=60)
  # Every one is compiled, and run undisturbed.
  parser.add_argument('--settings_per_runner', type=int, default=2)
  parser.add_argument('--runners', nargs='+', default=installed_runners())
  parser.add_argument('--faults', nargs='+', default=FAULTS)
  arguments = parser.parse_args()
  print(f'Seed {arguments.seed}.', flush=True)
  rng = random.Random(arguments.seed)
  end = time.monotonic() + 60 * arguments.minutes
  tried: dict[tuple[str, str], int] = {}
  lost: dict[tuple[str, str], int] = {}
  folder = pathlib.Path(tempfile.mkdtemp(prefix='faults.'))
  check = Check(folder, arguments.stop_seconds)
  drawn = {
    runner: [
      draw_settings(rng, runner) for _ in range(arguments.settings_per_runner)
    ]
    for runner in arguments.runners
  }
  # Every pair once, in random order, before any for a second time.
  pairs: list[tuple[str, str]] = []
  while time.monotonic() < end:
    if not pairs:
      pairs = [(r, f) for r in arguments.runners for f in arguments.faults]
      rng.shuffle(pairs)
    pair = pairs.pop()
    runner, fault = pair
    try:
      came = check.harm(rng, rng.choice(drawn[runner]), fault)
      tried[pair] = tried.get(pair, 0) + came
      print(f'{runner}, {fault}: {"survived" if came else "late"}', flush=True)
    except LossError as error:
      tried[pair] = tried.get(pair, 0) + 1
      lost[pair] = lost.get(pair, 0) + 1
      print(f'{runner}, {fault}: LOST, {error}', flush=True)
  print('\nSurvived / tried:')
  for pair in sorted(tried):
    survived = tried[pair] - lost.get(pair, 0)
    print(f'{pair[0]:18} {pair[1]:10} {survived:3} / {tried[pair]}')
  if lost:
    sys.exit(1)
  shutil.rmtree(folder)


if __name__ == '__main__':
  main()
