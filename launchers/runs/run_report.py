"""`report.html` of a run: its curves, settings, evaluations and films."""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import curves, html_page, outputs, tables

REPORT_HTML = 'report.html'
# Of these there are many, and the first ones say the most.
_OTHER_CHARTS = (
  'meta_gradient_norm',
  'loss',
  'outer_kl',
  'clipped_share',
  'lag',
)


def write(
  directory: str | os.PathLike[str], config: run_config.RunConfig
) -> pathlib.Path:
  """Writes `report.html` of what a run's directory holds by now.

  Args:
    directory: of the run.
    config: of the run.

  Returns:
    The path of the page.
  """
  directory = pathlib.Path(directory)
  first, *rest = curves.title(config).split('\n')
  evaluation = tables.columns(directory / tables.EVALUATION_CSV)
  learner = tables.columns(directory / tables.LEARNER_CSV)
  path = directory / REPORT_HTML
  text = html_page.page(
    first,
    ' '.join(rest),
    charts(evaluation, learner),
    {
      'Last evaluation': _last(evaluation),
      **{
        f'{folder.name}: results of evaluate': _rows(folder / 'results.csv')
        for folder in _evaluations(directory)
      },
    },
    _settings(directory, config),
    [
      (f'{folder.name}: {file.name}', file)
      for folder in _evaluations(directory)
      for file in sorted(folder.glob('behaviour.*'))
    ],
  )
  outputs.write(path, text.encode())
  return path


def charts(
  evaluation: Mapping[str, np.ndarray], learner: Mapping[str, np.ndarray]
) -> list[html_page.Chart]:
  """The charts of a run's tables; none where there is nothing to show."""
  found = []
  steps = 'environment steps'
  if evaluation:
    taken = evaluation['num_inner_steps_taken']
    series = []
    for step in np.unique(taken):
      own = {name: x[taken == step] for name, x in evaluation.items()}
      look = curves.look(int(step))
      series.append(
        html_page.Series(
          look.label,
          look.color,
          own['environment_steps'],
          own['return_mean'],
          own['return_stderr'],
        )
      )
    found.append(
      html_page.Chart(
        'Return on tasks drawn anew', steps, 'return', series, curves.BAND
      )
    )
  if learner:
    series, stage = [], 0
    while f'return_{stage}' in learner:
      look = curves.look(stage)
      series.append(
        html_page.Series(
          look.label,
          look.color,
          learner['environment_steps'],
          learner[f'return_{stage}'],
        )
      )
      stage += 1
    found.append(
      html_page.Chart('Return on training tasks', steps, 'return', series)
    )
    found += [
      html_page.Chart(
        name.replace('_', ' '),
        steps,
        name,
        [
          html_page.Series(
            name, '#0072B2', learner['environment_steps'], learner[name]
          )
        ],
      )
      for name in _OTHER_CHARTS
      if name in learner
    ]
  return found


def _last(evaluation: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
  if not evaluation:
    return []
  is_last = evaluation['iteration'] == evaluation['iteration'].max()
  return [
    {name: float(x[i]) for name, x in evaluation.items()}
    for i in np.flatnonzero(is_last)
  ]


def _evaluations(directory: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in directory.glob('evaluation-*'))


def _rows(path: pathlib.Path) -> Sequence[Mapping[str, Any]]:
  return tables.read_csv(path) if path.exists() else []


def _settings(
  directory: pathlib.Path, config: run_config.RunConfig
) -> dict[str, Any]:
  """What `config.json` has, commands and versions included."""
  try:
    text = (directory / run_config.CONFIG_JSON).read_text(encoding='utf-8')
    return json.loads(text)
  except (OSError, ValueError):
    return config.to_dict()
