"""`report.html` of a comparison: curves to hover over, table, settings."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from acme_metarl.launchers.comparison import (
  curve_figure,
  learning_curves,
  reported,
)
from acme_metarl.launchers.runs import html_page, outputs

REPORT_HTML = 'report.html'
_DASHES = {'-': '', '--': '7 4', '-.': '7 3 2 3', ':': '2 3'}
_FILMS = 'runs/*/*/seed_*/evaluation-*/behaviour.*'


def write(
  output: pathlib.Path,
  found: Mapping[str, Mapping[str, Sequence[learning_curves.Curve]]],
  scalars: Mapping[str, Sequence[reported.Scalar]],
  cells: Mapping[str, Sequence[Sequence[str]]],
  caption: str,
  origin: Mapping[str, Any],
) -> None:
  """Writes the page.

  Args:
    output: directory of the comparison.
    found: curves of the seeds, by algorithm, by environment.
    scalars: what else was reported, by environment.
    cells: of the tables, headers first, by heading.
    caption: explains the tables.
    origin: commands and versions of the runs.
  """
  charts = []
  for environment, by_label in found.items():
    curves = {'return': by_label} | {
      part.name: part.by_label
      for parts in reported.shown(scalars[environment]).values()
      for part in parts
      if not part.task_class
    }
    charts += [
      html_page.Chart(
        environment.replace('_', ' '),
        'environment steps',
        f'{name} after adaptation',
        _series(of_seeds),
        'bands: ± standard deviation over seeds',
      )
      for name, of_seeds in curves.items()
    ]
  tables = {
    heading: [dict(zip(header, row, strict=True)) for row in rows]
    for heading, (header, *rows) in cells.items()
  }
  media = [
    (str(path.parent.relative_to(output / 'runs')), path)
    for path in sorted(output.glob(_FILMS))
  ]
  text = html_page.page(
    f'Comparison {output.name}', caption, charts, tables, origin, media
  )
  outputs.write(output / REPORT_HTML, text.encode())


def _series(
  by_label: Mapping[str, Sequence[learning_curves.Curve]],
) -> list[html_page.Series]:
  series = []
  for label, look in curve_figure.looks(list(by_label)).items():
    seeds = by_label[label]
    if not seeds:
      continue
    steps, mean, std, _ = learning_curves.over_seeds(seeds)
    is_done = all(curve.is_finished for curve in seeds)
    series.append(
      html_page.Series(
        look.label if is_done else f'{look.label} (unfinished)',
        look.color,
        steps,
        mean,
        std if len(seeds) > 1 else None,
        _DASHES[look.linestyle],
      )
    )
  return series
