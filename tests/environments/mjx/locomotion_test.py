"""Tests of the MJX environments, above all against MuJoCo itself.

Tolerances: MJX computes in float32 and MuJoCo in float64; contacts multiply the
difference. Half-cheetah, walker: 2e-3 in every observed number over 20 steps.
The ants stumble over rounding errors as such: all rollouts agree to 0.02 for
four steps, the median one to 2e-3 for 20. See docs/mjx.md.
"""

import functools
from importlib import metadata

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from acme_metarl import environments, on_device, presets
from acme_metarl.environments.mjx import locomotion, physics
from acme_metarl.environments.mujoco import (
  environment,
  task_distributions,
  tasks,
)

NUM_ROLLOUTS, HORIZON = 8, 20
FAST = ('half_cheetah_direction', 'half_cheetah_velocity')
SLOW = [name for name in locomotion.NAMES if name not in FAST]


@pytest.fixture(autouse=True)
def _scratch_folder(monkeypatch, tmp_path):
  """MuJoCo leaves its log in the working directory: not in the project's."""
  monkeypatch.chdir(tmp_path)


@functools.cache
def _environment(name):
  """One environment for all tests: they share what is traced."""
  return environments.make(name, backend='mjx')


@functools.cache
def _compiled(name):
  """`reset` and `step` of a batch of rollouts."""
  env = _environment(name)
  return jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))


def _reset(name, seed=0):
  env = _environment(name)
  keys = jax.random.split(jax.random.PRNGKey(seed), NUM_ROLLOUTS)
  return _compiled(name)[0](keys, jax.vmap(env.sample_task)(keys))


def _actions(name, seed=0, scale=3.0):
  shape = (HORIZON, NUM_ROLLOUTS, *_environment(name).action_spec().shape)
  rng = np.random.default_rng(seed)
  return scale * rng.standard_normal(shape).astype(np.float32)


def _on_host(name, state):
  """A CPU environment in the same state, and its observations."""
  env = environments.make(name, num_threads=1)
  env.reset(np.asarray(state.task), 1, np.random.default_rng(0))
  qpos, qvel = (
    np.asarray(x, np.float64)[:, None] for x in (state.qpos, state.qvel)
  )
  return env, env.set_state(environment.PhysicsState(qpos, qvel))


def _compare(name):
  """Errors of observation, reward, discount `[T, B]`; nan after the end."""
  state, time_step = _reset(name)
  host, observation = _on_host(name, state)
  np.testing.assert_array_equal(time_step.observation, observation[:, 0])
  live, rows = np.ones(NUM_ROLLOUTS, bool), []
  for action in _actions(name):
    state, new = _compiled(name)[1](state, action)
    expected = [x[:, 0] for x in host.step(action[:, None])]
    difference = [
      np.abs(np.asarray(x) - y) for x, y in zip(new, expected, strict=True)
    ]
    difference[0] = difference[0].max(axis=-1)
    rows.append([np.where(live, x, np.nan) for x in difference])
    live &= expected[2] > 0
  host.close()
  return np.swapaxes(rows, 0, 1), live


def test_half_cheetah_agrees_with_mujoco():
  (observation, reward, discount), live = _compare('half_cheetah_direction')
  assert live.all()
  assert observation[0].max() < 1e-4
  assert observation.max() < 2e-3
  assert reward.max() < 1e-3
  assert not discount.any()


@pytest.mark.learning
@pytest.mark.parametrize('name', SLOW)
def test_others_agree_with_mujoco(name):
  (observation, reward, discount), live = _compare(name)
  assert np.nanmax(observation[0]) < 1e-4
  assert np.nanmax(reward[0]) < 1e-5
  if name.startswith('walker2d'):
    assert not live.all()  # Some must fall, at the same step.
    assert np.nanmax(observation) < 2e-3
    assert np.nanmax(reward) < 1e-3
    assert not np.nansum(discount)
  elif _is_same_release():  # MuJoCo 4.0's ant differs from 3.17's as much.
    assert observation[:4].max() < 0.02
    assert np.median(observation[-1]) < 2e-3
    assert np.median(reward[-1]) < 1e-4


def _is_same_release():
  versions = [metadata.version('mujoco-mjx'), mujoco.__version__]
  return len({tuple(v.split('.')[:2]) for v in versions}) == 1


@pytest.mark.parametrize('name', locomotion.NAMES)
def test_rewards_are_those_of_the_host(name):
  """The very functions that the host calls, given JAX's arrays."""
  task = tasks.TASKS[name]
  rng = np.random.default_rng(0)
  goals, position, velocity, control = (
    rng.normal(size=shape).astype(np.float32)
    for shape in ((9, *task.task_shape), (9, 2), (9, 2), (9, 6))
  )
  qpos = rng.normal(0.5, 1.0, (9, 15)).astype(np.float32)

  def both(*arrays):
    return (
      task.motion_reward(*arrays[:4]),
      task.is_well(*arrays[4:]) if task.is_well else (),
      task.robot.observed_state(*arrays[4:]),
    )

  arrays = (goals, position, velocity, control, qpos, 9 * qpos)
  expected = both(*arrays)
  jax.tree_util.tree_map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    jax.jit(jax.vmap(both))(*arrays),
    expected,
  )
  if task.is_well:
    assert 0 < expected[1].sum() < 9


