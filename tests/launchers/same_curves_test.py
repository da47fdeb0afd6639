"""The agent and the compiled function learn alike. `make check-learning`.

They share adaptation and meta-update but nothing else: neither the loop that
draws trials, nor random numbers, nor replay.
"""

import jax
import numpy as np
import pytest

from acme_metarl import environments, on_device, presets
from acme_metarl.launchers.runs import agent_trainer
from acme_metarl.launchers.runs import config as run_config

pytestmark = pytest.mark.learning

NUM_SEEDS = 8
NUM_ITERATIONS = 40
# Iterations of which the mean is one point of a curve.
BLOCK = 5
# Furthest that two points may be apart, and the root of the mean square of all
# of them, in standard errors of their difference over the seeds. By chance
# alone 1 in 50 such tests would fail.
FURTHEST, ROOT_MEAN_SQUARE = 4.0, 1.8


def _config(**overrides):
  settings = dict(
    num_tasks=10,
    num_rollouts=10,
    horizon=15,
    num_iterations=NUM_ITERATIONS,
    hidden_sizes=(16,),
    outer_learning_rate=1e-2,
  )
  algorithm = presets.make('promp_taypo2', **{**settings, **overrides})
  return run_config.RunConfig(
    environment_options={'reward': 'dense'}, algorithm=algorithm
  )


def _agent_returns(config, seed):
  """Mean returns `[iterations, 2]` before and after adaptation."""
  trainer = agent_trainer.Trainer(
    run_config.RunConfig.from_dict({**config.to_dict(), 'seed': seed})
  )
  try:
    rows = [trainer.iterate() for _ in range(config.num_iterations)]
  finally:
    trainer.close()
  return np.array([[row[f'return_{k}'] for k in range(2)] for row in rows])


def _device_returns(config):
  """The same for all seeds at once, `[seeds, iterations, 2]`."""
  train = on_device.make_train(
    config.algorithm,
    environments.make(config.environment, **config.environment_options),
    num_eval_tasks=1,
  )
  # Seeds that the agent has not: nothing may be alike but the law.
  keys = jax.random.split(jax.random.PRNGKey(NUM_SEEDS), NUM_SEEDS)
  _, log = jax.vmap(train)(keys)
  return np.stack([log.metrics[f'return_{k}'] for k in range(2)], axis=-1)


def _points(returns):
  """Before adaptation, and its gain: blocks' means `[seeds, points, 2]`."""
  before, after = returns[..., 0], returns[..., 1]
  curves = np.stack([before, after - before], axis=-1)
  return curves.reshape(NUM_SEEDS, -1, BLOCK, 2).mean(axis=2)


def _distances(one, other):
  """Of the mean curves, in standard errors of their difference."""
  variances = one.var(axis=0, ddof=1) + other.var(axis=0, ddof=1)
  difference = one.mean(axis=0) - other.mean(axis=0)
  return difference / np.sqrt(variances / NUM_SEEDS)


def _are_alike(distances):
  root_mean_square = np.sqrt(np.mean(distances**2))
  return (
    np.abs(distances).max() < FURTHEST and root_mean_square < ROOT_MEAN_SQUARE
  )


def test_learning_curves_match():
  config = _config()
  agent = _points(
    np.stack([_agent_returns(config, seed) for seed in range(NUM_SEEDS)])
  )
  device = _points(_device_returns(config))
  assert _are_alike(_distances(agent, device)), _distances(agent, device)
  for curves in (agent, device):  # There is something to compare,
    gain = curves[:, -1, 1] - curves[:, 0, 1]
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(NUM_SEEDS)
  # and a difference would be seen.
  slower = _points(_device_returns(_config(outer_learning_rate=5e-3)))
  assert not _are_alike(_distances(agent, slower)), _distances(agent, slower)
