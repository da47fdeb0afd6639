"""What the agent needs of replay, whichever implementation there is."""

from collections.abc import Callable, Sequence
import threading
from typing import Any, NamedTuple, Protocol

# How often whoever waits for replay asks whether to stop.
POLL_SECONDS = 0.005


def never() -> bool:
  """For who does not stop."""
  return False


class Counts(NamedTuple):
  """Of a queue.

  Attributes:
    size: items in it.
    inserted: items that were ever inserted.
    sampled: samples that were ever taken.
  """

  size: int
  inserted: int
  sampled: int


class Batch(NamedTuple):
  """What a learner takes from replay.

  Attributes:
    data: an `adding.Item` of numpy arrays `[G, ...]`.
    num_elsewhere: tasks that others have taken from the queue so far, at least
      those that were inserted before this batch's.
  """

  data: Any
  num_elsewhere: int = 0


class Queue(Protocol):
  """Items, first in, first out; each is sampled so many times and is gone.

  Any number of threads may insert, one samples. Waiting ends when `should_stop`
  says so.
  """

  def insert(
    self, items: Sequence[Any], should_stop: Callable[[], bool] = never
  ) -> bool:
    """Inserts items, of which the caller may use the arrays again.

    Waits for room. Returns whether all are in; what is not is given up, though
    what is on its way to a server may still arrive.
    """

  def can_sample(self, num_samples: int) -> bool:
    """Whether there are so many samples; waits for a moment at most."""

  def sample(
    self, num_samples: int, should_stop: Callable[[], bool] = never
  ) -> list[Any]:
    """Takes samples, each item's one after the other, oldest items first.

    Waits until there are that many, and takes none before; returns none if
    told to stop.
    """

  def counts(self) -> Counts:
    """Counts now.

    Raises:
      TimeoutError: if the server does not answer.
    """

  def checkpoint(self) -> str:
    """Writes everything to the server's folder; returns where."""

  def close(self) -> None:
    """Takes no more samples; ends those who wait."""


class Handover:
  """Tells a table that samples are on their way to who asked for them.

  A runner such as Acme's learns while its table has a batch, and acts
  otherwise. Without this it would act in the moment between the sampling of a
  batch and its arrival, and learn from it a trial too late. A pickled copy
  starts anew: what is on its way in one process is not in another.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._pending: set[int] = set()
    self._num_held = 0

  def __reduce__(self):
    return Handover, ()

  @property
  def is_pending(self) -> bool:
    """Whether a batch was taken that has not been handed over."""
    return bool(self._pending)

  @property
  def num_held(self) -> int:
    """Samples that are taken from a table ahead of their batch, at most."""
    return self._num_held

  def hold(self, num_held: int) -> None:
    """Says how many samples are taken ahead."""
    self._num_held = num_held

  def set_pending(self, owner: Any, is_pending: bool) -> None:
    """Says whether a batch of this owner is on its way."""
    with self._lock:
      (self._pending.add if is_pending else self._pending.discard)(id(owner))
