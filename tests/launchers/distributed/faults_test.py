"""What happens when processes of a program are killed: docs/distributed.md.

One program goes through all that it survives; the tests look at what is left.
"""

import importlib.util
import os
import signal
import socket
import types

import jax
import numpy as np
import psutil
import pytest

from acme_metarl.launchers.distributed import planning
from acme_metarl.launchers.runs import checkpointing, evaluation
from acme_metarl.launchers.runs import config as run_config

_QUEUED_ITERATIONS = 4  # At most, with what an actor may have in its hands.


def _kill_and_wait_for_another(running, name):
  """Kills a child; waits until its keeper has started another one."""
  old = running.living(name)
  old.kill()
  running.wait(lambda: running.living(name).pid != old.pid, f'another {name}')


def _outside_address():
  """An address of this machine other than loopback, if it has one."""
  for addresses in psutil.net_if_addrs().values():
    for address in addresses:
      if address.family == socket.AF_INET and not address.address.startswith(
        '127.'
      ):
        return address.address
  return None


def _ports(running):
  return {
    connection.laddr.port
    for process in running.processes()
    for connection in process.net_connections('tcp')
    if connection.status == psutil.CONN_LISTEN
  }


def _can_connect(host, port):
  try:
    socket.create_connection((host, port), timeout=5).close()
  except OSError:
    return False
  return True


@pytest.fixture(scope='module', params=['launchpad', 'ray'])
def story(start, request):
  """Goes through it all; returns what was seen."""
  engine = request.param
  if not importlib.util.find_spec(engine):
    pytest.skip(f'needs {engine}')
  seen = types.SimpleNamespace(engine=engine)
  running = start('--num_iterations=1000000', engine=engine)
  seen.running = running
  running.wait_for_iteration(2)
  seen.ports = _ports(running)
  seen.reached_locally = {
    port for port in seen.ports if _can_connect('localhost', port)
  }
  seen.outside = _outside_address()
  seen.reached_from_outside = {
    port
    for port in seen.ports
    if seen.outside and _can_connect(seen.outside, port)
  }

  _kill_and_wait_for_another(running, 'actor')
  seen.after_actor = running.iterations[-1]
  running.wait_for_iteration(seen.after_actor + _QUEUED_ITERATIONS + 5)

  _kill_and_wait_for_another(running, 'evaluator')
  seen.after_evaluator = running.iterations[-1]
  running.wait(
    lambda: (
      int(running.rows('evaluation.csv')[-1]['iteration'])
      > seen.after_evaluator
    ),
    'evaluation by the next evaluator',
  )
  seen.restarts_until_then = running.output.count('Launching it anew')

  running.living('learner').kill()
  seen.learned_before_kill = running.iterations[-1]
  running.wait(lambda: 'Launching it anew from' in running.output, 'restart')
  running.wait_for_iteration(seen.learned_before_kill + 3)

  running.say(signal.SIGTERM)
  seen.exit_code = running.end()
  return seen


def _latest(running):
  return checkpointing.Checkpointer(
    running.directory / 'checkpoints'
  ).load_latest()


def test_servers_are_for_this_machine_only(story):
  if story.engine == 'launchpad':
    assert len(story.ports) == 3  # Replay, counter, learner.
  assert story.reached_locally == story.ports
  if story.outside is None:
    pytest.skip('this machine has no address but loopback')
  assert not story.reached_from_outside


def test_actors_and_evaluators_are_brought_back(story):
  # More than the queue held came after the kill, or the fixture had failed.
  assert story.restarts_until_then == 0
  if story.engine == 'launchpad':
    assert 'actor ended with code -9' in story.running.output
    assert 'evaluator ended with code -9' in story.running.output
  else:
    assert 'Actor.run failed. There are 100 retries' in story.running.output
    assert 'Evaluator.run failed. There are 100' in story.running.output


def test_learner_loses_no_more_than_since_its_checkpoint(story):
  output = story.running.output
  where = output.split('Launching it anew from checkpoint_')[1]
  assert story.learned_before_kill - int(where[:8]) <= 5 + 1
  done = story.running.iterations
  assert done == list(range(1, len(done) + 1))
  steps = [int(row['environment_steps']) for row in story.running.rows()]
  assert steps == sorted(set(steps))


def test_sigterm_saves_and_leaves_nothing_behind(story):
  assert story.exit_code == 0, story.running.output
  last = story.running.iterations[-1]
  assert f'Stopped by SIGTERM after iteration {last}' in story.running.output
  checkpoint = _latest(story.running)
  assert checkpoint.step == last
  assert int(checkpoint.arrays['.num_updates']) == last
  assert (story.running.directory / 'curves.png').exists()


def test_trials_are_neither_lost_nor_duplicated(story):
  for row in story.running.rows():
    assert row['num_lost'] == row['num_duplicated'] == '0'


def test_checkpoint_serves_the_other_launchers(story):
  checkpoint = _latest(story.running)
  config = run_config.RunConfig.from_dict(checkpoint.metadata['config'])
  params = evaluation.meta_params(config, checkpoint)
  for leaf in jax.tree_util.tree_leaves(params):
    assert np.isfinite(leaf).all()
  # What training on one machine goes on from.
  trials = checkpoint.metadata['actor']['num_trials']
  assert trials >= checkpoint.step
  assert checkpoint.metadata['environment']['trial_index'] == trials
  # And back: what that saves has no counts.
  del checkpoint.metadata['counts']
  assert planning.counts(checkpoint)['trials'] == trials


def test_truncated_checkpoint_falls_back_and_ends_exactly(story, start):
  paths = checkpointing.Checkpointer(
    story.running.directory / 'checkpoints'
  ).paths()
  os.truncate(paths[-1], paths[-1].stat().st_size // 2)
  before = int(paths[-2].stem[-8:])
  running = start(
    '--resume',
    f'--num_iterations={before + 7}',
    *['--terminal=output_to_files'][: story.engine == 'launchpad'],
    directory=story.running.directory,
    small=False,
    engine=story.engine,
  )
  assert running.end() == 0, running.output
  assert 'Done' in running.output
  assert f'{paths[-1]} is damaged' in running.output
  assert running.iterations == list(range(1, before + 8))
  assert _latest(running).step == before + 7
  assert int(running.rows('evaluation.csv')[-1]['iteration']) == before + 7
  output = running.output
  if story.engine == 'launchpad':
    output = (running.directory / 'nodes/learner/0').read_text()
  assert f'Iteration {before + 7}: return on tasks drawn anew' in output
  # Nothing to do is no reason to start anything.
  again = start(
    '--resume',
    directory=running.directory,
    small=False,
    engine=story.engine,
  )
  assert again.end() == 0
  assert 'Done already' in again.output
  assert not again.seen
