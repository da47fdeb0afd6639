"""Tests of adapters."""

from absl.testing import absltest, parameterized
import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_metarl import environments

G, B, T = 2, 3, 4


class Point(dm_env.Environment):
  """A user's environment: 2-D navigation with a dense reward, in numpy.

  It writes its observation into one buffer again and again, and insists that
  nobody steps it after its end: what sloppy and strict environments do.
  """

  def __init__(self, num_steps=100, discount_at_the_end=1.0, end_at=np.inf):
    self._num_steps = num_steps
    self._discount_at_the_end = discount_at_the_end
    self._end_at = end_at
    self._goal = None
    self._buffer = np.zeros(2)
    self._rng = np.random.default_rng()
    self._time = None

  def set_goal(self, goal):
    self._goal = goal

  def set_seed(self, seed):
    self._rng = np.random.default_rng(seed)

  def reset(self):
    self._buffer[:] = self._rng.uniform(-0.2, 0.2, size=2)
    self._time = 0
    return dm_env.restart(self._buffer)

  def step(self, action):
    assert self._time is not None
    assert action.dtype == np.float64
    self.action_spec().validate(action)
    self._time += 1
    self._buffer += action
    reward = -np.linalg.norm(self._buffer - self._goal)
    if self._buffer[0] > self._end_at:
      self._time = None
      return dm_env.termination(reward, self._buffer)
    if self._time == self._num_steps:
      self._time = None
      return dm_env.truncation(reward, self._buffer, self._discount_at_the_end)
    return dm_env.transition(reward, self._buffer)

  def observation_spec(self):
    return specs.Array((2,), np.float64, 'position')

  def action_spec(self):
    return specs.BoundedArray((2,), np.float64, -0.2, 0.2, 'action')


def _batch(factory=Point, **options):
  return environments.DmEnvBatch(
    factory,
    sample_task=lambda rng: rng.uniform(-2, 2, size=2),
    set_task=lambda env, goal: env.set_goal(goal),
    set_seed=lambda env, seed: env.set_seed(seed),
    **options,
  )


def _trial(batch, **options):
  return environments.TrialEnvironment(batch, G, B, T, 1, **options)


def _play(trial, action):
  time_steps = [trial.reset()]
  while not time_steps[-1].last():
    time_steps.append(trial.step(action))
  return time_steps


