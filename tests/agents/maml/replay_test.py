import itertools
import threading
import time

import jax
import numpy as np
import pytest

from acme_metarl import types
from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay


def _item(number=0):
  block = np.full((2, 3, 4), number, np.float32)
  return maml.Item(
    types.Stage(
      observation=np.full((2, 3, 5), number, np.float32),
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


def _insert(client, numbers):
  writer = client.trajectory_writer(num_keep_alive_refs=1)
  for number in numbers:
    writer.append(_item(number))
    writer.create_item(
      'trials',
      1.0,
      jax.tree_util.tree_map(lambda column: column[-1], writer.history),
    )
  writer.flush()
  writer.close()


@pytest.fixture
def make_client():
  servers = []

  def make(max_size=10, reuse=1):
    table = replay.make_table('trials', _spec(), max_size, reuse)
    servers.append(replay.serve([table]))
    return servers[-1].__enter__()

  yield make
  for server in servers:
    server.__exit__(None, None, None)


def test_table_is_a_queue(make_client):
  info = make_client(max_size=10, reuse=3).server_info()['trials']
  assert info.sampler_options.fifo
  assert info.remover_options.fifo
  assert info.max_size == 10
  assert info.max_times_sampled == 3


def test_batches_are_in_order_and_rebuilt(make_client):
  client = make_client()
  _insert(client, range(6))
  batches = list(
    itertools.islice(replay.batches(client, 'trials', 3, reuse=1), 2)
  )
  assert [b.data.learner_step.tolist() for b in batches] == [
    [0, 1, 2],
    [3, 4, 5],
  ]
  stages = batches[1].data.stages
  assert isinstance(stages, types.Stage)
  assert stages.reward.shape == (3, 2, 3, 4)
  assert batches[1].data.identity.tolist() == [[5, 3], [5, 4], [5, 5]]
  assert stages.observation.shape == (3, 2, 3, 5)
  assert len(stages.behaviour_params) == 2
  np.testing.assert_array_equal(stages.action[2], _item(5).stages.action)


@pytest.mark.parametrize('reuse', [2, 3])
def test_reuse_gives_whole_batches_again(make_client, reuse):
  client = make_client(reuse=reuse)
  _insert(client, range(4))
  iterator = replay.batches(client, 'trials', 2, reuse)
  steps = [next(iterator).data.learner_step.tolist() for _ in range(2 * reuse)]
  assert steps == [[0, 1]] * reuse + [[2, 3]] * reuse
  assert client.server_info()['trials'].current_size == 0


def test_nothing_is_taken_before_a_batch_is_there(make_client):
  client = make_client()
  _insert(client, range(2))
  stop = threading.Event()
  iterator = replay.batches(client, 'trials', 3, 1, stop.is_set)
  steps = []
  waiting = threading.Thread(
    target=lambda: steps.extend(
      batch.data.learner_step.tolist() for batch in iterator
    ),
    daemon=True,
  )
  waiting.start()
  time.sleep(0.2)
  assert client.server_info()['trials'].current_size == 2
  _insert(client, [2, 3])
  deadline = time.time() + 10
  while not steps and time.time() < deadline:
    time.sleep(0.01)
  assert steps == [[0, 1, 2]]
  assert client.server_info()['trials'].current_size == 1
  stop.set()
  waiting.join(10)
  assert not waiting.is_alive()


def test_sampling_says_nothing(make_client, capfd):
  client = make_client()
  _insert(client, range(3))
  capfd.readouterr()
  next(replay.batches(client, 'trials', 3, 1))
  assert capfd.readouterr() == ('', '')
