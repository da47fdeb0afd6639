"""How old tasks may be, and whether each arrives once; no replay needed."""

import numpy as np
import pytest

from acme_metarl.agents import maml
from acme_metarl.agents.maml import task_filter


def _batch(learner_steps, numbers=None, adder=5):
  """A meta-batch whose stages are the numbers of its tasks."""
  learner_steps = np.asarray(learner_steps, np.int32)
  if numbers is None:
    numbers = np.arange(len(learner_steps))
  numbers = np.asarray(numbers, np.int32)
  identity = np.stack([np.full_like(numbers, adder), numbers], axis=1)
  return maml.Item({'reward': 1.0 * numbers}, learner_steps, identity)


def _counts(**counts):
  return task_filter.TaskCounts(**counts)


@pytest.mark.parametrize(
  ('max_lag', 'drops_older', 'share'),
  [(None, True, 0), (None, False, 0), (2, False, 0.75)],
)
def test_older_tasks_are_used_unless_they_must_not(max_lag, drops_older, share):
  taking = task_filter.TaskFilter(max_lag=max_lag, drops_older=drops_older)
  batch = _batch([0, 3, 6, 7])
  assert taking.take(batch, num_updates=9) is batch
  assert taking.counts == _counts(sampled=4, learned=4)
  assert taking.older_share(batch, 9) == share


def test_older_tasks_are_dropped_and_others_make_full_batches():
  taking = task_filter.TaskFilter(max_lag=1, drops_older=True)
  first = taking.take(_batch([2, 3, 4], [0, 1, 2]), num_updates=4)
  assert first is None
  assert taking.counts == _counts(sampled=3, dropped=1)
  # Nothing was updated meanwhile.
  second = taking.take(_batch([3, 3, 2], [3, 4, 5]), num_updates=4)
  assert second.stages['reward'].tolist() == [1, 2, 3]
  assert second.learner_step.tolist() == [3, 4, 3]
  assert second.identity.tolist() == [[5, 1], [5, 2], [5, 3]]
  assert taking.counts == _counts(sampled=6, learned=3, dropped=2)
  # The one that waits (number 4) has become too old.
  third = taking.take(_batch([5, 5, 3], [6, 7, 8]), num_updates=5)
  assert third is None
  fourth = taking.take(_batch([5, 5, 5], [9, 10, 11]), num_updates=6)
  assert fourth.stages['reward'].tolist() == [6, 7, 9]
  assert taking.counts == _counts(sampled=12, learned=6, dropped=4)


def test_on_policy_is_a_lag_of_zero():
  taking = task_filter.TaskFilter(max_lag=0, drops_older=True)
  batch = taking.take(_batch([7, 7]), num_updates=7)
  assert batch.stages['reward'].tolist() == [0, 1]
  assert taking.take(_batch([7, 7], [2, 3]), num_updates=8) is None
  # From an update that a restored learner has not made.
  assert taking.take(_batch([9, 9], [4, 5]), num_updates=8) is None
  assert taking.counts == _counts(sampled=6, learned=2, dropped=4)


@pytest.mark.parametrize('reuse', [1, 2])
def test_every_task_is_expected_once_for_each_use(reuse):
  taking = task_filter.TaskFilter(reuse)
  for numbers in ([0, 1, 2], [3, 4, 5]):
    for _ in range(reuse):
      taking.take(_batch([0, 0, 0], numbers), 0)
  assert taking.counts == _counts(sampled=6 * reuse, learned=6 * reuse)


def test_lost_and_duplicated_tasks_are_counted_by_adder():
  taking = task_filter.TaskFilter()
  for adder, numbers, lost, duplicated in (
    (5, [0, 1], 0, 0),
    (6, [0, 1], 0, 0),
    (5, [2, 4], 1, 0),  # 3 is missing.
    (6, [2, 2], 1, 1),
    (5, [5, 4], 1, 2),
    (7, [2, 3], 3, 2),  # Its first two are missing.
    (6, [3, 4], 3, 2),
  ):
    taking.take(_batch([0, 0], numbers, adder), 0)
    assert taking.counts[-2:] == (lost, duplicated)


def test_a_restarted_learner_misses_nothing():
  taking = task_filter.TaskFilter()
  taking.take(_batch([0, 0], [57, 58]), 0, num_elsewhere=57)
  taking.take(_batch([0, 0], [59, 61]), 0, num_elsewhere=57)
  assert taking.counts.lost == 1


def test_what_other_learners_take_is_not_lost():
  others, mine = 0, task_filter.TaskFilter()
  for start in range(0, 40, 4):
    others += 2
    mine.take(_batch([0, 0], [start + 2, start + 3]), 0, others)
    assert mine.counts.lost == 0
  # Number 45 is gone; others took 40 to 43 and have gone on to 48.
  mine.take(_batch([0, 0], [44, 46]), 0, others + 4)
  assert mine.counts.lost == 1
  mine.take(_batch([0, 0], [51, 52]), 0, others + 8)
  assert mine.counts.lost == 1


@pytest.mark.parametrize('reuse', [2, 3])
def test_each_use_may_be_elsewhere(reuse):
  taking = task_filter.TaskFilter(reuse)
  for _ in range(reuse):
    taking.take(_batch([0, 0], [10, 11]), 0, num_elsewhere=10)
  assert taking.counts.lost == 0


def test_the_old_names_warn():
  with pytest.warns(DeprecationWarning, match='task_filter now'):
    from acme_metarl.agents.maml import intake
  assert intake.TaskIntake is task_filter.TaskFilter
