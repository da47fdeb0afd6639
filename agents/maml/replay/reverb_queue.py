"""Replay by Reverb: a table that is a queue, and its two ends."""

import atexit
from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import tempfile
import threading
import time
from typing import Any
import weakref

import jax
import reverb
import tensorflow as tf
import tree

from acme_metarl import types
from acme_metarl.agents.maml import items as items_lib
from acme_metarl.agents.maml.replay import interface

_TIMEOUT_SECONDS = 2
# How long an end waits for native code, which cannot be interrupted.
_CLOSE_SECONDS = 5
# A number that no run reaches.
_FOR_EVER = 2**40
_LOCAL = ('localhost', '127.0.0.1', '::1')

_OPEN: 'weakref.WeakSet[ReverbQueue]' = weakref.WeakSet()


class QueueTable(reverb.Table):
  """A FIFO table that blocks when full and gives each item `reuse` times.

  `can_sample` answers what a runner wants to know of a queue of tasks: whether
  a learner that waits now gets a batch without another insert.
  """

  def __init__(
    self, batch_size: int, handover: interface.Handover, **settings: Any
  ):
    """Makes a table.

    Args:
      batch_size: tasks in a batch.
      handover: knows of batches on their way.
      **settings: of `reverb.Table`.
    """
    super().__init__(**settings)
    self._batch_size = batch_size
    self._handover = handover
    self._settings = settings

  def can_sample(self, num_samples: int) -> bool:
    """Whether a learner gets its next batch from what there is.

    Nothing but whole batches is taken from this table, so how many samples are
    asked about does not matter.
    """
    del num_samples
    if self._handover.is_pending:
      return True
    batch = self._batch_size * self._settings['max_times_sampled']
    return super().can_sample(max(batch - self._handover.num_held, 1))

  def replace(self, **changes: Any) -> 'QueueTable':
    """A table with other settings, as Acme's runners want it."""
    changes = {name: x for name, x in changes.items() if x is not None}
    return QueueTable(
      self._batch_size, self._handover, **{**self._settings, **changes}
    )


def make_table(
  name: str,
  item: items_lib.Item,
  max_size: int,
  reuse: int,
  batch_size: int = 1,
  handover: interface.Handover | None = None,
) -> QueueTable:
  """A table for items of this spec; the other arguments are `QueueTable`'s."""
  return QueueTable(
    batch_size,
    handover or interface.Handover(),
    name=name,
    sampler=reverb.selectors.Fifo(),
    remover=reverb.selectors.Fifo(),
    max_size=max_size,
    max_times_sampled=reuse,
    rate_limiter=reverb.rate_limiters.SampleToInsertRatio(
      samples_per_insert=reuse,
      min_size_to_sample=1,
      error_buffer=(0.0, float(reuse * max_size)),
    ),
    signature=jax.tree_util.tree_map(
      lambda x: tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)), item
    ),
  )


@contextlib.contextmanager
def serve(
  tables: Sequence[reverb.Table],
  port: int | None = None,
  folder: str | None = None,
) -> Iterator[reverb.Client]:
  """Runs a server inside this process; yields its client."""
  never_proxy_local_servers()
  with contextlib.ExitStack() as resources:
    if folder is None:
      # Reverb makes a folder for checkpoints all the same.
      folder = resources.enter_context(tempfile.TemporaryDirectory())
    server = reverb.Server(
      list(tables),
      port=port,
      checkpointer=reverb.checkpointers.DefaultCheckpointer(folder),
    )
    try:
      yield reverb.Client(f'localhost:{server.port}')
    finally:
      server.stop()


def never_proxy_local_servers() -> None:
  """Tells gRPC not to look for this machine's servers behind a proxy.

  It obeys `http_proxy` and the like even for localhost. What `no_proxy` says
  of other hosts stays as it is; other libraries' settings are not touched.
  """
  names = os.environ.get('no_grpc_proxy') or os.environ.get(
    'no_proxy', os.environ.get('NO_PROXY', '')
  )
  names = [name.strip() for name in names.split(',') if name.strip()]
  missing = [name for name in _LOCAL if name not in names]
  if missing:
    os.environ['no_grpc_proxy'] = ','.join([*names, *missing])


