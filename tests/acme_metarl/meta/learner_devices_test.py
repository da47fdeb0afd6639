"""The meta-update on several devices, in a process that shows eight."""

import os
import subprocess
import sys

_PROGRAM = """
import jax
jax.config.update('jax_enable_x64', True)
import jax.numpy as jnp
import numpy as np
from acme_metarl import presets
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic

assert len(jax.devices()) == 8
policy = policies.gaussian(2, hidden_sizes=(3,))
params = policy.init(jax.random.PRNGKey(0), jnp.zeros(2))
trials = synthetic.make_trials(
  jax.random.PRNGKey(1), policy, params, observation_size=2, num_tasks=5,
  num_rollouts=3, horizon=5, early_termination=True,
  store_behaviour_params=False)

for name in ('promp', 'trpo_emaml'):
  results = []
  for devices, chunk_size in ((1, 5), (8, None), (2, 2)):
    config = presets.make(name, num_tasks=5, chunk_size=chunk_size)
    learner = learner_lib.make_meta_learner(
      config, policy, jax.devices()[:devices])
    state = learner.init(jax.random.PRNGKey(0), jnp.zeros(2))
    results.append(jax.jit(learner.update)(state, trials))
    if name != 'promp' and len(results) == 2:
      break
  for other in results[1:]:
    for x, y in zip(*map(jax.tree_util.tree_leaves, (results[0], other))):
      np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-11)
print('same numbers')
"""


def test_same_numbers_on_one_two_and_eight_devices():
  """Five tasks, so that some devices get copies that must not count."""
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_force_host_platform_device_count=8 '
    + os.environ.get('XLA_FLAGS', ''),
  }
  result = subprocess.run(
    [sys.executable, '-c', _PROGRAM],
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert result.returncode == 0, result.stderr
  assert 'same numbers' in result.stdout
