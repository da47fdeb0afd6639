"""Tests of stepping, freezing, divergence and bad input."""

import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments.mujoco import environment, locomotion, stepping

NUM_TASKS, NUM_ROLLOUTS = 2, 3
# One that is stepped natively, one by Python threads, one with models of its
# own, and with endings.
KINDS = ['half_cheetah_direction', 'humanoid_direction', 'hopper_params']


def _make(name, num_threads=2, **options):
  return locomotion.make(name, num_threads=num_threads, **options)


def _start(name, seed=0, **options):
  env = _make(name, **options)
  rng = np.random.default_rng(seed)
  observation = env.reset(env.sample_tasks(rng, NUM_TASKS), NUM_ROLLOUTS, rng)
  return env, rng, observation


def _action(env, rng, scale=1.0):
  shape = (NUM_TASKS, NUM_ROLLOUTS, *env.action_spec().shape)
  return (scale * rng.standard_normal(shape)).astype(np.float32)


def _play(env, rng, num_steps=20, scale=1.0):
  steps = [env.step(_action(env, rng, scale)) for _ in range(num_steps)]
  return [np.stack(arrays) for arrays in zip(*steps, strict=True)]


@pytest.mark.parametrize('name', KINDS)
def test_seed_decides_and_number_of_threads_does_not(name):
  runs = []
  for seed, num_threads in ((0, 1), (0, 3), (1, 1)):
    env, rng, first = _start(name, seed, num_threads=num_threads)
    runs.append([first, *_play(env, rng)])
    env.close()
  for one, three in zip(runs[0], runs[1], strict=True):
    np.testing.assert_array_equal(one, three)
  for same, other in zip(runs[0][:3], runs[2][:3], strict=True):
    assert np.abs(same - other).max() > 1e-3


@pytest.mark.parametrize('name', KINDS)
def test_rollouts_do_not_know_of_each_other(name):
  env, rng, _ = _start(name)
  tasks = env.sample_tasks(rng, NUM_TASKS)
  env.reset(tasks, NUM_ROLLOUTS, rng)
  state = env.get_state()
  actions = [_action(env, rng) for _ in range(10)]
  together = [env.step(action) for action in actions]
  for task, rollout in np.ndindex(NUM_TASKS, NUM_ROLLOUTS):
    if isinstance(tasks, np.ndarray):
      alone = tasks[task : task + 1]
    else:
      alone = type(tasks)(*[leaf[task : task + 1] for leaf in tasks])
    env.reset(alone, 1, rng)
    env.set_state(
      environment.PhysicsState(
        *[part[task, rollout][None, None] for part in state]
      )
    )
    for action, expected in zip(actions, together, strict=True):
      step = env.step(action[task, rollout][None, None])
      for got, batch in zip(step, expected, strict=True):
        np.testing.assert_array_equal(got[0, 0], batch[task, rollout])


@pytest.mark.parametrize('name', KINDS)
def test_returned_arrays_belong_to_the_caller(name):
  env, rng, first = _start(name)
  actions = [_action(env, rng) for _ in range(4)]
  state = env.get_state()
  steps = [env.step(action) for action in actions]
  copies = [first.copy()] + [np.copy(step[0]) for step in steps]
  env.set_state(state)
  for action, step, copy in zip(actions, steps, copies[1:], strict=True):
    for array in step:
      array[:] = -7.0  # The caller's to spoil; nothing inside follows.
    first[:] = 3.0
    np.testing.assert_array_equal(env.step(action)[0], copy)
  state.qpos[:] = 0
  assert not np.array_equal(env.get_state().qpos, state.qpos)


@pytest.mark.parametrize('name', ['half_cheetah_direction', 'hopper_params'])
def test_state_decides_the_future(name):
  env, rng, _ = _start(name)
  _play(env, rng, 5, scale=0.1)
  state = env.get_state()
  actions = [_action(env, rng, 0.1) for _ in range(5)]
  future = [env.step(action) for action in actions]
  env.set_state(state)
  for action, expected in zip(actions, future, strict=True):
    for got, before in zip(env.step(action), expected, strict=True):
      np.testing.assert_array_equal(got, before)


@pytest.mark.parametrize('name', ['humanoid_direction', 'walker2d_velocity'])
def test_ended_rollouts_stand_still_and_the_others_go_on(name):
  env, rng, _ = _start(name)
  falling = env.get_state()
  height = 2 if name.startswith('humanoid') else 1
  falling.qpos[0, 1, height] = 0.5
  falling.qpos[1, 2, height] = 5.0
  free = env.get_state()
  ended = np.zeros((NUM_TASKS, NUM_ROLLOUTS), bool)
  ended[0, 1] = ended[1, 2] = True
  actions = [_action(env, rng, 0.1) for _ in range(5)]
  env.set_state(free)
  expected = [env.step(action) for action in actions]
  env.set_state(falling)
  terminal = None
  for action, (observation, reward, discount) in zip(
    actions, expected, strict=True
  ):
    got = env.step(action)
    np.testing.assert_array_equal(got[0][~ended], observation[~ended])
    np.testing.assert_array_equal(got[1][~ended], reward[~ended])
    np.testing.assert_array_equal(got[2][~ended], discount[~ended])
    np.testing.assert_array_equal(got[2][ended], 0)
    if terminal is None:
      terminal = got[0][ended].copy()
      state = env.get_state()
    else:
      np.testing.assert_array_equal(got[1][ended], 0)
    np.testing.assert_array_equal(got[0][ended], terminal)
    np.testing.assert_array_equal(
      env.get_state().qpos[ended], state.qpos[ended]
    )
  assert discount[~ended].all()
  assert not env.diverged.any()


