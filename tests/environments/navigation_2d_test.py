"""Tests of navigation_2d."""

import contextlib
import itertools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments
from acme_metarl.environments import navigation_2d

CORNERS = [np.array(c) for c in itertools.product((-2.0, 2.0), repeat=2)]

VARIANTS = (
  dict(),
  dict(reward='dense'),
  dict(reward='dense_squared'),
  dict(reward='dense', goals='uniform'),
  dict(momentum=True),
  dict(momentum=True, reward='dense', goals='uniform'),
)


def _expected_reward(options, goal, before, after):
  """The rewards as the page of facts has them, one step, in numpy."""
  distance = np.linalg.norm(after - goal)
  reward = options.get('reward', 'sparse')
  if reward == 'dense':
    return -distance
  if reward == 'dense_squared':
    return -(distance**2)
  if options.get('momentum'):
    return max(2 - distance, 0)
  if np.linalg.norm(after, ord=1) < 0.5:
    return 0
  if distance > min(np.linalg.norm(after - corner) for corner in CORNERS):
    return 0
  return np.linalg.norm(before - goal) - distance


def _state(position, goal, velocity=()):
  to_array = lambda x: jnp.array(x, jnp.float32)  # noqa: E731
  return navigation_2d.State(
    to_array(position), to_array(velocity) if velocity else (), to_array(goal)
  )


@contextlib.contextmanager
def _double_precision(enable):
  # JAX's own context manager has another name in every other version.
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', enable)
  try:
    yield
  finally:
    jax.config.update('jax_enable_x64', before)


class DynamicsTest(parameterized.TestCase):
  @parameterized.parameters(*VARIANTS)
  def test_equals_a_plain_loop(self, **options):
    env = environments.make('navigation_2d', **options)
    rng = np.random.default_rng(1)
    limit = 0.1 if env.momentum else 0.2
    step = jax.jit(env.step)
    num_paid = 0
    for seed in range(4):
      task = env.sample_task(jax.random.PRNGKey(seed))
      state, time_step = env.reset(jax.random.PRNGKey(100 + seed), task)
      position = np.array(time_step.observation[:2], np.float64)
      velocity = np.array(time_step.observation[2:], np.float64)
      # A drift, so that the rewards far from the origin are seen too.
      drift = np.sign(task) * (4 if seed % 2 else -4) / (1 + 9 * env.momentum)
      for _ in range(30):
        action = (drift + rng.normal(scale=5, size=2)).astype(np.float32)
        move = np.clip(action / 10, -1, 1) * limit
        if env.momentum:
          move = velocity = velocity + move
        before, position = position, position + move
        state, time_step = step(state, action)
        np.testing.assert_allclose(
          time_step.observation,
          np.concatenate([position, velocity]),
          atol=1e-5,
        )
        reward = _expected_reward(options, np.array(task), before, position)
        np.testing.assert_allclose(time_step.reward, reward, atol=1e-4)
        self.assertEqual(time_step.discount, 1)
        num_paid += reward != 0
    self.assertGreater(num_paid, 3)

  @parameterized.parameters(
    # Inside the dead zone of 1-norm .5, whatever the progress.
    dict(before=(0.1, 0.1), after=(0.24, 0.25), expected=0.0),
    # Just outside: hand-computed progress towards (2, 2).
    dict(before=(0.2, 0.2), after=(0.3, 0.3), expected=np.sqrt(2) * 0.1),
    # Walking away within the quadrant costs.
    dict(before=(0.4, 0.4), after=(0.3, 0.3), expected=-np.sqrt(2) * 0.1),
    # Another corner is nearer.
    dict(before=(0.1, 0.5), after=(-0.1, 0.5), expected=0.0),
    # Leaving a foreign quadrant: what counts is where the step ends.
    dict(before=(-0.1, 0.5), after=(0.1, 0.5), expected=None),
    # Beyond the goal the distance grows again.
    dict(before=(2.0, 2.0), after=(2.1, 2.0), expected=-0.1),
  )
  def test_sparse_reward_by_hand(self, before, after, expected):
    goal = np.array([2.0, 2.0])
    action = (np.subtract(after, before) / 0.2 * 10).astype(np.float32)
    env = environments.make('navigation_2d')
    _, time_step = env.step(_state(before, goal), action)
    if expected is None:
      expected = np.hypot(2.1, 1.5) - np.hypot(1.9, 1.5)
    np.testing.assert_allclose(time_step.reward, expected, atol=1e-6)

  def test_straight_to_the_corner_earns_about_two_point_four(self):
    env = environments.make('navigation_2d')
    state, total = _state((0.0, 0.0), (2.0, -2.0)), 0.0
    for _ in range(10):
      state, time_step = env.step(state, jnp.array([10.0, -10.0]))
      total += float(time_step.reward)
    np.testing.assert_allclose(state.position, [2, -2], atol=1e-5)
    # The way from (.2, -.2), the last point in the dead zone.
    np.testing.assert_allclose(total, np.sqrt(2) * 1.8, atol=1e-5)

  def test_momentum_by_hand(self):
    env = environments.make('navigation_2d', momentum=True)
    state = _state((0.0, 1.0), (2.0, 2.0), velocity=(0.3, 0.0))
    state, time_step = env.step(state, jnp.array([99.0, -5.0]))
    np.testing.assert_allclose(state.velocity, [0.4, -0.05], atol=1e-6)
    np.testing.assert_allclose(
      time_step.observation, [0.4, 0.95, 0.4, -0.05], atol=1e-6
    )
    np.testing.assert_allclose(
      time_step.reward, 2 - np.hypot(1.6, 1.05), atol=1e-6
    )


