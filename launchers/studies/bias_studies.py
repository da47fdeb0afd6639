"""What studies of bias and variance share."""

from collections.abc import Callable, Sequence
import pathlib
import textwrap
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import outputs, plotting, progress
from acme_metarl.launchers.studies import study
from acme_metarl.studies import derivative_accuracy, meta_gradient_bias

# Half of the time to compile on a CPU, and no slower code.
COMPILER_OPTIONS = {'xla_backend_optimization_level': 1}

# What the bands around correlations are.
BAND = 'bands: ± standard error over MDPs'

Row = dict[str, Any]
Measured = tuple[meta_gradient_bias.Case, meta_gradient_bias.Measurement]


def evaluators(names: Sequence[str]) -> tuple[str, ...]:
  """Returns the names, each once, if they are evaluators.

  Raises:
    ValueError: with a sentence for the user, if there are none or others.
  """
  if not names:
    raise ValueError(
      'evaluators is empty; choose from '
      f'{", ".join(meta_gradient_bias.ESTIMATORS)}.'
    )
  for name in names:
    if name == 'truncated_doubly_robust':
      raise ValueError(f'evaluators: {name} is not part of this study.')
    derivative_accuracy.make_evaluator(name)
  return tuple(dict.fromkeys(names))


def check(cases: Sequence[meta_gradient_bias.Case]) -> None:
  """Raises `ValueError` if there are none, or one cannot be measured."""
  if not cases:
    raise ValueError('There is nothing to measure: a list is empty.')
  for case in cases:
    meta_gradient_bias.check(case)


def measure(
  measure_case: Callable[
    [meta_gradient_bias.Case, Callable[[], Any]], meta_gradient_bias.Measurement
  ],
  cases: Sequence[meta_gradient_bias.Case],
  directory: pathlib.Path,
) -> list[Measured]:
  """Measures cases with a progress bar; keeps the rows so far."""
  measured, rows = [], []
  total = sum(case.num_batches for case in cases)
  with progress.bar(total, unit='batch', desc='compiling') as bar:
    for case in cases:
      measured.append((case, measure_case(case, bar.update)))
      bar.set_description(f'{case.study}, {case.series}', refresh=False)
      rows.append(meta_gradient_bias.row(*measured[-1]))
      if len(rows) % 20 == 0:
        outputs.write_json(directory / study.PARTIAL, rows)
  return measured


def rounded(rows: Sequence[Row]) -> list[Row]:
  """Returns rows whose numbers have six digits, enough for files."""
  return [
    {
      name: float(f'{x:.6g}') if isinstance(x, float) else x
      for name, x in row.items()
    }
    for row in rows
  ]


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
  """Returns the rows that have these entries."""
  return [
    row
    for row in rows
    if all(row[name] == value for name, value in wanted.items())
  ]


def unique(rows: Sequence[Row], name: str) -> list[Any]:
  """Returns the different entries of a column, in order of appearance."""
  return list(dict.fromkeys(row[name] for row in rows))


def correlation_panel(
  axes: Any, rows: Sequence[Row], x: str, title: str
) -> None:
  """Draws correlation against one setting, a curve an estimator."""
  for i, name in enumerate(unique(rows, 'estimator')):
    own = select(rows, estimator=name)
    plotting.curve(
      axes,
      [row[x] for row in own],
      [row['correlation_mean'] for row in own],
      [row['correlation_stderr'] for row in own],
      plotting.style(name, i),
    )
  axes.set_title(title)


def note(axes: Any, text: str) -> None:
  """Writes a small remark into the lower right corner."""
  axes.text(
    0.97,
    0.04,
    text,
    transform=axes.transAxes,
    ha='right',
    va='bottom',
    color=plotting.GREY,
    fontsize=8,
  )


def note_coinciding(axes: Any, rows: Sequence[Row], derivative: str) -> None:
  """Says which of the drawn evaluators share derivatives, sample by sample.

  On-policy, that is; nothing is said where there are fewer than two.

  Args:
    axes: Matplotlib axes.
    rows: that were drawn.
    derivative: 'gradient', which all but importance sampling share, or
      'hessian', which doubly robust and Taylor of order 2 and more share.
  """
  names = unique(rows, 'estimator')
  if derivative == 'gradient':
    same = [name for name in names if name != 'importance_sampling']
  else:
    orders = [name for name in names if name.startswith('taylor_')]
    same = [name for name in orders if name != 'taylor_1']
    same += [name for name in names if name == 'doubly_robust']
  if len(same) < 2:
    return
  if len(same) == len(names):
    note(axes, 'all coincide')
  elif len(same) == len(names) - 1 and len(same) > 2:
    (other,) = set(names) - set(same)
    note(axes, f'all but {plotting.style(other).label} coincide')
  else:
    labels = [plotting.style(x).label for x in names if x in same]
    # Lines end between names, not in them.
    text = ', '.join(x.replace(' ', '\u00a0') for x in labels)
    note(axes, '\n'.join(textwrap.wrap(f'{text} coincide', 30)))


def binary_axis(axes: Any, rows: Sequence[Row], column: str) -> None:
  """Makes a logarithmic axis that names powers of four."""
  values = unique(rows, column)
  axes.set_xscale('log', base=2)
  ticks = [4**i for i in range(9) if min(values) <= 4**i <= max(values)]
  if len(ticks) < 2:
    ticks = sorted(values)
  axes.set_xticks(ticks, [str(tick) for tick in ticks])
  axes.minorticks_off()


def _noise(row: Row) -> float:
  """Noise of a squared bias; 0 where a single batch says nothing of it."""
  noise = row['squared_bias_noise']
  return noise if noise is not None and np.isfinite(noise) else 0.0


def is_significant(row: Row) -> bool:
  """Whether a squared bias is more than twice its noise from the trials."""
  return row['squared_bias_mean'] > 2 * _noise(row)


def bias_and_variance(
  axes: Any,
  rows: Sequence[Row],
  x: str,
  scale: Callable[[Row], float] = lambda row: 1.0,
) -> list[str]:
  """Draws squared bias (full) and variance (thin) on a logarithmic axis.

  A squared bias that its noise hides is left out.

  Args:
    axes: Matplotlib axes.
    rows: of one series.
    x: column of the horizontal axis.
    scale: divides both.

  Returns:
    The estimators whose bias is nowhere to be seen.
  """
  unseen = []
  for i, name in enumerate(unique(rows, 'estimator')):
    look = plotting.style(name, i)
    own = sorted(select(rows, estimator=name), key=lambda row: row[x])
    seen = [row for row in own if is_significant(row)]
    axes.plot(
      [row[x] for row in own],
      [max(row['variance_mean'], 0.0) / scale(row) for row in own],
      color=look.color,
      linestyle='--',
      linewidth=1.0,
      alpha=0.8,
    )
    if seen:
      mean = np.array([row['squared_bias_mean'] / scale(row) for row in seen])
      noise = np.array([_noise(row) / scale(row) for row in seen])
      axes.errorbar(
        [row[x] for row in seen],
        mean,
        yerr=2 * noise,
        color=look.color,
        marker=look.marker,
        linestyle='-',
        elinewidth=1.0,
        capsize=2,
        label=look.label,
      )
    else:
      unseen.append(name)
      axes.plot([], [], color=look.color, marker=look.marker, label=look.label)
  plotting.log_y(axes)
  return unseen
