"""Learning to cooperate by shaping the opponent: iterated prisoner's dilemma.

See `acme_metarl.studies.opponent_shaping`, and the main of this name.
"""

from collections.abc import Iterator
import dataclasses
import functools
import os
import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from acme_metarl.launchers.runs import outputs, progress
from acme_metarl.launchers.studies import (
  bias_studies,
  prisoners_dilemma_figure,
  study,
)
from acme_metarl.studies import opponent_shaping

CONDITIONS = (
  'exact',
  'inner_exact',
  'on_policy',
  'off_policy',
  'hessian_exact',
  'value_exact',
)
_DEFAULTS = opponent_shaping.Config()
# Updates in one compiled call, between two looks at the progress bar.
_STRIDE = 25
# Points of a learning curve that are kept.
_NUM_CURVE_POINTS = 100
_JSON_ONLY = ('config', 'curve', 'final_payoffs')

_Row = dict[str, Any]


class Condition(NamedTuple):
  """One row of the study.

  Attributes:
    name: of `CONDITIONS`.
    estimator: of what is estimated in the look-ahead; empty if nothing is.
    config: how the players learn.
  """

  name: str
  estimator: str
  config: opponent_shaping.Config

  @property
  def label(self) -> str:
    return ' '.join(x for x in (self.name, self.estimator) if x)


@dataclasses.dataclass(frozen=True)
class Config(study.Seeded):
  """What is compared.

  Attributes:
    conditions: conditions to compare; --help describes them above.
    evaluators: evaluators of on_policy and off_policy; any of the default ones,
      or taylor_K for an order K.
    ablation_evaluator: evaluator of the inexact half in hessian_exact and
      value_exact.
    outer_evaluator: evaluator of the gradient after the look-ahead.
    num_lookaheads: learning steps of the opponent; every condition runs with
      each number.
    num_updates: updates of a run.
    num_seeds: runs per condition.
    report_at: updates after which to report payoffs.
    num_shared_updates: updates along the path of exact learning, where the
      estimated meta-gradients of all conditions are compared at the same
      policies. 0 leaves that out.
    num_rounds: rounds of a game.
    discount: discount factor per round.
    num_rollouts: games per batch.
    replay_size: past games in the buffer of off_policy.
    inner_step_size: step size of gradient ascent in the look-ahead.
    outer_step_size: step size of Adam on the policies.
    critic_step_size: step size of Adam on the critics.
    initial_scale: spread of the initial logits.
    chunk_size: games differentiated at a time.
  """

  conditions: tuple[str, ...] = CONDITIONS
  evaluators: tuple[str, ...] = tuple(
    x for x in opponent_shaping.SOURCES if x != opponent_shaping.EXACT
  )
  ablation_evaluator: str = 'dice_with_baseline'
  outer_evaluator: str = _DEFAULTS.outer
  num_lookaheads: tuple[int, ...] = (1,)
  num_updates: int = 500
  num_seeds: int = 10
  report_at: tuple[int, ...] = (150, 300, 500)
  num_shared_updates: int = 50
  num_rounds: int = 100
  discount: float = 0.96
  num_rollouts: int = _DEFAULTS.num_rollouts
  replay_size: int = 1024
  inner_step_size: float = _DEFAULTS.inner_step_size
  outer_step_size: float = _DEFAULTS.outer_step_size
  critic_step_size: float = _DEFAULTS.critic_step_size
  initial_scale: float = _DEFAULTS.initial_scale
  chunk_size: int = _DEFAULTS.chunk_size

  def __post_init__(self):
    super().__post_init__()
    study.at_least(self, 1, 'num_updates', 'num_seeds')
    study.at_least(self, 0, 'num_shared_updates')
    if any(x < 0 for x in self.report_at):
      raise ValueError(
        f'report_at is {self.report_at}; it needs numbers of at least 0.'
      )
    if not self.num_lookaheads:
      raise ValueError('num_lookaheads is empty; give at least one number.')
    for name in (*self.evaluators, self.ablation_evaluator):
      opponent_shaping.make_evaluator(name)
    if not self.all_conditions:
      raise ValueError(
        'evaluators is empty, and on_policy and off_policy need one.'
      )
    _ = self.game  # Refuses what there is not.

  @property
  def game(self) -> opponent_shaping.RepeatedGame:
    return opponent_shaping.prisoners_dilemma(self.discount, self.num_rounds)

  @property
  def reported(self) -> tuple[int, ...]:
    """Updates that are reported: of the run only, and always its end."""
    own = sorted({x for x in self.report_at if x < self.num_updates})
    return (*own, self.num_updates)

  @property
  def all_conditions(self) -> list[Condition]:
    """Every row of the study."""
    named = [
      (name, estimator)
      for name in study.choice('conditions', self.conditions, CONDITIONS)
      for estimator in self._estimators_of(name)
    ]
    return [
      Condition(name, estimator, self._learning(name, estimator, steps))
      for steps in sorted(set(self.num_lookaheads))
      for name, estimator in named
    ]

  def _estimators_of(self, condition: str) -> Iterator[str]:
    if condition in ('on_policy', 'off_policy'):
      yield from dict.fromkeys(self.evaluators)
    elif condition in ('hessian_exact', 'value_exact'):
      yield self.ablation_evaluator
    else:
      yield ''

  def _learning(
    self, name: str, estimator: str, num_lookaheads: int
  ) -> opponent_shaping.Config:
    exact = opponent_shaping.EXACT
    own = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(opponent_shaping.Config)
      if hasattr(self, field.name)
    }
    return opponent_shaping.Config(
      **own
      | {
        'inner': exact if name == 'value_exact' else estimator or exact,
        'hessian': {'hessian_exact': exact, 'value_exact': estimator}.get(name),
        'outer': exact if name == 'exact' else self.outer_evaluator,
        'num_lookaheads': num_lookaheads,
        'replay_size': self.replay_size if name == 'off_policy' else 0,
      }
    )


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Learns, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  results = _run_all(config, directory)
  conditions = results['conditions']
  rows = [
    {name: row[name] for name in row if name not in _JSON_ONLY}
    for row in conditions
  ]
  names = study.write(directory, results, rows)
  prisoners_dilemma_figure.draw(conditions, directory / 'prisoners_dilemma.png')
  return [*names, 'prisoners_dilemma.png']


