r"""Regenerates Figure 1(a)-(c) of Tang et al. (2021) on random MDPs.

How well gradients and Hessians of different estimators correlate with the
exact ones, against the distance of target and behaviour policy (a, b) and the
number of trajectories (c). See `acme_metarl.derivative_accuracy`.

    python -m acme_metarl.launchers.tabular_derivatives --output=results/figure1

writes into the output directory
* `results.json`: a list of rows, one per estimator and point, each with the
  mean and standard error over trials (`null` where there is one trial only);
* `results.csv`: the same as a table;
* `figure1.png`.
While it runs, the rows so far are in `results.partial.json`.
"""

from collections.abc import Sequence
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import jax
import tqdm

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import study as studies
from acme_metarl.studies import derivative_accuracy

FLAGS = flags.FLAGS

_EPSILONS = flags.DEFINE_list(
  'epsilons',
  ['0', '.2', '.4', '.6', '.8', '.95'],
  'Panels (a), (b): distances of the target from the behaviour policy, each '
  'in [0, 1). Empty leaves the panels out.',
)
_PANEL_NUM_TRAJECTORIES = flags.DEFINE_integer(
  'panel_num_trajectories', 1000, 'Panels (a), (b): number of trajectories.'
)
_NUM_TRAJECTORIES = flags.DEFINE_list(
  'num_trajectories',
  ['10', '30', '100', '300', '1000', '3000'],
  'Panel (c): numbers of trajectories. Empty leaves the panel out.',
)
_PANEL_EPSILON = flags.DEFINE_float(
  'panel_epsilon', 0.5, 'Panel (c): distance of the policies, in [0, 1).'
)
_NUM_TRIALS = flags.DEFINE_integer(
  'num_trials', 10, 'Random MDPs, the same ones at every point.'
)
_NUM_STATES = flags.DEFINE_integer('num_states', 20, 'States of an MDP.')
_NUM_ACTIONS = flags.DEFINE_integer('num_actions', 5, 'Actions of an MDP.')
_HORIZON = flags.DEFINE_integer('horizon', 20, 'Steps of a trajectory.')
_DISCOUNT = flags.DEFINE_float('discount', 0.8, 'Discount factor in [0, 1).')
_ESTIMATORS = flags.DEFINE_list(
  'estimators',
  list(derivative_accuracy.ESTIMATORS),
  'Estimators to compare; any of the default ones, log_likelihood, or '
  'taylor_K for an order K.',
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of all randomness.', lower_bound=0, upper_bound=2**32 - 1
)
_OUTPUT = flags.DEFINE_string(
  'output', 'results/figure1', 'Directory for results and figure.'
)

_Row = dict[str, Any]


class Plan(NamedTuple):
  """What the flags ask for, checked.

  Attributes:
    epsilons: of panels (a) and (b).
    panel_num_trajectories: of panels (a) and (b).
    num_trajectories: of panel (c).
    panel_epsilon: of panel (c).
    points: all points, each once.
    num_trials: random MDPs.
    setting: their sizes.
    estimators: names.
    seed: of all randomness.
  """

  epsilons: tuple[float, ...]
  panel_num_trajectories: int
  num_trajectories: tuple[int, ...]
  panel_epsilon: float
  points: tuple[derivative_accuracy.Point, ...]
  num_trials: int
  setting: derivative_accuracy.Setting
  estimators: tuple[str, ...]
  seed: int


def plan_from_flags() -> Plan:
  """Returns the plan, or raises `ValueError` with what to do instead."""
  epsilons = studies.numbers(_EPSILONS, float)
  num_trajectories = studies.numbers(_NUM_TRAJECTORIES, int)
  point = derivative_accuracy.Point
  panel_ab = [point(x, _PANEL_NUM_TRAJECTORIES.value) for x in epsilons]
  panel_c = [point(_PANEL_EPSILON.value, n) for n in num_trajectories]
  points = tuple(dict.fromkeys(panel_ab + panel_c))
  if not points:
    raise ValueError(
      '--epsilons and --num_trajectories are both empty; give at least one.'
    )
  plan = Plan(
    epsilons,
    _PANEL_NUM_TRAJECTORIES.value,
    num_trajectories,
    _PANEL_EPSILON.value,
    points,
    _NUM_TRIALS.value,
    derivative_accuracy.Setting(
      num_states=_NUM_STATES.value,
      num_actions=_NUM_ACTIONS.value,
      horizon=_HORIZON.value,
      discount=_DISCOUNT.value,
    ),
    tuple(dict.fromkeys(_ESTIMATORS.value)),
    _SEED.value,
  )
  derivative_accuracy.check(points, plan.num_trials, plan.estimators)
  return plan


