"""Acme 0.4.0's layouts, each in a process whose JAX the shim changes."""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('launchpad', reason='Launchpad is not installed')

_ROOT = pathlib.Path(__file__).parents[3]

_AGENT = """
import inspect
import os
import sys
import threading

import jax

from acme_metarl import environments, presets
from acme_metarl.agents import compatibility, maml
from acme_metarl.agents.maml import layouts

config = maml.MAMLConfig(
  presets.make(
    'trpo_maml', num_tasks=2, num_rollouts=3, horizon=5, hidden_sizes=(8,)
  )
)


def make_environment(seed=0):
  return environments.TrialEnvironment(
    environments.make('navigation_2d', reward='dense'), 2, 3, 5, seed=seed
  )
"""

_LOCAL = """
# Nothing is patched before it is asked for.
assert not hasattr(jax, 'xla'), 'jax.xla'
assert not hasattr(jax, 'pxla'), 'jax.pxla'
tree_map = jax.tree_util.tree_map
compatibility.install()
compatibility.install()
assert jax.tree_util.tree_map is tree_map

import acme
from acme.agents.jax import builders
from acme.jax.layouts import local_layout
from acme.utils import loggers

names = builders.GenericActorLearnerBuilder.__abstractmethods__
assert len(names) == 5, names
for name in names:
  theirs, ours = (
    list(inspect.signature(getattr(owner, name)).parameters)
    for owner in (builders.GenericActorLearnerBuilder, layouts.LayoutBuilder)
  )
  assert theirs == ours, (name, theirs, ours)

environment = make_environment()
spec = acme.make_environment_spec(environment)
networks = maml.make_networks(spec, config.algorithm)
logger = loggers.InMemoryLogger()
builder = layouts.LayoutBuilder(
  maml.MAMLBuilder(config), spec, networks, lambda label: logger
)
agent = local_layout.LocalLayout(
  seed=0,
  environment_spec=spec,
  builder=builder,
  networks=networks,
  policy_network=builder.policy,
  workdir=sys.argv[1],
  batch_size=2,
)
before = agent.get_variables(['policy'])
loop = acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger())
loop.run(num_episodes=3)
agent.save()
rows = list(logger.data)
assert [row['steps'] for row in rows] == [1, 2, 3], rows
assert [row['lag_max'] for row in rows] == [0, 0, 0], rows
change = jax.tree_util.tree_map(
  lambda x, y: abs(x - y).max(), before, agent.get_variables(['policy'])
)
assert max(jax.tree_util.tree_leaves(change)) > 0
agent._replay_server.stop()
print('trained')
"""

# Two actors, an evaluator, a learner, replay and a counter, each a thread.
_DISTRIBUTED = """
compatibility.install()
import acme
from acme.jax.layouts import distributed_layout
from acme.utils import loggers
import launchpad as lp

rows = []
learned, evaluated = threading.Event(), threading.Event()


class Logger(loggers.NoOpLogger):
  def write(self, row):
    rows.append(row)
    if len(rows) == 4:
      learned.set()


class Evaluation(maml.TrialReturns):
  def get_metrics(self):
    evaluated.set()
    return super().get_metrics()


def make_networks(spec):
  return maml.make_networks(spec, config.algorithm)


spec = acme.make_environment_spec(make_environment())
builder = layouts.LayoutBuilder(
  maml.MAMLBuilder(config), spec, make_networks(spec), lambda label: Logger()
)
program = distributed_layout.DistributedLayout(
  seed=0,
  environment_factory=make_environment,
  network_factory=make_networks,
  builder=builder,
  policy_network=lambda networks: builder.policy,
  num_actors=2,
  actor_logger_fn=lambda actor_id: loggers.NoOpLogger(),
  evaluator_factories=[
    distributed_layout.default_evaluator_factory(
      make_environment,
      make_networks,
      lambda networks: builder.policy,
      observers=[Evaluation()],
    )
  ],
  checkpointing_config=distributed_layout.CheckpointingConfig(
    directory=sys.argv[1], add_uid=False
  ),
).build()
nodes = lp.launch(program, launch_type='local_mt', terminal='current_terminal')
for event in (learned, evaluated):
  while not event.wait(timeout=0.1):
    nodes.check_for_thread_worker_exception()
assert [row['learner_steps'] for row in rows[:4]] == [1, 2, 3, 4], rows
assert {row['num_lost'] + row['num_duplicated'] for row in rows} == {0}, rows
print('trained', flush=True)
# What waits inside Reverb or Courier would not hear of an orderly end.
os._exit(0)
"""


def _run(script, directory):
  process = subprocess.run(
    [sys.executable, '-c', _AGENT + script, str(directory)],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  assert process.stdout.split()[-1] == 'trained'
  assert list(directory.rglob('ckpt-*.index'))


def test_trains_through_acmes_local_layout(tmp_path):
  _run(_LOCAL, tmp_path)


def test_trains_through_acmes_distributed_layout(tmp_path):
  _run(_DISTRIBUTED, tmp_path)
