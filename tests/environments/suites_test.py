"""Tests of suites; the suites themselves are optional.

pip install gymnax brax playground
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import environments, on_device, presets

G, B, T = 2, 3, 5


def _length(key):
  return {'length': jax.random.uniform(key, minval=0.25, maxval=1.0)}


def _config(**options):
  return presets.make(
    'promp_taypo2',
    num_tasks=G,
    num_rollouts=8,
    horizon=T,
    num_inner_steps=1,
    hidden_sizes=(4,),
    num_iterations=1,
    num_outer_epochs=1,
    **options,
  )


def _train(environment):
  """One iteration on the device; returns the policy's parameters around it."""
  trainer = on_device.make_trainer(
    _config(), environment, devices=jax.local_devices()[:1]
  )
  state = trainer.init(jax.random.PRNGKey(0))
  new_state, metrics = jax.jit(trainer.iterate)(state)
  assert all(np.isfinite(x).all() for x in metrics.values())
  leaves = jax.tree_util.tree_leaves
  before = leaves(state.meta.params.policy)
  after = leaves(new_state.meta.params.policy)
  assert any((x != y).any() for x, y in zip(before, after, strict=True))


class TestGymnax:
  @pytest.fixture(autouse=True)
  def _suite(self):
    self.gymnax = pytest.importorskip('gymnax', reason='needs gymnax')

  def _make(self, name='CartPole-v1', sample_task=_length, **options):
    return environments.GymnaxEnvironment(
      *self.gymnax.make(name), sample_task, has_finite_tasks=False, **options
    )

  def test_equals_the_suite(self):
    env, params = self.gymnax.make('CartPole-v1')
    ours = self._make()
    key = jax.random.PRNGKey(3)
    task = ours.sample_task(key)
    state, time_step = ours.reset(key, task)
    inner, is_over = state.inner, False
    theirs = params.replace(length=task['length'])
    for _ in range(60):
      observation, inner, reward, is_over, *_ = env.step_env(
        key, inner, 1, theirs
      )
      state, time_step = ours.step(state, jnp.int32(1))
      np.testing.assert_allclose(time_step.observation, observation, rtol=1e-5)
      assert time_step.reward == reward
      assert time_step.discount == 1 - bool(is_over)
      if is_over:
        break
    assert is_over

  def test_a_trial(self):
    trial = environments.TrialEnvironment(self._make(), G, B, T, 1)
    first = trial.reset()
    trial.observation_spec().observation.validate(first.observation.observation)
    assert trial.tasks['length'].shape == (G,)
    assert not trial.has_finite_tasks
    time_step = trial.step(np.zeros((G, B), int))
    np.testing.assert_array_equal(time_step.reward, 1)
    np.testing.assert_array_equal(time_step.discount, 1)

  def test_its_time_limit_is_lifted(self):
    env = self._make(
      'Pendulum-v1',
      lambda key: {'max_steps_in_episode': jnp.int32(2)},
    )
    trial = environments.TrialEnvironment(
      env, G, B, T, 0, bootstrap_on_timeout=True
    )
    trial.reset()
    for _ in range(T):
      time_step = trial.step(np.zeros((G, B, 1), np.float32))
      if hasattr(env._environment, 'is_truncated'):
        np.testing.assert_array_equal(time_step.discount, 1)

  def test_continuous_actions_are_raw(self):
    env = self._make('Pendulum-v1', lambda key: {'g': jnp.float32(10)})
    key = jax.random.PRNGKey(0)
    state, _ = env.reset(key, env.sample_task(key))
    # Ten is the end of the range, and what is beyond is clipped.
    steps = [
      env.step(state, jnp.full(1, x))[1].observation for x in (5.0, 10.0, 99.0)
    ]
    assert not np.array_equal(steps[0], steps[1])
    np.testing.assert_array_equal(steps[1], steps[2])

  @pytest.mark.parametrize(
    'task', [{'lengths': 1.0}, jnp.ones(2)], ids=['name', 'array']
  )
  def test_tasks_that_are_no_parameters(self, task):
    with pytest.raises(ValueError, match='sample_task: it drew'):
      self._make(sample_task=lambda key: task)

  def test_not_of_the_suite(self):
    with pytest.raises(ValueError, match='environment: got'):
      environments.GymnaxEnvironment(object(), None, _length)

  def test_training_on_device(self):
    _train(self._make())

  def test_images_and_a_single_task(self):
    env = self._make('Breakout-MinAtar', lambda key: {})
    trial = environments.TrialEnvironment(env, G, B, T, 0)
    trial.reset()
    observation = trial.step(np.ones((G, B), int)).observation.observation
    assert observation.shape == (G, B, 10, 10, 4)
    assert 0 < observation.mean() < 0.5


