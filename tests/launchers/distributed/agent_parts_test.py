"""Nodes make what the user asked for, from what they are told in a pickle."""

import pickle

from absl import flags
import jax
import numpy as np

from acme_metarl.launchers import train_distributed
from acme_metarl.launchers.distributed import agent_parts, options, planning
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import flags as run_flags

_MINE = """
from acme_metarl.environments import navigation_2d
from acme_metarl.meta import policies

def make(**options):
  return navigation_2d.Navigation2D(**options)

def network(observation_spec, action_spec):
  return policies.gaussian(action_spec.shape[0], (5,))
"""


def test_environment_and_network_of_ones_own(tmp_path, monkeypatch):
  (tmp_path / 'module_of_ours.py').write_text(_MINE)
  monkeypatch.syspath_prepend(tmp_path)
  values = flags.FlagValues()
  train_distributed.define(values)
  values(
    [
      'train_distributed',
      '--environment=module_of_ours:make',
      '--environment_options={"reward": "dense"}',
      '--network=module_of_ours:network',
    ]
  )
  config = run_flags.config_from_flags({}, values)
  settings = planning.shared_values(
    config,
    options.ProgramOptions(tasks_per_actor=3),
    tmp_path,
    None,
    run_flags.imported({}, values),
    None,
  )
  shared = pickle.loads(pickle.dumps(shared_lib.Shared(**settings)))
  assert shared.given == ('module_of_ours:make', 'module_of_ours:network')
  parts = agent_parts.make(shared, 'train', lambda: False)
  made = parts.config
  assert made.environment.__module__ == 'module_of_ours'
  assert made.network.__module__ == 'module_of_ours'
  assert parts.spec.rewards.shape == (3, made.algorithm.num_rollouts)
  params = parts.networks.policy.init(
    jax.random.PRNGKey(0), np.zeros(2, np.float32)
  )
  assert (2, 5) in {x.shape for x in jax.tree_util.tree_leaves(params)}
