"""The queue of tasks between actors and learner.

Reverb where it is installed, a queue of our own inside the process elsewhere;
`interface.Queue` is what both are.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import importlib.util
import time
from typing import Any

import jax
import numpy as np

from acme_metarl.agents.maml import items as items_lib
from acme_metarl.agents.maml.replay import interface, local_queue
from acme_metarl.agents.maml.replay.interface import Batch as Batch
from acme_metarl.agents.maml.replay.interface import Counts as Counts
from acme_metarl.agents.maml.replay.interface import Handover as Handover
from acme_metarl.agents.maml.replay.interface import Queue as Queue
from acme_metarl.agents.maml.replay.interface import never as never

REVERB, LOCAL = 'reverb', 'local'


def default_kind() -> str:
  """`'reverb'` where it is installed, `'local'` elsewhere."""
  return REVERB if importlib.util.find_spec('reverb') else LOCAL


def make_table(
  name: str,
  item: items_lib.Item,
  max_size: int,
  reuse: int,
  batch_size: int = 1,
  handover: Handover | None = None,
  kind: str | None = None,
) -> Any:
  """Makes a FIFO table that blocks when full.

  Args:
    name: of the table.
    item: what `items.item_spec` gives.
    max_size: most items in it.
    reuse: how often each item is given.
    batch_size: tasks in a batch.
    handover: connects it with the iterator of batches in the same process.
    kind: `'reverb'` or `'local'`; `default_kind()` if not given.

  Returns:
    A `reverb.Table`, or a `local_queue.Table`.
  """
  return _module(kind or default_kind()).make_table(
    name, item, max_size, reuse, batch_size, handover
  )


@contextlib.contextmanager
def serve(
  tables: Sequence[Any], port: int | None = None, folder: str | None = None
) -> Iterator[Any]:
  """Runs a replay server inside this process; yields its client.

  Args:
    tables: that `make_table` made.
    port: to listen on; any free one if not given. A local queue has none.
    folder: for checkpoints, of which the last one is loaded; without it
      nothing is kept. Replay that is empty between iterations needs none.
  """
  is_local = isinstance(tables[0], local_queue.Table)
  with _module(LOCAL if is_local else REVERB).serve(
    tables, port, folder
  ) as client:
    yield client


def connect(
  client: Any, table: str, reuse: int = 1, handover: Handover | None = None
) -> Queue:
  """The two ends of a table.

  Args:
    client: what `serve` yields, a `reverb.Client`, or whatever has a method
      `queue` that makes a `Queue` of a table's name.
    table: the name of its table.
    reuse: how often the table gives each item.
    handover: is told what is taken ahead.
  """
  if hasattr(client, 'queue'):
    return client.queue(table)
  return _module(REVERB).ReverbQueue(client, table, reuse, handover)


class Batches(Iterator[Batch]):
  """Meta-batches, oldest tasks first, and each batch `reuse` times.

  Takes exactly as many items as a batch needs once they are there: with one
  actor and one learner that take turns, replay is empty between iterations and
  every batch on-policy. A queue gives its oldest item as often as it may before
  the next one, so the samples of `reuse` batches are drawn together and dealt
  out; no batch holds a task twice.
  """

  def __init__(
    self,
    queue: Queue,
    batch_size: int,
    reuse: int,
    should_stop: Callable[[], bool] = never,
    handover: Handover | None = None,
  ):
    """Makes an iterator.

    Args:
      queue: of the tasks.
      batch_size: tasks in a batch.
      reuse: how often the queue gives each item.
      should_stop: asked while waiting; ends the iteration.
      handover: is told of batches that were taken and not handed over.
    """
    self._queue = queue
    self._batch_size = batch_size
    self._reuse = reuse
    self._should_stop = should_stop
    self._handover = handover or Handover()
    self._dealt: list[Batch] = []
    self._num_taken = 0
    self._is_closed = False

  def __next__(self) -> Batch:
    if not self._dealt:
      # Who asks for another one has been handed the last one.
      self._handover.set_pending(self, False)
      self._dealt = self._take()
    return self._dealt.pop(0)

  def hand_over(self) -> None:
    """Says that the last batch has arrived where it is learned from."""
    self._handover.set_pending(self, bool(self._dealt))

  def close(self) -> None:
    """Ends the iteration, also of who waits."""
    self._is_closed = True
    self._queue.close()

  def _take(self) -> list[Batch]:
    num_samples = self._batch_size * self._reuse
    while not self._queue.can_sample(num_samples):
      if self._is_closed or self._should_stop():
        raise StopIteration
      time.sleep(interface.POLL_SECONDS)
    self._handover.set_pending(self, True)
    samples = self._queue.sample(num_samples, self._should_stop)
    if not samples:
      self._handover.set_pending(self, False)
      raise StopIteration
    self._num_taken += num_samples
    elsewhere = self._num_elsewhere()
    return [
      Batch(_stack(samples[index :: self._reuse]), elsewhere)
      for index in range(self._reuse)
    ]

  def _num_elsewhere(self) -> int:
    try:
      num_sampled = self._queue.counts().sampled
    except TimeoutError:
      return 0
    return max(num_sampled - self._num_taken, 0) // self._reuse


def batches(
  client: Any,
  table: str,
  batch_size: int,
  reuse: int,
  should_stop: Callable[[], bool] = never,
  handover: Handover | None = None,
) -> Batches:
  """Meta-batches from a table, see `Batches` and `connect`."""
  queue = connect(client, table, reuse, handover)
  return Batches(queue, batch_size, reuse, should_stop, handover)


def _module(kind: str) -> Any:
  if kind not in (REVERB, LOCAL):
    raise ValueError(f'kind: got {kind!r}, need {REVERB!r} or {LOCAL!r}.')
  if kind == LOCAL:
    return local_queue
  from acme_metarl.agents.maml.replay import reverb_queue

  return reverb_queue


def _stack(samples: list[items_lib.Item]) -> items_lib.Item:
  return jax.tree_util.tree_map(lambda *x: np.stack(x), *samples)