class ReverbQueue:
  """The two ends of a table, see `interface.Queue`.

  One sampler serves all batches: every new one would say on the standard error
  stream that server and client share a process. It takes one sample ahead.
  """

  def __init__(
    self,
    client: reverb.Client,
    table: str,
    reuse: int = 1,
    handover: interface.Handover | None = None,
  ):
    """Makes one.

    Args:
      client: of a server.
      table: the name of its table.
      reuse: `max_times_sampled` of the table.
      handover: is told what is taken ahead.
    """
    never_proxy_local_servers()
    self._client = client
    self._table = table
    self._reuse = reuse
    self._handover = handover or interface.Handover()
    self._samples: Iterator[Any] | None = None
    # When the sampler was made, and since; `can_sample` sets them.
    self._start: interface.Counts
    self._num_taken: int
    self._is_closed = False
    # Held while native code runs that must not outlive the interpreter.
    self._native = threading.Lock()
    _OPEN.add(self)

  def insert(
    self,
    items: Sequence[items_lib.Item],
    should_stop: Callable[[], bool] = interface.never,
    timeout_seconds: float = 1.0,
  ) -> bool:
    """Inserts items; asks `should_stop` after each timeout."""
    # A writer for each call: an open one delays the end of its server.
    writer = self._client.trajectory_writer(num_keep_alive_refs=1)
    for item in items:
      writer.append(item)
      writer.create_item(
        self._table,
        priority=1.0,
        trajectory=tree.map_structure(
          lambda column: column[-1], writer.history
        ),
      )
    while True:
      try:
        writer.flush(timeout_ms=int(1000 * timeout_seconds))
        is_done = True
      except reverb.DeadlineExceededError:
        is_done = False
      if is_done or should_stop():
        writer.close()
        return is_done

  def can_sample(self, num_samples: int) -> bool:
    """Whether there are so many, the one that was taken ahead among them."""
    with self._native:
      if self._is_closed:
        return False
      try:
        counts = self.counts()
      except TimeoutError:
        return False
    if self._samples is None:
      self._start = counts
      self._num_taken = 0
    sampled = counts.sampled - self._start.sampled
    available = (
      (self._start.size + counts.inserted - self._start.inserted) * self._reuse
      - sampled
      + min(max(sampled - self._num_taken, 0), 1)
    )
    return available >= num_samples

  def sample(
    self, num_samples: int, should_stop: Callable[[], bool] = interface.never
  ) -> list[items_lib.Item]:
    """Takes samples, once that many are there."""
    while not self.can_sample(num_samples):
      if self._is_closed or should_stop():
        return []
      time.sleep(interface.POLL_SECONDS)
    with self._native:
      return [self._next() for _ in range(num_samples)]

  def counts(self) -> interface.Counts:
    """Counts now."""
    try:
      info = self._client.server_info(timeout=_TIMEOUT_SECONDS)[self._table]
    except reverb.DeadlineExceededError as error:
      raise TimeoutError(f'{self._client} does not answer.') from error
    statistics = info.rate_limiter_info
    return interface.Counts(
      size=info.current_size,
      inserted=statistics.insert_stats.completed,
      sampled=statistics.sample_stats.completed,
    )

  def checkpoint(self) -> str:
    """Writes everything to the server's folder."""
    return self._client.checkpoint()

  def close(self) -> None:
    """Takes no more samples.

    A sampler that is at work when the interpreter ends, in a thread of whoever
    prefetches, would end the process by `std::terminate`.
    """
    self._is_closed = True
    if self._native.acquire(timeout=_CLOSE_SECONDS):
      self._samples = None
      self._native.release()

  def _next(self) -> items_lib.Item:
    if self._samples is None:
      self._samples = self._client.sample(
        self._table,
        _FOR_EVER,
        emit_timesteps=False,
        unpack_as_table_signature=True,
      )
    try:
      data = next(self._samples).data
    except Exception:
      self._samples = None  # The next one starts anew.
      raise
    self._handover.hold(1)
    self._num_taken += 1
    # Reverb gives anonymous tuples.
    stages, *rest = data
    return items_lib.Item(types.Stage(*stages), *rest)


@atexit.register
def _close_all() -> None:
  for queue in list(_OPEN):
    queue.close()