def test_same_key_same_rollout_and_other_key_another():
  def play(seed):
    state, time_step = _reset('half_cheetah_direction', seed)
    rows = [time_step]
    for action in _actions('half_cheetah_direction')[:3]:
      state, time_step = _compiled('half_cheetah_direction')[1](state, action)
      rows.append(time_step)
    return np.stack([row.observation for row in rows])

  first = play(0)
  np.testing.assert_array_equal(first, play(0))
  assert (first != play(1)).any(axis=-1).all()


def test_divergence_ends_the_rollout_with_finite_numbers():
  state, _ = _reset('half_cheetah_direction')
  before = state.qpos
  state = state._replace(qvel=state.qvel.at[0, 3].set(jnp.nan))
  state = state._replace(qvel=state.qvel.at[1, 0].set(1e12))
  actions = _actions('half_cheetah_direction')[0]
  new_state, time_step = _compiled('half_cheetah_direction')[1](state, actions)
  np.testing.assert_array_equal(time_step.discount[:3], [0, 0, 1])
  # Whoever samples sees it by this, and masks the step.
  np.testing.assert_array_equal(np.isnan(time_step.reward), [1, 1] + 6 * [0])
  np.testing.assert_array_equal(new_state.qpos[:2], before[:2])
  assert (new_state.qpos[2:] != before[2:]).any()


@pytest.mark.parametrize('name', locomotion.NAMES)
def test_start_states_and_specs(name):
  env = _environment(name)
  keys = jax.random.split(jax.random.PRNGKey(0), 500)
  tasks = jax.vmap(env.sample_task)(keys)
  state, time_step = jax.jit(jax.vmap(env.reset))(keys, tasks)
  host = environments.make(name, num_threads=1)
  rng = np.random.default_rng(0)
  observation = host.reset(host.sample_tasks(rng, 500), 1, rng)[:, 0]
  spec = host.observation_spec()
  assert env.observation_spec() == spec
  assert env.action_spec() == host.action_spec()
  assert time_step.observation.shape == (500, *spec.shape)
  assert {x.dtype for x in jax.tree_util.tree_leaves((state, time_step))} == {
    np.dtype(np.float32)
  }
  np.testing.assert_array_equal(time_step.discount, 1)
  np.testing.assert_array_equal(time_step.reward, 0)
  # The standard error of the difference is 6 % of the spread.
  spread = observation.std(axis=0)
  for moment in (np.mean, np.std):
    difference = moment(time_step.observation, axis=0) - moment(observation, 0)
    assert (np.abs(difference) < 0.35 * spread).all()
  host.close()


@pytest.mark.parametrize(
  'distribution',
  [
    task_distributions.Signs(),
    task_distributions.UnitCircle(),
    task_distributions.Disc(3.0),
    task_distributions.Speeds(10.0),
  ],
  ids=repr,
)
def test_tasks_are_drawn_from_the_hosts_distribution(distribution):
  keys = jax.random.split(jax.random.PRNGKey(0), 4000)
  ours = np.asarray(jax.vmap(distribution.draw)(keys))
  theirs = distribution(None, np.random.default_rng(0), 4000)
  assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
  scale = np.abs(theirs).max()
  for power in (1, 2, 3):
    np.testing.assert_allclose(
      (ours**power).mean(axis=0),
      (theirs**power).mean(axis=0),
      atol=0.08 * scale**power,
    )
  np.testing.assert_allclose(
    np.linalg.norm(ours.reshape(4000, -1), axis=1).mean(),
    np.linalg.norm(theirs.reshape(4000, -1), axis=1).mean(),
    rtol=0.05,
  )


def test_meta_training_on_device():
  config = presets.make(
    'promp_taypo2',
    num_tasks=2,
    num_rollouts=5,
    horizon=10,
    hidden_sizes=(4,),
    num_iterations=1,
    num_outer_epochs=1,
  )
  env = _environment('half_cheetah_direction')
  trainer = on_device.make_trainer(config, env, devices=jax.local_devices()[:1])
  state = trainer.init(jax.random.PRNGKey(0))
  new_state, metrics = jax.jit(trainer.iterate)(state)
  assert int(new_state.iteration) == 1
  assert metrics and all(np.isfinite(x).all() for x in metrics.values())
  changed = jax.tree_util.tree_map(
    lambda x, y: bool((x != y).any()),
    state.meta.params.policy,
    new_state.meta.params.policy,
  )
  assert any(jax.tree_util.tree_leaves(changed))


