"""What the learner takes from replay: counted, and not too old."""

from typing import NamedTuple

import jax
import numpy as np

from acme_metarl.agents.maml import items


class TaskCounts(NamedTuple):
  """Tasks since the learner was made; each of its uses counts.

  What is sampled and neither learned from nor dropped waits for a meta-batch
  to be full.

  Attributes:
    sampled: taken from replay.
    learned: in an update.
    dropped: too old for an algorithm that is not off-policy.
    lost: inserted before a task that arrived, and arrived nowhere; at least so
      many.
    duplicated: arrived once more than they should.
  """

  sampled: int = 0
  learned: int = 0
  dropped: int = 0
  lost: int = 0
  duplicated: int = 0


class TaskFilter:
  """Stands between replay and update.

  A task's lag is the number of updates between the parameters it was played
  with and those it is about to update. With `drops_older`, tasks whose lag is
  above `max_lag` are dropped, and what is left of the meta-batches is put
  together to full ones. Otherwise all are used, whatever their lag.

  An adder numbers its tasks and the queue keeps their order. So a number left
  out was lost if no other learner took it, this one's predecessor included; and
  one that comes again was duplicated.
  """

  def __init__(
    self, reuse: int = 1, max_lag: int | None = None, drops_older: bool = False
  ):
    """Makes a filter.

    Args:
      reuse: how often each meta-batch comes; `replay.batches` gives them in
        turn.
      max_lag: None for no bound.
      drops_older: see above.
    """
    self._max_lag = np.inf if max_lag is None else max_lag
    self._drops_older = drops_older and max_lag is not None
    # For each use of a meta-batch, the number that is due from each adder.
    self._due: list[dict[int, int]] = [{} for _ in range(reuse)]
    self._num_missing = [0] * reuse
    self._num_lost = [0] * reuse
    self._num_batches = 0
    self._waiting: items.Item | None = None
    self._counts = TaskCounts()

  @property
  def counts(self) -> TaskCounts:
    """Counts so far."""
    return self._counts

  def take(
    self, batch: items.Item, num_updates: int, num_elsewhere: int = 0
  ) -> items.Item | None:
    """Takes a meta-batch in.

    Args:
      batch: as sampled, `[G, ...]`.
      num_updates: updates that made the current parameters.
      num_elsewhere: tasks that other learners have taken from the queue, see
        `replay.Batch`.

    Returns:
      A meta-batch `[G, ...]` to learn from, or None as long as dropped tasks
      leave too few for one.
    """
    size = len(batch.learner_step)
    duplicated = self._count(np.asarray(batch.identity), num_elsewhere)
    num_dropped = 0
    if self._drops_older:
      if self._waiting is not None:
        batch = jax.tree_util.tree_map(
          lambda *x: np.concatenate(x), self._waiting, batch
        )
      is_young = lag(batch, num_updates) <= self._max_lag
      num_dropped = int(np.sum(~is_young))
      young = _tasks(batch, is_young)
      is_full = len(young.learner_step) >= size
      batch = _tasks(young, slice(size)) if is_full else None
      self._waiting = _tasks(young, slice(size * is_full, None))
    counts = self._counts
    self._counts = TaskCounts(
      sampled=counts.sampled + size,
      learned=counts.learned + size * (batch is not None),
      dropped=counts.dropped + num_dropped,
      lost=sum(self._num_lost),
      duplicated=counts.duplicated + duplicated,
    )
    return batch

  def older_share(self, batch: items.Item, num_updates: int) -> float:
    """Share of a meta-batch's tasks whose lag is above the bound."""
    return float(np.mean(lag(batch, num_updates) > self._max_lag))

  def _count(self, identity: np.ndarray, num_elsewhere: int) -> int:
    """Counts what is missing before these; returns how many came before."""
    use = self._num_batches % len(self._due)
    due = self._due[use]
    self._num_batches += 1
    duplicated = 0
    for adder, number in identity.tolist():
      missing = number - due.get(adder, 0)
      self._num_missing[use] += max(missing, 0)
      duplicated += missing < 0
      if missing >= 0:
        due[adder] = number + 1
    # Others may have taken later ones as well, which makes it no less lost.
    self._num_lost[use] = max(
      self._num_lost[use], self._num_missing[use] - num_elsewhere
    )
    return duplicated


def lag(batch: items.Item, num_updates: int) -> np.ndarray:
  """Updates `[G]` between each task's parameters and the current ones.

  Parameters of later updates, from before a learner went back to a checkpoint,
  are as far away as earlier ones.
  """
  return np.abs(num_updates - np.asarray(batch.learner_step))


def _tasks(batch: items.Item, index) -> items.Item:
  return jax.tree_util.tree_map(lambda x: x[index], batch)