class DmEnvBatchTest(parameterized.TestCase):
  def test_equals_our_own_navigation(self):
    theirs = _batch()
    ours = environments.batch(
      environments.make('navigation_2d', reward='dense', goals='uniform')
    )
    tasks = theirs.sample_tasks(np.random.default_rng(0), G)
    self.assertEqual(tasks.shape, (G, 2))
    start = theirs.reset(tasks, B, np.random.default_rng(1))
    first = ours.reset(tasks.astype(np.float32), B, np.random.default_rng(1))
    offset = start - first
    self.assertEqual(theirs.action_spec(), ours.action_spec())
    rng = np.random.default_rng(2)
    for _ in range(5):
      action = rng.normal(scale=9, size=(G, B, 2)).astype(np.float32)
      observation, reward, discount = theirs.step(action)
      expected, _, _ = ours.step(action)
      np.testing.assert_allclose(observation, expected + offset, atol=1e-5)
      np.testing.assert_allclose(
        reward,
        -np.linalg.norm(observation - tasks[:, None], axis=-1),
        atol=1e-5,
      )
      np.testing.assert_array_equal(discount, np.ones((G, B)))
      for array in (observation, reward, discount):
        self.assertEqual(array.dtype, np.float32)

  def test_actions_as_they_are(self):
    batch = _batch(scale_actions=False)
    self.assertEqual(batch.action_spec().maximum, 0.2)
    rng = np.random.default_rng(0)
    start = batch.reset(batch.sample_tasks(rng, G), B, rng)
    observation, _, _ = batch.step(np.full((G, B, 2), 0.1))
    np.testing.assert_allclose(observation, start + 0.1, atol=1e-6)

  def test_buffers_of_theirs_are_not_ours(self):
    batch = _batch()
    rng = np.random.default_rng(0)
    start = batch.reset(batch.sample_tasks(rng, G), B, rng)
    copy = start.copy()
    batch.step(np.ones((G, B, 2)))
    np.testing.assert_array_equal(start, copy)

  def test_seeded_trials_repeat(self):
    trials = [_trial(_batch(), seed=s) for s in (0, 0, 1)]
    starts = [trial.reset().observation.observation for trial in trials]
    np.testing.assert_array_equal(starts[0], starts[1])
    self.assertFalse(np.array_equal(starts[0], starts[2]))
    self.assertLen(np.unique(starts[0]), G * B * 2)

  def test_termination_freezes_without_stepping(self):
    # Moving right by .2 a step: all are beyond .3 after one to three steps.
    trial = _trial(_batch(lambda: Point(end_at=0.3)))
    action = np.full((G, B, 2), 10.0)
    stages = _play(trial, action)
    for rows in (stages[1 : T + 1], stages[T + 2 :]):
      alive = np.ones((G, B), bool)
      for row in rows:
        observation = row.observation
        np.testing.assert_array_equal(observation.mask, alive)
        ended = observation.observation[..., 0] > 0.3
        np.testing.assert_array_equal(row.discount, ~ended)
        np.testing.assert_array_equal(row.reward != 0, alive)
        alive = ~ended
      self.assertFalse(alive.any())

  @parameterized.parameters(1.0, 0.9)
  def test_their_time_limit_at_our_horizon(self, discount):
    for bootstrap in (False, True):
      trial = _trial(
        _batch(lambda: Point(T, discount)), bootstrap_on_timeout=bootstrap
      )
      last = _play(trial, np.zeros((G, B, 2)))[-1]
      np.testing.assert_allclose(last.discount, bootstrap * discount)
      np.testing.assert_array_equal(last.observation.mask, 1)

  def test_their_time_limit_before_our_horizon(self):
    stages = _play(_trial(_batch(lambda: Point(2))), np.zeros((G, B, 2)))
    masks = [row.observation.mask[0, 0] for row in stages[1 : T + 1]]
    discounts = [row.discount[0, 0] for row in stages[1 : T + 1]]
    self.assertEqual(masks, [1, 1, 0, 0])
    self.assertEqual(discounts, [1, 0, 0, 0])
    trial = _trial(_batch(lambda: Point(2)), bootstrap_on_timeout=True)
    with self.assertRaisesRegex(ValueError, 'horizon'):
      _play(trial, np.zeros((G, B, 2)))

  def test_tasks_and_observations_may_be_nested(self):
    class Nested(Point):
      def observation_spec(self):
        return {'position': super().observation_spec()}

      def reset(self):
        time_step = super().reset()
        return time_step._replace(observation={'position': self._buffer})

      def step(self, action):
        time_step = super().step(action)
        return time_step._replace(observation={'position': self._buffer})

    batch = environments.DmEnvBatch(
      Nested,
      sample_task=lambda rng: {'x': rng.uniform(), 'y': 1},
      set_task=lambda env, task: env.set_goal(np.array([task['x'], task['y']])),
    )
    trial = _trial(batch)
    last = _play(trial, np.zeros((G, B, 2)))[-1]
    spec = trial.observation_spec().observation['position']
    spec.validate(last.observation.observation['position'])
    self.assertEqual(set(trial.tasks), {'x', 'y'})
    self.assertEqual(trial.tasks['x'].shape, (G,))

  def test_closing_a_trial_closes_their_environments(self):
    closed = []

    class Closing(Point):
      def close(self):
        closed.append(self)

    trial = _trial(_batch(Closing))
    trial.reset()
    trial.close()
    self.assertLen(set(closed), G * B)

  def test_step_before_reset(self):
    with self.assertRaisesRegex(ValueError, 'reset'):
      _batch().step(np.zeros((G, B, 2)))


class GymnasiumBatchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.gymnasium = pytest.importorskip('gymnasium')

  def _factory(self, end_at=np.inf, cut_at=np.inf):
    gymnasium = self.gymnasium

    class GymnasiumPoint(gymnasium.Env):
      observation_space = gymnasium.spaces.Box(-9.0, 9.0, (2,), np.float64)
      action_space = gymnasium.spaces.Box(-0.2, 0.2, (2,), np.float32)
      goal = None

      def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._position = self.np_random.uniform(-0.2, 0.2, size=2)
        return self._position, {}

      def step(self, action):
        assert self.action_space.contains(action)
        self._position = self._position + action
        reward = -np.linalg.norm(self._position - self.goal)
        x, y = self._position
        return self._position, reward, x > end_at, y > cut_at, {}

    return GymnasiumPoint

  def _batch(self, **options):
    def set_task(env, goal):
      env.goal = goal

    return environments.GymnasiumBatch(
      self._factory(**options),
      sample_task=lambda rng: rng.uniform(-2, 2, size=2),
      set_task=set_task,
    )

  def test_equals_the_dm_env_twin(self):
    twins = [self._batch(), _batch()]
    rng = np.random.default_rng(2)
    actions = rng.normal(scale=9, size=(T, G, B, 2)).astype(np.float32)
    results = []
    for batch in twins:
      rng = np.random.default_rng(3)
      start = batch.reset(batch.sample_tasks(rng, G), B, rng)
      results.append([start, *(batch.step(action) for action in actions)])
    for gym_step, dm_step in zip(*results, strict=True):
      for left, right in zip(gym_step, dm_step, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)

  @parameterized.parameters(
    dict(ends=True, is_cut=False, discount=0, truncated=False),
    dict(ends=False, is_cut=True, discount=1, truncated=True),
    # Gymnasium allows both at once: the termination counts.
    dict(ends=True, is_cut=True, discount=0, truncated=False),
    dict(ends=False, is_cut=False, discount=1, truncated=False),
  )
  def test_ends(self, ends, is_cut, discount, truncated):
    always, never = -np.inf, np.inf
    batch = self._batch(
      end_at=always if ends else never, cut_at=always if is_cut else never
    )
    rng = np.random.default_rng(0)
    batch.reset(batch.sample_tasks(rng, G), B, rng)
    observation, reward, first = batch.step(np.ones((G, B, 2), np.float32))
    np.testing.assert_array_equal(first, np.full((G, B), discount))
    np.testing.assert_array_equal(batch.truncated, np.full((G, B), truncated))
    self.assertTrue(np.all(reward != 0))
    # Whatever ended stays where it is.
    later, reward, second = batch.step(np.ones((G, B, 2), np.float32))
    has_ended = ends or is_cut
    self.assertEqual(np.array_equal(later, observation), has_ended)
    np.testing.assert_array_equal(reward == 0, np.full((G, B), has_ended))
    np.testing.assert_array_equal(second == 0, np.full((G, B), has_ended))
    self.assertFalse(batch.truncated.any())

  def test_discrete_spaces_that_start_elsewhere(self):
    gymnasium = self.gymnasium

    class Switch(gymnasium.Env):
      """Shows the action that it was given; both count from 5."""

      observation_space = gymnasium.spaces.Discrete(3, start=5)
      action_space = gymnasium.spaces.Discrete(3, start=5)

      def reset(self, *, seed=None, options=None):
        return 5, {}

      def step(self, action):
        assert self.action_space.contains(action)
        return int(action), 1.0, False, False, {}

    batch = environments.GymnasiumBatch(
      Switch, sample_task=lambda rng: 0, set_task=lambda env, task: None
    )
    self.assertEqual(batch.action_spec().num_values, 3)
    trial = _trial(batch)
    first = trial.reset()
    np.testing.assert_array_equal(first.observation.observation, 0)
    action = np.arange(G * B).reshape(G, B) % 3
    time_step = trial.step(action)
    np.testing.assert_array_equal(time_step.observation.observation, action)
    trial.observation_spec().observation.validate(
      time_step.observation.observation
    )

  def test_spaces_that_need_flattening(self):
    gymnasium = self.gymnasium

    class Odd(self._factory()):
      observation_space = gymnasium.spaces.Dict(a=gymnasium.spaces.Discrete(2))

    with self.assertRaisesRegex(ValueError, 'observation space.*Flatten'):
      environments.GymnasiumBatch(Odd, lambda rng: 0, lambda env, task: None)


if __name__ == '__main__':
  absltest.main()
