"""Tests of `acme_metarl.opponent_shaping`."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import opponent_shaping
from acme_metarl.opponent_shaping import games, learning

_NUM_ROUNDS = 3


@pytest.fixture(scope='module')
def short_game():
  return opponent_shaping.prisoners_dilemma(0.9, _NUM_ROUNDS)


@pytest.fixture(scope='module')
def players():
  return 0.7 * jax.random.normal(jax.random.PRNGKey(0), (2, 5))


def _by_recursion(game, own, other):
  """V by stepping through states, in the words of the rules."""
  own, other = (1 / (1 + np.exp(-np.asarray(x))) for x in (own, other))
  # States as the players call them: start, CC, CD, DC, DD, own action first.
  swapped = {0: 0, 1: 1, 2: 3, 3: 2, 4: 4}
  values = np.zeros(5)
  for _ in range(game.num_rounds):
    new = np.zeros(5)
    for state in range(5):
      p, q = own[state], other[swapped[state]]
      for a, b in itertools.product((0, 1), (0, 1)):
        prob = (1 - p if a else p) * (1 - q if b else q)
        following = values[1 + 2 * a + b]
        new[state] += prob * (game.payoff[a][b] + game.discount * following)
    values = new
  return values[0]


def _all_rollouts(game, own, other):
  """Every game, `[T, 64]`, and its probability under the players."""
  outcomes = np.array(
    list(itertools.product(range(4), repeat=game.num_rounds))
  ).T
  states = np.concatenate([np.zeros_like(outcomes[:1]), 1 + outcomes[:-1]])
  cell = jnp.array(4 * states + outcomes)
  log_prob = games.joint_log_probs(own, other)[cell]
  return games.Rollouts(cell, log_prob), jnp.exp(log_prob.sum(0))


class TestGames:
  @pytest.mark.parametrize('num_rounds', [1, 2, 3, 6, 7, 100])
  def test_value_is_that_of_the_rules(self, players, num_rounds):
    game = opponent_shaping.RepeatedGame(
      ((-1.0, -3.0), (0.5, -2.0)), 0.96, num_rounds
    )
    for own, other in (players, players[::-1]):
      np.testing.assert_allclose(
        opponent_shaping.value(game, own, other),
        _by_recursion(game, own, other),
        rtol=1e-12,
      )

  def test_known_players(self):
    game = opponent_shaping.prisoners_dilemma(num_rounds=10)
    cooperator, defector = jnp.full(5, 100.0), jnp.full(5, -100.0)
    tit_for_tat = jnp.array([1.0, 1.0, -1.0, 1.0, -1.0]) * 100
    payoff = functools.partial(opponent_shaping.mean_payoff, game)
    np.testing.assert_allclose(payoff(cooperator, tit_for_tat), -1.0)
    np.testing.assert_allclose(payoff(defector, cooperator), 0.0, atol=1e-12)
    np.testing.assert_allclose(payoff(cooperator, defector), -3.0)
    # Exploited once, then both defect.
    np.testing.assert_allclose(payoff(tit_for_tat, defector), -2.1)
    np.testing.assert_allclose(payoff(defector, tit_for_tat), -1.8)

  def test_play_is_distributed_as_the_players_say(self, players):
    game = opponent_shaping.prisoners_dilemma(num_rounds=4)
    rollouts = opponent_shaping.play(
      jax.random.PRNGKey(1), game, *players, 50_000
    )
    assert rollouts.cell.shape == rollouts.log_prob.shape == (4, 50_000)
    np.testing.assert_allclose(
      rollouts.log_prob, games.joint_log_probs(*players)[rollouts.cell]
    )
    discounts = game.discount ** np.arange(4)[:, None]
    for seen, (own, other) in (
      (rollouts, players),
      (opponent_shaping.mirror(rollouts), players[::-1]),
    ):
      returns = (discounts * opponent_shaping.payoffs(game, seen)).sum(0)
      error = returns.mean() - opponent_shaping.value(game, own, other)
      assert abs(error) < 4 * returns.std() / np.sqrt(50_000)

  def test_mirror_is_the_other_players_view(self, players):
    own, other = players
    rollouts, _ = _all_rollouts(
      opponent_shaping.prisoners_dilemma(num_rounds=2), own, other
    )
    mirrored = opponent_shaping.mirror(rollouts)
    np.testing.assert_allclose(
      games.joint_log_probs(other, own)[mirrored.cell], rollouts.log_prob
    )
    np.testing.assert_array_equal(
      opponent_shaping.mirror(mirrored).cell, rollouts.cell
    )

  @pytest.mark.parametrize(
    ('arguments', 'match'),
    [
      ({'payoff': ((1.0, 2.0),)}, 'payoff'),
      ({'discount': 1.1}, 'discount is 1.1'),
      ({'num_rounds': 0}, 'num_rounds is 0'),
    ],
  )
  def test_refuses(self, arguments, match):
    arguments = {'payoff': ((0.0, 0.0), (0.0, 0.0)), **arguments}
    with pytest.raises(ValueError, match=match):
      opponent_shaping.RepeatedGame(**arguments)


def _expected(game, players, behaviour, name):
  """E of value, of its gradient, and of the mixed Hessian, all games summed."""
  evaluator = opponent_shaping.make_evaluator(name)
  critic = jnp.array([-3.0, -1.0, 0.5, -2.0, 1.0])
  rollouts, prob = _all_rollouts(game, *behaviour)

  @jax.jit
  def derivatives(own, other):
    def expectation(own, other):
      estimates = jax.vmap(
        lambda cell, log_prob: opponent_shaping.estimate_value(
          game,
          own,
          other,
          critic,
          games.Rollouts(cell[:, None], log_prob[:, None]),
          evaluator,
        ),
        in_axes=1,
      )(*rollouts)
      return jnp.sum(prob * estimates)

    return (
      expectation(own, other),
      jax.grad(expectation, argnums=(0, 1))(own, other),
      jax.jacobian(jax.grad(expectation), argnums=1)(own, other),
    )

  return derivatives(*players)


@functools.partial(jax.jit, static_argnums=0)
def _exact(game, players):
  value = functools.partial(opponent_shaping.value, game)
  return (
    value(*players),
    jax.grad(value, argnums=(0, 1))(*players),
    jax.jacobian(jax.grad(value), argnums=1)(*players),
  )


def _assert_close(actual, expected, **tolerance):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, **tolerance), actual, expected
  )


class TestEstimation:
  """Expectations as sums over all 64 games of three rounds."""

  @pytest.mark.parametrize(
    'name',
    ['importance_sampling', 'dice_with_baseline', 'doubly_robust', 'taylor_3'],
  )
  def test_unbiased_from_any_behaviour(self, short_game, players, name):
    behaviour = players + jnp.array([[0.5], [-0.8]])
    _assert_close(
      _expected(short_game, players, behaviour, name),
      _exact(short_game, players),
      rtol=1e-9,
      atol=1e-11,
    )

  def test_on_policy_second_order_is_enough(self, short_game, players):
    _assert_close(
      _expected(short_game, players, players, 'taylor_2'),
      _exact(short_game, players),
      rtol=1e-9,
      atol=1e-11,
    )

  @pytest.mark.parametrize('name', ['taylor_1', 'log_likelihood'])
  def test_first_order_misses_what_shapes(self, short_game, players, name):
    """The gradient is right, its derivative in the opponent is not."""
    value, gradient, hessian = _expected(short_game, players, players, name)
    exact_value, exact_gradient, exact_hessian = _exact(short_game, players)
    np.testing.assert_allclose(value, exact_value, rtol=1e-9)
    _assert_close(gradient, exact_gradient, rtol=1e-9)
    assert np.abs(hessian - exact_hessian).max() > 0.05
    if name == 'log_likelihood':
      np.testing.assert_allclose(hessian, 0.0, atol=1e-12)
    else:
      # Only moves of the same round: CD to the one is DC to the other.
      same_round = np.eye(5)[[0, 1, 3, 2, 4]]
      np.testing.assert_allclose(hessian * (1 - same_round), 0.0, atol=1e-12)
      assert np.all(hessian[same_round > 0] != 0)

  def test_dice_with_baseline_by_hand(self):
    v, r = jnp.array([2.0, 3.0]), jnp.array([1.0, -1.0])
    rho, discount = jnp.array([0.5, 2.0]), jnp.array([0.9, 0.0])
    actual = opponent_shaping.dice_with_baseline(v, v, r, discount, rho)
    second = 2.0 * -1.0 + (1 - 2.0) * 3.0
    first = 0.5 * (1 + 0.9 * 2.0 * -1.0) + (1 - 0.5) * 2.0 + 0.9 * -1.0 * 3.0
    np.testing.assert_allclose(actual, [first, second])

  def test_chunks_change_nothing(self, short_game, players):
    rollouts = opponent_shaping.play(
      jax.random.PRNGKey(2), short_game, *players, 12
    )
    critic = jnp.linspace(-2, -1, 5)

    def derivatives(chunk_size):
      def gradient(own, other):
        return opponent_shaping.estimate_gradient(
          short_game,
          own,
          other,
          critic,
          rollouts,
          opponent_shaping.make_evaluator('doubly_robust'),
          chunk_size,
        )

      return jax.jit(
        lambda x, y: (gradient(x, y), jax.jacobian(gradient)(x, y))
      )(players[0] + 0.3, players[1])

    whole = derivatives(None)
    for chunk_size in (5, 100):  # 5 does not divide 12, 4 does.
      _assert_close(derivatives(chunk_size), whole, rtol=1e-10, atol=1e-12)

  def test_unknown_estimator(self):
    with pytest.raises(ValueError, match='dice_with_baseline'):
      opponent_shaping.make_evaluator('lola')


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
