"""Look-aheads, replay and learners."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl.studies import opponent_shaping
from acme_metarl.studies.opponent_shaping import games, learning

_NUM_ROUNDS = 3


def _config(**changed):
  defaults = {'num_rollouts': 6, 'chunk_size': 4}
  return opponent_shaping.Config(**{**defaults, **changed})


class TestExactMetaGradient:
  @pytest.mark.parametrize('num_lookaheads', [1, 2])
  def test_is_the_finite_difference(self, short_game, players, num_lookaheads):
    config = _config(num_lookaheads=num_lookaheads)

    def adapted_value(own):
      other = players[1]
      for _ in range(num_lookaheads):
        other = other + 0.3 * jax.grad(
          lambda x: opponent_shaping.value(short_game, x, own)
        )(other)
      return opponent_shaping.value(short_game, own, other)

    step = 1e-5 * jnp.eye(5)
    ahead, behind = jax.jit(jax.vmap(jax.vmap(adapted_value)))(
      players[0] + jnp.array([step, -step])
    )
    differences = (ahead - behind) / 2e-5
    first, _ = opponent_shaping.exact_meta_gradient(short_game, config, players)
    np.testing.assert_allclose(first, differences, rtol=1e-6, atol=1e-9)

  def test_players_are_treated_alike(self, short_game, players):
    gradient = functools.partial(
      opponent_shaping.exact_meta_gradient, short_game, _config()
    )
    np.testing.assert_allclose(
      gradient(players)[::-1], gradient(players[::-1]), rtol=1e-12
    )


class TestLookAhead:
  def _derivatives(self, game, config, players, replay_of=None):
    """Learners after looking ahead, and their derivatives in the shapers."""
    init, _ = opponent_shaping.make_learner(game, config)
    replay = init(jax.random.PRNGKey(4)).replay

    @jax.jit
    def run(shapers):
      def adapted(x):
        return opponent_shaping.look_ahead(
          jax.random.PRNGKey(5),
          game,
          config,
          x,
          players[::-1],
          jnp.full((2, 5), -2.0),
          replay,
        )[0]

      return adapted(shapers), jax.jacobian(adapted)(shapers)

    return run(players)

  def test_exact(self, short_game, players):
    config = _config(inner='exact', num_lookaheads=2)
    learners, jacobian = self._derivatives(short_game, config, players)
    outer = jax.vmap(
      jax.grad(
        functools.partial(opponent_shaping.value, short_game), argnums=(0, 1)
      )
    )(players, learners)
    through = jnp.einsum('ij,ijkl->kl', outer[1], jacobian)
    np.testing.assert_allclose(
      outer[0] + through,
      opponent_shaping.exact_meta_gradient(short_game, config, players),
      rtol=1e-9,
    )

  @pytest.mark.parametrize('inexact', ['inner', 'hessian'])
  def test_ablations_mix_value_and_derivative(
    self, short_game, players, inexact
  ):
    exact = self._derivatives(short_game, _config(inner='exact'), players)
    sampled = self._derivatives(
      short_game, _config(inner='doubly_robust'), players
    )
    sources = {'inner': 'exact', 'hessian': 'exact', inexact: 'doubly_robust'}
    value, jacobian = self._derivatives(short_game, _config(**sources), players)
    expected = (sampled, exact) if inexact == 'inner' else (exact, sampled)
    np.testing.assert_allclose(value, expected[0][0], rtol=1e-10)
    np.testing.assert_allclose(jacobian, expected[1][1], rtol=1e-9, atol=1e-12)
    assert np.abs(exact[0] - sampled[0]).max() > 1e-3
    assert np.abs(exact[1] - sampled[1]).max() > 1e-3

  def test_players_do_not_touch_each_others_look_ahead(
    self, short_game, players
  ):
    config = _config(replay_size=24, num_lookaheads=2)
    _, jacobian = self._derivatives(short_game, config, players)
    np.testing.assert_array_equal(jacobian[0, :, 1], 0.0)
    np.testing.assert_array_equal(jacobian[1, :, 0], 0.0)
    assert np.abs(jacobian[0, :, 0]).max() > 1e-3


class TestReplay:
  def test_first_in_first_out_as_both_saw_them(self, players):
    game = opponent_shaping.prisoners_dilemma(num_rounds=5)
    config = _config(replay_size=24)
    init, _ = opponent_shaping.make_learner(game, config)
    old = init(jax.random.PRNGKey(0)).replay
    assert old.cell.shape == (2, 5, 24)
    _, new = opponent_shaping.look_ahead(
      jax.random.PRNGKey(1),
      game,
      config,
      players,
      players[::-1],
      jnp.zeros((2, 5)),
      old,
    )
    # 2 x 6 fresh games went in, as many old ones went out.
    np.testing.assert_array_equal(new.cell[..., :12], old.cell[..., 12:])
    fresh = jax.tree.map(lambda x: x[..., 12:], new)
    for view, other_view in ((0, 1), (1, 0)):
      seen = jax.tree.map(lambda x, i=view: x[i], fresh)
      # The learner in the look-ahead of player i is the other player.
      own, other = players[1 - view], players[view]
      np.testing.assert_allclose(
        games.joint_log_probs(own, other)[seen.cell], seen.log_prob
      )
      mirrored = opponent_shaping.mirror(
        jax.tree.map(lambda x, i=other_view: x[i], fresh)
      )
      np.testing.assert_array_equal(
        np.sort(seen.cell, axis=-1), np.sort(mirrored.cell, axis=-1)
      )

  def test_old_games_do_not_bias(self, players):
    """A buffer of other players' games gives the same gradient on average."""
    game = opponent_shaping.prisoners_dilemma(num_rounds=4)
    rollouts = opponent_shaping.play(
      jax.random.PRNGKey(3), game, *(players + 0.4), 40_000
    )
    gradients = jax.jit(
      jax.vmap(
        lambda cell, log_prob: opponent_shaping.estimate_gradient(
          game,
          *players,
          jnp.full(5, -3.0),
          games.Rollouts(cell, log_prob),
          opponent_shaping.make_evaluator('doubly_robust'),
        )
      )
    )(*(x.reshape(4, 100, 400).swapaxes(0, 1) for x in rollouts))
    exact = jax.grad(opponent_shaping.value, argnums=1)(game, *players)
    stderr = gradients.std(axis=0, ddof=1) / np.sqrt(100)
    assert np.all(np.abs(gradients.mean(axis=0) - exact) < 4 * stderr)
    assert np.all(stderr < 0.03)


