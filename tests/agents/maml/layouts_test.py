import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[3]

# In a process of its own: the shim changes JAX for everybody.
_SCRIPT = """
import inspect
import sys
import jax

from acme_metarl import environments, presets
from acme_metarl.agents import compatibility, maml
from acme_metarl.agents.maml import layouts

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

config = maml.MAMLConfig(
  presets.make(
    'trpo_maml', num_tasks=2, num_rollouts=3, horizon=5, hidden_sizes=(8,)
  )
)
environment = environments.TrialEnvironment(
  environments.make('navigation_2d', reward='dense'), 2, 3, 5
)
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


def test_trains_through_acmes_local_layout(tmp_path):
  process = subprocess.run(
    [sys.executable, '-c', _SCRIPT, str(tmp_path)],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  assert process.stdout.split()[-1] == 'trained'
  assert list(tmp_path.rglob('ckpt-*.index'))
