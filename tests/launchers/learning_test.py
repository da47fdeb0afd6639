"""Minutes of training: the main job, and every preset. `make check-learning`.

Returns are of tasks drawn afresh, the same ones for the trained and for the
untrained policy, so that the difference is paired.
"""

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import agent_trainer, recommended
from acme_metarl.launchers.runs import config as run_config

pytestmark = pytest.mark.learning

# Beyond those of the runs' own evaluations.
_TRIAL_INDEX = 10**6
# Where fewer iterations do not show enough. The outer steps of VPG-MAML are
# one of Adam's an iteration, and those of the others larger or five.
_NUM_ITERATIONS = {'vpg_maml': 100}


def _train(config):
  """Returns `[G, K+1, B]` before and after training, on the same tasks."""
  trainer = agent_trainer.Trainer(config)
  try:
    (before,) = trainer.evaluate(_TRIAL_INDEX)
    for _ in range(config.num_iterations):
      trainer.iterate()
    (after,) = trainer.evaluate(_TRIAL_INDEX)
    return before, after
  finally:
    trainer.close()


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_main_job(seed):
  config = run_config.RunConfig(
    algorithm=presets.make(
      'promp_taypo2',
      num_iterations=200,
      inner_learning_rate=recommended.inner_learning_rate('navigation_2d'),
    ),
    seed=seed,
  )
  _, after = _train(config)
  pre, post = after.mean(axis=(0, 2))
  assert post >= 0.8
  assert post - pre >= 0.4


@pytest.mark.parametrize('preset', presets.names())
def test_presets_improve(preset):
  num_iterations = _NUM_ITERATIONS.get(preset, 30)
  config = run_config.RunConfig(
    preset=preset,
    algorithm=presets.make(preset, num_iterations=num_iterations),
  )
  before, after = _train(config)
  gain = (after - before)[:, -1].mean(axis=1)
  stderr = gain.std(ddof=1) / np.sqrt(len(gain))
  assert gain.mean() > 3 * stderr
