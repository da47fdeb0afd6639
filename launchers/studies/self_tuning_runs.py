"""Runs of the studies of self-tuning: kept, gone on with, never repeated.

A run is a file of its own, `GAME/ARM/seed_N.json`. What a run that was ended
had reached is in `partial_*.npz` beside it, and goes on from there.
"""

from collections.abc import Iterator, Sequence
import io
import json
import pathlib
import time
from typing import Any
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.launchers.runs import outputs
from acme_metarl.launchers.studies import self_tuning_games

# Seconds between two savings of what a run has reached.
_SAVE_EVERY = 120.0
# Whole episodes of an evaluation, and steps of each at most.
_NUM_EPISODES = 128
_EPISODE_STEPS = 1000
# The share of a curve's points whose returns are the score.
_LAST_SHARE = 0.1


def path(
  directory: pathlib.Path, game: str, arm: str, seed: int
) -> pathlib.Path:
  """Where a run is kept."""
  return directory / game / arm / f'seed_{seed}.json'


def stored(
  directory: pathlib.Path, game: str, arm: str, seed: int, num_steps: int
) -> dict[str, Any] | None:
  """A run that is done, or None.

  Raises:
    ValueError: if it has another length.
  """
  file = path(directory, game, arm, seed)
  if not file.exists():
    return None
  run = json.loads(file.read_text())
  if run['num_steps'] != num_steps:
    raise ValueError(
      f'{file} has {run["num_steps"]} steps, but num_steps is {num_steps}; use'
      ' another directory for runs of another length.'
    )
  return run


