"""The studies: which estimates are measured, and how a study is run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl.studies import derivative_accuracy
from acme_metarl.studies.meta_gradient_bias import estimation, statistics

# Columns of the decomposition: which parts are estimated.
COLUMNS = ('inner', 'hessian', 'outer', 'all', 'all_shared_data')

# Trials that are computed side by side. Studies of the bias run many batches.
BATCH_SIZE = 20


class Case(NamedTuple):
  """One point of a study.

  Attributes:
    study: its name.
    series: what distinguishes the curves of the study beside the estimator.
    estimator: of the parts that are estimated.
    parts: by name.
    settings: numbers of the estimate, `estimation.Settings` or those of
      another estimate.
    num_trials: independent estimates on each MDP, a multiple of `BATCH_SIZE`
      or it is rounded up to one.
  """

  study: str
  series: str
  estimator: str
  parts: estimation.Parts
  settings: Any
  num_trials: int = BATCH_SIZE

  @property
  def num_batches(self) -> int:
    return -(-self.num_trials // BATCH_SIZE)


def parts_of_column(column: str, estimator: str) -> estimation.Parts:
  """Returns the parts of a column of the decomposition.

  Raises:
    ValueError: if no column has the name.
  """
  if column not in COLUMNS:
    raise ValueError(
      f'Unknown column {column!r}; choose from {", ".join(COLUMNS)}.'
    )
  if column.startswith('all'):
    return estimation.Parts(estimator, estimator, estimator)
  return estimation.Parts()._replace(**{column: estimator})


def decomposition(
  estimators: Sequence[str],
  columns: Sequence[str],
  num_trajectories: Sequence[int],
  settings: estimation.Settings,
  num_trials: int = BATCH_SIZE,
) -> list[Case]:
  """Each part estimated alone, and all of them, against N."""
  return [
    Case(
      'decomposition',
      column,
      estimator,
      parts_of_column(column, estimator),
      settings._replace(
        num_trajectories=number, shared_data=column == 'all_shared_data'
      ),
      num_trials,
    )
    for column in columns
    for estimator in estimators
    for number in num_trajectories
  ]


def sweep(
  study: str,
  series: str,
  part: str,
  estimators: Sequence[str],
  variable: str,
  values: Sequence[float],
  settings: estimation.Settings,
  num_trials: int,
) -> list[Case]:
  """One estimated part, or all, and one setting that varies.

  Args:
    study: its name.
    series: name of the series.
    part: a column of the decomposition.
    estimators: of the part.
    variable: field of `Settings` that varies.
    values: of that field.
    settings: the other fields.
    num_trials: on each MDP.

  Returns:
    The cases.
  """
  return [
    Case(
      study,
      series,
      estimator,
      parts_of_column(part, estimator),
      settings._replace(**{variable: value}),
      num_trials,
    )
    for estimator in estimators
    for value in values
  ]


def check(case: Case) -> None:
  """Raises `ValueError` where a case cannot be measured."""
  numbers = case.settings._asdict()
  for name, least in (
    ('num_inner_steps', 1),
    ('num_trajectories', 1),
    ('critic_noise', 0),
    ('hessian_error_noise', 0),
  ):
    if name in numbers and not numbers[name] >= least:
      raise ValueError(
        f'{name} is {numbers[name]}; it needs to be at least {least}.'
      )
  if not numbers['step_size'] > 0:
    raise ValueError(
      f'step_size is {numbers["step_size"]}; it needs to be positive.'
    )
  for name, allowed, fits in (
    ('off_policyness', '[0, 1)', lambda x: 0 <= x < 1),
    ('lambda_', '[0, 1]', lambda x: 0 <= x <= 1),
  ):
    if name in numbers and not fits(numbers[name]):
      raise ValueError(
        f'{name} is {numbers[name]}; it needs to be in {allowed}.'
      )
  if case.num_trials < 1:
    raise ValueError(f'num_trials is {case.num_trials}; it needs at least 1.')


class Measure:
  """Measures cases on M random MDPs, the same ones and in pairs.

  Random streams: an MDP depends on (seed, its index), a batch of trials on
  (seed, index of the MDP, index of the batch). All cases see the same numbers,
  so that differences between them are known better than each of them.
  """

  def __init__(
    self,
    make_estimate: Callable[..., Any],
    estimators: Sequence[str] = estimation.ESTIMATORS,
    setting: derivative_accuracy.Setting | None = None,
    num_mdps: int = 10,
    max_inner_steps: int = 8,
    seed: int = 0,
    compiler_options: dict[str, Any] | None = None,
  ):
    """Compiles nothing yet.

    Args:
      make_estimate: `(estimators, horizon, max_inner_steps) -> estimate(key,
        problem, parts, settings)`; without estimators it is exact.
      estimators: that cases may name.
      setting: of the random MDPs; the published one by default.
      num_mdps: M >= 1.
      max_inner_steps: that cases may have.
      seed: of all randomness.
      compiler_options: of `jax.jit`.

    Raises:
      ValueError: if there are no MDPs.
    """
    if num_mdps < 1:
      raise ValueError(f'num_mdps is {num_mdps}; it needs to be at least 1.')
    self._setting = (
      derivative_accuracy.Setting() if setting is None else setting
    )
    self._estimators = tuple(estimators)
    horizon = self._setting.horizon
    self._estimate = make_estimate(self._estimators, horizon, max_inner_steps)
    self._exact = make_estimate((), horizon, max_inner_steps)
    problem_key, self._trial_key = jax.random.split(jax.random.PRNGKey(seed))
    self._index = jnp.arange(num_mdps)
    self.problems = jax.vmap(
      lambda i: estimation.sample_problem(
        jax.random.fold_in(problem_key, i), self._setting
      )
    )(self._index)
    self._exact_batch = jax.jit(jax.vmap(self._exact_one, in_axes=(0, None)))
    self._batch = jax.jit(self._sum_batch, compiler_options=compiler_options)

  def _exact_one(self, problem: estimation.Problem, settings: Any):
    """The exact meta-gradient: without estimators, nothing is random."""
    if hasattr(settings, 'hessian_error'):
      settings = settings._replace(hessian_error=0.0, hessian_error_noise=0.0)
    parts = estimation.Parts().numbers(())
    return self._exact(jax.random.PRNGKey(0), problem, parts, settings)

  def _sum_batch(
    self,
    batch: chex.Numeric,
    problems: estimation.Problem,
    exact: chex.Array,
    parts: estimation.Parts,
    settings: Any,
  ) -> statistics.Moments:
    """Sums over one batch of trials on every MDP."""

    def one_mdp(index, problem, exact):
      key = jax.random.fold_in(self._trial_key, index)
      keys = jax.random.split(jax.random.fold_in(key, batch), BATCH_SIZE)
      estimates = jax.vmap(self._estimate, in_axes=(0, None, None, None))(
        keys, problem, parts, settings
      )
      error = (estimates - exact).reshape(BATCH_SIZE, -1)
      correlation = jax.vmap(
        derivative_accuracy.correlation, in_axes=(0, None)
      )(estimates, exact)
      return statistics.Moments(
        count=jnp.asarray(BATCH_SIZE),
        error=error.sum(0),
        square=(error**2).sum(),
        correlation=correlation.sum(),
        exact=exact.reshape(-1),
      )

    return jax.vmap(one_mdp)(self._index, problems, exact)

  def __call__(
    self, case: Case, on_batch: Callable[[], None] | None = None
  ) -> statistics.Measurement:
    """Measures a case; `on_batch` is called after every batch of trials."""
    parts = case.parts.numbers(self._estimators)
    parts = jax.tree.map(jnp.asarray, parts)
    # One type a field, whatever numbers were given, is one compilation.
    settings = jax.tree.map(
      lambda x, default: jnp.asarray(x, type(default)),
      case.settings,
      type(case.settings)(),
    )
    exact = self._exact_batch(self.problems, settings)
    batches = []
    for batch in range(case.num_batches):
      moments = self._batch(batch, self.problems, exact, parts, settings)
      batches.append(jax.device_get(moments))
      if on_batch is not None:
        on_batch()
    stacked = statistics.Moments(*zip(*batches, strict=True))
    return statistics.summarise(stacked)


def row(case: Case, measurement: statistics.Measurement) -> dict[str, Any]:
  """Returns a row of a table: a case, means and standard errors over MDPs.

  Bias, variance and the exact meta-gradient's square are per component.
  """
  columns = {
    'study': case.study,
    'series': case.series,
    'estimator': case.estimator,
    **case.parts._asdict(),
    **{k: _plain(v) for k, v in case.settings._asdict().items()},
    'num_mdps': len(measurement.correlation),
    'num_trials': case.num_batches * BATCH_SIZE,
  }
  for name in ('correlation', 'squared_bias', 'variance', 'exact_square'):
    mean, stderr = derivative_accuracy.mean_and_stderr(
      getattr(measurement, name)
    )
    columns[f'{name}_mean'], columns[f'{name}_stderr'] = mean, stderr
  # Of the mean, from the trials alone: what tells a bias from none.
  noise = measurement.squared_bias_noise
  columns['squared_bias_noise'] = float((noise**2).sum() ** 0.5 / len(noise))
  return columns


def _plain(value: Any) -> Any:
  return value.item() if hasattr(value, 'item') else value
