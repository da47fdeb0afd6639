"""What `launchers.meta_gradient_bias` makes of its measurements."""

from collections.abc import Sequence
import time

import numpy as np

from acme_metarl.launchers.studies import bias_studies
from acme_metarl.studies import meta_gradient_bias, power_laws

# Correlations that the authors' code gives on its own 10 MDPs, at 4 and 16
# trajectories: shared by the project, see docs/bias_and_variance.md.
REFERENCE = {
  ('importance_sampling', 'inner'): (0.290, 0.541),
  ('importance_sampling', 'hessian'): (0.056, 0.329),
  ('importance_sampling', 'all'): (-0.013, 0.065),
  ('doubly_robust', 'inner'): (0.798, 0.924),
  ('doubly_robust', 'hessian'): (0.546, 0.797),
  ('doubly_robust', 'all'): (0.166, 0.487),
  ('taylor_1', 'inner'): (0.798, 0.924),
  ('taylor_1', 'hessian'): (0.825, 0.942),
  ('taylor_1', 'all'): (0.226, 0.574),
  ('log_likelihood', 'inner'): (0.798, 0.924),
  ('log_likelihood', 'hessian'): (0.644, 0.707),
  ('log_likelihood', 'all'): (0.175, 0.371),
}
REFERENCE_NUM_TRAJECTORIES = (4, 16)
_REFERENCE_NUM_MDPS = 10  # Of theirs.


def compare_with_reference(
  rows: Sequence[bias_studies.Row],
) -> list[bias_studies.Row]:
  """Returns our correlations beside those of the authors' code.

  The standard error of theirs, on 10 MDPs, is taken from the spread of ours.
  """
  compared = []
  for row in bias_studies.select(rows, study='reference'):
    number = row['num_trajectories']
    index = REFERENCE_NUM_TRAJECTORIES.index(number)
    theirs = REFERENCE[row['estimator'], row['series']][index]
    spread = row['correlation_stderr'] * row['num_mdps'] ** 0.5
    stderr = spread * (1 / row['num_mdps'] + 1 / _REFERENCE_NUM_MDPS) ** 0.5
    compared.append(
      {
        'estimator': row['estimator'],
        'column': row['series'],
        'num_trajectories': number,
        'num_mdps': row['num_mdps'],
        'correlation': row['correlation_mean'],
        'reference': theirs,
        'combined_stderr': stderr,
        'difference_in_stderrs': (row['correlation_mean'] - theirs) / stderr,
      }
    )
  return compared


def fit(measured: Sequence[bias_studies.Measured]) -> list[bias_studies.Row]:
  """Fits power laws to squared biases; see `docs/bias_and_variance.md`.

  Exponents are those of the bias itself, half of the squared one's. Where a
  bias is lost in its noise, or has grown to a third of the exact
  meta-gradient's norm and saturates, it is not part of a fit.
  """
  fits = []
  for estimator in _names(measured, 'compositional'):
    for variable, bound in (
      ('num_trajectories', '-1/2'),
      ('step_size', 'number of inner steps'),
      ('num_inner_steps', 'none: exponential'),
    ):
      own = [
        (case, result)
        for case, result in measured
        if (case.study, case.series) == ('compositional', variable)
        and case.estimator == estimator
        and _is_in_range(case, result)
      ]
      fits.append(_fit('compositional', estimator, variable, bound, own))
  injected = [x for x in measured if x[0].series == 'injected']
  for num_steps in dict.fromkeys(
    c.settings.num_inner_steps for c, _ in injected
  ):
    own = [x for x in injected if x[0].settings.num_inner_steps == num_steps]
    for name, low, high in (('small', 0, 4), ('large', 256, np.inf)):
      some = [x for x in own if low <= x[0].settings.hessian_error <= high]
      fits.append(
        _fit(
          f'injected, {name}, {num_steps} inner steps',
          meta_gradient_bias.EXACT,
          'hessian_error',
          'number of inner steps - 1',
          some,
        )
      )
  return fits


def _names(measured, study: str) -> list[str]:
  return list(
    dict.fromkeys(c.estimator for c, _ in measured if c.study == study)
  )


def _is_in_range(case, result) -> bool:
  row = meta_gradient_bias.row(case, result)
  saturates = row['squared_bias_mean'] > 0.1 * row['exact_square_mean']
  return bias_studies.is_significant(row) and not saturates


def _fit(study, estimator, variable, bound, measured) -> bias_studies.Row:
  x = [getattr(case.settings, variable) for case, _ in measured]
  y = [result.squared_bias for _, result in measured]
  law = power_laws.fit_mean(
    np.array(x), np.stack(y, -1) if y else np.zeros((1, 0))
  )
  return {
    'study': study,
    'estimator': estimator,
    'variable': variable,
    'points': x,
    'exponent': law.exponent / 2,
    'low': law.low / 2,
    'high': law.high / 2,
    'exponent_of_bound': bound,
  }


def time_batches(
  estimators: Sequence[str],
  settings: meta_gradient_bias.Settings,
  measure: meta_gradient_bias.Measure,
) -> list[bias_studies.Row]:
  """Times one batch of trials, everything estimated."""
  timings = []
  for estimator in estimators:
    case = meta_gradient_bias.Case(
      'cost',
      'all',
      estimator,
      meta_gradient_bias.parts_of_column('all', estimator),
      settings,
    )
    seconds = []
    for _ in range(4):
      start = time.perf_counter()
      result = measure(case)
      seconds.append(time.perf_counter() - start)
    timings.append(
      {
        'estimator': estimator,
        'num_mdps': len(result.correlation),
        'num_trials': meta_gradient_bias.BATCH_SIZE,
        'num_trajectories': case.settings.num_trajectories,
        'seconds': min(seconds[1:]),
        'first_call_seconds': seconds[0],
      }
    )
  return timings
