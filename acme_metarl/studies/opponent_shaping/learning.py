"""Learning with opponent-learning awareness: LOLA and LOLA-DiCE.

Each player climbs its own return after the other one has learned for a few
steps, and differentiates through that learning:

    max over θ_1 of V_1(θ_1, θ_2'), θ_2' = θ_2 + η ∇_{θ_2} V_2(θ_1, θ_2),

repeated for more look-ahead steps, and the same with the players swapped. That
is one-step meta-reinforcement learning: ∇V_2 is an inner gradient, and its
derivative in θ_1 a (mixed) Hessian. So everything that estimates meta-gradients
can be used, from fresh games or from a buffer of past ones.

`init, update = make_learner(game, config)` are pure functions: `jax.jit`,
`jax.vmap` over keys and `jax.lax.scan` over updates as you like.

See "Learning with Opponent-Learning Awareness" by Foerster et al. (2018),
https://arxiv.org/abs/1709.04326, "DiCE: The Infinitely Differentiable Monte
Carlo Estimator" by Foerster et al. (2018), https://arxiv.org/abs/1802.05098,
and, for the buffer and the ablations, "A Theoretical Understanding of Gradient
Bias in Meta-Reinforcement Learning" by Liu et al. (2022),
https://arxiv.org/abs/2112.15400.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import optax

from acme_metarl.evaluators import recurrences
from acme_metarl.studies import derivative_accuracy
from acme_metarl.studies.opponent_shaping import estimation, games

NUM_PLAYERS = 2


@dataclasses.dataclass(frozen=True)
class Config:
  """How the two players learn.

  Attributes:
    inner: where the other's gradient in a look-ahead comes from, a name of
      `SOURCES` or `taylor_K`.
    hessian: where the derivative of that gradient comes from; None for the
      derivative of the very same estimate. With another name the look-ahead
      moves by the one and is differentiated as the other.
    outer: where the gradient after the look-ahead comes from.
    num_lookaheads: learning steps of the other player, at least 1.
    replay_size: size of the first-in-first-out buffer of past games that look-
      aheads learn from. Before each look-ahead `num_rollouts` fresh games per
      player go in. 0 for fresh games only.
    num_rollouts: games per batch.
    inner_step_size: of the look-ahead, plain gradient ascent.
    outer_step_size: of Adam on the logits.
    critic_step_size: of Adam on the critics, one value per state, fitted to
      the discounted returns of the outer games.
    initial_scale: standard deviation of the initial logits; 0 starts both
      players at random play.
    chunk_size: games differentiated at a time in a look-ahead, see
      `estimate_gradient`.
  """

  inner: str = 'doubly_robust'
  hessian: str | None = None
  outer: str = 'doubly_robust'
  num_lookaheads: int = 1
  replay_size: int = 0
  num_rollouts: int = 128
  inner_step_size: float = 0.3
  outer_step_size: float = 0.1
  critic_step_size: float = 0.1
  initial_scale: float = 0.0
  chunk_size: int = 32

  def __post_init__(self):
    for name in ('inner', 'hessian', 'outer'):
      source = getattr(self, name)
      if source not in (None, estimation.EXACT):
        estimation.make_evaluator(source)
    for name in ('num_lookaheads', 'num_rollouts', 'chunk_size'):
      if getattr(self, name) < 1:
        raise ValueError(
          f'{name} is {getattr(self, name)}; it needs to be at least 1.'
        )
    for name in ('inner_step_size', 'outer_step_size', 'critic_step_size'):
      if not getattr(self, name) > 0:
        raise ValueError(
          f'{name} is {getattr(self, name)}; it needs to be positive.'
        )
    if not self.initial_scale >= 0:
      raise ValueError(
        f'initial_scale is {self.initial_scale}; it needs to be at least 0.'
      )
    fresh = NUM_PLAYERS * self.num_rollouts
    if self.replay_size < 0 or self.replay_size % fresh:
      raise ValueError(
        f'replay_size is {self.replay_size}; it needs to be 0 or a multiple of '
        f'{fresh}, the {NUM_PLAYERS} x {self.num_rollouts} games that go in at '
        'a time.'
      )

  @property
  def sampled_look_ahead(self) -> bool:
    """Whether look-aheads need games at all."""
    return {self.inner, self.hessian or self.inner} != {estimation.EXACT}


class State(NamedTuple):
  """What the two players know. Leading axes `[2]` are players.

  Attributes:
    logits: `[2, 5]`.
    critics: `[2, 5]`.
    logits_opt_state: of the players' optimiser.
    critics_opt_state: of the critics'.
    replay: `[2, T, replay_size]`, the same games twice: first as the opponent
      of the first player saw them, then as that of the second.
    key: random key of the next update.
  """

  logits: chex.Array
  critics: chex.Array
  logits_opt_state: optax.OptState
  critics_opt_state: optax.OptState
  replay: games.Rollouts
  key: chex.PRNGKey


class Metrics(NamedTuple):
  """What one update looked like, before it was made; scalars.

  Attributes:
    mean_payoff: exact expected payoff per round, undiscounted, mean of both
      players: -1 is cooperation and -2 is defection.
    correlation: Pearson's, of the components of the estimated meta-gradient
      with the exact one, mean of both players.
    correlation_exact_outer: the same with an exact outer gradient, taken after
      the estimated look-ahead and pulled back through it.
  """

  mean_payoff: chex.Array
  correlation: chex.Array
  correlation_exact_outer: chex.Array


def make_learner(
  game: games.RepeatedGame, config: Config
) -> tuple[
  Callable[[chex.PRNGKey], State], Callable[..., tuple[State, Metrics]]
]:
  """Returns `init(key) -> state` and `update(state) -> (state, metrics)`.

  `update(state, follow_exact=True)`, which may be traced, estimates as always,
  but takes the exact meta-gradient: so different estimators can be measured at
  the same policies.
  """
  logits_optimizer = optax.adam(config.outer_step_size)
  critics_optimizer = optax.adam(config.critic_step_size)

  def init(key: chex.PRNGKey) -> State:
    key, logits_key, replay_key = jax.random.split(key, 3)
    shape = (NUM_PLAYERS, games.NUM_STATES)
    logits = config.initial_scale * jax.random.normal(logits_key, shape)
    critics = jnp.zeros(shape)
    batch = _play(
      replay_key, game, logits[::-1], logits, config.replay_size // NUM_PLAYERS
    )
    return State(
      logits,
      critics,
      logits_optimizer.init(logits),
      critics_optimizer.init(critics),
      _as_both_saw(batch),
      key,
    )

  def update(
    state: State, follow_exact: chex.Numeric = False
  ) -> tuple[State, Metrics]:
    key, look_ahead_key, outer_key = jax.random.split(state.key, 3)
    metrics, gradient, exact, replay, rollouts = _meta_gradient(
      game, config, state, look_ahead_key, outer_key
    )
    gradient = jnp.where(follow_exact, exact, gradient)
    updates, logits_opt_state = logits_optimizer.update(
      -gradient, state.logits_opt_state
    )
    critic_gradient = jax.grad(_critic_loss)(state.critics, game, rollouts)
    critic_updates, critics_opt_state = critics_optimizer.update(
      critic_gradient, state.critics_opt_state
    )
    state = State(
      state.logits + updates,
      state.critics + critic_updates,
      logits_opt_state,
      critics_opt_state,
      replay,
      key,
    )
    return state, metrics

  return init, update


def look_ahead(
  key: chex.PRNGKey,
  game: games.RepeatedGame,
  config: Config,
  shapers: chex.Array,
  learners: chex.Array,
  critics: chex.Array,
  replay: games.Rollouts,
) -> tuple[chex.Array, games.Rollouts]:
  """Lets each player's opponent learn; differentiable in the shapers' logits.

  Args:
    key: random key.
    game: the game.
    config: how they learn.
    shapers: `[2, 5]` logits of the players who look ahead.
    learners: `[2, 5]` logits of their opponents before learning.
    critics: `[2, 5]` the learners' critics.
    replay: `[2, T, replay_size]` past games as the *learners* saw them.

  Returns:
    The learners' logits `[2, 5]` after `num_lookaheads` steps, and the replay.
  """
  for step_key in jax.random.split(key, config.num_lookaheads):
    rollouts = None
    if config.sampled_look_ahead:
      rollouts = _play(step_key, game, learners, shapers, config.num_rollouts)
      if config.replay_size:
        rollouts = replay = _push(replay, _as_both_saw(rollouts))
    gradient = functools.partial(
      _inner_gradient, game, config, learners, shapers, critics, rollouts
    )
    if config.hessian in (None, config.inner):
      step = gradient(config.inner)
    else:
      hessian = gradient(config.hessian)
      # The value of the one, the derivative of the other.
      step = lax.stop_gradient(gradient(config.inner) - hessian) + hessian
    learners = learners + config.inner_step_size * step
  return learners, replay


def joint_payoff(game: games.RepeatedGame, logits: chex.Array) -> chex.Array:
  """Returns the exact payoff per round, mean of both players `[2, 5]`."""
  first, second = logits
  return 0.5 * (
    games.mean_payoff(game, first, second)
    + games.mean_payoff(game, second, first)
  )


def exact_meta_gradient(
  game: games.RepeatedGame, config: Config, logits: chex.Array
) -> chex.Array:
  """Returns the meta-gradients `[2, 5]` of both players, nothing estimated."""

  def adapted_value(own, other):
    for _ in range(config.num_lookaheads):
      gradient = jax.grad(games.value, argnums=1)(game, other, own)
      other = other + config.inner_step_size * gradient
    return games.value(game, own, other)

  return jax.vmap(jax.grad(adapted_value))(logits, logits[::-1])


def _meta_gradient(
  game: games.RepeatedGame,
  config: Config,
  state: State,
  look_ahead_key: chex.PRNGKey,
  outer_key: chex.PRNGKey,
) -> tuple[Metrics, chex.Array, chex.Array, games.Rollouts, games.Rollouts]:
  """Returns metrics, meta-gradient, the exact one, replay and outer games."""
  logits = state.logits

  def adapt_opponents(shapers):
    return look_ahead(
      look_ahead_key,
      game,
      config,
      shapers,
      logits[::-1],
      state.critics[::-1],
      state.replay,
    )

  adapted, pull_back, replay = jax.vjp(adapt_opponents, logits, has_aux=True)
  rollouts = _play(outer_key, game, logits, adapted, config.num_rollouts)

  outer_gradient = functools.partial(
    _outer_gradient, game, logits, adapted, state.critics, rollouts
  )
  # Pulled back together, which is cheaper than one after the other.
  own, through_other = jax.tree.map(
    lambda *x: jnp.stack(x),
    outer_gradient(config.outer),
    outer_gradient(estimation.EXACT),
  )
  gradient, exact_outer = own + jax.vmap(pull_back)(through_other)[0]
  exact = exact_meta_gradient(game, config, logits)
  correlation = jax.vmap(derivative_accuracy.correlation)
  metrics = Metrics(
    joint_payoff(game, logits),
    jnp.mean(correlation(gradient, exact)),
    jnp.mean(correlation(exact_outer, exact)),
  )
  return metrics, gradient, exact, replay, rollouts


def _inner_gradient(
  game, config, learners, shapers, critics, rollouts, source
) -> chex.Array:
  """The learners' gradients `[2, 5]` from one source."""
  if source == estimation.EXACT:
    gradient = jax.grad(games.value, argnums=1)
    return jax.vmap(functools.partial(gradient, game))(learners, shapers)
  gradient = functools.partial(
    estimation.estimate_gradient,
    game,
    evaluator=estimation.make_evaluator(source),
    chunk_size=config.chunk_size,
  )
  return jax.vmap(
    lambda own, other, critic, games_: gradient(own, other, critic, games_)
  )(learners, shapers, critics, rollouts)


