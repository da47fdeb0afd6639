"""Tests of the table of tasks: sizes, rewards, endings, tasks."""

import mujoco
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments.mujoco import locomotion, tasks

# The published table: observation and action sizes, seconds per step, how far
# start positions stray, standard deviation or range of start velocities.
TABLE = {
  'half_cheetah_direction': (17, 6, 0.05, 0.1, ('normal', 0.1)),
  'half_cheetah_velocity': (17, 6, 0.05, 0.1, ('normal', 0.1)),
  'ant_direction': (27, 8, 0.05, 0.1, ('normal', 0.1)),
  'ant_direction_2d': (27, 8, 0.05, 0.1, ('normal', 0.1)),
  'ant_goal': (29, 8, 0.05, 0.1, ('normal', 0.1)),
  'walker2d_direction': (17, 6, 0.016, 0.005, ('uniform', 0.005)),
  'walker2d_velocity': (17, 6, 0.016, 0.005, ('uniform', 0.005)),
  'humanoid_direction': (376, 17, 0.015, 0.01, ('uniform', 0.01)),
  'humanoid_direction_2d': (376, 17, 0.015, 0.01, ('uniform', 0.01)),
  'hopper_params': (11, 3, 0.008, 0.005, ('uniform', 0.005)),
  'walker2d_params': (17, 6, 0.008, 0.005, ('uniform', 0.005)),
}
NUM_TASKS, NUM_ROLLOUTS = 3, 2


def _scaled(action, limit):
  """The published scaling, as it is printed."""
  return np.clip(-limit + (action + 10) * 2 * limit / 20, -limit, limit)


def _squares(x):
  return (x.astype(np.float64) ** 2).sum(axis=-1)


def _half_cheetah(step, progress):
  return progress - 0.05 * _squares(_scaled(step.action, 1.0))


def _ant(step, progress):
  return progress - 0.5 * _squares(_scaled(step.action, 1.0)) + 1


def _walker2d(step, progress, bonus):
  return progress + bonus - 1e-3 * _squares(_scaled(step.action, 1.0))


def _ant_goal(step):
  distance = np.abs(step.after[..., :2] - step.task).sum(axis=-1)
  return -distance - 0.1 * _squares(_scaled(step.action, 1.0))


# By hand, each from the table's own line.
REWARDS = {
  'half_cheetah_direction': lambda s: _half_cheetah(s, s.task * s.speed),
  'half_cheetah_velocity': lambda s: _half_cheetah(s, -abs(s.speed - s.task)),
  'ant_direction': lambda s: _ant(s, s.task * s.speed),
  'ant_direction_2d': lambda s: _ant(s, (s.task * s.velocity).sum(-1)),
  'ant_goal': _ant_goal,
  'walker2d_direction': lambda s: _walker2d(s, s.task * s.speed, 1),
  'walker2d_velocity': lambda s: _walker2d(s, -abs(s.speed - s.task), 15),
  'hopper_params': lambda s: _walker2d(s, s.speed, 1),
  'walker2d_params': lambda s: _walker2d(s, s.speed, 1),
}


class _Step:
  """What a reward by hand is computed from, `[G, B, ...]`."""

  def __init__(self, task, action, before, after, dt):
    self.action = action
    self.after = after
    self.velocity = (after[..., :2] - before[..., :2]) / dt
    self.speed = self.velocity[..., 0]
    if isinstance(task, np.ndarray):
      self.task = np.repeat(task[:, None], NUM_ROLLOUTS, axis=1)


def _make(name, **options):
  return locomotion.make(name, num_threads=2, **options)


def _start(name, seed=0, **options):
  env = _make(name, **options)
  rng = np.random.default_rng(seed)
  tasks = env.sample_tasks(rng, NUM_TASKS)
  observation = env.reset(tasks, NUM_ROLLOUTS, rng)
  return env, rng, tasks, observation


