"""`make_distributed_experiment` of Acme's main branch, as real processes.

Main is in no package index: this program is written from its public contract.
Its nodes are pickled with the builder in them, and each makes its own part by
the calls that main's make, by position and by name.
"""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('launchpad', reason='Launchpad is not installed')

_ROOT = pathlib.Path(__file__).parents[3]

_PROGRAM = """
import pathlib
import time

import acme
from acme.utils import counting, loggers
import launchpad as lp
import numpy as np

from acme_metarl import environments, presets
from acme_metarl.agents import maml


def environment_factory(seed):
  return environments.TrialEnvironment(
    environments.make('navigation_2d', reward='dense'), 2, 3, 5, seed=seed
  )


def network_factory(spec):
  return maml.make_networks(spec, ALGORITHM)


class Rows:
  def __init__(self, label):
    self._path = pathlib.Path(FOLDER, label)

  def write(self, row):
    with open(self._path, 'a') as file:
      file.write(f"{row.get('learner_steps')} {row.get('num_lost')}\\n")

  def close(self):
    pass


def logger_factory(label, steps_key=None, task_instance=0):
  return Rows(label)


ALGORITHM = presets.make(
  'promp_taypo2', num_tasks=2, num_rollouts=3, horizon=5, hidden_sizes=(8,)
)
FOLDER = ''


def parts(builder, seed, evaluation=False):
  environment = environment_factory(seed)
  spec = acme.make_environment_spec(environment)
  networks = network_factory(spec)
  policy = builder.make_policy(
    networks=networks, environment_spec=spec, evaluation=evaluation
  )
  return environment, spec, networks, policy


def build_replay(builder):
  _, spec, _, policy = parts(builder, 1)
  return builder.make_replay_tables(spec, policy)


def build_learner(builder, random_key, replay, counter, folder):
  global FOLDER
  FOLDER = folder
  _, spec, networks, _ = parts(builder, 1)
  return builder.make_learner(
    random_key,
    networks,
    builder.make_dataset_iterator(replay),
    logger_factory,
    spec,
    replay,
    counting.Counter(counter, 'learner'),
  )


def build_actor(builder, random_key, replay, variable_source, counter):
  environment, spec, _, policy = parts(builder, 2)
  adder = builder.make_adder(replay, spec, policy)
  actor = builder.make_actor(random_key, policy, spec, variable_source, adder)
  return acme.EnvironmentLoop(
    environment,
    actor,
    counting.Counter(counter, 'actor'),
    loggers.NoOpLogger(),
    observers=[maml.TrialReturns()],
  )


def main(folder):
  builder = maml.MAMLBuilder(maml.MAMLConfig(ALGORITHM))
  program = lp.Program('main_like')
  learner_key, actor_key = np.uint32([[0, 1], [0, 2]])
  with program.group('replay'):
    replay = program.add_node(lp.ReverbNode(lambda: build_replay(builder)))
  with program.group('counter'):
    counter = program.add_node(lp.CourierNode(counting.Counter))
  with program.group('learner'):
    learner = program.add_node(
      lp.CourierNode(
        build_learner, builder, learner_key, replay, counter, folder
      )
    )
  with program.group('actor'):
    program.add_node(
      lp.CourierNode(
        build_actor, builder, actor_key, replay, learner, counter
      )
    )
  lp.launch(program, launch_type='local_mp', terminal='current_terminal')
  path = pathlib.Path(folder, 'learner')
  deadline = time.time() + 400
  while not path.exists() or len(path.read_text().splitlines()) < 3:
    assert time.time() < deadline
    time.sleep(0.2)
  print('trained', flush=True)
"""


@pytest.mark.learning
def test_its_nodes_train_in_processes_of_their_own(tmp_path):
  (tmp_path / 'main_like.py').write_text(_PROGRAM)
  script = 'import sys, main_like; main_like.main(sys.argv[1])'
  process = subprocess.Popen(
    [sys.executable, '-c', script, str(tmp_path)],
    env=os.environ
    | {'PYTHONPATH': f'{_ROOT}:{tmp_path}', 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
  )
  try:
    seen = ''
    while 'trained' not in seen:
      line = process.stdout.readline()
      assert line, seen
      seen += line
  finally:
    # What waits inside Reverb or Courier would not hear of an orderly end.
    os.killpg(process.pid, 9)
    process.wait()
  rows = (tmp_path / 'learner').read_text().split('\n')
  assert rows[:3] == ['1 0', '2 0', '3 0']
