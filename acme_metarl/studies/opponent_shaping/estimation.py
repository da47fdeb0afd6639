"""Estimates of a player's value, differentiable in both players' logits."""

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import evaluators
from acme_metarl.evaluators import ratios
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


def dice_with_baseline(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
) -> chex.Array:
  """DiCE with the baseline that its authors give it.

  V̂_t = IS_t + B_t, IS the step-wise importance-sampling estimate, and
  B_t = (1 - ρ_t) v(x_t) + γ_t B_{t+1}, B_T = 0.

  On the behaviour policy, the gradient is that of `doubly_robust`; higher
  derivatives keep the variance that a baseline of single steps cannot see.

  See Section 5 of "DiCE: The Infinitely Differentiable Monte Carlo Estimator"
  by Foerster et al. (2018), https://arxiv.org/abs/1802.05098, and "Loaded DiCE"
  by Farquhar, Whiteson and Foerster (2019), https://arxiv.org/abs/1909.10549.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}.
    v_t: `[T]` critic at x_1 … x_T, not used.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1.
  """
  estimates = evaluators.importance_sampling(
    v_tm1, v_t, r_t, discount_t, rho_tm1
  )
  # The sum of γ^t (1 - ρ_t) v(x_t): rewards of a trajectory of ratios 1.
  baseline = evaluators.importance_sampling(
    v_tm1,
    v_t,
    (1.0 - rho_tm1) * v_tm1,
    discount_t,
    jnp.ones_like(rho_tm1),
  )
  return estimates + baseline


def make_evaluator(name: str) -> evaluators.Evaluator:
  """Returns the evaluator of a name of `SOURCES`, or `taylor_K`, K ≥ 1.

  Raises:
    ValueError: if none has the name.
  """
  if name == 'dice_with_baseline':
    return dice_with_baseline
  try:
    return derivative_accuracy.make_evaluator(name)
  except ValueError as error:
    raise ValueError(
      f'Unknown estimator {name!r}; choose from {", ".join(SOURCES)}, or a '
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
  rho = ratios.importance_ratios(
    games.lookup(games.joint_log_probs(own, other), rollouts),
    rollouts.log_prob,
  )
  v_tm1 = games.state_values(critic, rollouts)
  # After the last round there is nothing.
  v_t = jnp.concatenate([v_tm1[1:], jnp.zeros_like(v_tm1[:1])])
  discount_t = jnp.full_like(rho, game.discount).at[-1].set(0.0)
  estimates = jax.vmap(evaluator, in_axes=1, out_axes=1)(
    v_tm1, v_t, games.payoffs(game, rollouts), discount_t, rho
  )
  return jnp.mean(estimates[0])


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
