"""Ray beyond what `faults_test` holds both engines to."""

import signal

import numpy as np
import pytest

from acme_metarl.launchers.distributed import peers

cluster_utils = pytest.importorskip(
  'ray.cluster_utils', reason='needs Ray: make check-ray'
)


class _Unanswered:
  """Other nodes that do not answer; who asks is asked to stop."""

  def call(self, *args):
    raise peers.StoppedError


def test_a_queue_without_its_node_ends_who_waits():
  from acme_metarl.launchers.distributed import ray_nodes

  queue = ray_nodes.ReplayClient(_Unanswered()).queue('trials')
  assert not queue.insert([np.zeros(2)])
  assert not queue.can_sample(1)
  assert queue.sample(1) == []
  with pytest.raises(TimeoutError, match='replay does not answer'):
    queue.counts()


@pytest.fixture
def cluster():
  """Two machines, which are two nodes of Ray on this one."""
  made = cluster_utils.Cluster(
    initialize_head=True,
    # Nothing that asks for a processor fits.
    head_node_args={'num_cpus': 0, 'include_dashboard': False},
  )
  made.add_node(num_cpus=4)
  yield made
  made.shutdown()


def test_actors_are_on_the_other_machine(start, cluster):
  running = start(
    '--num_iterations=7', f'--address={cluster.address}', engine='ray'
  )
  running.wait_for_iteration(7)
  assert running.end() == 0, running.output
  assert running.iterations == list(range(1, 8))
  assert int(running.rows('evaluation.csv')[-1]['iteration']) == 7


@pytest.mark.parametrize('address', ['localhost', 'ray://x', 'localhost:1'])
def test_refuses_where_there_is_no_cluster(refused, tmp_path, address):
  logdir = tmp_path / 'run'
  message = refused(
    'train_distributed',
    *('--engine=ray', f'--address={address}', f'--logdir={logdir}'),
  )
  assert message.startswith(f'address: got {address!r}')
  assert not logdir.exists()


@pytest.mark.learning
@pytest.mark.parametrize('name', ['replay', 'counter'])
def test_program_is_launched_anew(start, name):
  running = start('--num_iterations=1000000', engine='ray')
  running.wait_for_iteration(7)
  running.living(name).kill()
  last = running.iterations[-1]
  running.wait(lambda: 'Launching it anew from' in running.output, 'restart')
  running.wait_for_iteration(last + 3)
  running.say(signal.SIGINT, to_group=True)
  assert running.end() == 0, running.output
  done = running.iterations
  assert done == list(range(1, len(done) + 1))
  assert f'after iteration {done[-1]}, and saved' in running.output


@pytest.mark.learning
def test_all_end_with_the_supervising_launcher(start):
  running = start('--num_iterations=1000000', engine='ray')
  running.wait_for_iteration(6)
  running.say(signal.SIGKILL)
  assert running.end() == -signal.SIGKILL
