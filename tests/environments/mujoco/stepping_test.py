"""Tests of the steppers: same bits however simulations are stepped."""

import mujoco
import numpy as np
import pytest

from acme_metarl.environments.mujoco import models, stepping

ROBOTS = [
  ('half_cheetah.xml', 5),
  ('ant.xml', 5),
  ('walker2d.xml', 8),
  ('hopper.xml', 4),
  ('humanoid.xml', 5),
]
NUM_SIMULATIONS = 7
NUM_STEPS = 12


def _start(model, seed=0):
  rng = np.random.default_rng(seed)
  shape = (NUM_SIMULATIONS, model.nq + model.nv)
  state = rng.uniform(-0.1, 0.1, shape)
  state[:, : model.nq] += model.qpos0
  controls = rng.uniform(
    *model.actuator_ctrlrange.T, (NUM_STEPS, NUM_SIMULATIONS, model.nu)
  )
  return state, controls


def _plain_loop(model, frame_skip, state, controls):
  """One simulation after another, by hand."""
  data = mujoco.MjData(model)
  trajectory = []
  for i, row in enumerate(state):
    mujoco.mj_resetData(model, data)
    data.qpos[:], data.qvel[:] = row[: model.nq], row[model.nq :]
    rows = []
    for control in controls[:, i]:
      data.qacc_warmstart[:] = 0
      data.ctrl[:] = control
      for _ in range(frame_skip):
        mujoco.mj_step(model, data)
      rows.append(np.concatenate([data.qpos, data.qvel]))
    trajectory.append(rows)
  return np.swapaxes(trajectory, 0, 1)


def _run(stepper, model, state, controls):
  trajectory = []
  for control in controls:
    stepped = stepper.step([model] * len(state), state, control)
    assert stepped.completed.all()
    state = stepped.state.copy()
    trajectory.append(state)
  stepper.close()
  return np.array(trajectory)


@pytest.mark.parametrize(('file_name', 'frame_skip'), ROBOTS)
@pytest.mark.parametrize('num_threads', [1, 3])
def test_steppers_equal_a_plain_loop_bit_for_bit(
  file_name, frame_skip, num_threads
):
  model = models.load(file_name)
  state, controls = _start(model)
  expected = _plain_loop(model, frame_skip, state, controls)
  native = stepping.NativeStepper(model, frame_skip, num_threads)
  threaded = stepping.ThreadedStepper(model, frame_skip, num_threads, ())
  np.testing.assert_array_equal(_run(native, model, state, controls), expected)
  np.testing.assert_array_equal(
    _run(threaded, model, state, controls), expected
  )


def test_batch_sizes_may_change():
  model = models.load('half_cheetah.xml')
  state, controls = _start(model)
  for stepper in (
    stepping.NativeStepper(model, 5, 2),
    stepping.ThreadedStepper(model, 5, 2, ('cfrc_ext',)),
  ):
    few = stepper.step([model] * 2, state[:2], controls[0, :2])
    few_state = few.state.copy()
    many = stepper.step([model] * 7, state, controls[0])
    assert many.state.shape == (7, 18)
    np.testing.assert_array_equal(many.state[:2], few_state)
    again = stepper.step([model] * 2, state[:2], controls[0, :2])
    np.testing.assert_array_equal(again.state, few_state)
    stepper.close()


def test_every_simulation_may_have_its_own_model():
  model = models.load('hopper.xml')
  heavy = models.load('hopper.xml')
  heavy.body_mass *= 2
  state, controls = _start(model)
  state[1] = state[0]
  controls[:, 1] = controls[:, 0]
  for stepper in (
    stepping.NativeStepper(model, 4, 2),
    stepping.ThreadedStepper(model, 4, 2, ()),
  ):
    after = stepper.step(
      [model, heavy, model], state[:3], controls[0, :3]
    ).state.copy()
    alone = stepper.step([heavy], state[1:2], controls[0, 1:2]).state
    np.testing.assert_array_equal(after[1], alone[0])
    assert np.abs(after[1] - after[0]).max() > 1e-4
    stepper.close()


@pytest.mark.parametrize('frame_skip', [1, 5])
def test_divergence_is_noticed_and_stays_with_its_simulation(frame_skip):
  model = models.load('half_cheetah.xml')
  state, controls = _start(model)
  bad = state.copy()
  bad[2, 12] = 1e9  # MuJoCo gives up on the accelerations,
  bad[4, 12] = 1e11  # the velocities,
  bad[5, 3] = np.nan  # the positions.
  for stepper in (
    stepping.NativeStepper(model, frame_skip, 2),
    stepping.ThreadedStepper(model, frame_skip, 2, ()),
  ):
    expected = stepper.step([model] * 7, state, controls[0]).state.copy()
    stepped = stepper.step([model] * 7, bad, controls[0])
    np.testing.assert_array_equal(
      stepped.completed, [True, True, False, True, False, False, True]
    )
    np.testing.assert_array_equal(
      stepped.state[stepped.completed], expected[stepped.completed]
    )
    # Nothing of it lingers in the threads.
    healthy = stepper.step([model] * 7, state, controls[0])
    np.testing.assert_array_equal(healthy.state, expected)
    assert healthy.completed.all()
    stepper.close()


def test_fields_belong_to_their_simulations():
  model = models.load('humanoid.xml')
  state, controls = _start(model)
  fields = ('cinert', 'cfrc_ext')
  stepper = stepping.ThreadedStepper(model, 5, 3, fields)
  stepped = stepper.step([model] * 7, state, controls[0])
  data = mujoco.MjData(model)
  for i in range(NUM_SIMULATIONS):
    mujoco.mj_resetData(model, data)
    data.qpos[:], data.qvel[:] = state[i, :24], state[i, 24:]
    data.ctrl[:] = controls[0, i]
    mujoco.mj_step(model, data, 5)
    mujoco.mj_rnePostConstraint(model, data)
    np.testing.assert_array_equal(stepped.fields['cinert'][i], data.cinert.flat)
    np.testing.assert_array_equal(
      stepped.fields['cfrc_ext'][i], data.cfrc_ext.flat
    )
  forward = stepper.forward([model] * 7, state)
  mujoco.mj_resetData(model, data)
  data.qpos[:], data.qvel[:] = state[3, :24], state[3, 24:]
  mujoco.mj_forward(model, data)
  np.testing.assert_array_equal(forward['cinert'][3], data.cinert.flat)
  stepper.close()


def test_models_with_a_larger_state_are_refused():
  model = mujoco.MjModel.from_xml_string("""
    <mujoco>
      <worldbody><body><joint name="j"/><geom size="1"/></body></worldbody>
      <actuator><general joint="j" dyntype="integrator"/></actuator>
    </mujoco>""")
  with pytest.raises(ValueError, match='activations'):
    stepping.NativeStepper(model, 1, 1)