@pytest.mark.learning
def test_a_fallen_walker_is_masked_on_device():
  config = presets.make(
    'promp_taypo2',
    num_tasks=2,
    num_rollouts=3,
    horizon=60,
    num_inner_steps=1,
    hidden_sizes=(4,),
    init_log_std=1.0,
  )
  env = _environment('walker2d_direction')
  trainer = on_device.make_trainer(config, env, devices=jax.local_devices()[:1])
  key = jax.random.PRNGKey(0)
  trials = jax.jit(trainer.sample, static_argnums=2)(
    trainer.init(key).meta.params, key, 2
  )
  lengths = np.asarray(trials.mask).sum(axis=-1)
  assert lengths.min() < 60
  np.testing.assert_array_equal(trials.mask, np.arange(60) < lengths[..., None])
  ended = np.asarray(trials.mask) == 0
  assert not np.asarray(trials.reward)[ended].any()
  assert not np.asarray(trials.discount)[ended].any()
  assert np.isfinite(trials.observation).all()


def test_divergence_is_counted_by_the_trial():
  trial = environments.TrialEnvironment(
    _environment('half_cheetah_direction'), 1, NUM_ROLLOUTS, 3, 0
  )
  trial.reset()
  batch = trial.environment
  velocity = np.array(batch._state.qvel)
  velocity[0, 2, 3] = np.nan
  batch._state = batch._state._replace(qvel=velocity)
  time_step = trial.step(_actions('half_cheetah_direction')[:1])
  mask = np.arange(NUM_ROLLOUTS) != 2
  np.testing.assert_array_equal(time_step.observation.mask[0], mask)
  assert np.isfinite(time_step.reward).all()
  assert trial.num_diverged == 1


def test_contact_frames_of_mjx():
  """Where MJX lays them itself, the release that does can be named."""
  release = tuple(map(int, metadata.version('mujoco-mjx').split('.')[:2]))
  if release <= physics.LAST_UNALIGNED_RELEASE:
    assert not physics.mjx_aligns_frames(), (
      'the release is aligned: lower physics.LAST_UNALIGNED_RELEASE'
    )
  else:
    assert physics.mjx_aligns_frames(), (
      'this release is unaligned too: raise physics.LAST_UNALIGNED_RELEASE'
    )


def test_a_later_release_is_tried(monkeypatch):
  monkeypatch.setattr(metadata, 'version', lambda name: '9.0.0')
  for aligned in (True, False):
    physics._must_align_frames.cache_clear()
    monkeypatch.setattr(physics, 'mjx_aligns_frames', lambda a=aligned: a)
    assert physics._must_align_frames() == (not aligned)
  physics._must_align_frames.cache_clear()


@pytest.mark.learning
def test_warp_agrees_with_mujoco():
  pytest.importorskip('warp', reason='needs the package warp-lang')
  env = environments.make('half_cheetah_direction', backend='mjx', impl='warp')
  state, _ = _reset('half_cheetah_direction')
  host, _ = _on_host('half_cheetah_direction', state)
  step = jax.jit(jax.vmap(env.step))
  for action in _actions('half_cheetah_direction')[:3]:
    state, new = step(state, action)
    observation, reward, _ = host.step(action[:, None])
    np.testing.assert_allclose(new.observation, observation[:, 0], atol=1e-3)
    np.testing.assert_allclose(new.reward, reward[:, 0], atol=1e-3)
  host.close()


@pytest.mark.parametrize('name', ['hopper_params', 'humanoid_direction'])
def test_a_name_without_an_mjx_version(name):
  with pytest.raises(ValueError, match='ant_goal') as info:
    environments.make(name, backend='mjx')
  assert name in str(info.value)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(backend='warp'), "got 'warp', need 'mujoco' or 'mjx'"),
    (dict(backend='mjx', num_threads=2), 'num_threads: got 2'),
    (dict(backend='mjx', contact_forces=True), 'contact_forces: got True'),
    (dict(solver_iterations=2), 'solver_iterations: got 2'),
    (dict(backend='mjx', solver_iterations=0), 'solver_iterations: got 0'),
    (dict(backend='mjx', line_search_iterations=1.5), 'line_search_iterations'),
    (dict(backend='mjx', impl='cpp'), "impl: got 'cpp', need one of jax, warp"),
    (dict(impl='jax'), "impl: got 'jax'"),
  ],
)
def test_options_that_do_not_fit(options, message):
  with pytest.raises(ValueError, match=message):
    environments.make('ant_goal', **options)


def test_models_that_cannot_be_simulated():
  settings = physics.SolverSettings()
  ball = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><body><joint type="ball"/><geom size=".1"/></body>'
    '</worldbody></mujoco>'
  )
  with pytest.raises(ValueError, match='hinges and slides'):
    physics.Physics(ball, 1, settings)
  implicit = mujoco.MjModel.from_xml_string(
    '<mujoco><option integrator="implicitfast"/><worldbody><body><joint/>'
    '<geom size=".1"/></body></worldbody></mujoco>'
  )
  with pytest.raises(ValueError, match='mjINT_IMPLICITFAST'):
    physics.Physics(implicit, 1, settings)
