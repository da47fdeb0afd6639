r"""Bias and variance of gradients of an N-sample objective, on a 1-D toy.

Score function, linearised score function and path-wise estimates of the
gradient of E[-(mean of N samples - 1)²], Gaussian samples, against N; and
gradient ascent with them. Everything is known in closed form as well, so the
fitted slopes are compared with it. See `acme_metarl.n_sample_objectives` and
`acme_metarl.n_sample_toy`.

    python -m acme_metarl.launchers.n_sample_objectives \
        --output=results/n_sample_objectives

writes into the output directory
* `results.json`: settings, `moments` (a row per estimator and N), `slopes` (a
  row per power law) and `optimisation` (a row per estimator, with its curve);
* `results.csv`: the moments as a table;
* `n_sample_objectives.png`.
"""

from collections.abc import Iterator, Sequence
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import jax
import numpy as np
import tqdm

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import study as studies
from acme_metarl.studies import n_sample_toy as toy

_NAME = 'n_sample_objectives'

_THETA = flags.DEFINE_float(
  'theta',
  3.0,
  'Mean of the samples where bias and variance are measured. At 1 the linear '
  'growth of the score function vanishes, at 0 the bias of the linearised one.',
)
_SCALE = flags.DEFINE_float('scale', 1.0, 'Standard deviation of the samples.')
_NUM_SAMPLES = flags.DEFINE_list(
  'num_samples',
  [str(2**i) for i in range(11)],
  'Numbers N of samples in the mean.',
)
_FIT_FROM = flags.DEFINE_integer(
  'fit_from', 64, 'Slopes are fitted to the numbers of samples from here on.'
)
_NUM_REPLICATIONS = flags.DEFINE_integer(
  'num_replications', 200_000, 'Estimates per estimator and N.'
)
_ESTIMATORS = flags.DEFINE_list(
  'estimators', list(toy.ESTIMATORS), 'Estimators to compare.'
)
_INITIAL_THETA = flags.DEFINE_float(
  'initial_theta', 3.0, 'Optimisation: where it starts.'
)
_OPTIMISATION_NUM_SAMPLES = flags.DEFINE_integer(
  'optimisation_num_samples', 100, 'Optimisation: number N of samples.'
)
_STEP_SIZE = flags.DEFINE_float(
  'step_size', 0.01, 'Optimisation: step size of gradient ascent.'
)
_NUM_STEPS = flags.DEFINE_integer('num_steps', 400, 'Optimisation: steps.')
_NUM_RUNS = flags.DEFINE_integer(
  'num_runs', 1000, 'Optimisation: runs per estimator.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of all randomness.', lower_bound=0, upper_bound=2**32 - 1
)
_OUTPUT = flags.DEFINE_string(
  'output', 'results/n_sample_objectives', 'Directory for results and figure.'
)

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
_LOOKS = {
  'score_function': plotting.Style(
    'Score function (SF)', plotting.VERMILION, 's'
  ),
  'score_function_with_baseline': plotting.Style(
    'SF with baseline', plotting.ORANGE, 'D'
  ),
  'linearised_score_function': plotting.Style(
    'Linearised SF', plotting.BLUE, 'o'
  ),
  'path_wise': plotting.Style('Path-wise', plotting.GREEN, '^'),
}

_Row = dict[str, Any]


class Plan(NamedTuple):
  """What the flags ask for, checked. Fields are named like the flags."""

  theta: float
  scale: float
  num_samples: tuple[int, ...]
  fit_from: int
  num_replications: int
  estimators: tuple[str, ...]
  initial_theta: float
  optimisation_num_samples: int
  step_size: float
  num_steps: int
  num_runs: int
  seed: int

  @property
  def fitted_num_samples(self) -> tuple[int, ...]:
    return tuple(n for n in self.num_samples if n >= self.fit_from)


def plan_from_flags() -> Plan:
  """Returns the plan, or raises `ValueError` with what to do instead."""
  plan = Plan(
    _THETA.value,
    _SCALE.value,
    tuple(sorted(studies.numbers(_NUM_SAMPLES, int))),
    _FIT_FROM.value,
    _NUM_REPLICATIONS.value,
    tuple(dict.fromkeys(_ESTIMATORS.value)),
    _INITIAL_THETA.value,
    _OPTIMISATION_NUM_SAMPLES.value,
    _STEP_SIZE.value,
    _NUM_STEPS.value,
    _NUM_RUNS.value,
    _SEED.value,
  )
  toy.check_estimators(plan.estimators)
  toy.check_replications(plan.num_replications)
  for name in ('optimisation_num_samples', 'num_steps', 'num_runs'):
    if getattr(plan, name) < 1:
      raise ValueError(
        f'--{name} is {getattr(plan, name)}; it needs to be at least 1.'
      )
  for name in ('scale', 'step_size'):
    if not getattr(plan, name) > 0:
      raise ValueError(
        f'--{name} is {getattr(plan, name)}; it needs to be positive.'
      )
  if not plan.num_samples or min(plan.num_samples) < 1:
    raise ValueError(
      f'--num_samples is {",".join(_NUM_SAMPLES.value)!r}; it needs numbers of '
      'at least 1.'
    )
  if len(plan.fitted_num_samples) < 2:
    raise ValueError(
      f'--num_samples has {len(plan.fitted_num_samples)} numbers from '
      f'--fit_from={plan.fit_from} on; a slope needs two.'
    )
  return plan


