"""Repeated games of two players with two actions, and memory of one round.

A player is five logits of cooperating, one per state: at the start, and after
the last round's outcome CC, CD, DC or DD, *its own action first*. So a player
needs no number: everything is written as one of the players, "own", sees it,
and in a symmetric game the other's side is the same with the players swapped.

A round is one of 20 *cells*, 4 · state + outcome.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

NUM_STATES = 5
NUM_OUTCOMES = 4
START = 0

# What one player calls CD, the other calls DC.
_MIRRORED_OUTCOMES = np.array([0, 2, 1, 3])
_MIRRORED_STATES = np.array([START, *(1 + _MIRRORED_OUTCOMES)])
_MIRRORED_CELLS = (
  NUM_OUTCOMES * _MIRRORED_STATES[:, None] + _MIRRORED_OUTCOMES
).ravel()


@dataclasses.dataclass(frozen=True)
class RepeatedGame:
  """A symmetric game of two actions, repeated.

  Attributes:
    payoff: a player's own, by [own action, other's action]; C is 0, D is 1.
    discount: γ in [0, 1] per round.
    num_rounds: T ≥ 1, after which the game is over.
  """

  payoff: tuple[tuple[float, float], tuple[float, float]]
  discount: float = 0.96
  num_rounds: int = 100

  def __post_init__(self):
    if np.shape(self.payoff) != (2, 2):
      raise ValueError(
        f'payoff has shape {np.shape(self.payoff)}; it needs (2, 2).'
      )
    if not 0 <= self.discount <= 1:
      raise ValueError(
        f'discount is {self.discount}; it needs to be in [0, 1].'
      )
    if self.num_rounds < 1:
      raise ValueError(
        f'num_rounds is {self.num_rounds}; it needs to be at least 1.'
      )


class Rollouts(NamedTuple):
  """Games that were played, time first, as one of the players saw them.

  Attributes:
    cell: `[..., T, B]` 4 · state + outcome, the player's own action first.
    log_prob: `[..., T, B]` of both players' actions together, under the
      policies that played.
  """

  cell: chex.Array
  log_prob: chex.Array


def prisoners_dilemma(
  discount: float = 0.96, num_rounds: int = 100
) -> RepeatedGame:
  """Returns the iterated prisoner's dilemma: CC -1, CD -3, DC 0, DD -2."""
  return RepeatedGame(((-1.0, -3.0), (0.0, -2.0)), discount, num_rounds)


def joint_log_probs(own: chex.Array, other: chex.Array) -> chex.Array:
  """Returns log-probabilities `[20]` of a cell's outcome in its state.

  Args:
    own: `[5]` logits of cooperating.
    other: `[5]`, of the other player, by the states *it* sees.
  """
  mirrored = other[_MIRRORED_STATES]
  own_cooperates, own_defects = (
    jax.nn.log_sigmoid(own),
    jax.nn.log_sigmoid(-own),
  )
  cooperates, defects = (
    jax.nn.log_sigmoid(mirrored),
    jax.nn.log_sigmoid(-mirrored),
  )
  table = jnp.stack(
    [
      own_cooperates + cooperates,
      own_cooperates + defects,
      own_defects + cooperates,
      own_defects + defects,
    ],
    axis=-1,
  )
  return table.ravel()


def value(game: RepeatedGame, own: chex.Array, other: chex.Array) -> chex.Array:
  """Returns the exact E Σ_{t<T} γ^t r_t of the own player, a scalar.

  A differentiable function of both players' logits `[5]`; the other player's
  is `value(game, other, own)`.
  """
  return _discounted_sum(game, own, other, game.discount)


def mean_payoff(
  game: RepeatedGame, own: chex.Array, other: chex.Array
) -> chex.Array:
  """Returns the exact expected payoff per round, undiscounted, a scalar."""
  return _discounted_sum(game, own, other, 1.0) / game.num_rounds


def _discounted_sum(
  game: RepeatedGame, own: chex.Array, other: chex.Array, discount: float
) -> chex.Array:
  probs = jnp.exp(joint_log_probs(own, other))
  probs = probs.reshape(NUM_STATES, NUM_OUTCOMES)
  payoff = jnp.asarray(game.payoff, probs.dtype).ravel()
  # V[s] = Σ_outcome p(outcome|s) (r + γ V'[1 + outcome]); the start state is
  # never returned to.
  transition, reward = discount * probs, probs @ payoff
  # V of n rounds is (I + A + … + A^{n-1}) r, for A on the four later states.
  # By the binary digits of n: log T products instead of T.
  later, later_reward = transition[1:], reward[1:]
  power, total = (
    jnp.eye(NUM_OUTCOMES, dtype=probs.dtype),
    jnp.zeros_like(payoff),
  )
  for digit in bin(game.num_rounds - 1)[2:]:
    total, power = total + power @ total, power @ power
    if digit == '1':
      total, power = later_reward + later @ total, later @ power
  return reward[START] + transition[START] @ total


def play(
  key: chex.PRNGKey,
  game: RepeatedGame,
  own: chex.Array,
  other: chex.Array,
  num_rollouts: int,
) -> Rollouts:
  """Plays games from the start.

  Args:
    key: random key.
    game: the game.
    own: `[5]` logits of the player from whose side the games are recorded.
    other: `[5]` logits of the other player.
    num_rollouts: B ≥ 1 games.

  Returns:
    Rollouts `[T, B]`.
  """
  table = lax.stop_gradient(joint_log_probs(own, other))
  thresholds = jnp.cumsum(
    jnp.exp(table).reshape(NUM_STATES, NUM_OUTCOMES)[:, :-1], axis=-1
  )
  uniform = jax.random.uniform(
    key, (game.num_rounds, num_rollouts), table.dtype
  )

  def play_round(state, u):
    outcome = jnp.sum(u[:, None] >= thresholds[state], axis=-1)
    cell = NUM_OUTCOMES * state + outcome
    return 1 + outcome, cell

  state = jnp.full((num_rollouts,), START)
  _, cell = lax.scan(play_round, state, uniform)
  return Rollouts(cell, table[cell])


def mirror(rollouts: Rollouts) -> Rollouts:
  """Returns the same games as the other player saw them."""
  return rollouts._replace(cell=lookup(_MIRRORED_CELLS, rollouts))


def payoffs(game: RepeatedGame, rollouts: Rollouts) -> chex.Array:
  """Returns the player's payoff of every round, `[..., T, B]`."""
  payoff = jnp.asarray(game.payoff, rollouts.log_prob.dtype).ravel()
  return lookup(jnp.tile(payoff, NUM_STATES), rollouts)


def state_values(critic: chex.Array, rollouts: Rollouts) -> chex.Array:
  """Returns a critic `[5]` at the player's states, `[..., T, B]`."""
  return lookup(jnp.repeat(critic, NUM_OUTCOMES), rollouts)


def lookup(table: chex.Array, rollouts: Rollouts) -> chex.Array:
  """Returns a table `[20]` at the cells of rollouts, `[..., T, B]`."""
  # A cell is in range; not to check it saves a third of the gradient's time.
  return jnp.asarray(table).at[rollouts.cell].get(mode='promise_in_bounds')
