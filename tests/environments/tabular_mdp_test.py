"""Tests of tabular_mdp."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments, tabular
from acme_metarl.environments import tabular_mdp


def _roll_out(env, task, policy, num_rollouts, horizon, seed=0):
  """States [N, T], actions [N, T], rewards, next observations."""
  policy = jnp.asarray(policy)

  def one(key):
    reset_key, key = jax.random.split(key)
    state, _ = env.reset(reset_key, task)

    def step(state, key):
      action = jax.random.choice(key, policy.shape[1], p=policy[state.index])
      new_state, time_step = env.step(state, action)
      return new_state, (
        state.index,
        action,
        time_step.reward,
        time_step.observation,
      )

    return jax.lax.scan(step, state, jax.random.split(key, horizon))[1]

  keys = jax.random.split(jax.random.PRNGKey(seed), num_rollouts)
  return jax.tree_util.tree_map(np.asarray, jax.jit(jax.vmap(one))(keys))


class TabularEnvironmentTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # Not near deterministic, so that many transitions are seen.
    self.env = environments.make(
      'tabular_mdp', num_states=4, num_actions=3, concentration=1.0
    )
    self.task = self.env.sample_task(jax.random.PRNGKey(0))
    self.mdp = self.env.with_task(self.task)

  def test_transitions_have_the_right_frequencies(self):
    policy = np.full((4, 3), 1 / 3, np.float32)
    states, actions, _, observations = _roll_out(
      self.env, self.task, policy, 2000, 10
    )
    next_states = observations.argmax(-1)
    np.testing.assert_array_equal(states[:, 1:], next_states[:, :-1])
    counts = np.zeros((4, 3, 4))
    np.add.at(counts, (states, actions, next_states), 1)
    num_visits = counts.sum(-1, keepdims=True)
    self.assertGreater(num_visits.min(), 200)
    expected = np.asarray(self.mdp.transition)
    error = np.sqrt(expected * (1 - expected) / num_visits)
    self.assertTrue(
      np.all(np.abs(counts / num_visits - expected) <= 5 * error + 1e-6)
    )

  def test_rewards_are_the_table(self):
    policy = np.full((4, 3), 1 / 3, np.float32)
    states, actions, rewards, _ = _roll_out(self.env, self.task, policy, 10, 10)
    np.testing.assert_array_equal(
      rewards, np.asarray(self.task)[states, actions]
    )

  def test_return_agrees_with_the_exact_value(self):
    policy = jax.nn.softmax(jax.random.normal(jax.random.PRNGKey(5), (4, 3)))
    horizon = 60  # .8 ** 60 is nothing.
    _, _, rewards, _ = _roll_out(self.env, self.task, policy, 2000, horizon)
    returns = rewards @ (0.8 ** np.arange(horizon))
    exact = tabular.value(self.mdp, jnp.log(policy))
    error = returns.std() / np.sqrt(len(returns))
    self.assertLess(abs(returns.mean() - exact), 4 * error)

  def test_tasks_are_uniform_tables(self):
    keys = jax.random.split(jax.random.PRNGKey(1), 500)
    tasks = np.asarray(jax.vmap(self.env.sample_task)(keys))
    self.assertEqual(tasks.shape, (500, 4, 3))
    self.assertTrue(np.all((tasks >= 0) & (tasks <= 1)))
    np.testing.assert_allclose(tasks.mean(0), 0.5, atol=5 / np.sqrt(12 * 500))

  def test_transitions_depend_on_the_seed_alone(self):
    same = environments.make(
      'tabular_mdp', num_states=4, num_actions=3, concentration=1.0
    )
    other = environments.make(
      'tabular_mdp', num_states=4, num_actions=3, concentration=1.0, seed=1
    )
    np.testing.assert_array_equal(
      same.with_task(self.task).transition, self.mdp.transition
    )
    self.assertFalse(
      np.array_equal(other.with_task(self.task).transition, self.mdp.transition)
    )

  def test_terminal_states_end_an_episode(self):
    transition = np.zeros((3, 2, 3))
    # Action 0 stays, action 1 goes on; state 2 is terminal.
    transition[np.arange(3), 0, np.arange(3)] = 1
    transition[np.arange(3), 1, [1, 2, 2]] = 1
    mdp = tabular.make_mdp(
      transition,
      np.zeros((3, 2)),
      0.9,
      start_state=1,
      terminal=np.array([False, False, True]),
    )
    env = tabular_mdp.TabularEnvironment(mdp)
    state, first = env.reset(jax.random.PRNGKey(0), jnp.ones((3, 2)))
    np.testing.assert_array_equal(first.observation, [0, 1, 0])
    state, stayed = env.step(state, 0)
    self.assertEqual(stayed.discount, 1)
    state, ended = env.step(state, 1)
    self.assertEqual(ended.discount, 0)
    self.assertEqual(ended.reward, 1)
    np.testing.assert_array_equal(ended.observation, [0, 0, 1])

  @parameterized.parameters(
    dict(num_states=0), dict(num_actions=0), dict(concentration=0.0)
  )
  def test_mistakes(self, **options):
    with self.assertRaisesRegex(ValueError, next(iter(options))):
      environments.make('tabular_mdp', **options)

  def test_paper_sizes_by_default(self):
    env = environments.make('tabular_mdp')
    self.assertEqual(env.observation_spec().shape, (20,))
    self.assertEqual(env.action_spec().num_values, 5)
    self.assertTrue(np.isfinite(env.with_task(None).transition).all())


if __name__ == '__main__':
  absltest.main()
