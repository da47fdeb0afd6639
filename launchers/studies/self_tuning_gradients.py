"""How good meta-gradients of a few numbers are, against a larger batch.

At checkpoints of one run of A2C, the same for all arms: the meta-gradient of an
arm from as many environments as the arm has, many times, and the mean of it
over `_FACTOR` times as many at once.
"""

from collections.abc import Callable, Sequence
import csv
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import self_tuning
from acme_metarl.launchers.runs import outputs
from acme_metarl.launchers.studies import self_tuning_games
from acme_metarl.self_tuning import hyperparameters, playing

_FACTOR = 64
_NUM_CHECKPOINTS = 5
_NUM_SAMPLES = 16
# Steps that environments are played before they count.
_WARM_UP = 100


def run(
  directory: pathlib.Path,
  game: str,
  arms: Sequence[str],
  num_steps: int,
  seed: int,
) -> list[str]:
  """Measures at five checkpoints what is not stored; returns files' names.

  Args:
    directory: of the study.
    game: one of `self_tuning_games.GAMES`.
    arms: of the game; those that tune nothing, or have networks of their own,
      are left out.
    num_steps: of the run of A2C.
    seed: of everything.
  """
  made = self_tuning_games.GAMES[game]
  base, config = made.trainer('a2c'), made.config('a2c')
  arms = [
    arm
    for arm in arms
    if made.config(arm).tuned and made.config(arm).critic == config.critic
  ]
  if not arms:
    raise ValueError('arms: none of them tunes what A2C has networks for.')
  per_iteration = config.num_inner_steps * config.num_rollouts * config.horizon
  iterations = max(1, round(num_steps / per_iteration / _NUM_CHECKPOINTS))
  advance = jax.jit(lambda state: base.advance(state, iterations)[0])
  play = jax.jit(_played(made), static_argnums=2)
  state = jax.jit(base.init)(jax.random.PRNGKey(seed))
  estimates = {arm: _estimate(made, arm) for arm in arms}
  name = f'{game}_meta_gradients.csv'
  rows = _stored(directory / name, seed)
  for checkpoint in range(_NUM_CHECKPOINTS):
    state = advance(state)
    steps = (checkpoint + 1) * iterations * per_iteration
    missing = [arm for arm in arms if (arm, steps) not in rows]
    if not missing:
      continue
    life = state.tuner.meta_params
    key = jax.random.fold_in(jax.random.PRNGKey(seed), checkpoint)
    first, *keys = jax.random.split(key, _NUM_SAMPLES + 1)
    # The same environments for all arms.
    many = play(life.params, first, _FACTOR)
    few = [play(life.params, x, 1) for x in keys]
    for arm in missing:
      estimate = estimates[arm]
      samples = np.stack([estimate(life, x) for x in few])
      rows[arm, steps] = {
        'game': game,
        'arm': arm,
        'seed': seed,
        'steps': steps,
        **accuracy(samples, np.asarray(estimate(life, many))),
      }
      in_order = sorted(rows.values(), key=lambda row: int(row['steps']))
      outputs.write_csv(directory / name, in_order)
  return [name]


def _stored(
  path: pathlib.Path, seed: int
) -> dict[tuple[str, int], dict[str, Any]]:
  """Rows of a run that was ended, by arm and steps.

  A2C comes by the same checkpoints again where rounding is the same: on as many
  cores, with the same JAX.
  """
  if not path.exists():
    return {}
  with path.open(newline='') as file:
    rows = list(csv.DictReader(file))
  return {
    (row['arm'], int(row['steps'])): row
    for row in rows
    if row.get('seed') == str(seed)
  }


def accuracy(samples: np.ndarray, reference: np.ndarray) -> dict[str, float]:
  """Of estimates `[N, D]` of a vector `[D]`.

  Args:
    samples: estimates.
    reference: what they estimate, known better.

  Returns:
    `correlation`, the mean over estimates of the cosine with the reference;
    `correlation_error`, its standard error; `relative_variance`,
    the sum of the variances over the squared norm of the reference; and that
    norm.

  Example:
    >>> accuracy(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([2.0, 0.0]))
    {'correlation': 1.0, 'correlation_error': 0.0, 'relative_variance': 0.5,
     'norm': 2.0}
  """
  norm = float(np.linalg.norm(reference))
  norms = np.linalg.norm(samples, axis=1)
  cosines = samples @ reference / (norms * norm)
  return {
    'correlation': round(float(np.mean(cosines)), 4),
    'correlation_error': round(
      float(np.std(cosines, ddof=1) / len(cosines) ** 0.5), 4
    ),
    'relative_variance': round(
      float(np.sum(np.var(samples, axis=0, ddof=1)) / norm**2), 4
    ),
    'norm': float(f'{norm:.4g}'),
  }


def _played(made: self_tuning_games.Game) -> Callable[..., playing.Players]:
  """A function that plays environments of their own for a while."""
  config, environment = made.config('a2c'), made.make()
  act = _act(config, environment)

  def play(params, key, factor):
    num = factor * config.num_rollouts
    arena = playing.Arena(environment, num, _WARM_UP, made.time_limit)
    return arena.play(act, params, arena.init(key))[1]

  return play


def _estimate(
  made: self_tuning_games.Game, arm: str
) -> Callable[..., jax.Array]:
  """A function of A2C's life and of environments: a meta-gradient `[D]`."""
  config, environment = made.config(arm), made.make()
  networks = config.make_networks(
    environment.action_spec(), environment.observation_spec()
  )
  tuner = self_tuning.Tuner(config, networks)
  act = _act(config, environment)
  # The start values are those that A2C has.
  tuned = hyperparameters.initial(config.hyperparameters, config.ranges)

  @jax.jit
  def estimate(life, players):
    num = players.elapsed.shape[0]
    arena = playing.Arena(environment, num, config.horizon, made.time_limit)

    def play(params, players):
      stage, players, _ = arena.play(act, params, players)
      return stage, players

    first, players = play(life.params, players)
    gradient, _ = jax.grad(tuner.meta_loss, has_aux=True)(
      tuned, life, first, play, players
    )
    return jnp.stack(list(gradient.values()))

  return estimate


def _act(config: self_tuning.SelfTuningConfig, environment: Any) -> playing.Act:
  networks = config.make_networks(
    environment.action_spec(), environment.observation_spec()
  )

  def act(params, observation):
    evaluation = networks.apply(params, observation, config.hyperparameters)
    return evaluation.distribution

  return act
