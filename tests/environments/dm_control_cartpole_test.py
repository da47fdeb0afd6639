"""Tests of dm_control_cartpole; dm_control is optional."""

import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments import dm_control_cartpole

G, B, T = 2, 3, 4

cartpole = pytest.importorskip(
  'dm_control.suite.cartpole',
  reason='needs dm_control: pip install dm_control',
)


@pytest.mark.parametrize('length', [0.5, 1.0, 1.4])
def test_a_pole_of_that_length(length):
  """The model is the one that MuJoCo compiles of a longer pole."""
  xml, assets = cartpole.get_model_and_assets(1)
  text = xml.decode() if isinstance(xml, bytes) else xml
  before, after = 'fromto="0 0 0 0 0 1"', f'fromto="0 0 0 0 0 {length}"'
  assert before in text
  expected = cartpole.Physics.from_xml_string(
    text.replace(before, after), assets
  ).model.ptr
  physics = cartpole.Physics.from_xml_string(text, assets)
  for wrong in (0.7, length):
    dm_control_cartpole.set_length(physics, wrong)
  model = physics.model.ptr
  for name in (
    'geom_size',
    'geom_pos',
    'body_mass',
    'body_inertia',
    'body_ipos',
    'body_invweight0',
    'dof_invweight0',
    'dof_M0',
  ):
    np.testing.assert_allclose(
      getattr(model, name), getattr(expected, name), atol=1e-6, err_msg=name
    )


def test_a_trial():
  batch = dm_control_cartpole.make()
  assert not environments.has_finite_tasks(batch)
  assert batch.action_spec().shape == (1,)
  trials = [
    environments.TrialEnvironment(dm_control_cartpole.make(), G, B, T, 1)
    for _ in range(2)
  ]
  for rows in zip(*[_play(trial) for trial in trials], strict=True):
    for name in ('position', 'velocity'):
      np.testing.assert_array_equal(
        *[row.observation.observation[name] for row in rows]
      )
  spec = trials[0].observation_spec().observation
  assert spec['position'].shape == (G, B, 3)
  lengths = trials[0].tasks
  assert len(np.unique(lengths)) == G
  for i, environment in enumerate(trials[0].environment._environments):
    size = environment.physics.named.model.geom_size['pole_1']
    np.testing.assert_allclose(2 * size[1], lengths[i // B])


def _play(trial):
  rows = [trial.reset()]
  while not rows[-1].last():
    rows.append(trial.step(np.ones((G, B, 1), np.float32)))
  return rows


def test_observations_with_scalars():
  """Some of the suite's observations are dicts with numbers in them."""
  from dm_control import suite

  batch = environments.DmEnvBatch(
    lambda: suite.load('walker', 'stand'),
    lambda rng: None,
    lambda environment, task: None,
    set_seed=lambda environment, seed: environment.task.random.seed(seed),
  )
  trial = environments.TrialEnvironment(batch, 1, 2, T, 0)
  trial.reset()
  observation = trial.step(np.zeros((1, 2, 6), np.float32)).observation
  shapes = {k: v.shape for k, v in observation.observation.items()}
  assert shapes == {
    'orientations': (1, 2, 14),
    'height': (1, 2),
    'velocity': (1, 2, 9),
  }
