"""Estimates of a player's value, differentiable in both players' logits."""

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import evaluators, types
from acme_metarl.studies import derivative_accuracy
from acme_metarl.studies.opponent_shaping import games

EXACT = 'exact'
# Where the estimates come from; and taylor_K for any order K.
SOURCES = (
  EXACT,
  'importance_sampling',
  'dice_with_baseline',
  'doubly_robust',
  'taylor_1',
  'taylor_2',
  'taylor_3',
  'log_likelihood',
)


def make_evaluator(name: str) -> evaluators.Evaluator:
  """Returns the evaluator of a name of `SOURCES`, or `taylor_K`, K ≥ 1.

  Raises:
    ValueError: if none has the name.
  """
  if name == 'dice_with_baseline':
    return evaluators.dice_with_baseline
  try:
    return derivative_accuracy.make_evaluator(name)
  except ValueError as error:
    raise ValueError(
      f'Unknown evaluator {name!r}; choose from {", ".join(SOURCES)}, or a '
      'higher order like taylor_4.'
    ) from error


def estimate_value(
  game: games.RepeatedGame,
  own: chex.Array,
  other: chex.Array,
  critic: chex.Array,
  rollouts: games.Rollouts,
  evaluator: evaluators.Evaluator,
) -> chex.Array:
  """Estimates `games.value(game, own, other)` from games that were played.

  Args:
    game: the game.
    own: `[5]` logits of the player whose value it is.
    other: `[5]` logits of the other player.
    critic: `[5]` a value for each of the player's states, taken as it is.
    rollouts: `[T, B]` as the player saw them, under any policies.
    evaluator: of `acme_metarl.evaluators` or your own. The importance ratio of
      a round is that of both actions together.

  Returns:
    A scalar, differentiable in both players' logits.
  """
  v_tm1 = games.state_values(critic, rollouts)
  # After the last round there is nothing.
  v_t = jnp.concatenate([v_tm1[1:], jnp.zeros_like(v_tm1[:1])])
  discount_t = jnp.full_like(v_tm1, game.discount).at[-1].set(0.0)
  log_prob = games.lookup(games.joint_log_probs(own, other), rollouts)
  data = types.Prepared(
    observation=(),
    action=(),  # type: ignore[arg-type]
    v_tm1=v_tm1.T,
    v_t=v_t.T,
    r_t=games.payoffs(game, rollouts).T,
    discount_t=discount_t.T,
    advantage=(),  # type: ignore[arg-type]
    mask=None,  # type: ignore[arg-type]
    behaviour_log_prob=rollouts.log_prob.T,
  )
  return evaluators.reduced_estimate(log_prob.T, data, evaluator)


def estimate_gradient(
  game: games.RepeatedGame,
  own: chex.Array,
  other: chex.Array,
  critic: chex.Array,
  rollouts: games.Rollouts,
  evaluator: evaluators.Evaluator,
  chunk_size: int | None = None,
) -> chex.Array:
  """Estimates the gradient of the own player's value in its own logits.

  Itself differentiable in both players' logits; that derivative is what shapes
  an opponent. Arguments are those of `estimate_value`, and:

  Args:
    game: as there.
    own: as there.
    other: as there.
    critic: as there.
    rollouts: as there.
    evaluator: as there.
    chunk_size: games differentiated at a time, or the next smaller divisor of
      B; small chunks stay in a CPU's cache. None takes all at once.

  Returns:
    The gradient `[5]`.
  """

  def chunk_gradient(own, other, chunk):
    return jax.grad(estimate_value, argnums=1)(
      game, own, other, critic, chunk, evaluator
    )

  num_rounds, num_rollouts = rollouts.cell.shape
  if chunk_size is None or chunk_size >= num_rollouts:
    return chunk_gradient(own, other, rollouts)
  while num_rollouts % chunk_size:
    chunk_size -= 1
  num_chunks = num_rollouts // chunk_size
  chunks = jax.tree.map(
    lambda x: x.reshape(num_rounds, num_chunks, chunk_size).swapaxes(0, 1),
    rollouts,
  )

  def add(total, chunk):
    return total + chunk_gradient(own, other, chunk), None

  total, _ = lax.scan(add, jnp.zeros_like(own), chunks)
  return total / num_chunks