def _direction(key):
  return jax.random.rademacher(key, (), jnp.float32)


def _reward(task, state, action, new):
  del state, action
  return task * new.metrics['x_velocity']


class TestBrax:
  @pytest.fixture(autouse=True)
  def _suite(self):
    pytest.importorskip('brax', reason='needs brax')
    from brax import envs

    class Point(envs.Env):
      """Moves by its action, times a gain; done beyond 1. Brax's interface."""

      gain = 1.0

      def reset(self, rng):
        x = jax.random.uniform(rng, (1,), minval=-0.1, maxval=0.1)
        zero = jnp.zeros(())
        return envs.State(x, x, zero, zero, {'x_velocity': zero}, {'steps': 0})

      def step(self, state, action):
        x = state.pipeline_state + self.gain * action
        return state.replace(
          pipeline_state=x,
          obs=x,
          reward=x[0],
          done=(x[0] > 1).astype(jnp.float32),
          metrics={'x_velocity': self.gain * action[0]},
          info={'steps': state.info['steps'] + 1},
        )

      @property
      def observation_size(self):
        return 1

      @property
      def action_size(self):
        return 1

      @property
      def backend(self):
        return 'none'

    self.envs = envs
    self.point = Point()

  def test_a_task_in_the_reward(self):
    env = environments.BraxEnvironment(self.point, _direction, reward=_reward)
    trial = environments.TrialEnvironment(env, G, B, T, 0)
    start = trial.reset().observation.observation
    mask = np.ones((G, B))
    for step in range(1, T + 1):
      time_step = trial.step(np.full((G, B, 1), 4.0, np.float32))
      np.testing.assert_array_equal(time_step.observation.mask, mask)
      x = start[..., 0] + 0.4 * step
      expected = np.where(mask, 0.4 * trial.tasks[:, None], 0)
      np.testing.assert_allclose(time_step.reward, expected, atol=1e-5)
      np.testing.assert_allclose(
        trial.info['x_velocity'], np.where(mask, 0.4, np.nan), atol=1e-5
      )
      is_alive = (x <= 1) & (step < T)
      np.testing.assert_array_equal(time_step.discount, is_alive)
      mask = mask * (x <= 1)
    assert not mask.any()

  @pytest.mark.parametrize('returns', [False, True])
  def test_a_task_in_the_environment(self, returns):
    def set_task(env, gain):
      env.gain = gain
      return env if returns else None

    env = environments.BraxEnvironment(self.point, _direction, set_task)
    trial = environments.TrialEnvironment(env, G, B, T, 0)
    start = trial.reset().observation.observation
    time_step = trial.step(np.full((G, B, 1), 99.0, np.float32))
    np.testing.assert_allclose(
      time_step.observation.observation[..., 0],
      start[..., 0] + trial.tasks[:, None],
      atol=1e-6,
    )
    assert self.point.gain == 1.0

  def test_refused(self):
    wrapped = self.envs.training.EpisodeWrapper(self.point, 9, 1)
    with pytest.raises(ValueError, match='bare one'):
      environments.BraxEnvironment(wrapped, _direction, reward=_reward)
    with pytest.raises(ValueError, match='set_task'):
      environments.BraxEnvironment(self.point, _direction)
    with pytest.raises(ValueError, match='action_size'):
      environments.BraxEnvironment(object(), _direction, reward=_reward)

  def test_training_on_device(self):
    _train(environments.BraxEnvironment(self.point, _direction, reward=_reward))

  @pytest.mark.learning
  def test_a_half_cheetah_trains_on_device(self):
    env = self.envs.get_environment('halfcheetah', backend='spring')
    _train(
      environments.BraxEnvironment(
        env,
        _direction,
        reward=lambda task, state, action, new: (
          task * new.metrics['x_velocity'] + new.metrics['reward_ctrl']
        ),
      )
    )


class TestPlayground:
  @pytest.mark.learning
  def test_a_trial(self):
    pytest.importorskip('mujoco_playground', reason='needs playground')
    from mujoco_playground import registry

    def reward(task, state, action, new):
      del state, action
      return task * new.obs[8]

    env = environments.BraxEnvironment(
      registry.load('CheetahRun'), _direction, reward=reward
    )
    trial = environments.TrialEnvironment(env, 1, 2, 2, 0)
    trial.reset()
    time_step = trial.step(np.zeros((1, 2, 6), np.float32))
    np.testing.assert_allclose(
      time_step.reward,
      trial.tasks[:, None] * time_step.observation.observation[..., 8],
    )
    np.testing.assert_array_equal(time_step.observation.mask, 1)
