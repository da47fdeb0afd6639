"""The iterated prisoner's dilemma against an opponent who is the task."""

from typing import NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types as environment

COOPERATE, DEFECT = 0, 1
NUM_STATES = 5
START = 0
# Payoff of the player, by [own action, opponent's action].
PAYOFF = ((-1.0, -3.0), (0.0, -2.0))
# States are named by (own, other's) last actions: start, CC, CD, DC, DD. The
# opponent sees CD where we see DC.
_SEEN_BY_OPPONENT = (0, 1, 3, 2, 4)


class State(NamedTuple):
  """One game.

  Attributes:
    index: scalar, 0 … 4: start, CC, CD, DC, DD, the player's action first.
    key: what the opponent's later actions are drawn with.
    logits: `[5]`, the task.
  """

  index: chex.Array
  key: chex.PRNGKey
  logits: chex.Array


class IteratedPrisonersDilemma:
  """Meet an unknown opponent, and find out what it answers to.

  The opponent has a memory-1 policy: the probability that it cooperates is the
  sigmoid of one logit per state *as it sees them* (start, CC, CD, DC, DD, its
  own action first). Those logits, `[5]`, are the task. `sample_task` draws them
  from the standard logistic distribution, so that each probability is uniform
  in (0, 1); others, say tit-for-tat, may be passed to `reset`.

  The observation is the one-hot state `[5]` as the player sees it; actions are
  `COOPERATE` (0) and `DEFECT` (1). Payoffs (CC -1,-1), (CD -3,0), (DC 0,-3),
  (DD -2,-2), as in LOLA (Foerster et al. 2018,
  https://arxiv.org/abs/1709.04326). A game never ends by itself.
  """

  has_finite_tasks = False

  def __repr__(self) -> str:
    return 'IteratedPrisonersDilemma()'

  def sample_task(self, key: chex.PRNGKey) -> chex.Array:
    """Draws an opponent: logits `[5]` of cooperating."""
    return jax.random.logistic(key, (NUM_STATES,), jnp.float32)

  def reset(
    self, key: chex.PRNGKey, task: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Starts a game, always in the start state."""
    state = State(jnp.int32(START), key, task)
    return state, _time_step(state, jnp.float32(0))

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Plays one round; both move at once."""
    key, opponent_key = jax.random.split(state.key)
    seen = jnp.asarray(_SEEN_BY_OPPONENT)[state.index]
    cooperation = jax.nn.sigmoid(state.logits[seen])
    opponent = jnp.where(
      jax.random.uniform(opponent_key, dtype=jnp.float32) < cooperation,
      COOPERATE,
      DEFECT,
    )
    reward = jnp.asarray(PAYOFF, jnp.float32)[action, opponent]
    index = (1 + 2 * action + opponent).astype(jnp.int32)
    state = State(index, key, state.logits)
    return state, _time_step(state, reward)

  def observation_spec(self) -> specs.BoundedArray:
    """One-hot states, `[5]`."""
    return specs.BoundedArray(
      (NUM_STATES,), np.float32, 0, 1, name='observation'
    )

  def action_spec(self) -> specs.DiscreteArray:
    return specs.DiscreteArray(2, name='action')


def _time_step(state: State, reward: chex.Array) -> environment.TimeStep:
  observation = jax.nn.one_hot(state.index, NUM_STATES, dtype=jnp.float32)
  return environment.TimeStep(observation, reward, jnp.float32(1))