def test_all_rollouts_may_have_ended():
  env, rng, _ = _start('hopper_params')
  state = env.get_state()
  state.qpos[..., 1] = 0.1
  env.set_state(state)
  last, _, discount = env.step(_action(env, rng))
  assert not discount.any()
  observation, reward, discount = env.step(_action(env, rng))
  np.testing.assert_array_equal(observation, last)
  assert not reward.any() and not discount.any()
  env.reset(env.sample_tasks(rng, 1), 1, rng)
  assert env.step(np.zeros((1, 1, 3)))[2].all()


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('half_cheetah_direction', {}),
    ('ant_goal', {}),
    ('ant_goal', {'contact_forces': True}),
    ('humanoid_direction', {}),
    ('walker2d_params', {}),
  ],
)
def test_divergence_ends_the_rollout_and_is_said(name, options):
  env, rng, _ = _start(name, **options)
  actions = [_action(env, rng, 0.1) for _ in range(3)]
  state = env.get_state()
  env.set_state(state)
  expected = [env.step(action) for action in actions]
  bad = np.zeros((NUM_TASKS, NUM_ROLLOUTS), bool)
  bad[0, 2] = bad[1, 0] = True
  state.qvel[bad, 4] = 1e9
  first = env.set_state(state)
  for i, (action, step) in enumerate(zip(actions, expected, strict=True)):
    observation, reward, discount = env.step(action)
    np.testing.assert_array_equal(observation[bad], first[bad])
    np.testing.assert_array_equal(reward[bad], 0)
    np.testing.assert_array_equal(discount[bad], 0)
    np.testing.assert_array_equal(env.diverged, bad if i == 0 else False)
    for got, free in zip((observation, reward, discount), step, strict=True):
      np.testing.assert_array_equal(got[~bad], free[~bad])
  # The next reset has forgotten it.
  observation = env.reset(env.sample_tasks(rng, 2), NUM_ROLLOUTS, rng)
  assert env.step(actions[0])[2].all()
  assert not env.diverged.any()


@pytest.mark.parametrize('value', [np.nan, np.inf, -2e10, 1e300])
def test_wild_numbers_never_come_out(value):
  # As if the very last substep had gone wrong, which MuJoCo does not check.
  env, rng, first = _start('half_cheetah_direction')
  stepper = env._stepper

  class Wild:
    def step(self, models, state, control):
      stepped = stepper.step(models, state, control)
      after = stepped.state.copy()
      after[3, 11] = value
      return stepping.Stepped(after, stepped.completed, {})

  env._stepper = Wild()
  observation, reward, discount = env.step(_action(env, rng))
  np.testing.assert_array_equal(observation[1, 0], first[1, 0])
  assert np.isfinite(observation).all() and np.isfinite(reward).all()
  assert discount.sum() == NUM_TASKS * NUM_ROLLOUTS - 1
  assert reward[1, 0] == discount[1, 0] == 0
  assert np.isfinite(env.get_state().qvel).all()


def test_a_trial_runs_through_endings():
  trial = environments.TrialEnvironment(
    _make('walker2d_direction'), num_tasks=2, num_rollouts=2, horizon=30
  )
  rng = np.random.default_rng(0)
  step = trial.reset()
  masks = []
  while not step.last():
    step = trial.step(rng.standard_normal((2, 2, 6)) * 3)
    masks.append(step.observation.mask)
    assert np.isfinite(step.observation.observation).all()
  assert len(masks) == 2 * 31 - 1
  assert 0 < np.mean(masks) < 1


def test_bad_calls():
  env = _make('ant_direction_2d')
  rng = np.random.default_rng(0)
  for call in (
    lambda: env.step(np.zeros((1, 1, 8))),
    env.get_state,
    lambda: env.set_state(None),
    lambda: env.diverged,
  ):
    with pytest.raises(ValueError, match='call reset first'):
      call()
  with pytest.raises(ValueError, match='num_tasks: got 0'):
    env.sample_tasks(rng, 0)
  tasks = env.sample_tasks(rng, 2)
  with pytest.raises(ValueError, match='num_rollouts: got 0'):
    env.reset(tasks, 0, rng)
  for wrong in (tasks[:, 0], tasks[:0], tasks[None], 1.0):
    with pytest.raises(ValueError, match='tasks: got shape'):
      env.reset(wrong, 2, rng)
  env.reset(tasks, 2, rng)
  for shape in ((2, 2, 7), (2, 1, 8), (4, 8)):
    with pytest.raises(ValueError, match='action: got shape'):
      env.step(np.zeros(shape))
  for value in (np.nan, np.inf):
    action = np.zeros((2, 2, 8))
    action[1, 0, 3] = value
    with pytest.raises(ValueError, match='not finite'):
      env.step(action)
  state = env.get_state()
  with pytest.raises(ValueError, match='qpos has shape'):
    env.set_state(environment.PhysicsState(state.qpos[..., 1:], state.qvel))
  state.qvel[0, 0, 0] = np.nan
  with pytest.raises(ValueError, match='qvel is not finite'):
    env.set_state(state)
