"""The dynamics are gymnasium's, step for step and bit for bit.

Both sides get the same state and the same control, and gymnasium's warm start
is zeroed before every control step, as ours is.
"""

from gymnasium.envs.mujoco import (
  ant_v4,
  half_cheetah_v4,
  hopper_v4,
  humanoid_v4,
  walker2d_v4,
  walker2d_v5,
)
import mujoco
import numpy as np
import pytest

from acme_metarl.environments import action_scaling
from acme_metarl.environments.mujoco import (
  environment,
  locomotion,
  random_params,
)

NUM_STEPS = 100
NUM_TASKS, NUM_ROLLOUTS = 2, 2


def _half_cheetah():
  return half_cheetah_v4.HalfCheetahEnv(ctrl_cost_weight=0.05)


def _ant():
  return ant_v4.AntEnv()


def _ant_goal():
  return ant_v4.AntEnv(exclude_current_positions_from_observation=False)


def _ant_with_contact_forces():
  return ant_v4.AntEnv(use_contact_forces=True)


def _walker2d_of_8_frames():
  return walker2d_v5.Walker2dEnv(xml_file='walker2d.xml', frame_skip=8)


# Ours, theirs, and whether rewards of the task +1 have the same definition.
CASES = {
  'half_cheetah_direction': (_half_cheetah, {}, True),
  'ant_direction': (_ant, {}, False),
  'ant_direction_2d': (
    _ant_with_contact_forces,
    {'contact_forces': True},
    False,
  ),
  'ant_goal': (_ant_goal, {}, False),
  'walker2d_direction': (_walker2d_of_8_frames, {}, True),
  'humanoid_direction': (humanoid_v4.HumanoidEnv, {}, False),
}


def _play(ours, theirs, tasks, check_step, rng, action_scale=3.0):
  """Steps both through NUM_STEPS, restarting rollouts together as they end."""
  ours.reset(tasks, NUM_ROLLOUTS, rng)
  num_actions = ours.action_spec().shape[0]
  low, high = ours.model.actuator_ctrlrange.T

  def start_together():
    state = ours.get_state()
    for index, env in theirs.items():
      env.set_state(state.qpos[index], state.qvel[index])

  start_together()
  for _ in range(NUM_STEPS):
    action = action_scale * rng.standard_normal(
      (NUM_TASKS, NUM_ROLLOUTS, num_actions)
    ).astype(np.float32)
    control = action_scaling.scale_action(action.astype(np.float64), low, high)
    observation, reward, discount = ours.step(action)
    state = ours.get_state()
    for index, env in theirs.items():
      env.data.qacc_warmstart[:] = 0
      step = env.step(control[index])
      np.testing.assert_array_equal(state.qpos[index], env.data.qpos)
      np.testing.assert_array_equal(state.qvel[index], env.data.qvel)
      check_step(
        observation[index], reward[index], discount[index], step, index
      )
    if not discount.all():
      ours.reset(tasks, NUM_ROLLOUTS, rng)
      start_together()
  assert not ours.diverged.any()


def _theirs(factory):
  indices = np.ndindex(NUM_TASKS, NUM_ROLLOUTS)
  envs = {index: factory() for index in indices}
  for env in envs.values():
    env.reset(seed=0)
  return envs


@pytest.mark.parametrize('name', CASES)
def test_dynamics_equal_gymnasium_bit_for_bit(name):
  factory, options, has_same_reward = CASES[name]
  ours = locomotion.make(name, num_threads=2, **options)
  rng = np.random.default_rng(0)
  tasks = ours.sample_tasks(rng, NUM_TASKS)
  if name.endswith('direction'):
    tasks = np.ones(NUM_TASKS, np.float32)
  theirs = _theirs(factory)

  def check_step(observation, reward, discount, step, index):
    del index
    np.testing.assert_array_equal(observation, step[0].astype(np.float32))
    if has_same_reward and discount:
      assert reward == pytest.approx(step[1], rel=1e-5, abs=1e-5)
    if not name.startswith('ant'):  # The ants end otherwise.
      assert discount == (not step[2])

  _play(ours, theirs, tasks, check_step, rng)
  ours.close()


def test_humanoid_reward_is_gymnasium_less_the_contact_cost():
  # Gymnasium's reward for the direction +1, with the cost that v4 dropped.
  ours = locomotion.make('humanoid_direction', num_threads=2)
  rng = np.random.default_rng(1)
  theirs = _theirs(humanoid_v4.HumanoidEnv)
  costs = []

  def check_step(observation, reward, discount, step, index):
    del observation, discount
    forces = theirs[index].data.cfrc_ext
    costs.append(min(0.5e-6 * np.sum(forces**2), 10.0))
    assert reward == pytest.approx(step[1] - costs[-1], rel=1e-5, abs=1e-5)

  _play(ours, theirs, np.ones(NUM_TASKS), check_step, rng)
  assert max(costs) > 0.1  # Its feet did touch the ground.
  ours.close()


@pytest.mark.parametrize(
  ('name', 'factory'),
  [
    ('hopper_params', hopper_v4.HopperEnv),
    ('walker2d_params', walker2d_v4.Walker2dEnv),
  ],
)
@pytest.mark.parametrize('is_scaled', [False, True])
def test_random_params_equal_gymnasium_with_the_same_parameters(
  name, factory, is_scaled
):
  ours = locomotion.make(name, num_threads=2)
  rng = np.random.default_rng(2)
  tasks = ours.sample_tasks(rng, NUM_TASKS)
  if not is_scaled:
    tasks = random_params.PhysicalScales(*map(np.ones_like, tasks))
  theirs = _theirs(factory)
  for (task, _), env in theirs.items():
    for field in tasks._fields:
      getattr(env.model, field)[:] *= getattr(tasks, field)[task]
    mujoco.mj_setConst(env.model, env.data)
    env.model.stat.meaninertia = env.model.dof_M0.mean()
    env.reset(seed=0)

  def check_step(observation, reward, discount, step, index):
    del index
    np.testing.assert_array_equal(observation, step[0].astype(np.float32))
    assert reward == pytest.approx(step[1], rel=1e-5, abs=1e-5)
    assert discount == (not step[2])

  _play(ours, theirs, tasks, check_step, rng)
  ours.close()


def test_starts_are_gymnasium_starts():
  # The same state gives the same observation, derived fields included.
  for name, factory, options in (
    ('humanoid_direction', humanoid_v4.HumanoidEnv, {}),
    ('ant_direction', _ant_with_contact_forces, {'contact_forces': True}),
  ):
    ours = locomotion.make(name, num_threads=1, **options)
    rng = np.random.default_rng(3)
    first = ours.reset(np.ones(1), 2, rng)
    state = ours.get_state()
    env = factory()
    env.reset(seed=0)
    for rollout in range(2):
      env.set_state(state.qpos[0, rollout], state.qvel[0, rollout])
      np.testing.assert_array_equal(
        first[0, rollout], env._get_obs().astype(np.float32)
      )
    again = ours.set_state(environment.PhysicsState(*state))
    np.testing.assert_array_equal(again, first)
    ours.close()
