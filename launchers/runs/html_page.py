"""One self-contained HTML page: charts to hover over, settings, tables, films.

Nothing is loaded from anywhere: data, pictures and films are in the file, and
charts are drawn by a few lines of JavaScript. Whoever has none sees the tables.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import html
import importlib.resources
import json
import math
import pathlib
from typing import Any

import numpy as np

# More points than a screen has are left out.
_MOST_POINTS = 1500
# Films above this many bytes would make the page unwieldy.
_MOST_BYTES = 30_000_000
_MIME = {
  '.png': 'image/png',
  '.mp4': 'video/mp4',
  '.gif': 'image/gif',
}


@dataclasses.dataclass(frozen=True)
class Series:
  """A curve.

  Attributes:
    name: in the legend.
    color: as CSS has it.
    x: `[N]`.
    y: `[N]`; NaN leaves a gap.
    error: `[N]`, half of a band's height, or None.
    dash: SVG's dashes, such as '6 4'.
  """

  name: str
  color: str
  x: Sequence[float]
  y: Sequence[float]
  error: Sequence[float] | None = None
  dash: str = ''


@dataclasses.dataclass(frozen=True)
class Chart:
  """Curves over one axis.

  Attributes:
    title: above it.
    x_label: below it.
    y_label: beside it.
    series: the curves.
    note: what the bands are.
  """

  title: str
  x_label: str
  y_label: str
  series: Sequence[Series]
  note: str = ''


def page(
  title: str,
  subtitle: str,
  charts: Sequence[Chart],
  tables: Mapping[str, Sequence[Mapping[str, Any]]],
  settings: Mapping[str, Any],
  media: Sequence[tuple[str, pathlib.Path]] = (),
) -> str:
  """Puts a page together.

  Args:
    title: of the page.
    subtitle: below it.
    charts: in their order.
    tables: rows by heading; all rows of one have the same keys.
    settings: nested, shown as they are.
    media: captions and files; films and pictures that are too large, or gone,
      are named only.

  Returns:
    HTML.
  """
  data = [_chart_data(chart) for chart in charts]
  # Nothing in there can end the script.
  embedded = json.dumps(data, allow_nan=False).replace('<', '\\u003c')
  parts = [f'<h1>{html.escape(title)}</h1>', f'<p>{html.escape(subtitle)}</p>']
  parts += ['<div id="charts"></div>']
  parts += [_table(heading, rows) for heading, rows in tables.items() if rows]
  parts += [_medium(caption, path) for caption, path in media]
  text = json.dumps(settings, indent=2, ensure_ascii=False)
  parts += [
    '<h2>Settings</h2>',
    f'<details open><summary>all of them</summary><pre>{html.escape(text)}'
    '</pre></details>',
  ]
  assets = importlib.resources.files(__package__)
  style, script = (
    (assets / f'html_page.{kind}').read_text(encoding='utf-8')
    for kind in ('css', 'js')
  )
  body = '\n'.join(parts)
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n'
    f'<body>\n{body}\n'
    f'<script type="application/json" id="data">{embedded}</script>\n'
    f'<script>\n{script}</script>\n</body>\n</html>\n'
  )


def _chart_data(chart: Chart) -> dict[str, Any]:
  return {
    'title': chart.title,
    'xLabel': chart.x_label,
    'yLabel': chart.y_label,
    'note': chart.note,
    'series': [
      {
        'name': one.name,
        'color': one.color,
        'dash': one.dash,
        'x': _numbers(one.x),
        'y': _numbers(one.y),
        'error': None if one.error is None else _numbers(one.error),
      }
      for one in chart.series
    ],
  }


def _numbers(values: Sequence[float]) -> list[float | None]:
  """As JSON has them; the last one always among them."""
  values = np.asarray(values, float)
  if len(values) > _MOST_POINTS:
    index = np.linspace(0, len(values) - 1, _MOST_POINTS).round().astype(int)
    values = values[index]
  return [float(f'{x:.6g}') if math.isfinite(x) else None for x in values]


def _table(heading: str, rows: Sequence[Mapping[str, Any]]) -> str:
  def line(cells, tag):
    inner = ''.join(f'<{tag}>{html.escape(_cell(x))}</{tag}>' for x in cells)
    return f'<tr>{inner}</tr>'

  body = '\n'.join(line(row.values(), 'td') for row in rows)
  return (
    f'<h2>{html.escape(heading)}</h2>\n<table>\n<thead>{line(rows[0], "th")}'
    f'</thead>\n<tbody>\n{body}\n</tbody>\n</table>'
  )


def _cell(value: Any) -> str:
  if isinstance(value, float):
    if value.is_integer():
      return f'{value:,.0f}'
    return f'{value:.4g}' if math.isfinite(value) else ''
  return str(value)


def _medium(caption: str, path: pathlib.Path) -> str:
  name = html.escape(caption)
  kind = _MIME.get(path.suffix)
  if kind is None or not path.exists() or path.stat().st_size > _MOST_BYTES:
    return f'<h2>{name}</h2>\n<p>{html.escape(path.name)}</p>'
  content = base64.b64encode(path.read_bytes()).decode()
  source = f'data:{kind};base64,{content}'
  if kind.startswith('video'):
    shown = f'<video controls loop muted src="{source}"></video>'
  else:
    shown = f'<img alt="{name}" src="{source}">'
  return f'<h2>{name}</h2>\n{shown}'
