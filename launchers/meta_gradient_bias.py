r"""Bias and variance of MAML's meta-gradient on random MDPs, part by part.

Five studies, after Liu et al. (2022), https://arxiv.org/abs/2112.15400:

* `decomposition`: inner gradient, Hessian and outer gradient estimated one at a
  time or all together, correlation with the exact meta-gradient against the
  number of trajectories;
* `reference`: the points of it that the authors' code was run at, on more MDPs,
  always at their setting;
* `compositional`: the bias of an estimated inner gradient alone, against the
  number of trajectories, the step size and the number of inner steps;
* `hessian`: the bias of estimated Hessians alone against the number of inner
  steps, and of an injected Hessian error against its size;
* `off_policy`: data from another policy than the current one.

    python -m acme_metarl.launchers.meta_gradient_bias --output=results/bias

writes into the output directory
* `results.json`: rows, fitted exponents, the comparison with the authors'
  numbers, and timings;
* `results.csv`: the rows as a table, one per point;
* `decomposition.png`, `compositional.png`, `hessian.png`, `off_policy.png`.
While it runs, the rows so far are in `results.partial.json`.

Squared biases are unbiased estimates: a point can be negative, and
`squared_bias_noise` is its standard error from the trials alone.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import jax

from acme_metarl.launchers.figures import meta_gradient_bias_figures
from acme_metarl.launchers.studies import (
  bias_studies,
  meta_gradient_bias_analysis,
)
from acme_metarl.launchers.studies import study as studies
from acme_metarl.studies import derivative_accuracy, meta_gradient_bias

_NAME = 'meta_gradient_bias'
STUDIES = (
  'decomposition',
  'reference',
  'compositional',
  'hessian',
  'off_policy',
)

_STUDIES = flags.DEFINE_list('studies', list(STUDIES), 'Which studies to run.')
_ESTIMATORS = flags.DEFINE_list(
  'estimators',
  list(meta_gradient_bias.ESTIMATORS),
  'Estimators to compare; any of the default ones, or taylor_K for an order K.',
)
_NUM_MDPS = flags.DEFINE_integer('num_mdps', 10, 'Random MDPs.')
_NUM_STATES = flags.DEFINE_integer('num_states', 20, 'States of an MDP.')
_NUM_ACTIONS = flags.DEFINE_integer('num_actions', 5, 'Actions of an MDP.')
_HORIZON = flags.DEFINE_integer('horizon', 20, 'Steps of a trajectory.')
_DISCOUNT = flags.DEFINE_float('discount', 0.8, 'Discount factor in [0, 1).')
_CRITIC_NOISE = flags.DEFINE_float(
  'critic_noise', 1.0, 'Error of the critic, in units of |V| / states.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of all randomness.', lower_bound=0, upper_bound=2**32 - 1
)
_OUTPUT = flags.DEFINE_string(
  'output', 'results/meta_gradient_bias', 'Directory for results and figures.'
)

_COLUMNS = flags.DEFINE_list(
  'columns',
  list(meta_gradient_bias.COLUMNS),
  'Decomposition and off-policy study: which parts are estimated.',
)
_NUM_TRAJECTORIES = flags.DEFINE_list(
  'num_trajectories',
  ['2', '4', '8', '16', '32', '64', '128', '256'],
  'Decomposition: numbers of trajectories of each estimated part.',
)
_STEP_SIZE = flags.DEFINE_float(
  'step_size', 10.0, 'Decomposition, off-policy study: inner step size.'
)
_NUM_INNER_STEPS = flags.DEFINE_integer(
  'num_inner_steps', 1, 'Decomposition, off-policy study: inner steps.'
)
_NUM_TRIALS = flags.DEFINE_integer(
  'num_trials', 20, 'Decomposition: estimates on each MDP.'
)

_REFERENCE_MDPS = flags.DEFINE_integer(
  'num_reference_mdps', 200, 'Reference: random MDPs of ours.'
)

_BIAS_ESTIMATORS = flags.DEFINE_list(
  'compositional_estimators',
  ['importance_sampling', 'doubly_robust'],
  'Compositional bias: estimators of the inner gradient. On-policy all but '
  'importance_sampling have the same gradient.',
)
_BIAS_TRIALS = flags.DEFINE_integer(
  'num_compositional_trials',
  1000,
  'Compositional bias: estimates on each MDP.',
)
_BIAS_NUM_TRAJECTORIES = flags.DEFINE_list(
  'compositional_num_trajectories',
  ['2', '4', '8', '16', '32', '64', '128', '256'],
  'Compositional bias: numbers of trajectories, at 2 inner steps of size 3.',
)
_BIAS_STEP_SIZES = flags.DEFINE_list(
  'compositional_step_sizes',
  ['1', '1.5', '2', '3', '5', '7', '9', '11', '13'],
  'Compositional bias: step sizes, at 6 inner steps, 32 trajectories.',
)
_BIAS_INNER_STEPS = flags.DEFINE_list(
  'compositional_inner_steps',
  ['1', '2', '3', '4', '5', '6'],
  'Compositional bias: numbers of inner steps of size 3, 32 trajectories.',
)

_HESSIAN_TRIALS = flags.DEFINE_integer(
  'num_hessian_trials', 200, 'Hessian bias: estimates on each MDP.'
)
_HESSIAN_INNER_STEPS = flags.DEFINE_list(
  'hessian_inner_steps',
  ['1', '2', '3', '4', '5', '6'],
  'Hessian bias: numbers of inner steps of size 3, 32 trajectories.',
)
_ERROR_INNER_STEPS = flags.DEFINE_list(
  'error_inner_steps',
  ['1', '2', '3', '4'],
  'Injected Hessian error: numbers of inner steps of size 3.',
)
_HESSIAN_ERRORS = flags.DEFINE_list(
  'hessian_errors',
  ['.5', '1', '1.5', '2', '2.5', '3', '3.5', '4']
  + ['8', '16', '32', '64', '128', '256', '512', '1024'],
  'Injected Hessian error: sizes c; the authors have those up to 4.',
)
_HESSIAN_ERROR_NOISE = flags.DEFINE_float(
  'hessian_error_noise', 0.3, 'Injected Hessian error: its noise.'
)

_OFF_POLICY_TRIALS = flags.DEFINE_integer(
  'num_off_policy_trials', 200, 'Off-policy study: estimates on each MDP.'
)
_OFF_POLICYNESS = flags.DEFINE_list(
  'off_policyness',
  ['0', '.1', '.2', '.3', '.4', '.5', '.6', '.7', '.8'],
  'Off-policy study: distances of the policies, each in [0, 1).',
)
_OFF_POLICY_NUM_TRAJECTORIES = flags.DEFINE_integer(
  'off_policy_num_trajectories', 64, 'Off-policy study: trajectories.'
)

# Settings of the authors' studies of the two biases.
_BIAS_SETTINGS = {
  'step_size': 3.0,
  'num_inner_steps': 2,
  'num_trajectories': 32,
}


class Plan(NamedTuple):
  """What the flags ask for, checked.

  Attributes:
    cases: all points, in the order they are measured.
    estimators: all that the cases name.
    setting: of the random MDPs.
    num_mdps: how many.
    num_reference_mdps: how many there are in the study `reference`.
    max_inner_steps: the most that a case has.
    seed: of all randomness.
  """

  cases: tuple[meta_gradient_bias.Case, ...]
  estimators: tuple[str, ...]
  setting: derivative_accuracy.Setting
  num_mdps: int
  num_reference_mdps: int
  max_inner_steps: int
  seed: int


def plan_from_flags() -> Plan:
  """Returns the plan, or raises `ValueError` with what to do instead."""
  studies = tuple(dict.fromkeys(_STUDIES.value))
  for name in studies:
    if name not in STUDIES:
      raise ValueError(
        f'--studies has {name!r}; choose from {", ".join(STUDIES)}.'
      )
  if not studies:
    raise ValueError(f'--studies is empty; choose from {", ".join(STUDIES)}.')
  for column in _COLUMNS.value:
    meta_gradient_bias.parts_of_column(column, 'doubly_robust')
  build = {
    'decomposition': _decomposition,
    'reference': _reference,
    'compositional': _compositional,
    'hessian': _hessian,
    'off_policy': _off_policy,
  }
  cases = tuple(case for name in studies for case in build[name]())
  if not cases:
    raise ValueError('There is nothing to measure: all lists are empty.')
  for case in cases:
    meta_gradient_bias.check(case)
  for flag in (_NUM_MDPS, _REFERENCE_MDPS):
    if flag.value < 1:
      raise ValueError(
        f'--{flag.name} is {flag.value}; it needs to be at least 1.'
      )
  estimators = dict.fromkeys(part for case in cases for part in case.parts)
  estimators.pop(meta_gradient_bias.EXACT, None)
  return Plan(
    cases,
    tuple(estimators),
    derivative_accuracy.Setting(
      num_states=_NUM_STATES.value,
      num_actions=_NUM_ACTIONS.value,
      horizon=_HORIZON.value,
      discount=_DISCOUNT.value,
    ),
    _NUM_MDPS.value,
    _REFERENCE_MDPS.value,
    max(case.settings.num_inner_steps for case in cases),
    _SEED.value,
  )


def _settings(**changes: Any) -> meta_gradient_bias.Settings:
  return meta_gradient_bias.Settings(critic_noise=_CRITIC_NOISE.value)._replace(
    **changes
  )


def _decomposition() -> list[meta_gradient_bias.Case]:
  return meta_gradient_bias.decomposition(
    bias_studies.estimators(_ESTIMATORS),
    tuple(dict.fromkeys(_COLUMNS.value)),
    studies.numbers(_NUM_TRAJECTORIES, int),
    _settings(
      step_size=_STEP_SIZE.value, num_inner_steps=_NUM_INNER_STEPS.value
    ),
    _NUM_TRIALS.value,
  )


def _reference() -> list[meta_gradient_bias.Case]:
  names = bias_studies.estimators(_ESTIMATORS)
  return [
    case._replace(study='reference')
    for case in meta_gradient_bias.decomposition(
      [
        x
        for x in names
        if x in {name for name, _ in meta_gradient_bias_analysis.REFERENCE}
      ],
      ('inner', 'hessian', 'all'),
      meta_gradient_bias_analysis.REFERENCE_NUM_TRAJECTORIES,
      meta_gradient_bias.Settings(),
    )
  ]


def _compositional() -> list[meta_gradient_bias.Case]:
  cases = []
  for variable, flag, convert, changes in (
    ('num_trajectories', _BIAS_NUM_TRAJECTORIES, int, {}),
    ('step_size', _BIAS_STEP_SIZES, float, {'num_inner_steps': 6}),
    ('num_inner_steps', _BIAS_INNER_STEPS, int, {}),
  ):
    cases += meta_gradient_bias.sweep(
      'compositional',
      variable,
      'inner',
      bias_studies.estimators(_BIAS_ESTIMATORS),
      variable,
      studies.numbers(flag, convert),
      _settings(**{**_BIAS_SETTINGS, **changes}),
      _BIAS_TRIALS.value,
    )
  return cases


def _hessian() -> list[meta_gradient_bias.Case]:
  cases = meta_gradient_bias.sweep(
    'hessian',
    'estimated',
    'hessian',
    bias_studies.estimators(_ESTIMATORS),
    'num_inner_steps',
    studies.numbers(_HESSIAN_INNER_STEPS, int),
    _settings(**_BIAS_SETTINGS),
    _HESSIAN_TRIALS.value,
  )
  for num_steps in studies.numbers(_ERROR_INNER_STEPS, int):
    settings = {**_BIAS_SETTINGS, 'num_inner_steps': num_steps}
    cases += meta_gradient_bias.sweep(
      'hessian',
      'injected',
      'hessian',
      [meta_gradient_bias.EXACT],
      'hessian_error',
      studies.numbers(_HESSIAN_ERRORS, float),
      _settings(**settings, hessian_error_noise=_HESSIAN_ERROR_NOISE.value),
      _HESSIAN_TRIALS.value,
    )
  return cases


def _off_policy() -> list[meta_gradient_bias.Case]:
  cases = []
  for column in dict.fromkeys(_COLUMNS.value):
    if column == 'all_shared_data':
      continue
    cases += meta_gradient_bias.sweep(
      'off_policy',
      column,
      column,
      bias_studies.estimators(_ESTIMATORS),
      'off_policyness',
      studies.numbers(_OFF_POLICYNESS, float),
      _settings(
        step_size=_STEP_SIZE.value,
        num_inner_steps=_NUM_INNER_STEPS.value,
        num_trajectories=_OFF_POLICY_NUM_TRAJECTORIES.value,
      ),
      _OFF_POLICY_TRIALS.value,
    )
  return cases


def run(plan: Plan, directory: pathlib.Path) -> dict[str, Any]:
  """Runs the studies; returns what `results.json` holds."""
  make = functools.partial(
    meta_gradient_bias.Measure,
    meta_gradient_bias.make_estimate,
    plan.estimators,
    max_inner_steps=plan.max_inner_steps,
    seed=plan.seed,
    compiler_options=bias_studies.COMPILER_OPTIONS,
  )
  measure = make(setting=plan.setting, num_mdps=plan.num_mdps)
  timings = meta_gradient_bias_analysis.time_batches(
    plan.estimators, _settings(), measure
  )
  measure_reference = make(num_mdps=plan.num_reference_mdps)

  def measure_case(case, on_batch):
    chosen = measure_reference if case.study == 'reference' else measure
    return chosen(case, on_batch)

  measured = bias_studies.measure(measure_case, plan.cases, directory)
  rows = bias_studies.rounded([meta_gradient_bias.row(*x) for x in measured])
  return {
    'setting': {
      **dataclasses.asdict(plan.setting),
      'num_mdps': plan.num_mdps,
      'seed': plan.seed,
      'devices': sorted({str(x.device_kind) for x in jax.devices()}),
    },
    'cost': bias_studies.rounded(timings),
    'reference': bias_studies.rounded(
      meta_gradient_bias_analysis.compare_with_reference(rows)
    ),
    'fits': bias_studies.rounded(meta_gradient_bias_analysis.fit(measured)),
    'rows': rows,
  }


def make(plan: Plan, directory: pathlib.Path) -> list[str]:
  """Measures, writes and draws; returns the names of files."""
  results = run(plan, directory)
  names = studies.write(directory, results, results['rows'])
  return [*names, *meta_gradient_bias_figures.draw(results, directory)]


def main(argv: Sequence[str]) -> None:
  studies.main(_NAME, argv, _OUTPUT, plan_from_flags, make)


if __name__ == '__main__':
  app.run(main)