def _run_all(config: Config, directory: pathlib.Path) -> dict[str, Any]:
  """Runs all conditions with a progress bar; returns the JSON's content."""
  rows = []
  conditions = config.all_conditions
  per_condition = config.num_updates + config.num_shared_updates
  with progress.bar(
    len(conditions) * per_condition, unit='update', smoothing=0.1
  ) as bar:
    for condition in conditions:
      bar.set_description(condition.label, refresh=True)
      rows.append(_run_condition(config, condition, bar))
      outputs.write_json(directory / study.PARTIAL, rows)
  settings = {
    'game': dataclasses.asdict(config.game),
    'num_updates': config.num_updates,
    'num_seeds': config.num_seeds,
    'num_shared_updates': config.num_shared_updates,
    'seed': config.seed,
  }
  return {'settings': settings, 'conditions': rows}


def _run_condition(config: Config, condition: Condition, bar: Any) -> _Row:
  """Runs one condition with all seeds at once."""
  started = time.perf_counter()
  payoff, metrics, shared = _train(config, condition.config, bar)
  seconds = time.perf_counter() - started
  row = {
    'condition': condition.name,
    'estimator': condition.estimator,
    'num_lookaheads': condition.config.num_lookaheads,
    'seconds': round(seconds, 1),
  }
  for update in config.reported:
    row[f'payoff_{update}_mean'] = float(payoff[update].mean())
    row[f'payoff_{update}_std'] = float(payoff[update].std())
  _add_correlations(row, 'own_path', metrics)
  if config.num_shared_updates:
    _add_correlations(row, 'shared_path', shared)
  row['config'] = dataclasses.asdict(condition.config)
  row['final_payoffs'] = [round(float(x), 4) for x in payoff[-1]]
  points = np.unique(
    np.linspace(0, config.num_updates, _NUM_CURVE_POINTS + 1).astype(int)
  )
  row['curve'] = {
    'update': points.tolist(),
    'payoff_mean': np.round(payoff[points].mean(1), 4).tolist(),
    'payoff_std': np.round(payoff[points].std(1), 4).tolist(),
  }
  return row


def _add_correlations(
  row: _Row, path: str, metrics: opponent_shaping.Metrics
) -> None:
  """Adds the mean over updates, and the standard error over seeds."""
  for name in ('correlation', 'correlation_exact_outer'):
    by_seed = getattr(metrics, name).mean(axis=0)
    row[f'{path}_{name}_mean'] = float(by_seed.mean())
    row[f'{path}_{name}_stderr'] = (
      float(by_seed.std(ddof=1) / np.sqrt(len(by_seed)))
      if len(by_seed) > 1
      else float('nan')
    )


def _train(
  config: Config, learning: opponent_shaping.Config, bar: Any
) -> tuple[np.ndarray, opponent_shaping.Metrics, opponent_shaping.Metrics]:
  """Trains all seeds, vmapped, in strides that the progress bar can show.

  Returns:
    Payoffs `[num_updates + 1, seeds]`, metrics `[num_updates, seeds]` and those
    of the shared path, `[num_shared_updates, seeds]`.
  """
  init, update = opponent_shaping.make_learner(config.game, learning)

  @functools.partial(jax.jit, compiler_options=bias_studies.COMPILER_OPTIONS)
  def advance(state, follow_exact):
    return jax.lax.scan(
      lambda s, _: jax.vmap(update, (0, None))(s, follow_exact),
      state,
      None,
      length=_STRIDE,
    )

  def train(state, num_updates, follow_exact):
    collected = []
    for start in range(0, num_updates, _STRIDE):
      state, metrics = advance(state, follow_exact)
      collected.append(jax.tree.map(np.asarray, metrics))
      bar.update(min(_STRIDE, num_updates - start))
    return state, jax.tree.map(lambda *x: np.concatenate(x), *collected)

  key = jax.random.PRNGKey(config.seed)
  start = jax.jit(jax.vmap(init))(jax.random.split(key, config.num_seeds))
  state, metrics = train(start, config.num_updates, False)
  # Metrics are of the players before an update.
  last = jax.jit(
    jax.vmap(functools.partial(opponent_shaping.joint_payoff, config.game))
  )(state.logits)
  payoffs = np.concatenate([metrics.mean_payoff, last[None]])
  shared = metrics
  if config.num_shared_updates:
    _, shared = train(start, config.num_shared_updates, True)
  return (
    payoffs[: config.num_updates + 1],
    jax.tree.map(lambda x: x[: config.num_updates], metrics),
    jax.tree.map(lambda x: x[: config.num_shared_updates], shared),
  )
