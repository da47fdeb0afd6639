"""Bias and variance of gradients of an N-sample objective, on a 1-D toy.

See `acme_metarl.studies.n_sample_toy`, and the main of this name.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import os
from typing import Any

import jax
import numpy as np

from acme_metarl.launchers.runs import outputs, progress
from acme_metarl.launchers.studies import n_sample_objectives_figure, study
from acme_metarl.studies import n_sample_toy as toy
from acme_metarl.studies import power_laws

# Points of an optimisation curve that are kept.
_NUM_CURVE_POINTS = 100
# Standard errors in a two-sided 99 % interval.
_NUM_STDERRS = 2.576
# Growth with N that theory gives: of variances, and of biases that are not 0.
_VARIANCE_EXPONENTS = {
  'score_function': 1,
  'score_function_with_baseline': 0,
  'linearised_score_function': -1,
  'path_wise': -1,
}
_BIAS_EXPONENTS = {'linearised_score_function': -1}

_Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config(study.Seeded):
  """What is measured.

  Attributes:
    theta: mean of the samples where bias and variance are measured. At 1 the
      linear growth of the score function vanishes, at 0 the bias of the
      linearised one.
    scale: standard deviation of the samples.
    num_samples: numbers N of samples in the mean.
    fit_from: slopes are fitted to the numbers of samples from here on.
    num_replications: estimates per estimator and N.
    estimators: estimators to compare.
    initial_theta: optimisation: where it starts.
    optimisation_num_samples: optimisation: number N of samples.
    step_size: optimisation: step size of gradient ascent.
    num_steps: optimisation: steps.
    num_runs: optimisation: runs per estimator.
  """

  theta: float = 3.0
  scale: float = 1.0
  num_samples: tuple[int, ...] = tuple(2**i for i in range(11))
  fit_from: int = 64
  num_replications: int = 200_000
  estimators: tuple[str, ...] = toy.ESTIMATORS
  initial_theta: float = 3.0
  optimisation_num_samples: int = 100
  step_size: float = 0.01
  num_steps: int = 400
  num_runs: int = 1000

  def __post_init__(self):
    super().__post_init__()
    toy.check_estimators(self.estimators)
    toy.check_replications(self.num_replications)
    study.at_least(self, 1, 'optimisation_num_samples', 'num_steps', 'num_runs')
    for name in ('scale', 'step_size'):
      if not getattr(self, name) > 0:
        raise ValueError(
          f'{name} is {getattr(self, name)}; it needs to be positive.'
        )
    if not self.num_samples or min(self.num_samples) < 1:
      raise ValueError(
        f'num_samples is {self.num_samples}; it needs numbers of at least 1.'
      )
    fitted = [n for n in self.sizes if n >= self.fit_from]
    if len(fitted) < 2:
      raise ValueError(
        f'num_samples has {len(fitted)} numbers from fit_from = '
        f'{self.fit_from} on; a slope needs two.'
      )

  @property
  def sizes(self) -> list[int]:
    """Numbers of samples, each once, the least first."""
    return sorted(set(self.num_samples))

  @property
  def names(self) -> list[str]:
    """Estimators, each once."""
    return list(dict.fromkeys(self.estimators))


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  results = _measure_all(config)
  names = study.write(directory, results, results['moments'])
  n_sample_objectives_figure.draw(
    results, directory / 'n_sample_objectives.png'
  )
  return [*names, 'n_sample_objectives.png']


def _measure_all(config: Config) -> dict[str, Any]:
  """Measures with a progress bar; returns the content of the JSON."""
  key = jax.random.PRNGKey(config.seed)
  moments, optimisation = [], []
  total = len(config.names) * (len(config.sizes) + 1)
  with progress.bar(total, unit='point', desc='compiling') as bar:
    for name in config.names:
      # The same stream whichever other estimators are in the study.
      own_key = jax.random.fold_in(key, toy.ESTIMATORS.index(name))
      for num_samples in config.sizes:
        bar.set_description(f'{name}, N = {num_samples}', refresh=False)
        moments.append(_measure(config, name, own_key, num_samples))
        bar.update()
      bar.set_description(f'{name}, optimisation', refresh=False)
      optimisation.append(
        _optimise(config, name, jax.random.fold_in(own_key, 0))
      )
      bar.update()
  return {
    'settings': {
      field.name: getattr(config, field.name)
      for field in dataclasses.fields(config)
    },
    'moments': moments,
    'slopes': list(_slopes(config, moments)),
    'optimisation': optimisation,
  }


def _measure(
  config: Config, name: str, key: jax.Array, num_samples: int
) -> _Row:
  measured = toy.measure(
    name,
    jax.random.fold_in(key, num_samples),
    config.theta,
    num_samples,
    config.num_replications,
    config.scale,
  )
  bias, variance = toy.exact_moments(
    name, config.theta, num_samples, config.scale
  )
  return {
    'estimator': name,
    'num_samples': num_samples,
    **measured._asdict(),
    'exact_bias': bias,
    'exact_variance': variance,
  }


def _slopes(config: Config, moments: Sequence[_Row]) -> Iterator[_Row]:
  """Power laws of variances and non-zero biases, measured and exact.

  The exact moments are no pure power laws at finite N: their slope over the
  same points, with the same weights, is what the measured one must match.
  """
  for name in config.names:
    rows = [
      row
      for row in moments
      if row['estimator'] == name and row['num_samples'] >= config.fit_from
    ]
    x = [row['num_samples'] for row in rows]
    quantities = [('variance', _VARIANCE_EXPONENTS[name])]
    if name in _BIAS_EXPONENTS and config.theta != 0:
      quantities.insert(0, ('bias', _BIAS_EXPONENTS[name]))
    for quantity, asymptotic in quantities:
      y, stderr, exact = (
        np.array([row[column] for row in rows])
        for column in (quantity, f'{quantity}_stderr', f'exact_{quantity}')
      )
      fit = power_laws.fit(x, y, stderr, _NUM_STDERRS)
      # The same relative errors, so the same weights.
      theory = power_laws.fit(x, exact, np.abs(stderr / y * exact))
      yield {
        'estimator': name,
        'quantity': quantity,
        'slope': fit.exponent,
        'slope_stderr': fit.exponent_stderr,
        'low_99': fit.low,
        'high_99': fit.high,
        'exact_slope': theory.exponent,
        'asymptotic_slope': asymptotic,
      }


def _optimise(config: Config, name: str, key: jax.Array) -> _Row:
  """Quantiles over runs of the gap (θ - 1)²."""

  @jax.jit
  @jax.vmap
  def ascend(key):
    return toy.optimise(
      name,
      key,
      config.initial_theta,
      config.optimisation_num_samples,
      config.step_size,
      config.num_steps,
      config.scale,
    )

  thetas = np.asarray(
    ascend(jax.random.split(key, config.num_runs)), np.float64
  )
  with np.errstate(over='ignore', invalid='ignore'):
    gap = (thetas - toy.TARGET) ** 2
  # A run that has left the range of floats counts as infinitely far.
  gap = np.nan_to_num(gap, nan=np.inf, posinf=np.inf)
  steps = np.unique(
    np.linspace(0, config.num_steps, _NUM_CURVE_POINTS + 1).astype(int)
  )
  quantiles = np.quantile(
    gap[:, steps], [0.05, 0.5, 0.95], axis=0, method='nearest'
  )
  return {
    'estimator': name,
    'lost': float(np.mean(gap[:, -1] > gap[:, 0])),
    'step': steps.tolist(),
    **{
      f'gap_{percent}': [float(f'{x:.4g}') for x in quantile]
      for percent, quantile in zip((5, 50, 95), quantiles, strict=True)
    },
  }
