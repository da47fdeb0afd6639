"""The rules, and play by them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.studies import opponent_shaping
from acme_metarl.studies.opponent_shaping import games


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

  def test_mirror_is_the_other_players_view(self, players, all_rollouts):
    own, other = players
    rollouts, _ = all_rollouts(
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
