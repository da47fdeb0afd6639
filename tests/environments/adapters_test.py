"""Tests of adapters."""

import collections

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

  def test_ordered_dicts_become_plain(self):
    """Else JAX takes them in another order than what replay gives back."""

    class Ordered(Counter):
      def observe(self):
        return collections.OrderedDict(
          velocity=np.full(2, self.time), height=np.float64(self.goal)
        )

      def observation_spec(self):
        return collections.OrderedDict(
          velocity=specs.Array((2,), np.float64),
          height=specs.Array((), np.float64),
        )

    trial, time_step = _count(Ordered)
    shown = time_step.observation.observation
    self.assertIs(type(shown), dict)
    self.assertIs(type(trial.observation_spec().observation), dict)
    np.testing.assert_array_equal(shown['height'], [[1] * B, [2] * B])
    np.testing.assert_array_equal(shown['velocity'], np.ones((G, B, 2)))

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
      observation_space = gymnasium.spaces.Text(3)

    with self.assertRaisesRegex(ValueError, 'observation space.*Flatten'):
      environments.GymnasiumBatch(Odd, lambda rng: 0, lambda env, task: None)

  def test_nested_spaces(self):
    spaces = self.gymnasium.spaces

    class Nested(self.gymnasium.Env):
      """Shows its action, which counts from 1 and from 2."""

      observation_space = spaces.Dict(
        seen=spaces.Tuple([spaces.MultiDiscrete([3, 4], start=[1, 2])]),
        flags=spaces.MultiBinary(2),
      )
      action_space = spaces.MultiDiscrete([3, 4], start=[1, 2])

      def reset(self, *, seed=None, options=None):
        return {'seen': ([1, 2],), 'flags': [0, 1]}, {}

      def step(self, action):
        assert self.action_space.contains(action)
        return {'flags': [1, 1], 'seen': (action,)}, 0.0, False, False, {}

    batch = environments.GymnasiumBatch(
      Nested, lambda rng: 0, lambda env, task: None
    )
    np.testing.assert_array_equal(batch.action_spec().maximum, [2, 3])
    trial = _trial(batch)
    shown = trial.reset().observation.observation
    np.testing.assert_array_equal(shown['seen'][0], np.zeros((G, B, 2)))
    np.testing.assert_array_equal(shown['flags'][0, 0], [0, 1])
    action = np.random.default_rng(0).integers([3, 4], size=(G, B, 2))
    shown = trial.step(action).observation.observation
    np.testing.assert_array_equal(shown['seen'][0], action)
    np.testing.assert_array_equal(shown['flags'], np.ones((G, B, 2)))

  @parameterized.parameters(np.float16, np.float32, np.float64)
  def test_largest_numbers_are_no_bounds(self, dtype):
    largest = np.finfo(np.float16 if dtype is np.float16 else np.float32).max
    space = self.gymnasium.spaces.Box(
      np.array([-largest, -1], dtype),
      np.array([largest, 1], dtype),
      dtype=dtype,
    )

    class Unbounded(self._factory()):
      action_space = space

      def step(self, action):
        self.got = action
        return super().step(np.zeros(2, dtype))

    made = []

    def factory():
      made.append(Unbounded())
      return made[-1]

    def set_task(env, task):
      env.goal = task

    batch = environments.GymnasiumBatch(factory, lambda rng: 0.0, set_task)
    np.testing.assert_array_equal(batch.action_spec().maximum, [np.inf, 1])
    rng = np.random.default_rng(0)
    batch.reset(batch.sample_tasks(rng, 1), 1, rng)
    # As it is where there is no bound, and clipped where there is one.
    batch.step(np.array([[[7.0, 7.0]]]))
    np.testing.assert_array_equal(made[0].got, [7, 1])
    self.assertEqual(made[0].got.dtype, dtype)


class Counter(dm_env.Environment):
  """Counts its steps, and pays its task, which is a number."""

  goal = 0.0
  time = 0.0

  def reset(self):
    self.time = 0.0
    return dm_env.restart(self.observe())

  def step(self, action):
    self.time += 1
    return dm_env.transition(self.goal, self.observe())

  def observe(self):
    return np.array([self.time])

  def observation_spec(self):
    return specs.Array((1,), np.float64)

  def action_spec(self):
    return specs.DiscreteArray(2)


def _set_goal(environment, goal):
  environment.goal = goal


def _count(factory=Counter, sample_task=None, set_task=_set_goal):
  """One step of a trial of counters."""
  tasks = iter(range(1, 100))
  batch = environments.DmEnvBatch(
    factory, sample_task or (lambda rng: float(next(tasks))), set_task
  )
  trial = _trial(batch)
  trial.reset()
  return trial, trial.step(np.zeros((G, B), int))


