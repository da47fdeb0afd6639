"""Meta-gradients of a learned intrinsic reward on random MDPs (LIRPG).

See `acme_metarl.studies.intrinsic_reward`, and the main of this name.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any, Literal

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import bias_studies, study
from acme_metarl.studies import intrinsic_reward, meta_gradient_bias


@dataclasses.dataclass(frozen=True)
class Config(study.RandomMDPs):
  """What is measured.

  Attributes:
    evaluators: evaluators to compare; any of the default ones, or taylor_K for
      an order K.
    column: which parts are estimated: the inner gradients, their derivatives
      (hessian), the outer gradient, or all.
    num_trajectories: numbers of trajectories of each estimated part.
    num_inner_steps: numbers of inner steps.
    step_size: inner step size.
    gae_lambda: λ of the advantage estimates (GAE), in [0, 1].
    critic_noise: error of the critic, in units of |V| / states.
    differentiable_critic: whether the critic of the rewards is differentiated
      by the intrinsic one.
    off_policyness: distance of the policies, in [0, 1).
    num_trials: estimates on each MDP.
    num_mdps: random MDPs.
  """

  evaluators: tuple[str, ...] = intrinsic_reward.ESTIMATORS
  column: Literal['inner', 'hessian', 'outer', 'all'] = 'hessian'
  num_trajectories: tuple[int, ...] = (16, 32, 64, 128, 256)
  num_inner_steps: tuple[int, ...] = (1, 2, 3, 4, 5)
  step_size: float = 10.0
  gae_lambda: float = 0.9
  critic_noise: float = 1.0
  differentiable_critic: bool = True
  off_policyness: float = 0.0
  num_trials: int = 20
  num_mdps: int = 10

  def __post_init__(self):
    super().__post_init__()
    study.at_least(self, 1, 'num_mdps')
    bias_studies.check(self.cases)

  @property
  def cases(self) -> list[meta_gradient_bias.Case]:
    """All points."""
    cases = []
    for num_steps in dict.fromkeys(self.num_inner_steps):
      settings = intrinsic_reward.Settings(
        step_size=self.step_size,
        num_inner_steps=num_steps,
        critic_noise=self.critic_noise,
        off_policyness=self.off_policyness,
        lambda_=self.gae_lambda,
        differentiable_critic=self.differentiable_critic,
      )
      cases += meta_gradient_bias.sweep(
        'intrinsic_reward',
        f'{num_steps} inner steps',
        self.column,
        bias_studies.evaluators(self.evaluators),
        'num_trajectories',
        list(dict.fromkeys(self.num_trajectories)),
        settings,
        self.num_trials,
      )
    return cases


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  measure = meta_gradient_bias.Measure(
    intrinsic_reward.make_estimate,
    bias_studies.evaluators(config.evaluators),
    config.setting,
    config.num_mdps,
    max(config.num_inner_steps),
    config.seed,
    bias_studies.COMPILER_OPTIONS,
  )
  measured = bias_studies.measure(measure, config.cases, directory)
  rows = bias_studies.rounded([meta_gradient_bias.row(*x) for x in measured])
  names = study.write(directory, rows, rows)
  draw(rows, directory / 'intrinsic_reward.png')
  return [*names, 'intrinsic_reward.png']


def draw(rows: Sequence[bias_studies.Row], path: pathlib.Path) -> Any:
  """Draws correlations, a panel for each number of inner steps.

  Returns:
    The figure, which is written as PNG too.
  """
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
        bias_studies.note_coinciding(
          panel, own, 'gradient' if same else 'hessian'
        )
    low = min(axis.get_ylim()[0] for axis in axes)
    for panel in axes:
      panel.set_ylim(low, 1.03)
    axes[0].set_ylabel('correlation with the exact\nmeta-gradient')
    plotting.shared_legend(figure, axes, bias_studies.BAND)
    outputs.write_figure(path, figure)
    return figure
