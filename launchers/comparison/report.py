"""What a comparison leaves behind: tables, and what they say."""

from collections.abc import Mapping, Sequence
import json
import math
import pathlib
from typing import Any, NamedTuple

from acme_metarl.launchers.comparison import (
  curve_figure,
  html_report,
  learning_curves,
  origin,
  paired,
  reported,
  stored_runs,
)
from acme_metarl.launchers.runs import outputs, statistics, tables, versions

CURVES_CSV = 'curves.csv'
# Where tasks fall into classes: `curves.csv` for each of them.
CURVES_CLASSES_CSV = 'curves_classes.csv'
# Returns after adaptation, task by task.
CURVES_TASKS_CSV = 'curves_tasks.csv'
FINAL_RETURNS_CSV = 'final_returns.csv'
FINAL_RETURNS_MD = 'final_returns.md'
# The same of what environments report, where they do.
FINAL_SCALARS_CSV = 'final_scalars.csv'
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


class Points(NamedTuple):
  """What a report is made of.

  Attributes:
    rows: of `curves.csv`.
    unfinished: runs that have not come to their end.
    not_evaluated: names of runs without a row.
    origin: what made the runs, see `origin.summary`.
    class_rows: of `curves_classes.csv`, where tasks fall into classes.
    task_rows: of `curves_tasks.csv`.
  """

  rows: list[dict[str, Any]]
  unfinished: set[learning_curves.Key]
  not_evaluated: list[str]
  origin: dict[str, Any]
  class_rows: Sequence[dict[str, Any]] = ()
  task_rows: Sequence[dict[str, Any]] = ()

  @property
  def labels(self) -> list[str]:
    """Algorithms, each once."""
    return list(dict.fromkeys(row['algorithm'] for row in self.rows))


def points_of_runs(runs: Sequence[stored_runs.Run]) -> Points:
  """Reads runs of a comparison, begun or not."""
  return Points(
    learning_curves.point_rows(runs),
    {run.key for run in runs if not run.is_finished},
    [r.name for r in runs if stored_runs.last_evaluation(r.directory) < 0],
    origin.summary(runs),
    learning_curves.point_rows(runs, tables.CLASSES_CSV),
    paired.rows(runs),
  )


def points_of_tables(output: pathlib.Path) -> Points:
  """Reads the tables of a report, where the runs are not stored.

  Raises:
    ValueError: if there are none.
  """
  paths = [output / x for x in (CURVES_CSV, FINAL_RETURNS_CSV, VERSIONS_JSON)]
  missing = [path.name for path in paths if not path.exists()]
  if missing:
    raise ValueError(
      f'--only_report: there is no run in {str(output)!r}, nor '
      f'{", ".join(missing)} of an earlier report.'
    )
  curves, finals, made_by = paths
  rows = _typed(curves)
  last = {
    key: own[-1]['iteration']
    for key, own in learning_curves.by_run(rows).items()
  }
  unfinished = set()
  for row in tables.read_csv(finals):
    own = [x for x in last if x[:2] == (row['environment'], row['algorithm'])]
    # Those that came least far.
    own.sort(key=last.__getitem__)
    unfinished |= set(own[: int(row['num_unfinished'])])
  return Points(
    rows,
    unfinished,
    [],
    {**json.loads(made_by.read_text()), 'report': versions.entry()},
    _typed(output / CURVES_CLASSES_CSV),
    _typed(output / CURVES_TASKS_CSV),
  )


def _typed(path: pathlib.Path) -> list[dict[str, Any]]:
  """Rows of `curves.csv` with their numbers; none where there is no file."""
  kinds = {'environment': str, 'algorithm': str}
  kinds |= tables.CLASS_COLUMNS | tables.TASK_COLUMNS
  kinds |= dict.fromkeys(('return_mean', 'return_stderr'), float)
  return [
    {
      name: kinds.get(name, int)(cell or 'nan')
      for name, cell in row.items()
      if not stored_runs.is_scalar(name)
    }
    | stored_runs.scalars(row)
    for row in (tables.read_csv(path) if path.exists() else [])
  ]