def run(plan: Plan, directory: pathlib.Path) -> list[_Row]:
  """Runs the study with a progress bar; returns the rows of all points."""
  rows = []
  with tqdm.tqdm(
    total=len(plan.points) * plan.num_trials, unit='MDP', desc='compiling'
  ) as bar:

    def on_trial(point):
      bar.set_description(
        f'epsilon {point.epsilon:g}, {point.num_trajectories} trajectories',
        refresh=False,
      )
      bar.update()

    for point, accuracy in derivative_accuracy.run(
      plan.points,
      plan.num_trials,
      plan.seed,
      plan.setting,
      plan.estimators,
      on_trial,
    ):
      rows += derivative_accuracy.summarise(point, accuracy, plan.estimators)
      outputs.write_json(directory / studies.PARTIAL, rows)
  return rows


def draw(plan: Plan, rows: Sequence[_Row], path: pathlib.Path) -> None:
  """Draws the three panels and writes them as PNG."""
  by_epsilon = [
    row
    for row in rows
    if row['num_trajectories'] == plan.panel_num_trajectories
    and row['epsilon'] in plan.epsilons
  ]
  by_number = [
    row
    for row in rows
    if row['epsilon'] == plan.panel_epsilon
    and row['num_trajectories'] in plan.num_trajectories
  ]
  number = f'$N$ = {plan.panel_num_trajectories:,}'
  epsilon = rf'$\varepsilon$ = {plan.panel_epsilon:g}'
  with plotting.panels(3) as (figure, axes):
    _draw_panel(axes[0], plan, by_epsilon, 'gradient', 'epsilon')
    _draw_panel(axes[1], plan, by_epsilon, 'hessian', 'epsilon')
    _draw_panel(axes[2], plan, by_number, 'hessian', 'num_trajectories')
    axes[0].set_title(f'(a)  Gradient, {number}')
    axes[1].set_title(f'(b)  Hessian, {number}')
    axes[2].set_title(f'(c)  Hessian, {epsilon}')
    axes[0].set_ylabel('correlation with exact derivative')
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)


def _draw_panel(
  axes: Any, plan: Plan, rows: Sequence[_Row], derivative: str, x: str
) -> None:
  """Draws accuracies of a derivative against the column `x` of the rows."""
  if not rows:
    plotting.say_empty(axes, 'left out')
    return
  for i, estimator in enumerate(plan.estimators):
    own = [row for row in rows if row['estimator'] == estimator]
    plotting.curve(
      axes,
      [row[x] for row in own],
      [row[f'{derivative}_accuracy_mean'] for row in own],
      [row[f'{derivative}_accuracy_stderr'] for row in own],
      plotting.style(estimator, i),
    )
  axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.03)
  if x == 'epsilon':
    axes.set_xlabel(r'off-policyness $\varepsilon$')
  else:
    axes.set_xlabel('number of trajectories $N$')
    plotting.log_x(axes)


def make(plan: Plan, directory: pathlib.Path) -> list[str]:
  """Measures, writes and draws; returns the names of files."""
  # Products of many importance ratios leave the range of float32.
  jax.config.update('jax_enable_x64', True)
  rows = run(plan, directory)
  names = studies.write(directory, rows, rows)
  draw(plan, rows, directory / 'figure1.png')
  return [*names, 'figure1.png']


def main(argv: Sequence[str]) -> None:
  studies.main('tabular_derivatives', argv, _OUTPUT, plan_from_flags, make)


if __name__ == '__main__':
  app.run(main)
