"""Replay inside the process, where there is no Reverb.

What Reverb's table does for us, and no more: first in, first out; each item is
sampled so many times and is gone; inserts wait while the queue is full. Items
are arrays of the process, so nothing is sent anywhere.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import json
import os
import pathlib
import threading
from typing import Any

import jax
import numpy as np

from acme_metarl.agents.maml import items as items_lib
from acme_metarl.agents.maml.replay import interface

# How often whoever waits asks whether to stop, if nothing happens.
_WAIT_SECONDS = 0.1


class Table:
  """A queue of items, see `interface.Queue`; every method is atomic."""

  def __init__(
    self,
    name: str,
    item: items_lib.Item,
    max_size: int,
    reuse: int,
    batch_size: int = 1,
    handover: interface.Handover | None = None,
  ):
    """Makes an empty table.

    Args:
      name: of the table.
      item: what `items.item_spec` gives.
      max_size: most items in it.
      reuse: how often each item is given.
      batch_size: what `can_sample_batch` asks about.
      handover: knows of batches on their way.
    """
    for setting, value in (('max_size', max_size), ('reuse', reuse)):
      if value < 1:
        raise ValueError(f'{setting}: got {value}, need at least 1.')
    self._name = name
    self._spec = item
    self._max_size = max_size
    self._reuse = reuse
    self._batch_size = batch_size
    self._handover = handover or interface.Handover()
    self._changed = threading.Condition()
    # Items, and how many samples are left of each.
    self._items: collections.deque[list[Any]] = collections.deque()
    self._num_inserted = 0
    self._num_sampled = 0
    self._is_closed = False

  @property
  def name(self) -> str:
    """Name of the table."""
    return self._name

  def can_sample(self, num_samples: int) -> bool:
    """Whether a learner gets its next batch from what there is.

    Nothing but whole batches is taken from a table, so how many samples a
    runner asks about does not matter.
    """
    del num_samples
    needed = self._batch_size * self._reuse
    return self._handover.is_pending or self.num_samples() >= needed

  def num_samples(self) -> int:
    """How many samples could be taken now."""
    with self._changed:
      return 0 if self._is_closed else sum(left for _, left in self._items)

  def wait_for(self, num_samples: int, seconds: float) -> bool:
    """Whether there are so many samples, at once or within some seconds."""
    with self._changed:
      return self._changed.wait_for(
        lambda: self.num_samples() >= num_samples, seconds
      )

  def counts(self) -> interface.Counts:
    """Counts now."""
    with self._changed:
      return interface.Counts(
        len(self._items), self._num_inserted, self._num_sampled
      )

  def insert(
    self,
    items: Sequence[items_lib.Item],
    should_stop: Callable[[], bool] = interface.never,
  ) -> bool:
    """Inserts copies of items, one by one as there is room.

    Raises:
      ValueError: if an item has not the shapes and types of the table.
    """
    for item in items:
      item = self._checked_copy(item)
      with self._changed:
        while len(self._items) >= self._max_size:
          if self._is_closed or should_stop():
            return False
          self._changed.wait(_WAIT_SECONDS)
        self._items.append([item, self._reuse])
        self._num_inserted += 1
        self._changed.notify_all()
    return True

  def sample(
    self, num_samples: int, should_stop: Callable[[], bool] = interface.never
  ) -> list[items_lib.Item]:
    """Takes samples, once that many are there; all of them at once."""
    with self._changed:
      while sum(left for _, left in self._items) < num_samples:
        if self._is_closed or should_stop():
          return []
        self._changed.wait(_WAIT_SECONDS)
      samples: list[Any] = []
      while len(samples) < num_samples:
        oldest = self._items[0]
        samples.append(oldest[0])
        oldest[1] -= 1
        if not oldest[1]:
          self._items.popleft()
      self._num_sampled += num_samples
      self._changed.notify_all()
      return samples

  def close(self) -> None:
    """Ends those who wait."""
    with self._changed:
      self._is_closed = True
      self._changed.notify_all()

  def save(self, path: pathlib.Path) -> None:
    """Writes everything to a file of arrays, all of it or nothing."""
    with self._changed:
      items = list(self._items)
      state = {
        'left': [left for _, left in items],
        'inserted': self._num_inserted,
        'sampled': self._num_sampled,
      }
    arrays: dict[str, Any] = {
      'state': np.frombuffer(json.dumps(state).encode(), np.uint8)
    }
    for number, (item, _) in enumerate(items):
      for index, x in enumerate(jax.tree_util.tree_leaves(item)):
        arrays[f'{number}.{index}'] = x
    partial = path.with_suffix('.part')
    with open(partial, 'wb') as file:
      np.savez(file, **arrays)
    os.replace(partial, path)

  def restore(self, path: pathlib.Path) -> None:
    """Reads what `save` wrote; loads arrays and JSON, and executes nothing."""
    structure = jax.tree_util.tree_structure(self._spec)
    with np.load(path, allow_pickle=False) as arrays:
      state = json.loads(arrays['state'].tobytes())
      items = [
        self._checked_copy(
          jax.tree_util.tree_unflatten(
            structure,
            [arrays[f'{number}.{i}'] for i in range(structure.num_leaves)],
          )
        )
        for number in range(len(state['left']))
      ]
    with self._changed:
      pairs = zip(items, state['left'], strict=True)
      self._items = collections.deque([item, left] for item, left in pairs)
      self._num_inserted = state['inserted']
      self._num_sampled = state['sampled']
      self._changed.notify_all()

  def _checked_copy(self, item: items_lib.Item) -> items_lib.Item:
    item = jax.tree_util.tree_map(np.array, item)
    described = jax.tree_util.tree_map(lambda x: (x.shape, x.dtype.name), item)
    expected = jax.tree_util.tree_map(
      lambda x: (x.shape, np.dtype(x.dtype).name), self._spec
    )
    if described != expected:
      raise ValueError(
        f'items: table {self._name!r} holds {expected}, but got {described}.'
      )
    return item


make_table = Table


class Client:
  """Access to the tables of a server in this process."""

  def __init__(
    self, tables: Sequence[Table], folder: pathlib.Path | None = None
  ):
    self._tables = {table.name: table for table in tables}
    self._folder = folder

  def queue(self, table: str) -> '_End':
    """The two ends of a table.

    Raises:
      ValueError: if there is no such table.
    """
    if table not in self._tables:
      raise ValueError(
        f'table: got {table!r}; the server has {", ".join(self._tables)}.'
      )
    return _End(self, self._tables[table])

  def server_info(self) -> dict[str, interface.Counts]:
    """Counts of all tables, by name."""
    return {name: table.counts() for name, table in self._tables.items()}

  def checkpoint(self) -> str:
    """Writes all tables to the server's folder; returns it.

    Raises:
      ValueError: if the server has none.
    """
    if self._folder is None:
      raise ValueError('folder: got None; a server without keeps nothing.')
    self._folder.mkdir(parents=True, exist_ok=True)
    for name, table in self._tables.items():
      table.save(self._folder / f'{name}.npz')
    return str(self._folder)


class _End:
  """One user's access to a table, which it can close for itself."""

  def __init__(self, client: Client, table: Table):
    self._client = client
    self._table = table
    self._is_closed = False
    self.insert = table.insert
    self.counts = table.counts
    self.checkpoint = client.checkpoint

  def can_sample(self, num_samples: int) -> bool:
    return not self._is_closed and self._table.num_samples() >= num_samples

  def sample(
    self, num_samples: int, should_stop: Callable[[], bool] = interface.never
  ) -> list[items_lib.Item]:
    return self._table.sample(
      num_samples, lambda: self._is_closed or should_stop()
    )

  def close(self) -> None:
    self._is_closed = True


@contextlib.contextmanager
def serve(
  tables: Sequence[Table],
  port: int | None = None,
  folder: str | None = None,
) -> Iterator[Client]:
  """Offers tables in this process; yields a client.

  Raises:
    ValueError: if a port is asked for.
  """
  if port is not None:
    raise ValueError(
      f'port: got {port}; a queue inside the process listens on none. Use '
      'Reverb for several processes.'
    )
  path = None if folder is None else pathlib.Path(folder)
  for table in tables:
    if path is not None and (path / f'{table.name}.npz').exists():
      table.restore(path / f'{table.name}.npz')
  try:
    yield Client(tables, path)
  finally:
    for table in tables:
      table.close()
