"""Bias and variance of MAML's meta-gradient on random MDPs, part by part.

See `acme_metarl.studies.meta_gradient_bias`, and the main of this name.
"""

from collections.abc import Iterator
import dataclasses
import functools
import os
import pathlib
from typing import Any

import jax

from acme_metarl.launchers.runs import outputs
from acme_metarl.launchers.studies import (
  bias_studies,
  meta_gradient_bias_analysis,
  meta_gradient_bias_figures,
  study,
)
from acme_metarl.studies import meta_gradient_bias as library

STUDIES = (
  'decomposition',
  'reference',
  'compositional',
  'hessian',
  'off_policy',
)
# Settings of the authors' studies of the two biases.
_BIAS_SETTINGS = {
  'step_size': 3.0,
  'num_inner_steps': 2,
  'num_trajectories': 32,
}
_POWERS = (2, 4, 8, 16, 32, 64, 128, 256)
_STEPS = (1, 2, 3, 4, 5, 6)


@dataclasses.dataclass(frozen=True)
class Config(study.RandomMDPs):
  """What is measured.

  Attributes:
    studies: which studies to run.
    evaluators: evaluators to compare; any of the default ones, or taylor_K for
      an order K.
    num_mdps: random MDPs.
    critic_noise: error of the critic, in units of |V| / states.
    columns: decomposition and off-policy study: which parts are estimated.
    num_trajectories: decomposition: numbers of trajectories of each estimated
      part.
    step_size: decomposition, off-policy study: inner step size.
    num_inner_steps: decomposition, off-policy study: inner steps.
    num_trials: decomposition: estimates on each MDP.
    num_reference_mdps: reference: random MDPs of ours.
    compositional_evaluators: compositional bias: evaluators of the inner
      gradient. On-policy all but importance_sampling have the same gradient.
    num_compositional_trials: compositional bias: estimates on each MDP.
    compositional_num_trajectories: compositional bias: numbers of trajectories,
      at 2 inner steps of size 3.
    compositional_step_sizes: compositional bias: step sizes, at 6 inner steps,
      32 trajectories.
    compositional_inner_steps: compositional bias: numbers of inner steps of
      size 3, 32 trajectories.
    num_hessian_trials: Hessian bias: estimates on each MDP.
    hessian_inner_steps: Hessian bias: numbers of inner steps of size 3, 32
      trajectories.
    error_inner_steps: injected Hessian error: numbers of inner steps of size 3.
    hessian_errors: injected Hessian error: sizes c; the authors have those up
      to 4.
    hessian_error_noise: injected Hessian error: its noise.
    num_off_policy_trials: off-policy study: estimates on each MDP.
    off_policyness: off-policy study: distances of the policies, each in [0, 1).
    off_policy_num_trajectories: off-policy study: trajectories.
  """

  studies: tuple[str, ...] = STUDIES
  evaluators: tuple[str, ...] = library.ESTIMATORS
  num_mdps: int = 10
  critic_noise: float = 1.0
  columns: tuple[str, ...] = library.COLUMNS
  num_trajectories: tuple[int, ...] = _POWERS
  step_size: float = 10.0
  num_inner_steps: int = 1
  num_trials: int = 20
  num_reference_mdps: int = 200
  compositional_evaluators: tuple[str, ...] = (
    'importance_sampling',
    'doubly_robust',
  )
  num_compositional_trials: int = 1000
  compositional_num_trajectories: tuple[int, ...] = _POWERS
  compositional_step_sizes: tuple[float, ...] = (1, 1.5, 2, 3, 5, 7, 9, 11, 13)
  compositional_inner_steps: tuple[int, ...] = _STEPS
  num_hessian_trials: int = 200
  hessian_inner_steps: tuple[int, ...] = _STEPS
  error_inner_steps: tuple[int, ...] = (1, 2, 3, 4)
  hessian_errors: tuple[float, ...] = (
    *(0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4),
    *(8, 16, 32, 64, 128, 256, 512, 1024),
  )
  hessian_error_noise: float = 0.3
  num_off_policy_trials: int = 200
  off_policyness: tuple[float, ...] = tuple(x / 10 for x in range(9))
  off_policy_num_trajectories: int = 64

  def __post_init__(self):
    super().__post_init__()
    study.at_least(self, 1, 'num_mdps', 'num_reference_mdps')
    for column in self.columns:
      library.parts_of_column(column, 'doubly_robust')
    bias_studies.check(self.cases)

  @property
  def cases(self) -> list[library.Case]:
    """All points, in the order that they are measured in."""
    make = {
      'decomposition': self._decomposition,
      'reference': self._reference,
      'compositional': self._compositional,
      'hessian': self._hessian,
      'off_policy': self._off_policy,
    }
    return [
      case
      for name in study.choice('studies', self.studies, STUDIES)
      for case in make[name]()
    ]

  def settings(self, **changes: Any) -> library.Settings:
    return library.Settings(critic_noise=self.critic_noise)._replace(**changes)

  def _decomposition(self) -> list[library.Case]:
    return library.decomposition(
      bias_studies.evaluators(self.evaluators),
      _unique(self.columns),
      _unique(self.num_trajectories),
      self.settings(
        step_size=self.step_size, num_inner_steps=self.num_inner_steps
      ),
      self.num_trials,
    )

  def _reference(self) -> list[library.Case]:
    known = {name for name, _ in meta_gradient_bias_analysis.REFERENCE}
    return [
      case._replace(study='reference')
      for case in library.decomposition(
        [x for x in bias_studies.evaluators(self.evaluators) if x in known],
        ('inner', 'hessian', 'all'),
        meta_gradient_bias_analysis.REFERENCE_NUM_TRAJECTORIES,
        library.Settings(),
      )
    ]

  def _compositional(self) -> Iterator[library.Case]:
    for variable, values, changes in (
      ('num_trajectories', self.compositional_num_trajectories, {}),
      ('step_size', self.compositional_step_sizes, {'num_inner_steps': 6}),
      ('num_inner_steps', self.compositional_inner_steps, {}),
    ):
      yield from library.sweep(
        'compositional',
        variable,
        'inner',
        bias_studies.evaluators(self.compositional_evaluators),
        variable,
        _unique(values),
        self.settings(**{**_BIAS_SETTINGS, **changes}),
        self.num_compositional_trials,
      )

  def _hessian(self) -> Iterator[library.Case]:
    yield from library.sweep(
      'hessian',
      'estimated',
      'hessian',
      bias_studies.evaluators(self.evaluators),
      'num_inner_steps',
      _unique(self.hessian_inner_steps),
      self.settings(**_BIAS_SETTINGS),
      self.num_hessian_trials,
    )
    for num_steps in _unique(self.error_inner_steps):
      settings = {**_BIAS_SETTINGS, 'num_inner_steps': num_steps}
      yield from library.sweep(
        'hessian',
        'injected',
        'hessian',
        [library.EXACT],
        'hessian_error',
        _unique(self.hessian_errors),
        self.settings(**settings, hessian_error_noise=self.hessian_error_noise),
        self.num_hessian_trials,
      )

  def _off_policy(self) -> Iterator[library.Case]:
    for column in _unique(self.columns):
      if column == 'all_shared_data':
        continue
      yield from library.sweep(
        'off_policy',
        column,
        column,
        bias_studies.evaluators(self.evaluators),
        'off_policyness',
        _unique(self.off_policyness),
        self.settings(
          step_size=self.step_size,
          num_inner_steps=self.num_inner_steps,
          num_trajectories=self.off_policy_num_trajectories,
        ),
        self.num_off_policy_trials,
      )