class TestLearner:
  def _run(self, config, num_updates, num_seeds=1, num_rounds=20, exact=False):
    game = opponent_shaping.prisoners_dilemma(num_rounds=num_rounds)
    init, update = opponent_shaping.make_learner(game, config)

    @jax.jit
    @jax.vmap
    def train(key):
      return jax.lax.scan(
        lambda state, _: update(state, exact),
        init(key),
        None,
        length=num_updates,
      )

    return train(jax.random.split(jax.random.PRNGKey(0), num_seeds))

  def test_exact_gradients_cooperate(self):
    config = _config(inner='exact', outer='exact')
    state, metrics = self._run(config, 300, num_rounds=100)
    assert metrics.mean_payoff[0, 0] == pytest.approx(-1.5, abs=1e-4)
    assert metrics.mean_payoff[0, -1] > -1.01
    np.testing.assert_allclose(metrics.correlation, 1.0, rtol=1e-6)
    # Each cooperates after cooperation, and not after being exploited.
    cooperation = jax.nn.sigmoid(state.logits[0])
    assert np.all(cooperation[:, 1] > 0.95)
    assert np.all(cooperation[:, 4] < 0.5)

  def test_update_estimates_what_it_says(self):
    """Many games: the estimated meta-gradient is close to the exact one."""
    config = _config(num_rollouts=100_000, chunk_size=2_000, initial_scale=0.5)
    _, metrics = self._run(config, 1, num_rounds=4)
    assert metrics.correlation[0, 0] > 0.9
    assert metrics.correlation_exact_outer[0, 0] > 0.99

  def test_seeds_have_their_own_games(self):
    _, metrics = self._run(_config(replay_size=24), 2, num_seeds=2)
    assert np.all(metrics.correlation[0] != metrics.correlation[1])

  def test_follow_exact_takes_the_exact_path(self, short_game):
    config = _config(inner='taylor_2', initial_scale=0.5)
    state, metrics = self._run(config, 3, num_rounds=_NUM_ROUNDS, exact=True)
    assert np.all(metrics.correlation < 0.999)
    init, _ = opponent_shaping.make_learner(short_game, config)
    keys = jax.random.split(jax.random.PRNGKey(0), 1)
    logits = init(keys[0]).logits
    optimizer = optax.adam(config.outer_step_size)
    opt_state = optimizer.init(logits)
    for _ in range(3):
      gradient = opponent_shaping.exact_meta_gradient(
        opponent_shaping.prisoners_dilemma(num_rounds=_NUM_ROUNDS),
        config,
        logits,
      )
      updates, opt_state = optimizer.update(-gradient, opt_state)
      logits = logits + updates
    np.testing.assert_allclose(state.logits[0], logits, rtol=1e-6)

  def test_critics_learn_the_returns(self):
    game = opponent_shaping.prisoners_dilemma(num_rounds=2)
    rollouts = opponent_shaping.play(
      jax.random.PRNGKey(0), game, jnp.zeros(5), jnp.zeros(5), 10_000
    )
    rollouts = jax.tree.map(lambda x: jnp.stack([x, x]), rollouts)
    gradient = jax.grad(learning._critic_loss)

    def descend(critics, _):
      return critics - gradient(critics, game, rollouts), None

    critics, _ = jax.jit(lambda x: jax.lax.scan(descend, x, None, length=200))(
      jnp.zeros((2, 5))
    )
    # Payoffs of random play are -1.5, its second round is its last.
    expected = [-1.5 * (1 + game.discount), -1.5, -1.5, -1.5, -1.5]
    np.testing.assert_allclose(critics[0], expected, atol=0.1)

  @pytest.mark.learning
  @pytest.mark.parametrize(
    ('inner', 'cooperates'), [('taylor_2', True), ('taylor_1', False)]
  )
  def test_first_order_cannot_shape(self, inner, cooperates):
    config = opponent_shaping.Config(
      inner=inner,
      outer='exact',
      num_rollouts=512,
      replay_size=1024,
      critic_step_size=1.0,
    )
    _, metrics = self._run(config, 100, num_seeds=3, num_rounds=100)
    final = metrics.mean_payoff[:, -1]
    assert np.all(final > -1.25) if cooperates else np.all(final < -1.9)


@pytest.mark.parametrize(
  ('changed', 'match'),
  [
    ({'inner': 'lola'}, "'lola'"),
    ({'hessian': 'lola'}, "'lola'"),
    ({'outer': 'taylor_0'}, "'taylor_0'"),
    ({'num_lookaheads': 0}, 'num_lookaheads is 0'),
    ({'replay_size': 100}, 'replay_size is 100'),
    ({'replay_size': -256}, 'replay_size is -256'),
    ({'inner_step_size': 0.0}, 'inner_step_size is 0.0'),
    ({'initial_scale': -1.0}, 'initial_scale is -1.0'),
    ({'chunk_size': 0}, 'chunk_size is 0'),
  ],
)
def test_config_refuses(changed, match):
  with pytest.raises(ValueError, match=match):
    opponent_shaping.Config(**changed)
