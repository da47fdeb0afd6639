"""The replay table, and the batches that the learner takes from it."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import itertools
import os
import tempfile
import time

import jax
import numpy as np
import reverb

from acme_metarl import types
from acme_metarl.agents.maml import adding

# Each look costs the server and its client a third of a millisecond.
_POLL_SECONDS = 0.005
_TIMEOUT_SECONDS = 2


@contextlib.contextmanager
def serve(tables: Sequence[reverb.Table], port: int | None = None):
  """Runs a replay server inside this process; yields its client.

  Its port is any free one if not given.

  There is nothing to checkpoint in replay that is empty between iterations;
  the folder that Reverb makes for that all the same is removed again.
  """
  with tempfile.TemporaryDirectory() as folder:
    with _native_stderr_muted():
      server = reverb.Server(
        list(tables),
        port=port,
        checkpointer=reverb.checkpointers.DefaultCheckpointer(folder),
      )
    try:
      yield reverb.Client(f'localhost:{server.port}')
    finally:
      with _native_stderr_muted():
        server.stop()


def make_table(
  name: str, item: adding.Item, max_size: int, reuse: int
) -> reverb.Table:
  """A FIFO table that blocks when full and gives each item `reuse` times."""
  return reverb.Table(
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
    signature=adding.signature(item),
  )


def batches(
  client: reverb.Client,
  table: str,
  batch_size: int,
  reuse: int,
  should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[reverb.ReplaySample]:
  """Yields meta-batches, oldest tasks first, and each batch `reuse` times.

  Takes exactly as many items as a batch needs once they are there, so that
  nothing waits in a buffer of the sampler: with one actor and one learner that
  take turns, replay is empty between iterations and every batch on-policy. A
  FIFO table gives its oldest item as often as it may before the next one, so
  the samples of `reuse` batches are drawn together and dealt out; no batch
  holds a task twice.

  Args:
    client: of the replay server.
    table: name of the table.
    batch_size: tasks in a batch.
    reuse: `max_times_sampled` of the table.
    should_stop: asked before every sampling; ends the iteration.

  Yields:
    Samples whose data is an `adding.Item` of numpy arrays `[G, ...]`.
  """
  while not should_stop():
    if _num_items(client, table) < batch_size:
      time.sleep(_POLL_SECONDS)
      continue
    samples = _sample(client, table, batch_size * reuse)
    for index in range(reuse):
      yield _stack(samples[index::reuse])


def _num_items(client: reverb.Client, table: str) -> int:
  """Items in a table; none while its server does not answer."""
  try:
    return client.server_info(timeout=_TIMEOUT_SECONDS)[table].current_size
  except reverb.DeadlineExceededError:
    return 0


def _sample(
  client: reverb.Client, table: str, num_samples: int
) -> list[reverb.ReplaySample]:
  generator = client.sample(
    table, num_samples, emit_timesteps=False, unpack_as_table_signature=True
  )
  with _native_stderr_muted():
    first = next(generator)
  return list(itertools.chain([first], generator))


def _stack(samples: list[reverb.ReplaySample]) -> reverb.ReplaySample:
  info, data = jax.tree_util.tree_map(
    lambda *x: np.stack(x), *[(tuple(s.info), s.data) for s in samples]
  )
  # Reverb gives anonymous tuples.
  stages, *rest = data
  return reverb.ReplaySample(
    info=reverb.SampleInfo(*info),
    data=adding.Item(types.Stage(*stages), *rest),
  )


@contextlib.contextmanager
def _native_stderr_muted():
  """Drops what native code writes to the standard error stream.

  Reverb tells about its server and, at the start of every sampler, that server
  and client share a process; no log level stops it.
  """
  saved = os.dup(2)
  null = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(null, 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)