def _unique(values: tuple[Any, ...]) -> list[Any]:
  return list(dict.fromkeys(values))


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  results = _measure_all(config, directory)
  names = study.write(directory, results, results['rows'])
  return [*names, *meta_gradient_bias_figures.draw(results, directory)]


def _measure_all(config: Config, directory: pathlib.Path) -> dict[str, Any]:
  """Measures with a progress bar; returns what `results.json` holds."""
  cases = config.cases
  names = _unique(tuple(part for case in cases for part in case.parts))
  names = tuple(name for name in names if name != library.EXACT)
  make = functools.partial(
    library.Measure,
    library.make_estimate,
    names,
    max_inner_steps=max(case.settings.num_inner_steps for case in cases),
    seed=config.seed,
    compiler_options=bias_studies.COMPILER_OPTIONS,
  )
  measure = make(setting=config.setting, num_mdps=config.num_mdps)
  timings = meta_gradient_bias_analysis.time_batches(
    names, config.settings(), measure
  )
  measure_reference = make(num_mdps=config.num_reference_mdps)

  def measure_case(case, on_batch):
    chosen = measure_reference if case.study == 'reference' else measure
    return chosen(case, on_batch)

  measured = bias_studies.measure(measure_case, cases, directory)
  rows = bias_studies.rounded([library.row(*x) for x in measured])
  return {
    'setting': {
      **dataclasses.asdict(config.setting),
      'num_mdps': config.num_mdps,
      'seed': config.seed,
      'devices': sorted({str(x.device_kind) for x in jax.devices()}),
    },
    'cost': bias_studies.rounded(timings),
    'reference': bias_studies.rounded(
      meta_gradient_bias_analysis.compare_with_reference(rows)
    ),
    'fits': bias_studies.rounded(meta_gradient_bias_analysis.fit(measured)),
    'rows': rows,
  }