class DistributionTest(parameterized.TestCase):
  def test_corners_are_equally_likely(self):
    env = environments.make('navigation_2d')
    keys = jax.random.split(jax.random.PRNGKey(0), 4000)
    tasks = np.asarray(jax.vmap(env.sample_task)(keys))
    counts = [np.sum(np.all(tasks == corner, -1)) for corner in CORNERS]
    self.assertEqual(sum(counts), 4000)
    # Five standard deviations.
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(4000 * 3 / 16))

  def test_uniform_goals_fill_the_square(self):
    env = environments.make('navigation_2d', goals='uniform', reward='dense')
    keys = jax.random.split(jax.random.PRNGKey(0), 4000)
    tasks = np.asarray(jax.vmap(env.sample_task)(keys))
    self.assertTrue(np.all(np.abs(tasks) <= 2))
    deviation = 4 / np.sqrt(12)
    np.testing.assert_allclose(tasks.mean(0), 0, atol=5 * deviation / 63)
    np.testing.assert_allclose(tasks.std(0), deviation, rtol=0.05)
    self.assertLess(abs(np.corrcoef(tasks.T)[0, 1]), 5 / 63)

  @parameterized.parameters(*VARIANTS)
  def test_start_states(self, **options):
    env = environments.make('navigation_2d', **options)
    keys = jax.random.split(jax.random.PRNGKey(1), 1000)
    task = env.sample_task(jax.random.PRNGKey(2))
    _, time_step = jax.vmap(env.reset, (0, None))(keys, task)
    observation = np.asarray(time_step.observation)
    widths = np.array([0.2, 0.2, 0.1, 0.1])[: observation.shape[1]]
    self.assertTrue(np.all(np.abs(observation) <= widths))
    np.testing.assert_allclose(
      observation.std(0), widths / np.sqrt(3), rtol=0.1
    )
    np.testing.assert_array_equal(time_step.reward, 0)
    np.testing.assert_array_equal(time_step.discount, 1)

  def test_takes_either_kind_of_key(self):
    env = environments.make('navigation_2d', momentum=True)
    old, new = jax.random.PRNGKey(3), jax.random.key(3)
    np.testing.assert_array_equal(env.sample_task(old), env.sample_task(new))
    task = env.sample_task(old)
    np.testing.assert_array_equal(
      env.reset(old, task)[1].observation, env.reset(new, task)[1].observation
    )


class InterfaceTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(reward='sparser'), 'reward: got'),
    (dict(goals='nowhere'), 'goals: got'),
    (dict(goals='uniform'), "goals='uniform' needs"),
  )
  def test_mistakes(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      environments.make('navigation_2d', **options)

  @parameterized.parameters(*VARIANTS)
  def test_single_precision_whatever_the_setting(self, **options):
    env = environments.make('navigation_2d', **options)
    for x64 in (False, True):
      with _double_precision(x64):
        key = jax.random.PRNGKey(0)
        state, first = env.reset(key, env.sample_task(key))
        after, time_step = env.step(state, jnp.zeros(2, jnp.float32))
        leaves = jax.tree_util.tree_leaves((first, time_step, state, after))
        self.assertEqual({leaf.dtype for leaf in leaves}, {np.dtype('f4')})

  def test_the_state_fits_a_scan(self):
    env = environments.make('navigation_2d', momentum=True)
    state, _ = env.reset(
      jax.random.PRNGKey(0), env.sample_task(jax.random.PRNGKey(1))
    )
    _, rewards = jax.lax.scan(
      lambda s, a: (lambda s, t: (s, t.reward))(*env.step(s, a)),
      state,
      jnp.zeros((7, 2)),
    )
    self.assertEqual(rewards.shape, (7,))


class JaxBatchTest(parameterized.TestCase):
  """The batched face, on the simplest environment."""

  @parameterized.parameters(*VARIANTS)
  def test_equals_one_by_one(self, **options):
    env = environments.make('navigation_2d', **options)
    batch = environments.batch(env)
    rng = np.random.default_rng(0)
    tasks = batch.sample_tasks(rng, 3)
    start = batch.reset(tasks, 2, rng)
    actions = rng.normal(scale=9, size=(4, 3, 2, 2)).astype(np.float32)
    together = [batch.step(action) for action in actions]
    step = jax.jit(env.step)
    for g, b in itertools.product(range(3), range(2)):
      # The start state is all that is random.
      velocity = tuple(start[g, b, 2:])
      state = _state(start[g, b, :2], tasks[g], velocity)
      for t, action in enumerate(actions):
        state, time_step = step(state, action[g, b])
        for left, right in zip(time_step, together[t], strict=True):
          np.testing.assert_allclose(left, right[g, b], atol=1e-6)

  def test_numpy_in_and_out(self):
    batch = environments.batch(environments.make('navigation_2d'))
    rng = np.random.default_rng(0)
    tasks = batch.sample_tasks(rng, 3)
    self.assertIsInstance(tasks, np.ndarray)
    arrays = [batch.reset(tasks, 2, rng)]
    arrays += batch.step(jnp.zeros((3, 2, 2)))
    arrays += batch.step(np.zeros((3, 2, 2)))
    for array in arrays:
      self.assertIsInstance(array, np.ndarray)
      self.assertEqual(array.dtype, np.float32)

  def test_double_precision_setting_changes_nothing(self):
    class Careless(navigation_2d.Navigation2D):
      """Leaves its types to JAX."""

      def step(self, state, action):
        state, time_step = super().step(state, action)
        return state, time_step._replace(reward=jnp.sum(jnp.ones(3)))

    with _double_precision(True):
      batch = environments.batch(Careless())
      rng = np.random.default_rng(0)
      batch.reset(batch.sample_tasks(rng, 3), 2, rng)
      for array in batch.step(np.zeros((3, 2, 2))):
        self.assertEqual(array.dtype, np.float32)

  def test_an_action_buffer_may_be_used_again(self):
    class Remembering(navigation_2d.Navigation2D):
      """Its state holds the very action."""

      def reset(self, key, task):
        state, time_step = super().reset(key, task)
        return (state, jnp.zeros(2)), time_step

      def step(self, state, action):
        new_state, time_step = super().step(state[0], action)
        return (new_state, action), time_step._replace(observation=state[1])

    batch = environments.batch(Remembering())
    rng = np.random.default_rng(0)
    batch.reset(batch.sample_tasks(rng, 64), 64, rng)
    buffer = np.ones((64, 64, 2), np.float32)
    batch.step(buffer)
    buffer[:] = 7
    observation, _, _ = batch.step(buffer)
    np.testing.assert_array_equal(observation, np.ones((64, 64, 2)))

  def test_step_before_reset(self):
    batch = environments.batch(environments.make('navigation_2d'))
    with self.assertRaisesRegex(ValueError, 'reset'):
      batch.step(np.zeros((1, 1, 2)))

  def test_batch_of_a_batch_is_itself(self):
    batch = environments.batch(environments.make('navigation_2d'))
    self.assertIs(environments.batch(batch), batch)


if __name__ == '__main__':
  absltest.main()
