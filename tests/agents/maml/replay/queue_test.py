"""One suite for every implementation of replay."""

import importlib.util
import itertools
import threading
import time

import jax
import numpy as np
import pytest

from acme_metarl import types
from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay
from acme_metarl.agents.maml.replay import local_queue

KINDS = [
  replay.LOCAL,
  pytest.param(
    replay.REVERB,
    marks=pytest.mark.skipif(
      not importlib.util.find_spec('reverb'), reason='Reverb is not installed'
    ),
  ),
]


@pytest.fixture(params=KINDS)
def kind(request):
  return request.param


def _item(number=0):
  block = np.full((2, 3, 4), number, np.float32)
  return maml.Item(
    types.Stage(
      observation={'x': np.full((2, 3, 5), number, np.float32)},
      action=block,
      reward=block,
      discount=block,
      mask=block,
      behaviour_log_prob=block,
      behaviour_params=(block, block),
    ),
    np.int32(number),
    np.array([5, number], np.int32),
  )


def _spec():
  return jax.tree_util.tree_map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), _item()
  )


def _make_table(kind, max_size=10, reuse=1, **options):
  return replay.make_table(
    'trials', _spec(), max_size, reuse, kind=kind, **options
  )


@pytest.fixture
def make_client(kind):
  servers = []

  def make(**options):
    servers.append(replay.serve([_make_table(kind, **options)]))
    return servers[-1].__enter__()

  yield make
  for server in servers:
    server.__exit__(None, None, None)


def _insert(client, numbers):
  return replay.connect(client, 'trials').insert([_item(n) for n in numbers])


def _numbers(items):
  return [int(item.learner_step) for item in items]


def _stop_after(seconds):
  deadline = time.monotonic() + seconds
  return lambda: time.monotonic() > deadline


def test_first_in_first_out(make_client):
  client = make_client()
  _insert(client, range(6))
  queue = replay.connect(client, 'trials')
  assert _numbers(queue.sample(2)) == [0, 1]
  _insert(client, [6])
  assert _numbers(queue.sample(5)) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize('reuse', [2, 3])
def test_each_item_is_given_so_many_times_in_turn(make_client, reuse):
  client = make_client(reuse=reuse)
  _insert(client, range(3))
  queue = replay.connect(client, 'trials', reuse)
  samples = queue.sample(2) + queue.sample(3 * reuse - 2)
  assert _numbers(samples) == [n for n in range(3) for _ in range(reuse)]
  assert not queue.can_sample(1)
  assert queue.counts() == (0, 3, 3 * reuse)


def test_counts(make_client):
  client = make_client()
  queue = replay.connect(client, 'trials')
  assert queue.counts() == (0, 0, 0)
  _insert(client, range(4))
  assert queue.counts() == (4, 4, 0)
  assert queue.can_sample(4) and not queue.can_sample(5)
  queue.sample(4)
  assert queue.counts() == (0, 4, 4)


@pytest.mark.parametrize('reuse', [1, 2])
def test_inserting_waits_for_room_and_gives_up_when_told(make_client, reuse):
  client = make_client(max_size=2, reuse=reuse)
  _insert(client, range(2))
  late = replay.connect(client, 'trials')
  inserted = []
  waiting = threading.Thread(
    target=lambda: inserted.append(late.insert([_item(3), _item(4)])),
    daemon=True,
  )
  waiting.start()
  queue = replay.connect(client, 'trials', reuse)
  time.sleep(0.2)
  assert queue.counts().size == 2
  # With one sample of an item left, it still takes up its room.
  taken = queue.sample(2 * reuse)
  taken += queue.sample(2 * reuse)
  waiting.join(10)
  assert inserted == [True]
  numbers = _numbers(taken)
  assert numbers[::reuse] == [0, 1, 3, 4]
  _insert(client, range(2))
  assert not late.insert([_item(n) for n in range(5)], _stop_after(0.1))


def test_sampling_waits_and_gives_up_when_told(make_client):
  client = make_client()
  _insert(client, range(2))
  queue = replay.connect(client, 'trials')
  assert queue.sample(3, _stop_after(0.1)) == []
  # Nothing was taken.
  assert queue.counts() == (2, 2, 0)
  samples = []
  waiting = threading.Thread(
    target=lambda: samples.extend(queue.sample(3)), daemon=True
  )
  waiting.start()
  _insert(client, [2])
  waiting.join(10)
  assert _numbers(samples) == [0, 1, 2]