def write(output: pathlib.Path, points: Points, settings: Settings) -> str:
  """Writes tables and figures.

  Args:
    output: directory of the comparison.
    points: what they are made of.
    settings: of the table.

  Returns:
    The table, in Markdown.

  Raises:
    ValueError: if nothing is stored yet.
  """
  if not points.rows:
    raise ValueError(
      f'no run in {str(output / stored_runs.RUNS)!r} has an evaluation yet.'
    )
  found = learning_curves.by_environment(points.rows, points.unfinished)
  by_task = {}
  if settings.reference:
    by_task = paired.differences(
      points.task_rows, settings.reference, settings.num_final
    )
  summaries = []
  for environment, by_label in found.items():
    summaries += learning_curves.summarise(
      environment, by_label, settings.reference, settings.num_final, by_task
    )
    curve_figure.draw(output / f'{environment}.png', environment, by_label)
  scalars = reported.find(
    found,
    points.rows,
    points.class_rows,
    points.unfinished,
    settings.reference,
    settings.num_final,
  )
  for environment, own in scalars.items():
    successes = {
      x.task_class: x.by_label for x in own if x.name == tables.SUCCESS
    }
    if successes:
      curve_figure.draw_successes(
        output / f'{environment}_success.png', environment, successes
      )
  confidence = settings.confidence
  for name, rows in {
    CURVES_CSV: points.rows,
    CURVES_CLASSES_CSV: points.class_rows,
    CURVES_TASKS_CSV: points.task_rows,
    FINAL_RETURNS_CSV: [x.row(confidence) for x in summaries],
    FINAL_SCALARS_CSV: [
      row for own in scalars.values() for x in own for row in x.rows(confidence)
    ],
  }.items():
    if rows:
      outputs.write_csv(output / name, rows)
    else:
      # That of an earlier report would be taken for one of this.
      (output / name).unlink(missing_ok=True)
  sections = _sections(summaries, scalars, settings)
  caption = _caption(summaries, scalars, settings)
  text = _text(sections, summaries, settings) + f'{caption}\n'
  if points.not_evaluated:
    text += f'\nNot evaluated yet: {", ".join(points.not_evaluated)}.\n'
  outputs.write(output / FINAL_RETURNS_MD, text.encode())
  outputs.write_json(output / VERSIONS_JSON, points.origin)
  html_report.write(
    output,
    found,
    scalars,
    sections,
    caption,
    points.origin,
  )
  return text


def _sections(
  summaries: Sequence[learning_curves.Summary],
  scalars: Mapping[str, Sequence[reported.Scalar]],
  settings: Settings,
) -> dict[str, list[list[str]]]:
  """Cells of the tables, headers first, by heading."""
  sections = {}
  for environment, own in scalars.items():
    title = environment.replace('_', ' ')
    sections[title] = _cells(
      [x for x in summaries if x.environment == environment], settings
    )
    for name, parts in reported.shown(own).items():
      cells = _cells([x for part in parts for x in part.summaries], settings)
      if any(part.task_class for part in parts):
        classes = [x.task_class or 'all' for x in parts for _ in x.summaries]
        for row, cell in zip(cells, ['tasks', *classes], strict=True):
          row.insert(1, cell)
      sections[f'{title}: {name}'] = cells
  return sections


def _text(
  sections: Mapping[str, Sequence[Sequence[str]]],
  summaries: Sequence[learning_curves.Summary],
  settings: Settings,
) -> str:
  """The tables in Markdown, and one of all environments."""
  found = {**sections}
  several = len({x.environment for x in summaries}) > 1
  if several and settings.reference:
    found['all environments'] = _pairs(summaries, settings.reference)
  lines = []
  for heading, cells in found.items():
    lines += [f'## {heading}', '', *_markdown(cells), '']
  return '\n'.join([*lines, ''])


