"""Tests of the random-parameter tasks."""

import mujoco
import numpy as np
import pytest

from acme_metarl.environments.mujoco import (
  environment,
  locomotion,
  models,
  random_params,
)

FIELDS = ('body_mass', 'body_inertia', 'geom_friction', 'dof_damping')


@pytest.fixture(scope='module')
def hopper():
  return models.load('hopper.xml')


def _sample(model, num_tasks=3, seed=0):
  return random_params.sample(model, np.random.default_rng(seed), num_tasks)


def test_factors_are_per_element_and_log_uniform(hopper):
  scales = _sample(hopper, 4000)
  assert scales._fields == FIELDS
  for name, scale in zip(FIELDS, scales, strict=True):
    assert scale.shape == (4000, *getattr(hopper, name).shape)
    assert scale.dtype == np.float32
    exponent = np.log(scale) / np.log(1.3 if name == 'dof_damping' else 1.5)
    assert -3.001 < exponent.min() < -2.99
    assert 2.99 < exponent.max() < 3.001
    assert exponent.mean() == pytest.approx(0, abs=0.1)
    assert exponent.std() == pytest.approx(3 / np.sqrt(3), rel=0.02)
    # No two elements go together.
    elements = exponent.reshape(4000, -1)
    correlation = np.corrcoef(elements.T) - np.eye(elements.shape[1])
    assert np.abs(correlation).max() < 0.1


def test_models_are_scaled_copies(hopper):
  before = {name: getattr(hopper, name).copy() for name in FIELDS}
  scales = _sample(hopper)
  compiled = random_params.compile_models(hopper, scales)
  assert len(compiled) == 3
  for name, scale in zip(FIELDS, scales, strict=True):
    np.testing.assert_array_equal(getattr(hopper, name), before[name])
    for task, model in enumerate(compiled):
      np.testing.assert_allclose(
        getattr(model, name), before[name] * scale[task], rtol=1e-12
      )


def _compile_from_scratch(file_name, model):
  """MuJoCo's own compiler on the scaled numbers: it derives every constant."""
  spec = mujoco.MjSpec.from_file(models.find(file_name))
  spec.compiler.inertiafromgeom = 0  # Never: as given here.
  for body in spec.bodies[1:]:
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body.name)
    body.mass = model.body_mass[i]
    body.inertia = model.body_inertia[i]
    body.ipos = model.body_ipos[i]
    body.iquat = model.body_iquat[i]
    body.explicitinertial = True
  for geom in spec.geoms:
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, geom.name)
    geom.friction = model.geom_friction[i]
  for joint in spec.joints:
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, joint.name)
    damping = model.dof_damping[model.jnt_dofadr[i]]
    if np.ndim(joint.damping):  # MuJoCo 4: coefficients of a polynomial.
      joint.damping = [damping, *joint.damping[1:]]
    else:
      joint.damping = damping
  return spec.compile()


@pytest.mark.parametrize('file_name', ['hopper.xml', 'walker2d.xml'])
def test_derived_constants_are_those_of_a_fresh_compilation(file_name):
  model = models.load(file_name)
  scales = _sample(model, 1)
  # One factor for a body's three inertias: the compiler insists on the triangle
  # inequality, which factors per element may break.
  scales.body_inertia[:] = scales.body_inertia[..., :1]
  scaled = random_params.compile_models(model, scales)[0]
  fresh = _compile_from_scratch(file_name, scaled)
  for name in (
    'body_subtreemass',
    'body_invweight0',
    'dof_invweight0',
    'dof_M0',
    'actuator_acc0',
  ):
    expected = getattr(fresh, name)
    np.testing.assert_allclose(
      getattr(scaled, name), expected, rtol=1e-8, err_msg=name
    )
    if name != 'actuator_acc0':
      # The test means something: the unscaled model has others.
      assert not np.allclose(getattr(model, name), expected, rtol=1e-2)
  assert scaled.stat.meaninertia == pytest.approx(fresh.stat.meaninertia)


def test_each_task_has_its_own_robot():
  env = locomotion.make('hopper_params', num_threads=2)
  rng = np.random.default_rng(0)
  tasks = env.sample_tasks(rng, 3)
  env.reset(tasks, 2, rng)
  state = env.get_state()
  same = environment.PhysicsState(
    *[np.broadcast_to(part[:1, :1], part.shape) for part in state]
  )
  env.set_state(same)
  observation, _, _ = env.step(np.full((3, 2, 3), 1.0))
  np.testing.assert_array_equal(observation[:, 0], observation[:, 1])
  for one, other in ((0, 1), (0, 2), (1, 2)):
    assert np.abs(observation[one, 0] - observation[other, 0]).max() > 1e-3
  # In the order of the tasks.
  for task in range(3):
    env.reset(
      random_params.PhysicalScales(*[leaf[task : task + 1] for leaf in tasks]),
      1,
      rng,
    )
    env.set_state(environment.PhysicsState(*[s[:1, :1] for s in same]))
    alone, _, _ = env.step(np.full((1, 1, 3), 1.0))
    np.testing.assert_array_equal(alone[0, 0], observation[task, 0])


def test_the_stages_of_a_trial_share_their_models(monkeypatch):
  env = locomotion.make('hopper_params', num_threads=1)
  compiled = []
  compile_models = random_params.compile_models
  monkeypatch.setattr(
    random_params,
    'compile_models',
    lambda *args: compiled.append(0) or compile_models(*args),
  )
  rng = np.random.default_rng(0)
  tasks = env.sample_tasks(rng, 2)
  for _ in range(3):
    env.reset(tasks, 2, rng)
  assert len(compiled) == 1
  tasks.body_mass[0, 1] *= 1.1  # Even if changed in place.
  env.reset(tasks, 2, rng)
  assert len(compiled) == 2


def test_bad_tasks(hopper):
  env = locomotion.make('hopper_params', num_threads=1)
  rng = np.random.default_rng(0)
  tasks = env.sample_tasks(rng, 2)
  for wrong, message in (
    (np.ones(2), 'PhysicalScales'),
    (tasks._replace(body_mass=tasks.body_mass[:, 1:]), 'body_mass'),
    (tasks._replace(dof_damping=tasks.dof_damping[:1]), 'dof_damping'),
    (tasks._replace(geom_friction=-tasks.geom_friction), 'geom_friction'),
    (tasks._replace(body_mass=tasks.body_mass * np.nan), 'body_mass'),
  ):
    with pytest.raises(ValueError, match=message):
      env.reset(wrong, 1, rng)
  assert random_params.check(hopper, tasks) is not None