def _actions(env, rng, scale=3.0):
  # Some beyond ±10, where the actuators end.
  shape = (NUM_TASKS, NUM_ROLLOUTS, *env.action_spec().shape)
  return (scale * rng.standard_normal(shape)).astype(np.float32)


def test_table_is_complete():
  assert set(TABLE) == set(tasks.TASKS)
  assert set(tasks.TASKS) < set(environments.names())


@pytest.mark.parametrize('name', TABLE)
def test_sizes_and_time_step(name):
  env, rng, _, observation = _start(name)
  size, num_actions, dt, _, _ = TABLE[name]
  assert env.observation_spec().shape == (size,)
  assert env.observation_spec().dtype == np.float32
  assert env.action_spec().shape == (num_actions,)
  assert env.dt == pytest.approx(dt)
  assert observation.shape == (NUM_TASKS, NUM_ROLLOUTS, size)
  assert observation.dtype == np.float32
  observation, reward, discount = env.step(_actions(env, rng))
  assert observation.shape == (NUM_TASKS, NUM_ROLLOUTS, size)
  for array in (reward, discount):
    assert array.shape == (NUM_TASKS, NUM_ROLLOUTS)
    assert array.dtype == np.float32
  assert observation.dtype == np.float32


@pytest.mark.parametrize('name', REWARDS)
def test_reward_by_hand(name):
  env, rng, tasks, _ = _start(name)
  for _ in range(3):
    action = _actions(env, rng, scale=6.0)
    before = env.get_state().qpos
    _, reward, _ = env.step(action)
    after = env.get_state().qpos
    expected = REWARDS[name](
      _Step(tasks, action, before, after, TABLE[name][2])
    )
    np.testing.assert_allclose(reward, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'name', ['humanoid_direction', 'humanoid_direction_2d']
)
@pytest.mark.parametrize('falling_speed', [0.0, 30.0])
def test_humanoid_reward_by_hand(name, falling_speed):
  env, rng, tasks, _ = _start(name)
  state = env.get_state()
  state.qvel[..., 2] = -falling_speed
  env.set_state(state)
  action = _actions(env, rng)
  _, reward, _ = env.step(action)
  model, data = env.model, mujoco.MjData(env.model)

  def centre():
    return sum(
      model.body_mass[body] * data.xipos[body, :2]
      for body in range(model.nbody)
    ) / sum(model.body_mass)

  costs = []
  for task, rollout in np.ndindex(NUM_TASKS, NUM_ROLLOUTS):
    mujoco.mj_resetData(model, data)
    data.qpos[:] = state.qpos[task, rollout]
    data.qvel[:] = state.qvel[task, rollout]
    mujoco.mj_forward(model, data)
    data.qacc_warmstart[:] = 0
    before = centre()
    data.ctrl[:] = _scaled(action[task, rollout], 0.4)
    mujoco.mj_step(model, data, 5)
    mujoco.mj_rnePostConstraint(model, data)
    velocity = (centre() - before) / 0.015
    direction = tasks[task] if tasks.ndim == 2 else [tasks[task], 0.0]
    costs.append(0.5e-6 * _squares(data.cfrc_ext.reshape(-1)))
    expected = (
      1.25 * np.dot(direction, velocity)
      - 0.1 * _squares(data.ctrl)
      - min(costs[-1], 10.0)
      + 5.0
    )
    assert reward[task, rollout] == pytest.approx(expected, rel=1e-4, abs=1e-4)
  # The limit on the cost is reached by a hard landing only.
  assert (max(costs) > 10.0) == bool(falling_speed)


