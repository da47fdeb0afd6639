"""Launches a program, and once more from its last checkpoint when it dies."""

from collections.abc import Callable
import pathlib
import sys

from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.runs import checkpointing, stopping, tables
from acme_metarl.launchers.runs import config as run_config


class FailedError(Exception):
  """The run cannot be done, for a reason that trying again does not change."""


def run(
  plan: run_config.Plan,
  launch: Callable[
    [checkpointing.Checkpoint | None, stopping.StopRequest],
    session_lib.Outcome | None,
  ],
  max_restarts: int,
) -> bool:
  """Trains until the end, or until asked to stop.

  Args:
    plan: the run.
    launch: runs the program from a checkpoint, and returns when it has ended:
      how, or None if nobody could say.
    max_restarts: of the program.

  Returns:
    Whether the run came to its end.

  Raises:
    FailedError: with a sentence for the user.
  """
  directory, checkpoint = plan.directory, plan.checkpoint
  checkpointer = checkpointing.Checkpointer(directory / run_config.CHECKPOINTS)
  stop = stopping.StopRequest()
  with stop.listening():
    for restart in range(max_restarts + 1):
      outcome = launch(checkpoint, stop)
      if outcome is not None and outcome.status == session_lib.FAILED:
        raise FailedError(outcome.message)
      if outcome is not None and outcome.status == session_lib.DONE:
        return True
      if stop:
        return _say_stopped(stop, outcome, directory, checkpointer)
      what = (
        'the launching process died' if outcome is None else outcome.message
      )
      checkpoint = checkpointer.load_latest()
      if checkpoint is None and checkpointer.paths():
        raise FailedError(
          f'the program ended early: {what}. Every checkpoint in '
          f'{str(directory)!r} is damaged; bring one back, or start a new run '
          'in another --logdir.'
        )
      where = 'the start' if checkpoint is None else checkpoint.path.name
      if restart < max_restarts:
        _say(
          f'The program ended early: {what}. Launching it anew from {where}, '
          f'for the {restart + 1}. time of {max_restarts}.'
        )
  raise FailedError(
    f'the program ended early: {what}. That was {max_restarts + 1} times; '
    f'given up. --resume goes on from {where}.'
  )


def _say_stopped(
  stop: stopping.StopRequest,
  outcome: session_lib.Outcome | None,
  directory: pathlib.Path,
  checkpointer: checkpointing.Checkpointer,
) -> bool:
  if outcome is None or outcome.status != session_lib.STOPPED:
    # It is no loss if the learner had not begun.
    done = tables.iterations(directory)
    checkpoint = checkpointer.load_latest()
    saved = 0 if checkpoint is None else checkpoint.step
    if done and done[-1] > saved:
      raise FailedError(
        f'stopped by {stop.signal_name} while a node was gone; --resume goes '
        f'on from iteration {saved}.'
      )
    outcome = session_lib.Outcome('', f'after iteration {saved}')
  _say(
    f'Stopped by {stop.signal_name} {outcome.message}, and saved; --resume '
    'goes on from here.'
  )
  return False


def _say(text: str) -> None:
  print(text, file=sys.stderr)
