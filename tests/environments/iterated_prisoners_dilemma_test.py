"""Tests of iterated_prisoners_dilemma."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments

C, D = 0, 1
# As the opponent sees the states: start, CC, CD, DC, DD, its own action first.
ALWAYS_COOPERATE = [9, 9, 9, 9, 9]
ALWAYS_DEFECT = [-9, -9, -9, -9, -9]
# Answers what the player did last: cooperates after CC and DC.
TIT_FOR_TAT = [9, 9, -9, 9, -9]
# Repeats its own last action; cooperates at the start.
STUBBORN = [9, 9, 9, -9, -9]


def _play(logits, actions):
  """Rewards and states (0 … 4) against a practically deterministic opponent."""
  env = environments.make('iterated_prisoners_dilemma')
  task = 10 * jnp.array(logits, jnp.float32)
  state, time_step = env.reset(jax.random.PRNGKey(0), task)
  states, rewards = [int(time_step.observation.argmax())], []
  for action in actions:
    state, time_step = env.step(state, jnp.array(action))
    states.append(int(time_step.observation.argmax()))
    rewards.append(float(time_step.reward))
    assert time_step.discount == 1
    assert time_step.observation.sum() == 1
  return rewards, states


class DilemmaTest(parameterized.TestCase):
  @parameterized.parameters(
    (ALWAYS_COOPERATE, [C, D, C], [-1, 0, -1], [0, 1, 3, 1]),
    (ALWAYS_DEFECT, [C, D, C], [-3, -2, -3], [0, 2, 4, 2]),
    (TIT_FOR_TAT, [C, D, D, C, C], [-1, 0, -2, -3, -1], [0, 1, 3, 4, 2, 1]),
    (STUBBORN, [D, D, C], [0, 0, -1], [0, 3, 3, 1]),
  )
  def test_against_pure_strategies(self, logits, actions, rewards, states):
    self.assertEqual(_play(logits, actions), (rewards, states))

  def test_opponents_cooperate_as_often_as_their_logit_says(self):
    env = environments.make('iterated_prisoners_dilemma')
    task = jnp.array([-1.0, 0.0, 0.5, 2.0, -3.0])
    # Where the player sees CD (2), the opponent sees DC (3).
    for seen_by_player, seen_by_opponent in ((0, 0), (1, 1), (2, 3), (3, 2)):

      def cooperates(key, index=seen_by_player):
        state, _ = env.reset(key, task)
        state = state._replace(index=jnp.int32(index))
        return env.step(state, jnp.int32(C))[1].reward == -1

      keys = jax.random.split(jax.random.PRNGKey(1), 4000)
      rate = float(jnp.mean(jax.vmap(cooperates)(keys)))
      expected = 1 / (1 + np.exp(-float(task[seen_by_opponent])))
      error = np.sqrt(expected * (1 - expected) / 4000)
      self.assertLess(abs(rate - expected), 4 * error)

  def test_opponents_are_uniform_in_probability(self):
    env = environments.make('iterated_prisoners_dilemma')
    keys = jax.random.split(jax.random.PRNGKey(0), 2000)
    tasks = jax.vmap(env.sample_task)(keys)
    probabilities = np.sort(np.asarray(jax.nn.sigmoid(tasks)), axis=0)
    uniform = (np.arange(2000) + 0.5)[:, None] / 2000
    # Kolmogorov–Smirnov: 1.95 / sqrt(n) is the 0.1 % point.
    self.assertLess(np.abs(probabilities - uniform).max(), 1.95 / 2000**0.5)


if __name__ == '__main__':
  absltest.main()