@pytest.mark.parametrize(
  'name', ['ant_direction', 'ant_direction_2d', 'ant_goal']
)
def test_contact_forces_are_live_observed_and_paid_for(name):
  env, rng, tasks, first = _start(name, contact_forces=True)
  bare = _make(name)
  bare.reset(tasks, NUM_ROLLOUTS, np.random.default_rng(0))
  bare.set_state(env.get_state())
  size = TABLE[name][0]
  assert env.observation_spec().shape == (size + 84,)
  np.testing.assert_array_equal(first[..., size:], 0)  # It starts in the air.
  touched = []
  for _ in range(25):
    action = _actions(env, rng)
    observation, reward, _ = env.step(action)
    bare_observation, bare_reward, _ = bare.step(action)
    np.testing.assert_array_equal(observation[..., :size], bare_observation)
    forces = observation[..., size:]
    np.testing.assert_allclose(
      reward,
      bare_reward - 0.5e-3 * _squares(forces),
      rtol=1e-5,
      atol=1e-5,
    )
    touched.append(np.abs(forces).max(axis=-1))
  assert np.max(touched, axis=0).min() == 1.0  # Every ant landed; clipped.


def _extreme(name, changes):
  """Rollouts [0, 0] .. [0, 1] … of which each gets one change of its state."""
  env, rng, _, _ = _start(name)
  state = env.get_state()
  state.qvel[:] = 0
  state.qpos[:] = env.model.qpos0
  cells = list(np.ndindex(NUM_TASKS, NUM_ROLLOUTS))
  for cell, (field, index, value) in zip(cells, changes, strict=False):
    getattr(state, field)[cell][index] = value
  env.set_state(state)
  return env, [cells[i] for i in range(len(changes))]


# A change of the standing robot's state, and whether it ends the episode.
ENDINGS = {
  'ant_direction': [
    (('qpos', 2, 0.75), False),
    (('qpos', 2, 0.97), False),
    (('qpos', 2, 1.2), True),
    (('qpos', 2, -10.0), True),
  ],
  'walker2d_velocity': [
    (('qpos', 1, 1.25), False),
    (('qpos', 1, 2.1), True),
    (('qpos', 1, 0.7), True),
    (('qpos', 2, 0.9), False),
    (('qpos', 2, 1.1), True),
    (('qpos', 2, -1.1), True),
  ],
  'hopper_params': [
    (('qpos', 1, 1.25), False),
    (('qpos', 1, 5.0), False),
    (('qpos', 1, 0.6), True),
    (('qpos', 2, 0.3), True),
    (('qvel', 0, 120.0), True),
    (('qpos', 2, 0.1), False),
  ],
  'humanoid_direction': [
    (('qpos', 2, 1.4), False),
    (('qpos', 2, 1.9), False),
    (('qpos', 2, 2.1), True),
    (('qpos', 2, 0.9), True),
  ],
  'ant_goal': [(('qpos', 2, 3.0), False), (('qpos', 2, -0.5), False)],
  'half_cheetah_velocity': [(('qpos', 2, 3.0), False)],
}


@pytest.mark.parametrize('name', ENDINGS)
def test_endings(name):
  changes = [change for change, _ in ENDINGS[name]]
  env, cells = _extreme(name, changes)
  action = np.zeros((NUM_TASKS, NUM_ROLLOUTS, *env.action_spec().shape))
  _, reward, discount = env.step(action)
  for cell, (change, has_ended) in zip(cells, ENDINGS[name], strict=True):
    assert discount[cell] == (not has_ended), change
    assert reward[cell] != 0, change  # The terminal step is paid for.
  assert not env.diverged.any()


def test_bounds_are_those_of_the_table():
  def well(name, qpos, qvel=0.0):
    positions = np.zeros((1, 24))
    for index, value in qpos.items():
      positions[0, index] = value
    velocities = np.full((1, 6), qvel)
    return tasks.TASKS[name].is_well(positions, velocities)[0]

  assert well('ant_direction', {2: 0.0}) and well('ant_direction', {2: 1.0})
  assert not well('ant_direction_2d', {2: np.nextafter(1.0, 2.0)})
  assert not well('ant_direction_2d', {2: -1e-9})
  assert well('humanoid_direction', {2: 1.0})
  assert well('humanoid_direction_2d', {2: 2.0})
  assert not well('humanoid_direction', {2: 0.999})
  assert not well('walker2d_direction', {1: 0.8})
  assert not well('walker2d_params', {1: 2.0})
  assert well('walker2d_velocity', {1: 0.81, 2: 0.99})
  assert not well('walker2d_velocity', {1: 1.25, 2: -1.0})
  assert not well('hopper_params', {1: 0.7})
  assert well('hopper_params', {1: 50.0, 2: 0.19}, qvel=99.0)
  assert not well('hopper_params', {1: 1.0}, qvel=-100.0)
  assert not well('hopper_params', {1: 1.0, 4: 100.0})
  for name in ('half_cheetah_direction', 'half_cheetah_velocity', 'ant_goal'):
    assert tasks.TASKS[name].is_well is None