def _caption(
  summaries: Sequence[learning_curves.Summary],
  scalars: Mapping[str, Sequence[reported.Scalar]],
  settings: Settings,
) -> str:
  """Explains what is in the tables, and nothing else."""
  parts = [
    part
    for own in scalars.values()
    for shown in reported.shown(own).values()
    for part in shown
  ]
  summaries = [*summaries, *(x for part in parts for x in part.summaries)]
  counts = [x.num_seeds for x in summaries]
  most_shown = learning_curves.MAX_SHOWN
  sentences = [
    'Returns on tasks drawn anew, before and after adaptation: means of the'
    f' last {settings.num_final} evaluations of a run. "Whole run" is the area'
    ' under the curve after adaptation, divided by its length.',
    *reported.caption([part.name for part in parts]),
  ]
  if any(scalars.values()):
    sentences.append(
      'All numbers that environments report, and all classes of tasks, are in'
      f' `{FINAL_SCALARS_CSV}`.'
    )
  if any(1 < count <= most_shown for count in counts):
    sentences.append('Parentheses: every seed.')
  if max(counts) > most_shown:
    sentences.append(
      f"Brackets: {settings.confidence:.0%} intervals over seeds (Student's t)."
    )
  if max(counts) >= 3:
    sentences.append(
      '"Middle half" is the interquartile mean after adaptation, with '
      f'{settings.confidence:.0%} of its bootstrap over seeds.'
    )
  if settings.reference:
    sentences.append(
      f'Differences are to {curve_figure.title(settings.reference)}, seed by '
      'seed.'
    )
  if any(x.by_task for x in summaries):
    sentences.append(
      '"Task by task": on the tasks that both were evaluated on, with'
      f" {settings.confidence:.0%} intervals over tasks (Student's t), for"
      ' these trained policies.'
    )
  if any(x.num_unfinished for x in summaries):
    sentences.append('(!) Some of the seeds have not come to their end.')
  return ' '.join(sentences)


def _cells(
  summaries: Sequence[learning_curves.Summary], settings: Settings
) -> list[list[str]]:
  columns = {
    'before adaptation': 'before_adaptation',
    'after adaptation': 'final_return',
    'whole run': 'average_return',
  }
  if settings.reference:
    columns['difference'] = 'difference'
  has_middle = max(x.num_seeds for x in summaries) >= 3
  has_tasks = any(x.by_task for x in summaries)
  header = ['algorithm', 'seeds', 'iterations', *columns]
  header += ['task by task'] if has_tasks else []
  if has_middle:
    header.insert(5, 'middle half')
  cells = [header]
  for one in summaries:
    mark = ' (!)' if one.num_unfinished else ''
    row = [
      curve_figure.title(one.algorithm),
      str(one.num_seeds),
      f'{one.num_iterations}{mark}' if one.num_seeds else '',
      *(_cell(one.values[x], settings.confidence) for x in columns.values()),
    ]
    if has_middle:
      middle = statistics.interquartile_mean(
        [one.values['final_return']], settings.confidence
      )
      row.insert(5, _with_interval(*middle))
    if has_tasks:
      strata = one.by_task
      row.append(
        _with_interval(*paired.mean_and_interval(strata, settings.confidence))
        if strata
        else ''
      )
    cells.append(row)
  return cells


def _pairs(
  summaries: Sequence[learning_curves.Summary], reference: str
) -> list[list[str]]:
  """How often an algorithm is above the reference, over all environments."""
  cells = [['algorithm', f'seeds above {curve_figure.title(reference)}']]
  for label in dict.fromkeys(x.algorithm for x in summaries):
    differences = [
      value
      for x in summaries
      if x.algorithm == label
      for value in x.values['difference']
    ]
    if differences:
      above = sum(value > 0 for value in differences)
      cells.append(
        [curve_figure.title(label), f'{above} of {len(differences)}']
      )
  return cells


def _cell(values: Sequence[float], confidence: float) -> str:
  """Mean, and every value of few, or the interval of many."""
  mean, low, high = statistics.mean_and_interval(values, confidence)
  if 1 < len(values) <= learning_curves.MAX_SHOWN:
    return f'{_number(mean)} ({", ".join(map(_number, values))})'
  return _with_interval(mean, low, high)


def _with_interval(middle: float, low: float, high: float) -> str:
  if math.isnan(middle):
    return ''
  if math.isnan(low):
    return _number(middle)
  return f'{_number(middle)} [{_number(low)}, {_number(high)}]'


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
