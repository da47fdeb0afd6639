"""The studies of self-tuning; see the main of this name."""

import dataclasses
import math
import os
import pathlib
import time
from typing import Any, Literal

import numpy as np
import tqdm

from acme_metarl.launchers.runs import outputs, statistics
from acme_metarl.launchers.studies import (
  self_tuning_figure,
  self_tuning_games,
  self_tuning_gradients,
  self_tuning_runs,
  study,
)

_CONFIDENCE = 0.95
# Iterations that a speed is timed on at once, and how often.
_SPEED_UPDATES = 30
_SPEED_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Config(study.Seeded):
  """What is compared.

  Attributes:
    measure: 'returns' trains; 'meta_gradients' measures those of the arms
      against a larger batch on the path of an A2C run; 'speed' times the arms
      beside one another; 'report' does nothing but the table and the figure of
      what is stored.
    game: one of the games, see the main.
    arms: of the game; all of them by default.
    num_seeds: runs per arm, `seed` being the first.
    num_steps: environment steps of a run; the published number by default.
    num_points: points of a learning curve.
    seeds_at_once: runs of an arm in one program, which pays for small games.
    max_minutes: no run begins after so many.
  """

  measure: Literal['returns', 'meta_gradients', 'speed', 'report'] = 'returns'
  game: str = 'discounting_chain'
  arms: tuple[str, ...] = ()
  num_seeds: int = 3
  num_steps: int | None = None
  num_points: int = 50
  seeds_at_once: int = 1
  max_minutes: float = math.inf

  def __post_init__(self):
    super().__post_init__()
    study.choice('game', [self.game], tuple(self_tuning_games.GAMES))
    study.at_least(self, 1, 'num_seeds', 'num_points', 'seeds_at_once')
    if self.num_steps is not None:
      study.at_least(self, 1, 'num_steps')
    _ = self.chosen_arms  # Refuses what there is not.

  @property
  def chosen_arms(self) -> list[str]:
    """The arms, all of the game's if none are given."""
    known = tuple(self_tuning_games.GAMES[self.game].arms)
    return study.choice('arms', self.arms or known, known)

  @property
  def steps(self) -> int:
    """Environment steps of a run."""
    if self.num_steps is None:
      return self_tuning_games.GAMES[self.game].num_steps
    return self.num_steps


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Makes what is missing, writes and draws; returns the files' names."""
  directory = outputs.writable_directory(directory)
  if config.measure == 'speed':
    rows = self_tuning_runs.speed(
      config.game, config.chosen_arms, _SPEED_UPDATES, _SPEED_ROUNDS
    )
    name = f'{config.game}_speed.csv'
    outputs.write_csv(directory / name, rows)
    return [name]
  if config.measure == 'meta_gradients':
    return self_tuning_gradients.run(
      directory,
      config.game,
      config.chosen_arms,
      config.steps,
      config.seed,
    )
  if config.measure == 'returns':
    _train(config, directory)
  return _report(config, directory)


def _train(config: Config, directory: pathlib.Path) -> None:
  """Makes the runs that are not stored, seed by seed."""
  seeds = range(config.seed, config.seed + config.num_seeds)
  missing = {
    arm: [
      seed
      for seed in seeds
      if not self_tuning_runs.stored(
        directory, config.game, arm, seed, config.steps
      )
    ]
    for arm in config.chosen_arms
  }
  # The first seeds of all arms before the second ones of any.
  size = config.seeds_at_once
  groups = [
    (arm, own[i : i + size])
    for i in range(0, config.num_seeds, size)
    for arm, own in missing.items()
    if own[i : i + size]
  ]
  started = time.perf_counter()
  with tqdm.tqdm(total=len(groups), unit='run', smoothing=0.1) as bar:
    for arm, group in groups:
      if time.perf_counter() - started > 60 * config.max_minutes:
        bar.write(f'{len(groups) - bar.n:.0f} runs are left for another time.')
        break
      bar.set_description(f'{arm} {group[0]}', refresh=True)
      done = 0.0
      for share in self_tuning_runs.run(
        directory, config.game, arm, group, config.steps, config.num_points
      ):
        bar.update(share - done)
        done = share


def _report(config: Config, directory: pathlib.Path) -> list[str]:
  """Writes the table of what is stored, and its figure."""
  runs = {}
  for arm in self_tuning_games.GAMES[config.game].arms:
    found = [
      self_tuning_runs.stored(directory, config.game, arm, seed, config.steps)
      for seed in range(1000)
      if self_tuning_runs.path(directory, config.game, arm, seed).exists()
    ]
    if found:
      runs[arm] = found
  if not runs:
    raise ValueError(
      f'{directory}: there is no run of {config.game} in it yet.'
    )
  table = f'{config.game}.csv'
  outputs.write_csv(directory / table, [_row(*x) for x in runs.items()])
  figure = f'{config.game}.png'
  self_tuning_figure.draw(runs, directory / figure)
  return [table, figure]


def _row(arm: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
  """An arm's scores, and where its numbers ended."""
  scores = [run['score'] for run in runs]
  middle, low, high = statistics.interquartile_mean([scores], _CONFIDENCE)
  row = {
    'arm': arm,
    'num_seeds': len(scores),
    'num_steps': runs[0]['num_steps'],
    'score_mean': np.mean(scores),
    'score_std': np.std(scores, ddof=1) if len(scores) > 1 else math.nan,
    'score_iqm': middle,
    'score_iqm_low': low,
    'score_iqm_high': high,
    'training_mean': np.mean(
      [np.nanmean(np.array(run['curve']['return'], float)) for run in runs]
    ),
    'training_end': np.mean([run['curve']['return'][-1] for run in runs]),
    'minutes': np.mean([run['seconds'] for run in runs]) / 60,
  }
  for name in ('discount', 'lambda_', 'value_cost', 'entropy_cost'):
    row[f'final_{name}'] = np.mean([run['curve'][name][-1] for run in runs])
  return {
    name: float(f'{x:.5g}') if isinstance(x, float) else x
    for name, x in row.items()
  }
