"""Evaluations that the learner asks for, and the evaluator plays."""

from collections.abc import Callable
import threading
from typing import Any, NamedTuple

from acme_metarl import types
from acme_metarl.launchers.runs import played as played_lib

_POLL_SECONDS = 0.1


class Request(NamedTuple):
  """An evaluation to play.

  Attributes:
    iteration: that the parameters are of.
    environment_steps: until then.
    wall_seconds: until then.
    params: to evaluate.
  """

  iteration: int
  environment_steps: int
  wall_seconds: float
  params: types.PyTree


class Evaluations:
  """Hands out the newest request, until its returns have come.

  The learner does not wait: a request that nobody took is replaced by the next
  one. An evaluator that died with a request is given the newest one again.
  """

  def __init__(self, write: Callable[[Request, played_lib.Played], Any]):
    """Makes the desk where both meet.

    Args:
      write: keeps what came of a request.
    """
    self._write = write
    self._changed = threading.Condition()
    self._newest: Request | None = None
    self._taken: Request | None = None

  def request(self, request: Request) -> None:
    """Asks for an evaluation."""
    with self._changed:
      self._newest = request

  def take(self) -> tuple[int, types.PyTree] | None:
    """The newest iteration and parameters to evaluate, if there are any."""
    with self._changed:
      if self._newest is not None:
        self._taken = self._newest
      if self._taken is None:
        return None
      return self._taken.iteration, self._taken.params

  def report(self, iteration: int, played: played_lib.Played) -> None:
    """Takes what came of an iteration; others are dropped."""
    with self._changed:
      if self._taken is None or self._taken.iteration != iteration:
        return
      self._write(self._taken, played)
      if self._newest is self._taken:
        self._newest = None
      self._taken = None
      self._changed.notify_all()

  def wait(self, should_stop: Callable[[], bool]) -> None:
    """Waits until all requests are reported, or until asked to stop."""
    with self._changed:
      while not should_stop() and (self._newest or self._taken):
        self._changed.wait(_POLL_SECONDS)
