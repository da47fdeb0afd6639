"""Launches the Launchpad program on this machine."""

from collections.abc import Collection
import contextlib
import os
import pathlib
import signal
import tempfile
import threading
from typing import Any

from absl import flags, logging
from absl.testing import absltest
import launchpad as lp
from launchpad.launch.run_locally import launch_local_output_to_files

from acme_metarl.launchers.distributed import (
  launchpad_shared,
  processes,
  program,
  supervising,
)
from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import stopping

# How long nodes may take to end once the learner has.
_STOP_SECONDS = 10.0


def train(
  plan: run_config.Plan,
  given: Collection[str],
  options: options_lib.ProgramOptions,
  launch_type: lp.LaunchType,
  terminal: str,
  max_restarts: int,
) -> bool:
  """Trains until the end, or until asked to stop.

  The program runs in a copy of this process, in a group of processes that ends
  as a whole. When a node dies that nobody else brings back, the program is
  launched anew from the last checkpoint.

  Args:
    plan: the run.
    given: what texts of its configuration may import, as `module:name`.
    options: of the program.
    launch_type: a local one.
    terminal: where the output of processes goes, see Launchpad.
    max_restarts: of the program.

  Returns:
    Whether the run came to its end.

  Raises:
    FailedError: with a sentence for the user.
    ValueError: if settings do not fit together.
  """
  config, directory, _ = plan

  def launch(checkpoint, stop):
    with tempfile.TemporaryDirectory(prefix='acme_metarl.') as folder:
      built = program.make_program(
        config, options, directory, checkpoint, folder, given
      )
      process = processes.fork(
        'launcher',
        _launch,
        built,
        options,
        launch_type,
        terminal,
        directory,
        folder,
      )
      session = session_lib.Session(folder)
      _watch(process, stop, session)
      return session.outcome()

  return supervising.run(plan, launch, max_restarts)


def _watch(
  process: Any, stop: stopping.StopRequest, session: session_lib.Session
) -> None:
  """Waits for the program's end; asks for it when asked to stop."""
  try:
    processes.wait(process, lambda: bool(stop))
    session.ask_to_stop()
    process.terminate()
    processes.wait(process, lambda: False)
  finally:
    # The whole group; nobody is left in it unless something went wrong.
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _launch(
  built: lp.Program,
  options: options_lib.ProgramOptions,
  launch_type: lp.LaunchType,
  terminal: str,
  directory: pathlib.Path,
  folder: str,
) -> None:
  """Launches, and returns when all is over."""
  os.setsid()
  # Launchpad leaves folders behind when it is left early.
  os.environ['TMPDIR'] = tempfile.tempdir = folder
  flags.FLAGS['lp_termination_notice_secs'].value = -1
  # Read from the environment when it was imported.
  launch_local_output_to_files._LOGGING_DIR = str(directory / 'nodes')
  session = session_lib.Session(folder)
  test_case = absltest.TestCase()
  manager = lp.launch(
    built,
    launch_type,
    local_resources=program.local_resources(options),
    terminal=terminal,
    test_case=test_case,
  )
  try:
    manager.wait(return_on_first_completed=True)
    if session.is_asked_to_stop():
      # The learner saves, and the others wait for it.
      is_command = launch_type is lp.LaunchType.LOCAL_MULTI_PROCESSING
      manager.wait(['learner/0' if is_command else 'learner'])
  except Exception as error:
    logging.error('A node died: %s', error)
  session.report(session_lib.CRASHED, 'a node died')
  if launch_type in launchpad_shared.THREAD_LAUNCHES:
    processes.leave()
  killer = threading.Timer(_STOP_SECONDS, os.killpg, (0, signal.SIGKILL))
  killer.daemon = True
  killer.start()
  manager.stop_and_wait()
