"""The picture of a run, `curves.png`, from its tables."""

from collections.abc import Mapping
import os
import pathlib
import textwrap
from typing import Any

import numpy as np

from acme_metarl import presets
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import outputs, plotting, tables

CURVES_PNG = 'curves.png'
_STEPS = 'environment steps'
BAND = 'bands: ± standard error over tasks'
# Fields that the second line of the title has, or that pictures show.
_SIZES = ('num_tasks', 'num_rollouts', 'horizon', 'num_inner_steps')
_TITLE_WIDTH = 110


def title(config: run_config.RunConfig) -> str:
  """What a run is: preset, how it differs from that, environment, seed, sizes.

  Returns:
    Lines.
  """
  fields = config.to_dict()
  algorithm = config.algorithm
  plain = {}
  if config.preset in presets.names():
    plain = presets.make(config.preset).to_dict()
  parts = [config.preset]
  parts += [
    f'{name} {_short(value)}'
    for name, value in fields['algorithm'].items()
    if name in plain
    and value != plain[name]
    and name not in (*_SIZES, 'num_iterations')
  ]
  parts += [f'reuse {config.agent["reuse"]}'] * (config.agent['reuse'] != 1)
  options = [
    f'{name} {_short(value)}'
    for name, value in fields['environment_options'].items()
  ]
  place = fields['environment']
  if options:
    place += f' ({", ".join(options)})'
  one = algorithm.num_inner_steps == 1
  sizes = (
    f'{algorithm.num_tasks} tasks × {algorithm.num_rollouts} rollouts ×'
    f' {algorithm.horizon} steps, {algorithm.num_inner_steps} adaptation'
    f' step{"" if one else "s"}'
  )
  first = f'{", ".join(parts)}, on {place}, seed {config.seed}'
  return '\n'.join([*textwrap.wrap(first, _TITLE_WIDTH), sizes])


def _short(value: Any) -> str:
  if isinstance(value, Mapping):
    return ' '.join(f'{k} {_short(v)}' for k, v in value.items())
  if isinstance(value, list):
    return ','.join(map(_short, value))
  return f'{value:g}' if isinstance(value, float) else str(value)


def draw(
  directory: str | os.PathLike[str], config: run_config.RunConfig
) -> Any:
  """Draws `curves.png` from the tables of a run.

  Args:
    directory: of the run.
    config: of the run.

  Returns:
    The figure, which is written too.
  """
  directory = pathlib.Path(directory)
  evaluation = tables.columns(directory / tables.EVALUATION_CSV)
  learner = tables.columns(directory / tables.LEARNER_CSV)
  has_successes = tables.SUCCESS in evaluation
  num_panels = 4 if has_successes else 3
  with plotting.panels(num_panels, width=3.9, height=3.9) as (figure, axes):
    _draw_evaluation(axes[0], evaluation)
    _draw_training(axes[1], learner, config.algorithm.num_tasks)
    _draw_gradient(axes[2], learner)
    if has_successes:
      _draw_successes(axes[3], evaluation, learner)
    _share_steps(axes, (evaluation, learner))
    figure.suptitle(title(config), fontsize=10)
    outputs.write_figure(directory / CURVES_PNG, figure)
    return figure


def _share_steps(axes: Any, found: Any) -> None:
  """The same numbers of steps, written alike, below every panel."""
  most = max((x['environment_steps'].max() for x in found if x), default=0)
  for panel in axes:
    panel.set_xlabel(_STEPS)
    if panel.lines:
      plotting.quantity_axis(panel)
      plotting.legend_below(panel, BAND if panel.collections else None)
      if most:
        panel.set_xlim(-0.02 * most, 1.02 * most)


def _draw_evaluation(axes: Any, table: Mapping[str, np.ndarray]) -> None:
  axes.set(ylabel='return', title='Tasks drawn anew')
  if not table:
    plotting.say_empty(axes, 'no evaluation yet')
    return
  taken = table['num_inner_steps_taken']
  for step in np.unique(taken):
    of_step = taken == step
    plotting.curve(
      axes,
      table['environment_steps'][of_step],
      table['return_mean'][of_step],
      table['return_stderr'][of_step],
      look(int(step)),
    )


def _draw_training(
  axes: Any, table: Mapping[str, np.ndarray], num_tasks: int
) -> None:
  axes.set(ylabel='return', title='Training tasks')
  if not table:
    plotting.say_empty(axes, 'no iteration yet')
    return
  stage = 0
  while f'return_{stage}' in table:
    own = look(stage)
    axes.plot(
      table['environment_steps'],
      table[f'return_{stage}'],
      color=own.color,
      linewidth=1,
      label=f'{own.label}, mean of {num_tasks} tasks',
    )
    stage += 1


def _draw_gradient(axes: Any, table: Mapping[str, np.ndarray]) -> None:
  axes.set(ylabel='norm', title='Meta-gradient')
  if not table:
    plotting.say_empty(axes, 'no iteration yet')
    return
  axes.plot(
    table['environment_steps'],
    table['meta_gradient_norm'],
    color=plotting.GREY,
    linewidth=1,
    label='norm of the meta-gradient, an iteration each',
  )


def _draw_successes(
  axes: Any,
  evaluation: Mapping[str, np.ndarray],
  learner: Mapping[str, np.ndarray],
) -> None:
  axes.set(ylabel='part of the rollouts', title='Successes', ylim=(-0.03, 1.03))
  taken = evaluation['num_inner_steps_taken']
  for step in map(int, np.unique(taken)):
    own, of_step = look(step), taken == step
    axes.plot(
      evaluation['environment_steps'][of_step],
      evaluation[tables.SUCCESS][of_step],
      color=own.color,
      label=own.label,
    )
    if f'{tables.SUCCESS}_{step}' in learner:
      axes.plot(
        learner['environment_steps'],
        learner[f'{tables.SUCCESS}_{step}'],
        color=own.color,
        linewidth=1,
        linestyle=':',
        label=f'{own.label}, in training',
      )


def look(num_inner_steps_taken: int) -> plotting.Style:
  """How the curve after so many adaptation steps looks."""
  color = plotting.style('', num_inner_steps_taken).color
  label = (
    'before adaptation'
    if not num_inner_steps_taken
    else f'after {num_inner_steps_taken} step'
    + 's' * (num_inner_steps_taken > 1)
  )
  return plotting.Style(label, color, marker='')