class SharingTest(parameterized.TestCase):
  def test_environments_apart(self):
    _, time_step = _count()
    np.testing.assert_array_equal(time_step.observation.observation, 1)
    np.testing.assert_array_equal(time_step.reward, [[1] * B, [2] * B])

  def test_one_object(self):
    one = Counter()
    with self.assertRaisesRegex(ValueError, 'factory.*same Counter'):
      _count(lambda: one)

  def test_two_objects_in_turn(self):
    pool = [Counter(), Counter()] * 100
    with self.assertRaisesRegex(ValueError, 'factory.*same Counter'):
      _count(pool.pop)

  @parameterized.parameters(1, 2)
  def test_one_object_in_wrappers(self, depth):
    class Wrapper(Counter):
      def __init__(self, environment):
        self._environment = environment

    one = Counter()

    def factory():
      environment = one
      for _ in range(depth):
        environment = Wrapper(environment)
      return environment

    with self.assertRaisesRegex(ValueError, 'factory.*same Counter'):
      _count(factory)

  def test_one_gymnasium_object_in_wrappers(self):
    gymnasium = pytest.importorskip('gymnasium')
    one = gymnasium.make('CartPole-v1')
    batch = environments.GymnasiumBatch(
      lambda: gymnasium.wrappers.TimeLimit(one, 5),
      lambda rng: 0.0,
      lambda env, task: None,
    )
    with self.assertRaisesRegex(ValueError, 'factory'):
      _trial(batch).reset()

  def test_a_task_that_is_kept_in_the_class(self):
    def set_task(environment, goal):
      type(environment).goal = goal

    class Careless(Counter):
      pass

    with self.assertRaisesRegex(ValueError, 'set_task.*Careless.goal'):
      _count(Careless, set_task=set_task)

  def test_a_task_that_is_kept_in_one_array(self):
    class Careless(Counter):
      def __init__(self, goal):
        self._goal = goal

      @property
      def goal(self):
        return self._goal[0]

    goal = np.zeros(1)

    def set_task(environment, task):
      environment._goal[0] = task

    with self.assertRaisesRegex(ValueError, 'set_task.*Careless._goal'):
      _count(lambda: Careless(goal), set_task=set_task)

  def test_one_buffer_for_the_observations_of_all(self):
    buffer = np.zeros(1)

    class Careless(Counter):
      def observe(self):
        buffer[0] = self.goal
        return buffer

    _, time_step = _count(Careless)
    np.testing.assert_array_equal(
      time_step.observation.observation[..., 0], [[1] * B, [2] * B]
    )

  def test_hooks_that_meet_a_wrapper(self):
    gymnasium = pytest.importorskip('gymnasium')

    class Walk(gymnasium.Env):
      observation_space = action_space = gymnasium.spaces.Discrete(2)
      goal = None

      def set_goal(self, goal):
        self.goal = goal

      def reset(self, *, seed=None, options=None):
        return 0, {}

    def start(set_task, max_steps=5):
      batch = environments.GymnasiumBatch(
        lambda: gymnasium.wrappers.TimeLimit(Walk(), max_steps),
        lambda rng: rng.uniform(),
        set_task,
      )
      batch.reset(np.zeros(2), 1, np.random.default_rng(0))

    def set_inside(environment, goal):
      environment.unwrapped.goal = goal

    start(set_inside)
    with self.assertRaisesRegex(
      ValueError, 'goal of <TimeLimit<Walk.*wrapper.*environment.unwrapped.goal'
    ):
      start(_set_goal)
    with self.assertRaisesRegex(
      ValueError, '<TimeLimit<Walk.* has no set_goal.*unwrapped.set_goal'
    ):
      start(lambda environment, goal: environment.set_goal(goal))
    with self.assertRaisesRegex(
      ValueError, '<TimeLimit<Walk.* has no set_task, .*give it one'
    ):
      start(lambda environment, goal: environment.set_task(goal))
    # A mistake of the hook's own is its user's to see.
    with self.assertRaisesRegex(AttributeError, "'float' object"):
      start(lambda environment, goal: (2.0).goal)

  def test_a_new_environment_instead_of_a_task(self):
    with self.assertRaisesRegex(ValueError, 'set_task.*returned'):
      _count(set_task=lambda environment, goal: Counter())


