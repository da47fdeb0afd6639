"""What is Reverb's own; the rest is in queue_test."""

import os
import subprocess
import sys

import pytest

pytest.importorskip('reverb')

_SCRIPT = """
import os
import sys
import threading
import time

import jax
import numpy as np

from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay

item = maml.Item(
  maml.items.types.Stage(*[np.zeros((1, 1, 1), np.float32)] * 6),
  np.int32(0), np.zeros(2, np.int32))
spec = jax.tree_util.tree_map(
  lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), item)
table = replay.make_table('trials', spec, 100, 1, 2)
"""

_AT_EXIT = """
import reverb
server = reverb.Server([table])
client = reverb.Client(f'localhost:{server.port}')
batches = replay.batches(client, 'trials', 2, 1)
received = []
threading.Thread(
  target=lambda: [received.append(b) for b in batches], daemon=True).start()
replay.connect(client, 'trials').insert([item] * 5)
while len(received) < 2:
  time.sleep(0.01)
print('received')
# The thread goes on asking; the interpreter ends.
"""

_PROXY = """
with replay.serve([table]) as client:
  queue = replay.connect(client, 'trials')
  queue.insert([item] * 2)
  assert len(queue.sample(2)) == 2
assert 'localhost' in os.environ['no_grpc_proxy']
assert 'example.org' in os.environ['no_grpc_proxy']
print('received')
"""

_QUIET = """
with replay.serve([table]) as client:
  batches = replay.batches(client, 'trials', 2, 1)
  for _ in range(5):
    replay.connect(client, 'trials').insert([item] * 2)
    next(batches)
  print('received')
"""


def _run(script, **environment):
  process = subprocess.run(
    [sys.executable, '-c', _SCRIPT + script],
    capture_output=True,
    text=True,
    timeout=120,
    env=os.environ | environment,
  )
  assert process.returncode == 0, process.stderr[-2000:]
  assert process.stdout.split()[-1] == 'received'
  return process.stderr


def test_a_thread_that_prefetches_does_not_abort_the_end():
  error = _run(_AT_EXIT)
  assert 'terminate called' not in error


def test_a_proxy_is_not_asked_for_local_servers():
  proxy = 'http://127.0.0.1:9'
  _run(
    _PROXY,
    http_proxy=proxy,
    https_proxy=proxy,
    no_proxy='example.org',
    no_grpc_proxy='',
  )


def test_sampling_says_who_shares_its_process_once():
  assert _run(_QUIET).count('owned by the same process') == 1
