r"""Meta-gradients of a learned intrinsic reward on random MDPs (LIRPG).

How well estimates of the meta-gradient by an intrinsic-reward table correlate
with the exact one, against the number of trajectories and of inner steps, with
each estimator on the path that is differentiated through the inner steps. See
`acme_metarl.intrinsic_reward`.

    python -m acme_metarl.launchers.intrinsic_reward --output=results/lirpg

writes into the output directory
* `results.json`: rows, one a point and estimator;
* `results.csv`: the same as a table;
* `intrinsic_reward.png`.
While it runs, the rows so far are in `results.partial.json`.
"""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from absl import app, flags

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import bias_studies
from acme_metarl.launchers.studies import study as studies
from acme_metarl.studies import (
  derivative_accuracy,
  intrinsic_reward,
  meta_gradient_bias,
)

_NAME = 'intrinsic_reward'

_ESTIMATORS = flags.DEFINE_list(
  'estimators',
  list(intrinsic_reward.ESTIMATORS),
  'Estimators to compare; any of the default ones, or taylor_K for an order K.',
)
_COLUMN = flags.DEFINE_enum(
  'column',
  'hessian',
  ['inner', 'hessian', 'outer', 'all'],
  'Which parts are estimated: the inner gradients, their derivatives '
  '(hessian), the outer gradient, or all.',
)
_NUM_TRAJECTORIES = flags.DEFINE_list(
  'num_trajectories',
  ['16', '32', '64', '128', '256'],
  'Numbers of trajectories of each estimated part.',
)
_NUM_INNER_STEPS = flags.DEFINE_list(
  'num_inner_steps', ['1', '2', '3', '4', '5'], 'Numbers of inner steps.'
)
_STEP_SIZE = flags.DEFINE_float('step_size', 10.0, 'Inner step size.')
_LAMBDA = flags.DEFINE_float(
  'gae_lambda', 0.9, 'Of the advantage estimates, in [0, 1].'
)
_CRITIC_NOISE = flags.DEFINE_float(
  'critic_noise', 1.0, 'Error of the critic, in units of |V| / states.'
)
_DIFFERENTIABLE_CRITIC = flags.DEFINE_bool(
  'differentiable_critic',
  True,
  'Whether the critic of the rewards is differentiated by the intrinsic one.',
)
_OFF_POLICYNESS = flags.DEFINE_float(
  'off_policyness', 0.0, 'Distance of the policies, in [0, 1).'
)
_NUM_TRIALS = flags.DEFINE_integer('num_trials', 20, 'Estimates on each MDP.')
_NUM_MDPS = flags.DEFINE_integer('num_mdps', 10, 'Random MDPs.')
_NUM_STATES = flags.DEFINE_integer('num_states', 20, 'States of an MDP.')
_NUM_ACTIONS = flags.DEFINE_integer('num_actions', 5, 'Actions of an MDP.')
_HORIZON = flags.DEFINE_integer('horizon', 20, 'Steps of a trajectory.')
_DISCOUNT = flags.DEFINE_float('discount', 0.8, 'Discount factor in [0, 1).')
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of all randomness.', lower_bound=0, upper_bound=2**32 - 1
)
_OUTPUT = flags.DEFINE_string(
  'output', 'results/intrinsic_reward', 'Directory for results and figure.'
)


class Plan(NamedTuple):
  """What the flags ask for, checked.

  Attributes:
    cases: all points.
    measure: of the cases.
  """

  cases: tuple[meta_gradient_bias.Case, ...]
  measure: meta_gradient_bias.Measure


def plan_from_flags() -> Plan:
  """Returns the plan, or raises `ValueError` with what to do instead."""
  names = bias_studies.estimators(_ESTIMATORS)
  steps = studies.numbers(_NUM_INNER_STEPS, int)
  cases = []
  for num_steps in steps:
    settings = intrinsic_reward.Settings(
      step_size=_STEP_SIZE.value,
      num_inner_steps=num_steps,
      critic_noise=_CRITIC_NOISE.value,
      off_policyness=_OFF_POLICYNESS.value,
      lambda_=_LAMBDA.value,
      differentiable_critic=_DIFFERENTIABLE_CRITIC.value,
    )
    cases += meta_gradient_bias.sweep(
      'intrinsic_reward',
      f'{num_steps} inner steps',
      _COLUMN.value,
      names,
      'num_trajectories',
      studies.numbers(_NUM_TRAJECTORIES, int),
      settings,
      _NUM_TRIALS.value,
    )
  if not cases:
    raise ValueError(
      '--num_trajectories or --num_inner_steps is empty; give at least one '
      'number of each.'
    )
  for case in cases:
    meta_gradient_bias.check(case)
  measure = meta_gradient_bias.Measure(
    intrinsic_reward.make_estimate,
    names,
    derivative_accuracy.Setting(
      num_states=_NUM_STATES.value,
      num_actions=_NUM_ACTIONS.value,
      horizon=_HORIZON.value,
      discount=_DISCOUNT.value,
    ),
    _NUM_MDPS.value,
    max(steps),
    _SEED.value,
    bias_studies.COMPILER_OPTIONS,
  )
  return Plan(tuple(cases), measure)


def draw(rows: Sequence[bias_studies.Row], path: pathlib.Path) -> None:
  """Draws correlations, a panel for each number of inner steps."""
  steps = bias_studies.unique(rows, 'num_inner_steps')
  with plotting.panels(len(steps), width=2.75, height=3.3) as (figure, axes):
    for letter, panel, number in zip('abcdefgh', axes, steps, strict=False):
      own = bias_studies.select(rows, num_inner_steps=number)
      title = f'({letter})  $K$ = {number}'
      bias_studies.correlation_panel(panel, own, 'num_trajectories', title)
      bias_studies.binary_axis(panel, own, 'num_trajectories')
      panel.set_xlabel('number of trajectories $N$')
      if {row['off_policyness'] for row in own} == {0.0}:
        # One step needs no Hessian, only the gradient's own derivative.
        same = number == 1 or own[0]['hessian'] == meta_gradient_bias.EXACT
        bias_studies.note(
          panel,
          bias_studies.SAME_GRADIENT if same else bias_studies.SAME_HESSIAN,
        )
    low = min(axis.get_ylim()[0] for axis in axes)
    for panel in axes:
      panel.set_ylim(low, 1.03)
    axes[0].set_ylabel('correlation with the exact\nmeta-gradient')
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)


def make(plan: Plan, directory: pathlib.Path) -> list[str]:
  """Measures, writes and draws; returns the names of files."""
  measured = bias_studies.measure(plan.measure, plan.cases, directory)
  rows = bias_studies.rounded([meta_gradient_bias.row(*x) for x in measured])
  names = studies.write(directory, rows, rows)
  draw(rows, directory / 'intrinsic_reward.png')
  return [*names, 'intrinsic_reward.png']


def main(argv: Sequence[str]) -> None:
  studies.main(_NAME, argv, _OUTPUT, plan_from_flags, make)


if __name__ == '__main__':
  app.run(main)