def run(
  directory: pathlib.Path,
  game: str,
  arm: str,
  seeds: Sequence[int],
  num_steps: int,
  num_points: int,
) -> Iterator[float]:
  """Makes runs of several seeds at once; yields the share that is done.

  Args:
    directory: of the study.
    game: one of `self_tuning_games.GAMES`.
    arm: one of the game's.
    seeds: of the runs.
    num_steps: environment steps of each.
    num_points: points of its curve.
  """
  made = self_tuning_games.GAMES[game]
  config = made.config(arm)
  trainer = made.trainer(arm)
  per_iteration = (
    config.rollouts_per_iteration * config.num_rollouts * config.horizon
  )
  iterations = max(1, round(num_steps / per_iteration / num_points))

  @jax.jit
  def advance(states):
    def one(state):
      state, metrics = trainer.advance(state, iterations)
      return state, _summary(metrics, trainer.tuner.numbers(state.tuner))

    return jax.vmap(one)(states)

  states = jax.jit(jax.vmap(trainer.init))(
    jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
  )
  partial = Partial(
    directory / game / arm / f'partial_{"_".join(map(str, seeds))}.npz',
    {'num_steps': num_steps, 'num_points': num_points},
  )
  states, rows, seconds = partial.load(states)
  saved = started = time.perf_counter()
  while len(rows) < num_points:
    states, row = advance(states)
    row = {name: np.asarray(x).tolist() for name, x in row.items()}
    rows.append({'steps': (len(rows) + 1) * iterations * per_iteration, **row})
    now = time.perf_counter()
    if now - saved > _SAVE_EVERY:
      partial.save(states, rows, seconds + now - started)
      saved = now
    yield len(rows) / num_points
  seconds += time.perf_counter() - started
  scores = _scores(made, trainer, states, rows, len(seeds))
  for i, seed in enumerate(seeds):
    result = {
      'game': game,
      'arm': arm,
      'seed': seed,
      'num_steps': num_steps,
      'score': scores[i],
      'seconds': round(seconds / len(seeds), 1),
      'jax': jax.__version__,
      'num_parameter_updates': int(
        num_points * iterations * config.num_inner_steps
      ),
      'curve': {
        name: [
          _rounded(x[name] if name == 'steps' else x[name][i]) for x in rows
        ]
        for name in rows[0]
      },
    }
    file = path(directory, game, arm, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    outputs.write_json(file, result)
  partial.delete()


def _summary(metrics, numbers) -> dict[str, jax.Array]:
  """One point of a curve, of the iterations before it."""
  count = jnp.sum(metrics['num_episodes'])
  row = {
    'return': jnp.sum(metrics['total_return']) / count,
    'num_episodes': count,
    **numbers,
  }
  if 'meta_gradient_norm' in metrics:
    row['meta_gradient_norm'] = jnp.mean(metrics['meta_gradient_norm'])
    row['num_skipped'] = metrics['num_skipped'][-1]
  return row


def _scores(made, trainer, states, rows, num_seeds) -> list[float]:
  if made.evaluates:
    returns = jax.jit(
      jax.vmap(
        lambda state: trainer.returns(
          state, jax.random.PRNGKey(0), _NUM_EPISODES, _EPISODE_STEPS, True
        )
      )
    )(states)
    return [float(x) for x in jnp.mean(returns, axis=1)]
  last = rows[-max(1, round(_LAST_SHARE * len(rows))) :]
  return [
    float(np.nanmean([row['return'][i] for row in last]))
    for i in range(num_seeds)
  ]


def _rounded(x: float) -> float:
  return float(f'{x:.6g}')


class Partial:
  """What runs that were ended had reached."""

  def __init__(self, path: pathlib.Path, settings: dict[str, Any]):
    self._path = path
    self._settings = settings

  def save(self, states: Any, rows: list[Any], seconds: float) -> None:
    """Writes arrays and JSON, all or nothing."""
    self._path.parent.mkdir(parents=True, exist_ok=True)
    about = {'settings': self._settings, 'rows': rows, 'seconds': seconds}
    buffer = io.BytesIO()
    np.savez(
      buffer,
      *map(np.asarray, jax.tree_util.tree_leaves(states)),
      about=np.array(json.dumps(about)),
    )
    outputs.write(self._path, buffer.getvalue())

  def load(self, states: Any) -> tuple[Any, list[Any], float]:
    """States, rows and seconds to go on from; the start if there are none."""
    nothing = states, [], 0.0
    if not self._path.exists():
      return nothing
    try:
      with np.load(self._path) as file:
        about = json.loads(str(file['about']))
        leaves = [file[f'arr_{i}'] for i in range(len(file.files) - 1)]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
      return nothing
    expected, structure = jax.tree_util.tree_flatten(states)
    if about['settings'] != self._settings or [x.shape for x in leaves] != [
      x.shape for x in expected
    ]:
      return nothing
    states = jax.tree_util.tree_unflatten(structure, map(jnp.asarray, leaves))
    return states, about['rows'], about['seconds']

  def delete(self) -> None:
    self._path.unlink(missing_ok=True)


def speed(
  game: str, arms: Sequence[str], num_iterations: int, num_rounds: int
) -> list[dict[str, Any]]:
  """Environment steps a second of arms, timed in turn in one process.

  Args:
    game: one of `self_tuning_games.GAMES`.
    arms: of the game.
    num_iterations: iterations timed at once, of one update each.
    num_rounds: how often each is timed; the fastest counts.
  """
  made = self_tuning_games.GAMES[game]
  runs = []
  for arm in arms:
    config = made.config(arm)
    trainer = made.trainer(arm)
    count = max(1, num_iterations // config.num_inner_steps)
    advance = jax.jit(lambda s, t=trainer, n=count: t.advance(s, n)[0])
    state = jax.jit(trainer.init)(jax.random.PRNGKey(0))
    state = jax.block_until_ready(advance(state))
    num_steps = (
      count
      * config.rollouts_per_iteration
      * config.num_rollouts
      * config.horizon
    )
    runs.append((arm, advance, state, num_steps, []))
  for _ in range(num_rounds):
    for _, advance, state, _, seconds in runs:
      start = time.process_time()
      jax.block_until_ready(advance(state))
      seconds.append(time.process_time() - start)
  rates = {arm: n / min(seconds) for arm, _, _, n, seconds in runs}
  return [
    {
      'arm': arm,
      'steps_per_cpu_second': round(rate),
      'times_a2c': round(rates[arms[0]] / rate, 2),
    }
    for arm, rate in rates.items()
  ]