def _outer_gradient(
  game, logits, adapted, critics, rollouts, source
) -> tuple[chex.Array, chex.Array]:
  """Gradients of own values in own and in the others' logits, `[2, 5]` each."""
  if source == estimation.EXACT:
    gradient = jax.grad(games.value, argnums=(1, 2))
    return jax.vmap(functools.partial(gradient, game))(logits, adapted)
  evaluator = estimation.make_evaluator(source)

  def estimate(own, other, critic, rollouts):
    return estimation.estimate_value(
      game, own, other, critic, rollouts, evaluator
    )

  return jax.vmap(jax.grad(estimate, argnums=(0, 1)))(
    logits, adapted, critics, rollouts
  )


def _critic_loss(
  critics: chex.Array, game: games.RepeatedGame, rollouts: games.Rollouts
) -> chex.Array:
  """Mean squared distance from the discounted returns, summed over players."""
  payoffs = games.payoffs(game, rollouts)  # [2, T, B]
  discounted_sums = jax.vmap(  # Over players, then games.
    jax.vmap(recurrences.linear, in_axes=(None, 1, 0), out_axes=1),
    in_axes=(None, 0, 0),
  )
  returns = discounted_sums(
    jnp.full(payoffs.shape[1], game.discount, payoffs.dtype),
    payoffs,
    jnp.zeros_like(payoffs[:, 0]),
  )
  values = jax.vmap(games.state_values)(critics, rollouts)
  return NUM_PLAYERS * jnp.mean((values - returns) ** 2)


def _play(key, game, own, other, num_rollouts) -> games.Rollouts:
  """Plays one batch per row of logits `[2, 5]`; `[2, T, B]` as own saw them."""
  return jax.vmap(lambda k, x, y: games.play(k, game, x, y, num_rollouts))(
    jax.random.split(key, NUM_PLAYERS), own, other
  )


def _as_both_saw(batch: games.Rollouts) -> games.Rollouts:
  """Joins two players' batches `[2, T, B]` into `[2, T, 2B]`, seen by each."""
  return jax.tree.map(
    lambda mine, theirs: jnp.concatenate([mine, theirs], axis=-1),
    batch,
    jax.tree.map(lambda x: x[::-1], games.mirror(batch)),
  )


def _push(replay: games.Rollouts, batch: games.Rollouts) -> games.Rollouts:
  """First in, first out."""
  return jax.tree.map(
    lambda old, new: jnp.concatenate([old[..., new.shape[-1] :], new], axis=-1),
    replay,
    batch,
  )
