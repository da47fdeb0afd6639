"""Estimates of values, gradients and mixed Hessians."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.studies import opponent_shaping
from acme_metarl.studies.opponent_shaping import games


def _expected(game, players, enumerated, name):
  """E of value, of its gradient, and of the mixed Hessian, all games summed."""
  evaluator = opponent_shaping.make_evaluator(name)
  critic = jnp.array([-3.0, -1.0, 0.5, -2.0, 1.0])
  rollouts, prob = enumerated

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
  def test_unbiased_from_any_behaviour(
    self, short_game, players, all_rollouts, name
  ):
    behaviour = players + jnp.array([[0.5], [-0.8]])
    _assert_close(
      _expected(
        short_game, players, all_rollouts(short_game, *behaviour), name
      ),
      _exact(short_game, players),
      rtol=1e-9,
      atol=1e-11,
    )

  def test_on_policy_second_order_is_enough(
    self, short_game, players, all_rollouts
  ):
    _assert_close(
      _expected(
        short_game, players, all_rollouts(short_game, *players), 'taylor_2'
      ),
      _exact(short_game, players),
      rtol=1e-9,
      atol=1e-11,
    )

  @pytest.mark.parametrize('name', ['taylor_1', 'log_likelihood'])
  def test_first_order_misses_what_shapes(
    self, short_game, players, all_rollouts, name
  ):
    """The gradient is right, its derivative in the opponent is not."""
    value, gradient, hessian = _expected(
      short_game, players, all_rollouts(short_game, *players), name
    )
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