class TasksTest(parameterized.TestCase):
  """What is drawn is what is set, for every rollout."""

  @parameterized.parameters(
    ([np.zeros(2), np.ones(2)],),
    ([{'a': 1, 'b': (2.5, None)}, {'a': 3, 'b': (4.5, None)}],),
    ([b'a\0\0', b'b'],),
    (['a\0', 'bc'],),
    ([None, None],),
    ([(), ()],),
    ([{}, {}],),
    ([2**70, -(2**70)],),
    ([True, False],),
  )
  def test_any_tree(self, tasks):
    seen, rest = [], iter(tasks)
    batch = environments.DmEnvBatch(
      Counter,
      lambda rng: next(rest),
      lambda environment, task: seen.append(task),
    )
    trial = _trial(batch)
    trial.reset()
    expected = [task for task in tasks for _ in range(B)]
    self.assertLen(seen, G * B)
    for left, right in zip(seen, expected, strict=True):
      np.testing.assert_equal(left, right)

  def test_tasks_written_to_in_place(self):
    def set_task(environment, goal):
      goal += 1
      environment.goal = goal[0]

    trial, time_step = _count(
      sample_task=lambda rng: np.array([0.0]), set_task=set_task
    )
    np.testing.assert_array_equal(time_step.reward, np.ones((G, B)))
    np.testing.assert_array_equal(trial.tasks, np.zeros((G, 1)))
    with self.assertRaises(ValueError):
      trial.tasks[0] = 1

  def test_actions_written_to_in_place(self):
    class Careless(Point):
      def step(self, action):
        action *= 0
        return dm_env.transition(0.0, self._buffer)

    trial = _trial(_batch(Careless, scale_actions=False))
    trial.reset()
    action = np.ones((G, B, 2), np.float64)
    trial.step(action)
    np.testing.assert_array_equal(action, 1)

  @parameterized.parameters(
    ([np.zeros(2), np.zeros(3)], 'shape'),
    ([{'a': 1}, {'b': 1}], 'structure'),
    ([2**53 + 1, 0.5], 'common type'),
  )
  def test_tasks_that_do_not_go_together(self, tasks, message):
    rest = iter(tasks)
    with self.assertRaisesRegex(ValueError, f'sample_task.*{message}'):
      _count(sample_task=lambda rng: next(rest))