@pytest.mark.parametrize('name', TABLE)
def test_start_noise(name):
  env = _make(name)
  rng = np.random.default_rng(0)
  env.reset(env.sample_tasks(rng, 2), 500, rng)
  *_, spread, (kind, scale) = TABLE[name]
  offset = env.get_state().qpos - env.model.qpos0
  assert 0.98 * spread < offset.max() <= spread
  assert -spread <= offset.min() < -0.98 * spread
  assert offset.std() == pytest.approx(spread / np.sqrt(3), rel=0.05)
  velocity = env.get_state().qvel
  if kind == 'normal':
    assert velocity.std() == pytest.approx(scale, rel=0.05)
    assert np.abs(velocity).max() > 2.5 * scale
  else:
    assert 0.98 * scale < np.abs(velocity).max() <= scale
  # No two rollouts start alike.
  assert len(np.unique(offset[..., 0])) == 1000


def _sample(name, num_tasks=4000):
  env = _make(name)
  tasks = env.sample_tasks(np.random.default_rng(0), num_tasks)
  assert tasks.dtype == np.float32
  assert len(tasks) == num_tasks
  return tasks


@pytest.mark.parametrize(
  'name',
  [
    'half_cheetah_direction',
    'ant_direction',
    'walker2d_direction',
    'humanoid_direction',
  ],
)
def test_directions(name):
  tasks = _sample(name)
  assert set(tasks) == {-1.0, 1.0}
  assert abs(tasks.mean()) < 0.05


@pytest.mark.parametrize('name', ['ant_direction_2d', 'humanoid_direction_2d'])
def test_directions_2d(name):
  tasks = _sample(name)
  np.testing.assert_allclose(np.linalg.norm(tasks, axis=1), 1.0, rtol=1e-6)
  quadrants = (tasks > 0) @ [1, 2]
  np.testing.assert_allclose(
    np.bincount(quadrants) / len(tasks), 0.25, atol=0.03
  )


@pytest.mark.parametrize(
  ('name', 'fastest'),
  [('half_cheetah_velocity', 3.0), ('walker2d_velocity', 10.0)],
)
def test_speeds(name, fastest):
  tasks = _sample(name)
  assert 0.0 <= tasks.min() < 0.01 * fastest
  assert 0.99 * fastest < tasks.max() <= fastest
  assert tasks.mean() == pytest.approx(fastest / 2, rel=0.03)


def test_goals_are_uniform_in_the_disc():
  radius = np.linalg.norm(_sample('ant_goal'), axis=1)
  assert 2.98 < radius.max() <= 3.0 + 1e-6
  # A quarter of the disc lies within half its radius.
  assert np.mean(radius < 1.5) == pytest.approx(0.25, abs=0.02)


def test_unknown_names_and_options():
  with pytest.raises(ValueError, match='half_cheetah_direction'):
    locomotion.make('quarter_cheetah')
  with pytest.raises(ValueError, match='contact_forces.*ant_goal'):
    locomotion.make('half_cheetah_direction', contact_forces=True)
  with pytest.raises(ValueError, match='num_threads: got 0'):
    locomotion.make('ant_goal', num_threads=0)
  with pytest.raises(ValueError, match='colour.*contact_forces'):
    environments.make('ant_goal', colour='red')


def test_made_by_the_registry():
  env = environments.make('ant_goal', contact_forces=True, num_threads=1)
  assert env.observation_spec().shape == (113,)