def run(plan: Plan) -> dict[str, Any]:
  """Runs the study with a progress bar; returns the content of the JSON."""
  key = jax.random.PRNGKey(plan.seed)
  moments, optimisation = [], []
  total = len(plan.estimators) * (len(plan.num_samples) + 1)
  with tqdm.tqdm(total=total, unit='point', desc='compiling') as bar:
    for name in plan.estimators:
      # The same stream whichever other estimators are in the study.
      own_key = jax.random.fold_in(key, toy.ESTIMATORS.index(name))
      for num_samples in plan.num_samples:
        bar.set_description(f'{name}, N = {num_samples}', refresh=False)
        moments.append(_measure(plan, name, own_key, num_samples))
        bar.update()
      bar.set_description(f'{name}, optimisation', refresh=False)
      optimisation.append(_optimise(plan, name, jax.random.fold_in(own_key, 0)))
      bar.update()
  return {
    'settings': plan._asdict(),
    'moments': moments,
    'slopes': list(_slopes(plan, moments)),
    'optimisation': optimisation,
  }


def _measure(plan: Plan, name: str, key: jax.Array, num_samples: int) -> _Row:
  measured = toy.measure(
    name,
    jax.random.fold_in(key, num_samples),
    plan.theta,
    num_samples,
    plan.num_replications,
    plan.scale,
  )
  bias, variance = toy.exact_moments(name, plan.theta, num_samples, plan.scale)
  return {
    'estimator': name,
    'num_samples': num_samples,
    **measured._asdict(),
    'exact_bias': bias,
    'exact_variance': variance,
  }


def _slopes(plan: Plan, moments: Sequence[_Row]) -> Iterator[_Row]:
  """Power laws of variances and non-zero biases, measured and exact.

  The exact moments are no pure power laws at finite N: their slope over the
  same points, with the same weights, is what the measured one must match.
  """
  for name in plan.estimators:
    rows = [
      row
      for row in moments
      if row['estimator'] == name and row['num_samples'] >= plan.fit_from
    ]
    x = [row['num_samples'] for row in rows]
    quantities = [('variance', _VARIANCE_EXPONENTS[name])]
    if name in _BIAS_EXPONENTS and plan.theta != 0:
      quantities.insert(0, ('bias', _BIAS_EXPONENTS[name]))
    for quantity, asymptotic in quantities:
      y, stderr, exact = (
        np.array([row[column] for row in rows])
        for column in (quantity, f'{quantity}_stderr', f'exact_{quantity}')
      )
      fit = toy.fit_power_law(x, y, stderr)
      # The same relative errors, so the same weights.
      theory = toy.fit_power_law(x, exact, np.abs(stderr / y * exact))
      low, high = fit.interval(_NUM_STDERRS)
      yield {
        'estimator': name,
        'quantity': quantity,
        'slope': fit.exponent,
        'slope_stderr': fit.exponent_stderr,
        'low_99': low,
        'high_99': high,
        'exact_slope': theory.exponent,
        'asymptotic_slope': asymptotic,
      }


def _optimise(plan: Plan, name: str, key: jax.Array) -> _Row:
  """Quantiles over runs of the gap (θ - 1)²."""

  @jax.jit
  @jax.vmap
  def ascend(key):
    return toy.optimise(
      name,
      key,
      plan.initial_theta,
      plan.optimisation_num_samples,
      plan.step_size,
      plan.num_steps,
      plan.scale,
    )

  thetas = np.asarray(ascend(jax.random.split(key, plan.num_runs)), np.float64)
  with np.errstate(over='ignore', invalid='ignore'):
    gap = (thetas - toy.TARGET) ** 2
  # A run that has left the range of floats counts as infinitely far.
  gap = np.nan_to_num(gap, nan=np.inf, posinf=np.inf)
  steps = np.unique(
    np.linspace(0, plan.num_steps, _NUM_CURVE_POINTS + 1).astype(int)
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


def draw(plan: Plan, results: dict[str, Any], path: pathlib.Path) -> None:
  """Draws bias, variance and optimisation, and writes them as PNG."""
  with plotting.panels(3, height=3.3) as (figure, axes):
    _draw_bias(axes[0], plan, results)
    _draw_variance(axes[1], plan, results)
    _draw_optimisation(axes[2], plan, results['optimisation'])
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)