class LiesTest(parameterized.TestCase):
  """What an environment shows is not what its spec says."""

  @parameterized.parameters(
    (specs.Array((2, 3), np.float32), np.zeros((3, 2)), 'shape'),
    (specs.Array((1,), np.float32), 0.0, 'shape'),
    (specs.DiscreteArray(3), 0.7, 'does not hold'),
    (specs.DiscreteArray(3), 3, 'does not hold'),
    (specs.Array((1,), np.uint8), [300], 'does not hold'),
    (specs.Array((1,), np.uint8), [-1], 'does not hold'),
    (specs.Array((1,), np.int32), [np.nan], 'does not hold'),
    (specs.Array((1,), np.float32), ['a'], 'real numbers'),
    (specs.Array((1,), np.float32), [1j], 'real numbers'),
    (specs.Array((1,), np.float32), None, 'real numbers'),
    (specs.Array((2,), np.float32), [[1], [1, 2]], 'real numbers'),
    ({'a': specs.Array((1,), np.float32)}, np.zeros(1), 'of type'),
    ({'a': specs.Array((1,), np.float32)}, {'b': np.zeros(1)}, "'b'"),
  )
  def test_refused(self, spec, shown, message):
    class Liar(Counter):
      def observation_spec(self):
        return spec

      def observe(self):
        return shown

      def __repr__(self):
        return 'Liar()'

    with self.assertRaisesRegex(ValueError, f'Liar.*observation.*{message}'):
      _count(Liar)

  @parameterized.parameters(
    (specs.Array((2,), np.float32), [1, 2], [1, 2]),
    (specs.Array((), np.uint8), 255.0, 255),
    (specs.Array((), bool), 1, True),
    (specs.DiscreteArray(3), np.int64(2), 2),
    (specs.BoundedArray((), np.float64, 0, 1), 7.0, 7.0),
  )
  def test_right(self, spec, shown, expected):
    class Honest(Counter):
      def observation_spec(self):
        return spec

      def observe(self):
        return shown

    trial, time_step = _count(Honest)
    got = time_step.observation.observation
    np.testing.assert_array_equal(got[1, 2], expected)
    trial.observation_spec().observation.validate(got)

  @parameterized.parameters(
    ([1.0], 'reward is an array .* need a number'),
    (np.ones(1), 'reward is an array .* need a number'),
    (None, 'reward is None'),
    ('1', 'reward is'),
  )
  def test_rewards(self, reward, message):
    with self.assertRaisesRegex(ValueError, message):
      _count(sample_task=lambda rng: None, set_task=_always(reward))

  @parameterized.parameters(
    (True, 1), (np.bool_(True), 1), (3, 3), (np.float16(0.5), 0.5)
  )
  def test_rewards_that_are_numbers(self, reward, expected):
    _, time_step = _count(
      sample_task=lambda rng: None, set_task=_always(reward)
    )
    np.testing.assert_array_equal(time_step.reward, np.full((G, B), expected))

  @parameterized.parameters(
    (dm_env.TimeStep(dm_env.StepType.MID, 0.0, None, np.zeros(1)), 'discount'),
    (dm_env.TimeStep(dm_env.StepType.LAST, 0.0, None, np.zeros(1)), 'discount'),
    (dm_env.TimeStep(dm_env.StepType.MID, 0.0, 1.5, np.zeros(1)), 'discount'),
    (dm_env.TimeStep(dm_env.StepType.MID, 0.0, -0.1, np.zeros(1)), 'discount'),
    (dm_env.restart(np.zeros(1)), 'FIRST'),
    ((np.zeros(1), 0.0, False, {}), 'need a dm_env.TimeStep'),
  )
  def test_time_steps(self, time_step, message):
    class Liar(Counter):
      def step(self, action):
        return time_step

    with self.assertRaisesRegex(ValueError, f'Liar.*{message}'):
      _count(Liar)

  def test_spaces_that_depend_on_the_task(self):
    class Liar(Counter):
      def action_spec(self):
        return specs.DiscreteArray(2 + int(self.goal))

    with self.assertRaisesRegex(
      ValueError, 'Liar.*its actions are.* must not depend on the task'
    ):
      _count(Liar)

    class LiesLater(Counter):
      def observation_spec(self):
        return specs.Array((1 + int(self.goal > 1),), np.float64)

    with self.assertRaisesRegex(
      ValueError, r'its observations are float64 of shape \(2,\).*must not dep'
    ):
      _count(LiesLater)

  def test_observations_whose_bounds_depend_on_the_task(self):
    class Bounded(Counter):
      def observation_spec(self):
        return specs.BoundedArray((1,), np.float64, 0, 5 + self.goal)

    _, time_step = _count(Bounded)
    np.testing.assert_array_equal(time_step.reward, [[1] * B, [2] * B])

  @parameterized.parameters(
    dict(factory=Counter()),
    dict(factory=lambda: Counter),
    dict(factory=lambda: None),
    dict(sample_task=3),
    dict(set_task=None),
  )
  def test_hooks(self, **hooks):
    with self.assertRaisesRegex(ValueError, next(iter(hooks))):
      _count(**hooks)

  def test_the_other_kind_of_environment(self):
    gymnasium = pytest.importorskip('gymnasium')
    hooks = (lambda rng: 0, lambda env, task: None)
    with self.assertRaisesRegex(ValueError, 'DmEnvBatch'):
      environments.GymnasiumBatch(Counter, *hooks)
    with self.assertRaisesRegex(ValueError, 'GymnasiumBatch'):
      environments.DmEnvBatch(lambda: gymnasium.make('CartPole-v1'), *hooks)


def _always(reward):
  """A hook that makes an environment pay always the same."""

  def set_task(environment, task):
    environment.goal = reward

  return set_task


class OldGymTest(parameterized.TestCase):
  """Signatures of before gymnasium: refused, in a sentence."""

  @parameterized.parameters(
    (dict(reset=np.zeros(2)), 'reset returned a value of type ndarray'),
    (dict(reset=(1.0, 2.0)), 'reset returned a tuple of 2'),
    (dict(step=(np.zeros(2), 0.0, False, {})), 'step returned a tuple of 4'),
    (dict(takes_seed=False), 'reset takes no seed'),
  )
  def test_signatures(self, answers, message):
    gymnasium = pytest.importorskip('gymnasium')

    class Old:
      observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
      action_space = gymnasium.spaces.Discrete(2)

      def reset(self, seed=None):
        return answers.get('reset', (np.zeros(2), {}))

      def step(self, action):
        return answers['step']

      def __repr__(self):
        return 'Old()'

    class Unseeded(Old):
      def reset(self):
        return np.zeros(2)

    takes_seed = answers.get('takes_seed', True)
    batch = environments.GymnasiumBatch(
      Old if takes_seed else Unseeded,
      lambda rng: 0,
      lambda env, task: None,
    )
    with self.assertRaisesRegex(ValueError, f'Old.*{message}.*shimmy'):
      trial = _trial(batch)
      trial.reset()
      trial.step(np.zeros((G, B), int))


if __name__ == '__main__':
  absltest.main()
