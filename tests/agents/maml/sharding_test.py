"""The learner on one and on eight devices, and on those of two hosts."""

import os
import socket
import subprocess
import sys

# Run by each host; what it prints must not depend on how many there are.
_SCRIPT = """
import sys
import jax

num_hosts, host, port, num_devices = map(int, sys.argv[1:])
jax.config.update('jax_enable_x64', True)
jax.config.update('jax_num_cpu_devices', num_devices)
if num_hosts > 1:
  jax.distributed.initialize(f'localhost:{port}', num_hosts, host)
assert len(jax.local_devices()) == num_devices
assert len(jax.devices()) == num_hosts * num_devices

import jax.numpy as jnp
import numpy as np
from acme_metarl import presets
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic
from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay

policy = policies.gaussian(2, hidden_sizes=(3,))
num_tasks = 10


@jax.jit
def make_trials(key):
  params = policy.init(key, jnp.zeros(2))
  return synthetic.make_trials(
    key, policy, params, observation_size=2, num_tasks=num_tasks,
    num_rollouts=3, horizon=5, early_termination=True)


def train(devices):
  trials = make_trials(jax.random.PRNGKey(1))
  share = num_tasks // num_hosts
  own = slice(host * share, (host + 1) * share)
  item = maml.Item(
    jax.tree_util.tree_map(lambda x: np.asarray(x)[own], trials),
    np.zeros(share, np.int32), np.zeros((share, 2), np.int32))
  config = presets.make('promp', num_tasks=num_tasks, num_outer_epochs=2)
  learner = maml.MAMLLearner(
    learner_lib.make_meta_learner(config, policy, devices),
    jax.random.PRNGKey(0), jnp.zeros(2),
    iter([replay.Batch(item)] * 2), devices=devices)
  learner.step()
  learner.step()
  return learner, jax.tree_util.tree_leaves(learner.save())


def sizes_of_shards(learner, num_tasks):
  array = learner._shard(np.zeros((num_tasks, 2)))
  return {len(shard.data) for shard in array.addressable_shards}


learner, numbers = train(jax.devices())
assert sizes_of_shards(learner, 3 * num_devices) == {3}
if num_hosts == 1:
  # Ten tasks leave some of eight devices with nothing to do.
  assert sizes_of_shards(learner, 10) == {10}
  for one, eight in zip(train(jax.devices()[:1])[1], numbers):
    np.testing.assert_allclose(one, eight, rtol=1e-8, atol=1e-11)
print('sum', sum(float(np.abs(x).sum()) for x in numbers))
"""


def _start(num_hosts, host, port, num_devices):
  arguments = (num_hosts, host, port, num_devices)
  return subprocess.Popen(
    [sys.executable, '-c', _SCRIPT, *map(str, arguments)],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _result(process):
  out, error = process.communicate(timeout=300)
  assert process.returncode == 0, error[-3000:]
  return float(out.split()[-1])


def test_same_numbers_on_one_and_eight_devices_and_on_two_hosts():
  with socket.socket() as server:
    server.bind(('localhost', 0))
    port = server.getsockname()[1]
  processes = [_start(2, 0, port, 1), _start(2, 1, port, 1), _start(1, 0, 0, 8)]
  try:
    first, second, alone = map(_result, processes)
  finally:
    for process in processes:
      process.kill()
  assert first == second
  assert abs(first / alone - 1) < 1e-9