def test_closing_ends_who_waits(make_client):
  queue = replay.connect(make_client(), 'trials')
  ended = []
  waiting = threading.Thread(
    target=lambda: ended.append(queue.sample(1)), daemon=True
  )
  waiting.start()
  time.sleep(0.05)
  queue.close()
  waiting.join(10)
  assert ended == [[]]
  assert not queue.can_sample(1)


def test_items_are_copies(make_client):
  client = make_client()
  item = _item(1)
  replay.connect(client, 'trials').insert([item])
  item.stages.reward[:] = 7
  (sample,) = replay.connect(client, 'trials').sample(1)
  assert isinstance(sample, maml.Item)
  assert isinstance(sample.stages, types.Stage)
  jax.tree_util.tree_map(np.testing.assert_array_equal, sample, _item(1))
  described = jax.tree_util.tree_map(lambda x: (x.shape, x.dtype), sample)
  assert described == jax.tree_util.tree_map(
    lambda x: (x.shape, np.dtype(x.dtype)), _spec()
  )


def test_other_shapes_are_refused(make_client):
  client = make_client()
  item = _item()
  wider = item._replace(
    stages=item.stages._replace(reward=np.zeros((2, 3, 5), np.float32))
  )
  with pytest.raises(Exception, match=r'3,\s?5'):
    replay.connect(client, 'trials').insert([wider], _stop_after(1))


def test_checkpoints(kind, tmp_path):
  table = _make_table(kind)
  with replay.serve([table], folder=str(tmp_path)) as client:
    _insert(client, range(5))
    queue = replay.connect(client, 'trials')
    queue.sample(2)
    queue.checkpoint()
  table = _make_table(kind)
  with replay.serve([table], folder=str(tmp_path)) as client:
    queue = replay.connect(client, 'trials')
    left = queue.counts().size
    numbers = _numbers(queue.sample(left))
    assert not queue.can_sample(1)
  # What a sampler had taken ahead is gone with it.
  assert numbers == [2, 3, 4][-left:]
  assert left >= 2


def test_batches_are_whole_and_stacked(make_client):
  client = make_client()
  _insert(client, range(7))
  iterator = replay.batches(client, 'trials', 3, reuse=1)
  batches = list(itertools.islice(iterator, 2))
  assert [b.data.learner_step.tolist() for b in batches] == [
    [0, 1, 2],
    [3, 4, 5],
  ]
  stages = batches[1].data.stages
  assert stages.reward.shape == (3, 2, 3, 4)
  assert stages.observation['x'].shape == (3, 2, 3, 5)
  assert batches[1].data.identity.tolist() == [[5, 3], [5, 4], [5, 5]]
  np.testing.assert_array_equal(stages.action[2], _item(5).stages.action)


@pytest.mark.parametrize('reuse', [2, 3])
def test_reuse_gives_whole_batches_again(make_client, reuse):
  client = make_client(reuse=reuse)
  _insert(client, range(4))
  iterator = replay.batches(client, 'trials', 2, reuse)
  steps = [next(iterator).data.learner_step.tolist() for _ in range(2 * reuse)]
  assert steps == [[0, 1]] * reuse + [[2, 3]] * reuse
  assert replay.connect(client, 'trials').counts().size == 0


def test_batches_know_what_others_took(make_client):
  client = make_client()
  _insert(client, range(8))
  first = replay.batches(client, 'trials', 2, reuse=1)
  second = replay.batches(client, 'trials', 2, reuse=1)
  assert next(first).data.learner_step.tolist() == [0, 1]
  batch = next(second)
  # A sampler may take one ahead.
  assert batch.data.learner_step.tolist() in ([2, 3], [3, 4])
  assert batch.num_elsewhere >= batch.data.learner_step[0]


@pytest.mark.parametrize('reuse', [1, 2])
def test_a_table_has_a_batch_until_it_is_handed_over(kind, reuse):
  handover = replay.Handover()
  table = _make_table(kind, reuse=reuse, batch_size=2, handover=handover)
  with replay.serve([table]) as client:
    iterator = replay.batches(
      client, 'trials', 2, reuse, handover=handover, should_stop=_stop_after(9)
    )
    _insert(client, [0])
    assert not table.can_sample(1)
    _insert(client, [1])
    assert table.can_sample(10)
    for _ in range(reuse):
      next(iterator)
      assert table.can_sample(10)
    # Asking for the next one says that the last one has arrived.
    stop = threading.Thread(target=lambda: next(iterator, None), daemon=True)
    stop.start()
    deadline = time.monotonic() + 5
    while table.can_sample(1) and time.monotonic() < deadline:
      time.sleep(0.01)
    assert not table.can_sample(1)
    iterator.close()
    stop.join(10)
    assert not stop.is_alive()


