"""What a comparison leaves behind: tables, and what they say."""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Any, NamedTuple

from acme_metarl.launchers.comparison import (
  curve_figure,
  learning_curves,
  origin,
  stored_runs,
)
from acme_metarl.launchers.runs import outputs

CURVES_CSV = 'curves.csv'
FINAL_RETURNS_CSV = 'final_returns.csv'
FINAL_RETURNS_MD = 'final_returns.md'
VERSIONS_JSON = 'versions.json'


class Settings(NamedTuple):
  """How returns are put together.

  Attributes:
    reference: label of the algorithm that others are compared with, or None.
    num_final: evaluations at the end of a run whose mean is its final return.
    confidence: of intervals over seeds.
  """

  reference: str | None
  num_final: int
  confidence: float


def write(
  output: pathlib.Path,
  runs: Sequence[stored_runs.Run],
  settings: Settings,
) -> str:
  """Writes tables and figures.

  Args:
    output: directory of the comparison.
    runs: that it consists of, stored or not.
    settings: of the table.

  Returns:
    The table, in Markdown.

  Raises:
    ValueError: if nothing is stored yet.
  """
  rows = learning_curves.point_rows(runs)
  if not rows:
    raise ValueError(
      f'no run in {str(output / stored_runs.RUNS)!r} has an evaluation yet.'
    )
  outputs.write_csv(output / CURVES_CSV, rows)
  found = learning_curves.by_environment(rows, runs)
  summary = []
  for environment, by_label in found.items():
    summary += learning_curves.summary_rows(environment, by_label, *settings)
    curve_figure.draw(output / f'{environment}.png', environment, by_label)
  outputs.write_csv(output / FINAL_RETURNS_CSV, summary)
  text = table(summary, settings)
  missing = [
    r.name for r in runs if stored_runs.last_evaluation(r.directory) < 0
  ]
  if missing:
    text += f'\nNot evaluated yet: {", ".join(missing)}.\n'
  outputs.write(output / FINAL_RETURNS_MD, text.encode())
  outputs.write_json(output / VERSIONS_JSON, origin.summary(runs))
  return text


def table(summary: Sequence[Mapping[str, Any]], settings: Settings) -> str:
  """The rows of `final_returns.csv`, for readers."""
  lines = []
  for environment in dict.fromkeys(row['environment'] for row in summary):
    own = [row for row in summary if row['environment'] == environment]
    lines += [f'## {environment.replace("_", " ")}', '']
    lines += [*_markdown(_cells(own, settings)), '']
  unfinished = any(row['num_unfinished'] for row in summary)
  lines += [
    'Returns on freshly drawn tasks, before and after adaptation: means of the'
    f' last {settings.num_final} evaluations of a run. "Whole run" is the area'
    ' under the curve after adaptation, divided by its length. Brackets:'
    f" {settings.confidence:.0%} intervals over seeds (Student's t)."
  ]
  if settings.reference:
    lines[-1] += (
      f' Differences are to {curve_figure.title(settings.reference)}, seed'
      ' by seed.'
    )
  if unfinished:
    lines[-1] += ' (!) Some of the seeds have not come to their end.'
  return '\n'.join(lines) + '\n'


def _cells(
  rows: Sequence[Mapping[str, Any]], settings: Settings
) -> list[list[str]]:
  header = [
    'algorithm',
    'seeds',
    'iterations',
    'before adaptation',
    'after adaptation',
    'whole run',
  ]
  columns = ['before_adaptation', 'final_return', 'average_return']
  if settings.reference:
    header.append('difference')
    columns.append('difference')
  cells = [header]
  for row in rows:
    mark = ' (!)' if row['num_unfinished'] else ''
    cells.append(
      [
        curve_figure.title(row['algorithm']),
        str(row['num_seeds']),
        f'{row["num_iterations"]}{mark}',
        *(_interval(row, name) for name in columns),
      ]
    )
  return cells


def _interval(row: Mapping[str, Any], name: str) -> str:
  mean, low, high = (row[f'{name}_{end}'] for end in ('mean', 'low', 'high'))
  if math.isnan(mean):
    return ''
  if math.isnan(low):
    return _number(mean)
  return f'{_number(mean)} [{_number(low)}, {_number(high)}]'


def _number(value: float) -> str:
  """Four digits, but no more than three decimals."""
  decimals = 4 - len(str(int(abs(value))))
  return f'{value:.{max(decimals, 0)}f}'


def _markdown(cells: Sequence[Sequence[str]]) -> list[str]:
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = [
    '| '
    + ' | '.join(x.ljust(w) for x, w in zip(row, widths, strict=True))
    + ' |'
    for row in cells
  ]
  return [
    lines[0],
    '|' + '|'.join('-' * (w + 2) for w in widths) + '|',
    *lines[1:],
  ]
