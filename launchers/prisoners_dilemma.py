r"""Learning to cooperate by shaping the opponent: iterated prisoner's dilemma.

LOLA-DiCE with exact look-aheads, with every estimator from fresh games, with
every estimator from a buffer of past games, and with only one half of the
look-ahead exact. See `acme_metarl.opponent_shaping`.

    python -m acme_metarl.launchers.prisoners_dilemma \
        --output=results/prisoners_dilemma

writes into the output directory
* `results.json`: settings and a row per condition, with learning curves;
* `results.csv`: a row per condition, without the curves;
* `prisoners_dilemma.png`.
While it runs, the rows so far are in `results.partial.json`.

Conditions:
* `exact`: nothing is estimated;
* `inner_exact`: only the gradient after the look-ahead is;
* `on_policy`: look-aheads from fresh games, once per estimator;
* `off_policy`: look-aheads from the buffer, once per estimator;
* `hessian_exact`: the look-ahead moves by an estimate from fresh games and is
  differentiated as if it were exact;
* `value_exact`: the reverse.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import time
from typing import Any, NamedTuple

from absl import app, flags
import jax
import numpy as np
import tqdm

from acme_metarl.launchers.figures import prisoners_dilemma_figure
from acme_metarl.launchers.runs import outputs
from acme_metarl.launchers.studies import bias_studies
from acme_metarl.launchers.studies import study as studies
from acme_metarl.studies import opponent_shaping

FLAGS = flags.FLAGS

_NAME = 'prisoners_dilemma'

CONDITIONS = (
  'exact',
  'inner_exact',
  'on_policy',
  'off_policy',
  'hessian_exact',
  'value_exact',
)
_DEFAULTS = opponent_shaping.Config()
_ESTIMATORS = tuple(
  x for x in opponent_shaping.SOURCES if x != opponent_shaping.EXACT
)

_CONDITIONS = flags.DEFINE_list(
  'conditions', list(CONDITIONS), 'Conditions to compare, see above.'
)
_ESTIMATOR_NAMES = flags.DEFINE_list(
  'estimators',
  list(_ESTIMATORS),
  'Estimators of on_policy and off_policy; any of the default ones, or '
  'taylor_K for an order K.',
)
_ABLATION_ESTIMATOR = flags.DEFINE_string(
  'ablation_estimator',
  'dice_with_baseline',
  'Estimator of the inexact half in hessian_exact and value_exact.',
)
_OUTER = flags.DEFINE_string(
  'outer', _DEFAULTS.outer, 'Estimator of the gradient after the look-ahead.'
)
_NUM_LOOKAHEADS = flags.DEFINE_list(
  'num_lookaheads',
  ['1'],
  'Learning steps of the opponent; every condition runs with each number.',
)
_NUM_UPDATES = flags.DEFINE_integer('num_updates', 500, 'Updates of a run.')
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 10, 'Runs per condition.')
_REPORT_AT = flags.DEFINE_list(
  'report_at', ['150', '300', '500'], 'Updates after which to report payoffs.'
)
_NUM_SHARED_UPDATES = flags.DEFINE_integer(
  'num_shared_updates',
  50,
  'Updates along the path of exact learning, where the estimated '
  'meta-gradients of all conditions are compared at the same policies. 0 '
  'leaves that out.',
)
_NUM_ROUNDS = flags.DEFINE_integer('num_rounds', 100, 'Rounds of a game.')
_DISCOUNT = flags.DEFINE_float('discount', 0.96, 'Discount factor per round.')
_NUM_ROLLOUTS = flags.DEFINE_integer(
  'num_rollouts', _DEFAULTS.num_rollouts, 'Games per batch.'
)
_REPLAY_SIZE = flags.DEFINE_integer(
  'replay_size', 1024, 'Past games in the buffer of off_policy.'
)
_INNER_STEP_SIZE = flags.DEFINE_float(
  'inner_step_size', _DEFAULTS.inner_step_size, 'Of gradient ascent, inside.'
)
_OUTER_STEP_SIZE = flags.DEFINE_float(
  'outer_step_size', _DEFAULTS.outer_step_size, 'Of Adam on the policies.'
)
_CRITIC_STEP_SIZE = flags.DEFINE_float(
  'critic_step_size', _DEFAULTS.critic_step_size, 'Of Adam on the critics.'
)
_INITIAL_SCALE = flags.DEFINE_float(
  'initial_scale', _DEFAULTS.initial_scale, 'Spread of the initial logits.'
)
_CHUNK_SIZE = flags.DEFINE_integer(
  'chunk_size', _DEFAULTS.chunk_size, 'Games differentiated at a time.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of all randomness.', lower_bound=0, upper_bound=2**32 - 1
)
_OUTPUT = flags.DEFINE_string(
  'output', 'results/prisoners_dilemma', 'Directory for results and figure.'
)

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


class Plan(NamedTuple):
  """What the flags ask for, checked."""

  conditions: tuple[Condition, ...]
  game: opponent_shaping.RepeatedGame
  num_updates: int
  num_seeds: int
  report_at: tuple[int, ...]
  num_shared_updates: int
  seed: int


def plan_from_flags() -> Plan:
  """Returns the plan, or raises `ValueError` with what to do instead."""
  for name, least in (
    ('num_updates', 1),
    ('num_seeds', 1),
    ('num_shared_updates', 0),
  ):
    if FLAGS[name].value < least:
      raise ValueError(
        f'--{name} is {FLAGS[name].value}; it needs to be at least {least}.'
      )
  report_at = sorted(studies.numbers(_REPORT_AT, int))
  if any(not 0 <= x for x in report_at):
    raise ValueError(
      f'--report_at is {",".join(_REPORT_AT.value)!r}; it needs numbers of at '
      'least 0.'
    )
  return Plan(
    conditions=_conditions(),
    game=opponent_shaping.prisoners_dilemma(_DISCOUNT.value, _NUM_ROUNDS.value),
    num_updates=_NUM_UPDATES.value,
    num_seeds=_NUM_SEEDS.value,
    # Later ones than the run has are left out; its end is always reported.
    report_at=tuple(x for x in report_at if x < _NUM_UPDATES.value)
    + (_NUM_UPDATES.value,),
    num_shared_updates=_NUM_SHARED_UPDATES.value,
    seed=_SEED.value,
  )


def _conditions() -> tuple[Condition, ...]:
  num_lookaheads = sorted(studies.numbers(_NUM_LOOKAHEADS, int))
  if not num_lookaheads:
    raise ValueError('--num_lookaheads is empty; give at least one number.')
  if not _CONDITIONS.value:
    raise ValueError(
      f'--conditions is empty; choose from {", ".join(CONDITIONS)}.'
    )
  for name in _CONDITIONS.value:
    if name not in CONDITIONS:
      raise ValueError(
        f'--conditions names {name!r}; choose from {", ".join(CONDITIONS)}.'
      )
  estimators = tuple(dict.fromkeys(_ESTIMATOR_NAMES.value))
  for name in (*estimators, _ABLATION_ESTIMATOR.value):
    opponent_shaping.make_evaluator(name)
  found = []
  for name in dict.fromkeys(_CONDITIONS.value):
    if name in ('on_policy', 'off_policy'):
      found += [(name, x) for x in estimators]
    elif name in ('hessian_exact', 'value_exact'):
      found.append((name, _ABLATION_ESTIMATOR.value))
    else:
      found.append((name, ''))
  if not found:
    raise ValueError(
      '--estimators is empty, and on_policy and off_policy need one.'
    )
  return tuple(
    Condition(name, estimator, _config(name, estimator, steps))
    for steps in num_lookaheads
    for name, estimator in found
  )


def _config(
  name: str, estimator: str, num_lookaheads: int
) -> opponent_shaping.Config:
  exact = opponent_shaping.EXACT
  return opponent_shaping.Config(
    inner=exact if name == 'value_exact' else estimator or exact,
    hessian={'hessian_exact': exact, 'value_exact': estimator}.get(name),
    outer=exact if name == 'exact' else _OUTER.value,
    num_lookaheads=num_lookaheads,
    replay_size=_REPLAY_SIZE.value if name == 'off_policy' else 0,
    num_rollouts=_NUM_ROLLOUTS.value,
    inner_step_size=_INNER_STEP_SIZE.value,
    outer_step_size=_OUTER_STEP_SIZE.value,
    critic_step_size=_CRITIC_STEP_SIZE.value,
    initial_scale=_INITIAL_SCALE.value,
    chunk_size=_CHUNK_SIZE.value,
  )


def run(plan: Plan, directory: pathlib.Path) -> dict[str, Any]:
  """Runs all conditions with a progress bar; returns the JSON's content."""
  rows = []
  per_condition = plan.num_updates + plan.num_shared_updates
  with tqdm.tqdm(
    total=len(plan.conditions) * per_condition, unit='update', smoothing=0.1
  ) as bar:
    for condition in plan.conditions:
      bar.set_description(condition.label, refresh=True)
      rows.append(_run_condition(plan, condition, bar))
      outputs.write_json(directory / studies.PARTIAL, rows)
  settings = {
    'game': dataclasses.asdict(plan.game),
    'num_updates': plan.num_updates,
    'num_seeds': plan.num_seeds,
    'num_shared_updates': plan.num_shared_updates,
    'seed': plan.seed,
  }
  return {'settings': settings, 'conditions': rows}


