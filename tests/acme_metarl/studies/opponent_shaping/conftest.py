"""Players, and games so short that all of them can be listed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.studies import opponent_shaping
from acme_metarl.studies.opponent_shaping import games


@pytest.fixture(scope='module')
def short_game():
  return opponent_shaping.prisoners_dilemma(0.9, 3)


@pytest.fixture(scope='module')
def players():
  return 0.7 * jax.random.normal(jax.random.PRNGKey(0), (2, 5))


@pytest.fixture(scope='session')
def all_rollouts():
  """Every game, `[T, 4^T]`, and its probability under the players."""

  def enumerate_games(game, own, other):
    outcomes = np.array(
      list(itertools.product(range(4), repeat=game.num_rounds))
    ).T
    states = np.concatenate([np.zeros_like(outcomes[:1]), 1 + outcomes[:-1]])
    cell = jnp.array(4 * states + outcomes)
    log_prob = games.joint_log_probs(own, other)[cell]
    return games.Rollouts(cell, log_prob), jnp.exp(log_prob.sum(0))

  return enumerate_games
