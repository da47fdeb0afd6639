"""How a launch ends: what its processes tell each other through a folder."""

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import time
from typing import NamedTuple

from acme_metarl.launchers.runs import mistakes, outputs

DONE = 'done'
STOPPED = 'stopped'
FAILED = 'failed'
CRASHED = 'crashed'

_POLL_SECONDS = 0.05


class Outcome(NamedTuple):
  """How a launch ended.

  Attributes:
    status: `DONE` with all iterations; `STOPPED` when asked to, and saved;
      `FAILED` for a reason that trying again does not change; `CRASHED` by a
      node that died.
    message: for the user.
  """

  status: str
  message: str = ''


class Session:
  """One launch of the program; a folder of its own says how it ended."""

  def __init__(self, folder: str | os.PathLike[str] | None):
    """Opens a session.

    Args:
      folder: exists, and is deleted by who made it; None where processes have
        no folder in common, and nobody learns of anything.
    """
    self._path = pathlib.Path(folder) / 'outcome.json' if folder else None
    self._stop_path = pathlib.Path(folder) / 'stop' if folder else None

  def ask_to_stop(self) -> None:
    """Asks nodes to stop that are starting, and hear no signal yet.

    Comes before the signal, lest a node should miss both.
    """
    if self._stop_path is not None:
      self._stop_path.touch()

  def is_asked_to_stop(self) -> bool:
    """Whether `ask_to_stop` was called."""
    return self._stop_path is not None and self._stop_path.exists()

  def report(self, status: str, message: str = '') -> None:
    """Says how the launch ended, unless someone did before."""
    if self._path is None:
      return
    mine = self._path.with_name(f'outcome.{os.getpid()}.{time.monotonic_ns()}')
    outputs.write_json(mine, Outcome(status, message)._asdict())
    with contextlib.suppress(FileExistsError):
      os.link(mine, self._path)
    mine.unlink()

  @contextlib.contextmanager
  def reporting(self) -> Iterator[None]:
    """Reports mistakes of the user and of the disk, and raises them."""
    try:
      yield
    except ValueError as error:
      # Of others the cause is not known, and trying again may help.
      if mistakes.is_explained(error):
        self.report(FAILED, str(error))
      raise
    except outputs.CannotWriteError as error:
      self.report(
        FAILED, f'cannot write ({error}); the last checkpoint is intact.'
      )
      raise

  def outcome(self) -> Outcome | None:
    """How the launch ended, or None as long as it has not."""
    if self._path is None:
      return None
    try:
      return Outcome(**json.loads(self._path.read_text(encoding='utf-8')))
    except FileNotFoundError:
      return None

  def wait(self) -> None:
    """Waits until someone has said how the launch ended."""
    while self._path is not None and self.outcome() is None:
      time.sleep(_POLL_SECONDS)


class OwnSession(Session):
  """What one process keeps for itself, and tells whoever asks it."""

  def __init__(self):
    """Opens a session."""
    super().__init__(None)
    self._outcome: Outcome | None = None

  def report(self, status: str, message: str = '') -> None:
    """Says how the launch ended, unless that was said before."""
    self._outcome = self._outcome or Outcome(status, message)

  def outcome(self) -> Outcome | None:
    """What was reported."""
    return self._outcome
