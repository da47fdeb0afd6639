"""Runs the processes of a comparison, and shows how far they are."""

from collections.abc import Iterator, Sequence
import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from acme_metarl.launchers.comparison import (
  job_making,
  origin,
  stored_runs,
)
from acme_metarl.launchers.runs import progress as progress_lib
from acme_metarl.launchers.runs import stopping, tables

_POLL_SECONDS = 0.5


class _Child:
  """A process, and the log that nobody else may write meanwhile."""

  def __init__(self, job: job_making.Job, cores: set[int]):
    """Starts the process on some of the cores.

    Raises:
      BlockingIOError: if another process is making one of the runs.
    """
    self.job = job
    self.cores = cores
    with contextlib.ExitStack() as stack:
      logs = []
      for run in job.runs:
        run.directory.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context(
          open(run.directory / job_making.OUTPUT_LOG, 'ab')
        )
        # The child inherits the lock: it holds as long as the child lives, even
        # if this process is killed.
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        logs.append(log)
      for log in logs[1:]:
        log.write(f'See {job.log}.\n'.encode())
        log.flush()
      job.write_config()
      for run in job.runs:
        origin.note(run)
      stack.enter_context(_running_on(cores))
      self._process = subprocess.Popen(
        job.command,
        stdin=subprocess.DEVNULL,
        stdout=logs[0],
        stderr=subprocess.STDOUT,
        pass_fds=[log.fileno() for log in logs],
        # Ctrl-C reaches it through us, once.
        start_new_session=True,
      )

  @property
  def is_running(self) -> bool:
    return self._process.poll() is None

  def failure(self) -> str | None:
    """Says how it ended if not well."""
    code = self._process.returncode
    if code < 0:
      return f'ended by {signal.Signals(-code).name}'
    if code > 0:
      return f'exit status {code}'
    if not all(run.is_finished for run in self.job.runs):
      return 'ended too early'
    return None

  def stop(self) -> None:
    """Asks it to save and end."""
    self._process.terminate()

  def kill(self) -> None:
    self._process.kill()
    self._process.wait()


@contextlib.contextmanager
def _running_on(cores: set[int]) -> Iterator[None]:
  """What is started inside inherits these cores."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, cores)
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


class Outcome(NamedTuple):
  """What became of the jobs.

  Attributes:
    failures: sentences, by the name of the job.
    signal_name: that stopped the work, or None.
  """

  failures: dict[str, str]
  signal_name: str | None


def execute(
  jobs: Sequence[job_making.Job],
  num_parallel: int,
  all_runs: Sequence[stored_runs.Run],
) -> Outcome:
  """Makes the runs; the end of one is not that of the others.

  Args:
    jobs: to do.
    num_parallel: how many at once; each keeps to its share of the cores, where
      threads of the others would be in the way of its own.
    all_runs: that progress is shown of.

  Returns:
    What became of them.
  """
  waiting, failures = list(jobs), {}
  children: list[_Child] = []
  shares = _share_cores(min(num_parallel, len(jobs)))
  stop = stopping.StopRequest()
  with stop.listening(), _Progress(all_runs) as progress:
    try:
      while (waiting and not stop) or children:
        while waiting and not stop and shares:
          child = _start(waiting.pop(0), shares[-1], failures, progress)
          if child is not None:
            children.append(child)
            shares.pop()
        time.sleep(_POLL_SECONDS)
        progress.update()
        for child in [c for c in children if not c.is_running]:
          children.remove(child)
          shares.append(child.cores)
          if not stop:
            _finish(child, failures, progress)
        if stop and children:
          _stop_all(children, progress)
    finally:
      # Left behind by a second Ctrl-C only; checkpoints are whole.
      for child in children:
        child.kill()
  return Outcome(failures, stop.signal_name)


def _share_cores(num_parallel: int) -> list[set[int]]:
  """Cores for each of the processes at once, at least one."""
  cores = sorted(os.sched_getaffinity(0))
  return [
    set(cores[index % len(cores) :: num_parallel])
    for index in range(num_parallel)
  ]


def _start(job, cores, failures, progress) -> _Child | None:
  try:
    return _Child(job, cores)
  except BlockingIOError:
    failures[job.name] = 'another process is making it at this moment'
    progress.say(f'{job.name}: {failures[job.name]}.')
  except OSError as error:
    failures[job.name] = f'cannot start it ({error})'
    progress.say(f'{job.name}: {failures[job.name]}.')
  return None


def _finish(child, failures, progress) -> None:
  job, failure = child.job, child.failure()
  if failure is None:
    progress.say(f'{job.name}: done.')
    return
  failures[job.name] = failure
  progress.say(f'{job.name}: {failure}. {job.log} ends:\n{_tail(job.log)}')


def _stop_all(children, progress) -> None:
  progress.say(
    f'Stopping: {len(children)} running, saved after the iterations that they '
    'are at. A second Ctrl-C ends them at once, at their last checkpoints.'
  )
  for child in children:
    child.stop()
  while any(child.is_running for child in children):
    time.sleep(_POLL_SECONDS)
  children.clear()


def _tail(path: pathlib.Path, num_lines: int = 6) -> str:
  text = path.read_text(encoding='utf-8', errors='replace')
  lines = text.replace('\r', '\n').splitlines()
  return '\n'.join(f'  {line}' for line in lines[-num_lines:])


class _Progress:
  """A bar over the iterations of all runs, read from their tables."""

  def __init__(self, runs: Sequence[stored_runs.Run]):
    self._runs = runs
    done = self._done()
    self._bar = progress_lib.bar(
      sum(run.config.num_iterations for run in runs),
      initial=done,
      unit='it',
      # Runs are of different lengths; the mean says more than the last one.
      smoothing=0,
      desc=f'{len(runs)} runs',
    )

  def __enter__(self) -> '_Progress':
    return self

  def __exit__(self, *_: Any) -> None:
    self._bar.close()

  def update(self) -> None:
    self._bar.update(self._done() - self._bar.n)

  def say(self, text: str) -> None:
    """Prints without tearing the bar."""
    self._bar.write(text, file=sys.stderr)

  def _done(self) -> int:
    return sum(
      min(max(_iteration(run.directory), 0), run.config.num_iterations)
      for run in self._runs
    )


def _iteration(directory: pathlib.Path) -> int:
  """The iteration that a run is at, from the last line of its table."""
  path = directory / tables.LEARNER_CSV
  try:
    with open(path, 'rb') as file:
      file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
      return int(file.read().splitlines()[-1].split(b',')[0])
  except (IndexError, OSError, ValueError):
    return 0