def test_nobody_can_ask_for_an_unknown_kind():
  with pytest.raises(ValueError, match="kind: got 'redis'"):
    _make_table('redis')


def test_a_table_can_be_waited_for():
  table = _make_table(replay.LOCAL)
  assert not table.wait_for(1, 0.01)
  waiting = threading.Timer(0.05, table.insert, ([_item(), _item(1)],))
  waiting.start()
  assert table.wait_for(2, 30.0)
  waiting.join()


@pytest.mark.parametrize('waker', ['insert', 'sample', 'close', 'restore'])
def test_who_waits_is_woken_at_once(waker, tmp_path, monkeypatch):
  """And not when it next asks whether to stop, here in a minute."""
  monkeypatch.setattr(local_queue, '_WAIT_SECONDS', 60)
  table = _make_table(replay.LOCAL, max_size=1)
  if waker != 'insert':
    table.insert([_item()])
    table.save(tmp_path / 'full')
  if waker == 'restore':
    table.sample(1)
  wait, wake = {
    'insert': (lambda: table.sample(1), lambda: table.insert([_item()])),
    'sample': (lambda: table.insert([_item()]), lambda: table.sample(1)),
    'close': (lambda: table.insert([_item()]), table.close),
    'restore': (
      lambda: table.sample(1),
      lambda: table.restore(tmp_path / 'full'),
    ),
  }[waker]
  waiting = threading.Thread(target=wait, daemon=True)
  waiting.start()
  time.sleep(0.05)
  assert waiting.is_alive()
  wake()
  waiting.join(10)
  assert not waiting.is_alive()


def test_a_local_server_ends_with_its_context():
  with replay.serve([_make_table(replay.LOCAL)]) as client:
    queue = replay.connect(client, 'trials')
    queue.insert([_item()])
    assert queue.can_sample(1)
  assert not queue.can_sample(1)


@pytest.mark.parametrize('kind', KINDS[1:])
def test_a_table_counts_what_was_taken_ahead_of_a_batch(kind):
  handover = replay.Handover()
  table = _make_table(kind, batch_size=2, handover=handover)
  with replay.serve([table]) as client:
    iterator = replay.batches(client, 'trials', 2, reuse=1, handover=handover)
    _insert(client, range(2))
    next(iterator)
    iterator.hand_over()
    _insert(client, range(2))
    counts = replay.connect(client, 'trials').counts
    deadline = time.monotonic() + 5
    while counts().sampled < 3 and time.monotonic() < deadline:
      time.sleep(0.01)
    assert counts() == (1, 4, 3)
    assert table.can_sample(1)
    assert next(iterator).data.learner_step.tolist() == [0, 1]


@pytest.mark.parametrize('reuse', [1, 2])
def test_what_others_took_is_counted_in_tasks(reuse):
  with replay.serve([_make_table(replay.LOCAL, reuse=reuse)]) as client:
    _insert(client, range(9))
    first, second = (replay.batches(client, 'trials', 3, reuse) for _ in 'ab')
    assert next(first).num_elsewhere == 0
    assert next(second).num_elsewhere == 3


def test_a_server_that_does_not_say_what_others_took(monkeypatch):
  def silent():
    raise TimeoutError

  with replay.serve([_make_table(replay.LOCAL)]) as client:
    _insert(client, range(2))
    queue = replay.connect(client, 'trials')
    monkeypatch.setattr(queue, 'counts', silent)
    assert next(replay.Batches(queue, 2, reuse=1)).num_elsewhere == 0


def test_a_batch_by_hand_has_nothing_elsewhere():
  assert replay.Batch(_item()).num_elsewhere == 0


@pytest.mark.parametrize('kind', KINDS[1:])
def test_a_server_that_does_not_answer_has_no_samples(kind, monkeypatch):
  def silent():
    raise TimeoutError

  with replay.serve([_make_table(kind)]) as client:
    _insert(client, range(2))
    queue = replay.connect(client, 'trials')
    assert queue.can_sample(2)
    monkeypatch.setattr(queue, 'counts', silent)
    assert not queue.can_sample(2)


def test_reverb_is_the_default_where_it_is_installed(monkeypatch):
  for found, kind in ((object(), replay.REVERB), (None, replay.LOCAL)):
    monkeypatch.setattr(
      importlib.util, 'find_spec', lambda name, found=found: found
    )
    assert replay.default_kind() == kind
