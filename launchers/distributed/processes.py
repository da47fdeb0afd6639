"""Processes that end with who started them, and are started anew."""

from collections.abc import Callable
import ctypes
import multiprocessing
from multiprocessing import connection
import os
import select
import signal
import sys
import threading
import time
import traceback
from typing import Any

from absl import logging

# A child that dies so often, each time within so many seconds of its start, is
# given up; one that lasted longer starts the count anew.
MAX_FAILURES = 5
_SHORT_LIFE_SECONDS = 60.0
_POLL_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def set_name(name: str) -> None:
  """Names this process in lists of processes; 15 letters are seen."""
  ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def die_with(pid: int) -> None:
  """Kills this process as soon as another one, such as a parent, is gone.

  Args:
    pid: of the other process, which need not be the parent.
  """

  def wait():
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)

  try:
    handle = os.pidfd_open(pid)
  except ProcessLookupError:
    os.kill(os.getpid(), signal.SIGKILL)
  threading.Thread(target=wait, name='die_with', daemon=True).start()


def leave(code: int = 0) -> None:
  """Ends this process at once, whatever threads still do."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def fork(name: str, function: Callable[..., Any], *args: Any) -> Any:
  """Runs a function in a copy of this process, which lives no longer than it.

  What was imported is there at once; nothing must run yet that has threads of
  its own, such as JAX's backend or a gRPC client.

  Args:
    name: of the process.
    function: returns, or raises, when the process shall end.
    *args: of the function.

  Returns:
    A `multiprocessing.Process` that has started.
  """
  process = multiprocessing.get_context('fork').Process(
    target=_run_forked, args=(name, os.getpid(), function, *args)
  )
  # The child must not hear them with the handlers of its parent.
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  try:
    process.start()
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
  return process


def _run_forked(
  name: str, parent: int, function: Callable[..., Any], *args: Any
) -> None:
  set_name(name)
  # The kernel does it, even while no Python code can run.
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    leave(1)
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
  code = 0
  try:
    function(*args)
  except BaseException:
    traceback.print_exc()
    code = 1
  leave(code)


def wait(process: Any, until: Callable[[], bool]) -> None:
  """Waits until a process has ended, or until a condition holds.

  An ended process is left to `join`: nobody else has its number until then.
  """
  while not connection.wait([process.sentinel], _POLL_SECONDS):
    if until():
      return


def keep_running(
  name: str,
  run: Callable[[], None],
  should_stop: Callable[[], bool],
  in_child: bool,
) -> None:
  """Runs something, and starts it anew when it dies, until asked to stop.

  Args:
    name: of what runs, for messages.
    run: returns only when asked to stop.
    should_stop: asked several times a second.
    in_child: whether it runs in a child process, which may die of anything and
      is killed in the end; else in this thread, where it may raise.

  Raises:
    RuntimeError: if it keeps dying.
  """
  failures = 0
  while not should_stop():
    start = time.monotonic()
    how = _run_child(name, run, should_stop) if in_child else _run_here(run)
    if should_stop():
      return
    lived = time.monotonic() - start
    failures = failures + 1 if lived < _SHORT_LIFE_SECONDS else 1
    if failures >= MAX_FAILURES:
      raise RuntimeError(
        f'{name} {how}, for the {failures}th time in a row; given up.'
      )
    logging.warning('%s %s after %.0f s; starting it anew.', name, how, lived)


def _run_child(
  name: str, run: Callable[[], None], should_stop: Callable[[], bool]
) -> str:
  process = fork(name, run)
  try:
    wait(process, should_stop)
    # Who ends the program may signal both; the child is the first to go.
    time.sleep(_POLL_SECONDS)
  finally:
    process.kill()
    process.join()
  return f'ended with code {process.exitcode}'


def _run_here(run: Callable[[], None]) -> str:
  try:
    run()
  except Exception as error:
    logging.exception('Where it came from:')
    return f'raised {type(error).__name__}'
  return 'returned'