def _own(rows: Sequence[_Row], name: str, column: str) -> np.ndarray:
  return np.array(
    [row[column] for row in rows if row['estimator'] == name], np.float64
  )


def _draw_bias(axes: Any, plan: Plan, results: dict[str, Any]) -> None:
  """|bias| where there is one; of the others, how far from zero they were."""
  furthest = []
  for name in plan.estimators:
    look = _LOOKS[name]
    x, bias, stderr, exact = (
      _own(results['moments'], name, column)
      for column in ('num_samples', 'bias', 'bias_stderr', 'exact_bias')
    )
    if not np.any(exact):
      furthest.append(np.max(np.abs(bias / stderr)))
      continue
    axes.plot(x, np.abs(exact), color=look.color, linewidth=1.2)
    axes.errorbar(
      x,
      np.abs(bias),
      # A bar that reaches zero would leave the logarithmic axis.
      [np.minimum(stderr, 0.9 * np.abs(bias)), stderr],
      color=look.color,
      marker=look.marker,
      linestyle='none',
      elinewidth=0.9,
    )
    _say_slope(axes, results['slopes'], name, 'bias', x[-1], abs(exact[-1]))
  if furthest:
    axes.text(
      0.97,
      0.95,
      f'others: 0, within {max(furthest):.1f}\nstandard errors',
      color='#444444',
      fontsize=8,
      ha='right',
      va='top',
      transform=axes.transAxes,
    )
  axes.set(ylabel='|bias|', title=rf'(a)  Bias at $\theta$ = {plan.theta:g}')
  _finish(axes, plan)


def _draw_variance(axes: Any, plan: Plan, results: dict[str, Any]) -> None:
  for name in plan.estimators:
    look = _LOOKS[name]
    x, variance, exact = (
      _own(results['moments'], name, column)
      for column in ('num_samples', 'variance', 'exact_variance')
    )
    axes.plot(x, exact, color=look.color, linewidth=1.2)
    axes.plot(
      x,
      variance,
      color=look.color,
      marker=look.marker,
      linestyle='none',
      label=look.label,
    )
    _say_slope(axes, results['slopes'], name, 'variance', x[-1], exact[-1])
  axes.set(
    ylabel='variance', title=rf'(b)  Variance at $\theta$ = {plan.theta:g}'
  )
  _finish(axes, plan)


def _say_slope(
  axes: Any,
  slopes: Sequence[_Row],
  name: str,
  quantity: str,
  x: float,
  y: float,
) -> None:
  """Writes the fitted power of N, with its 99 % interval, after the curve."""
  for row in slopes:
    if (row['estimator'], row['quantity']) == (name, quantity):
      half = (row['high_99'] - row['low_99']) / 2
      axes.annotate(
        f'$N^{{{row["slope"]:.3f} \\pm {half:.3f}}}$',
        (x, y),
        xytext=(7, 0),
        textcoords='offset points',
        color=_LOOKS[name].color,
        va='center',
      )


def _finish(axes: Any, plan: Plan) -> None:
  axes.set_yscale('log')
  plotting.log_x(axes)
  low, high = plan.num_samples[0], plan.num_samples[-1]
  # Room for the powers of N.
  axes.set_xlim(low * 0.75, high * (high / low) ** 0.55)
  axes.set_xlabel('number of samples $N$')


def _draw_optimisation(axes: Any, plan: Plan, rows: Sequence[_Row]) -> None:
  for row in rows:
    color = _LOOKS[row['estimator']].color
    axes.plot(row['step'], row['gap_50'], color=color)
    axes.plot(row['step'], row['gap_95'], color=color, ls=':', linewidth=1.2)
  axes.set_yscale('log')
  start = max((plan.initial_theta - toy.TARGET) ** 2, 1e-6)
  axes.set_ylim(3e-6 * start, 30 * start)
  axes.text(
    0.97,
    0.95,
    'solid: median\ndotted: 95th percentile',
    color='#444444',
    fontsize=8,
    ha='right',
    va='top',
    transform=axes.transAxes,
  )
  axes.set(
    xlabel='step of gradient ascent',
    ylabel=r'$(\theta - 1)^2$',
    title=f'(c)  Optimisation with $N$ = {plan.optimisation_num_samples}',
  )


def make(plan: Plan, directory: pathlib.Path) -> list[str]:
  """Runs, writes and draws; returns the names of files."""
  results = run(plan)
  names = studies.write(directory, results, results['moments'])
  draw(plan, results, directory / 'n_sample_objectives.png')
  return [*names, 'n_sample_objectives.png']


def main(argv: Sequence[str]) -> None:
  studies.main(_NAME, argv, _OUTPUT, plan_from_flags, make)


if __name__ == '__main__':
  app.run(main)