def _run_condition(plan: Plan, condition: Condition, bar: Any) -> _Row:
  """Runs one condition with all seeds at once."""
  started = time.perf_counter()
  payoff, metrics, shared = _train(plan, condition.config, bar)
  seconds = time.perf_counter() - started
  row = {
    'condition': condition.name,
    'estimator': condition.estimator,
    'num_lookaheads': condition.config.num_lookaheads,
    'seconds': round(seconds, 1),
  }
  for update in plan.report_at:
    row[f'payoff_{update}_mean'] = float(payoff[update].mean())
    row[f'payoff_{update}_std'] = float(payoff[update].std())
  _add_correlations(row, 'own_path', metrics)
  if plan.num_shared_updates:
    _add_correlations(row, 'shared_path', shared)
  row['config'] = dataclasses.asdict(condition.config)
  row['final_payoffs'] = [round(float(x), 4) for x in payoff[-1]]
  points = np.unique(
    np.linspace(0, plan.num_updates, _NUM_CURVE_POINTS + 1).astype(int)
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
  plan: Plan, config: opponent_shaping.Config, bar: Any
) -> tuple[np.ndarray, opponent_shaping.Metrics, opponent_shaping.Metrics]:
  """Trains all seeds, vmapped, in strides that the progress bar can show.

  Returns:
    Payoffs `[num_updates + 1, seeds]`, metrics `[num_updates, seeds]` and those
    of the shared path, `[num_shared_updates, seeds]`.
  """
  init, update = opponent_shaping.make_learner(plan.game, config)

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

  key = jax.random.PRNGKey(plan.seed)
  start = jax.jit(jax.vmap(init))(jax.random.split(key, plan.num_seeds))
  state, metrics = train(start, plan.num_updates, False)
  # Metrics are of the players before an update.
  last = jax.jit(
    jax.vmap(functools.partial(opponent_shaping.joint_payoff, plan.game))
  )(state.logits)
  payoffs = np.concatenate([metrics.mean_payoff, last[None]])
  shared = metrics
  if plan.num_shared_updates:
    _, shared = train(start, plan.num_shared_updates, True)
  return (
    payoffs[: plan.num_updates + 1],
    jax.tree.map(lambda x: x[: plan.num_updates], metrics),
    jax.tree.map(lambda x: x[: plan.num_shared_updates], shared),
  )


def make(plan: Plan, directory: pathlib.Path) -> list[str]:
  """Runs, writes and draws; returns the names of files."""
  results = run(plan, directory)
  conditions = results['conditions']
  rows = [
    {name: row[name] for name in row if name not in _JSON_ONLY}
    for row in conditions
  ]
  names = studies.write(directory, results, rows)
  prisoners_dilemma_figure.draw(conditions, directory / 'prisoners_dilemma.png')
  return [*names, 'prisoners_dilemma.png']


def main(argv: Sequence[str]) -> None:
  studies.main(_NAME, argv, _OUTPUT, plan_from_flags, make)


if __name__ == '__main__':
  app.run(main)
