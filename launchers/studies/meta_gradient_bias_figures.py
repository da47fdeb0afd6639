"""The figures of `meta_gradient_bias`."""

from collections.abc import Mapping, Sequence
import pathlib
import textwrap
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import bias_studies

_TITLES = {
  'inner': 'Inner gradient',
  'hessian': 'Hessian',
  'outer': 'Outer gradient',
  'all': 'All three',
  'all_shared_data': 'All, inner data shared',
}
_COINCIDE = {'inner': 'gradient', 'hessian': 'hessian', 'outer': 'gradient'}
_RING = {
  'marker': 'o',
  'markersize': 8,
  'markerfacecolor': 'none',
  'markeredgewidth': 1.3,
}
_RATIO = 'relative to the exact one:\nsquared bias (full), variance (dashed)'
_TRAJECTORIES = 'number of trajectories $N$'
_INNER_STEPS = 'number of inner steps $K$'
_LETTERS = 'abcdefgh'


def draw(results: Mapping[str, Any], directory: pathlib.Path) -> list[str]:
  """Draws the figures of the studies that have rows; returns their names."""
  names = []
  for name, figure_of in FIGURES.items():
    own = bias_studies.select(results['rows'], study=name)
    if own:
      names.append(f'{name}.png')
      figure_of(own, results, directory / names[-1])
  return names


def decomposition(
  rows: Sequence[bias_studies.Row],
  results: Mapping[str, Any],
  path: pathlib.Path,
) -> Any:
  """Correlation against the number of trajectories, a panel a column."""
  reference = results['reference']
  columns = bias_studies.unique(rows, 'series')
  published = {'step_size': 10.0, 'num_inner_steps': 1, 'critic_noise': 1.0}
  if len(bias_studies.select(rows, **published)) < len(rows):
    reference = []
  with plotting.panels(len(columns), width=2.75, height=3.3) as (figure, axes):
    for letter, panel, column in zip(_LETTERS, axes, columns, strict=False):
      own = bias_studies.select(rows, series=column)
      title = f'({letter})  {_TITLES[column]}'
      bias_studies.correlation_panel(panel, own, 'num_trajectories', title)
      for row in bias_studies.select(reference, column=column):
        panel.plot(
          row['num_trajectories'],
          row['reference'],
          zorder=5,
          **_RING,
          markeredgecolor=plotting.style(row['estimator']).color,
        )
      panel.set(xlabel=_TRAJECTORIES, ylim=(-0.06, 1.03))
      bias_studies.binary_axis(panel, own, 'num_trajectories')
      if column in _COINCIDE:
        bias_studies.note_coinciding(panel, own, _COINCIDE[column])
    axes[0].set_ylabel('correlation with the exact\nmeta-gradient')
    if reference:
      # The underscore keeps it out of the shared legend.
      panel = axes[columns.index('all') if 'all' in columns else 0]
      (ring,) = panel.plot(
        [], [], label='_', linestyle='none', markeredgecolor='black', **_RING
      )
      panel.legend([ring], ["authors' code"], loc='upper left')
    plotting.shared_legend(figure, axes, bias_studies.BAND)
    outputs.write_figure(path, figure)
    return figure


def _exact_square(row: bias_studies.Row) -> float:
  return row['exact_square_mean']


def _guide(
  axes: Any, x: Sequence[float], start: float, exponent: float, text: str
) -> None:
  """A thin line of a power law, with its name at the end."""
  x = np.asarray(x, float)
  y = start * (x / x[0]) ** exponent
  axes.plot(x, y, color=plotting.GREY, linewidth=0.9, linestyle=':', zorder=1)
  axes.annotate(
    text,
    (x[-1], y[-1]),
    xytext=(3, 2),
    textcoords='offset points',
    color=plotting.GREY,
    fontsize=8.5,
    annotation_clip=False,
  )


def compositional(
  rows: Sequence[bias_studies.Row],
  results: Mapping[str, Any],
  path: pathlib.Path,
) -> Any:
  """Bias of an estimated inner gradient alone, against three settings."""
  del results
  sweeps = (
    ('num_trajectories', _TRAJECTORIES, r'$K$ = 2, $\alpha$ = 3'),
    ('step_size', r'step size $\alpha$', '$K$ = 6, $N$ = 32'),
    ('num_inner_steps', _INNER_STEPS, r'$\alpha$ = 3, $N$ = 32'),
  )
  with plotting.panels(3, height=3.6) as (figure, axes):
    for letter, panel, (variable, label, fixed) in zip(
      _LETTERS, axes, sweeps, strict=False
    ):
      panel.set_title(f'({letter})  {fixed}')
      own = bias_studies.select(rows, series=variable)
      if not own:
        plotting.say_empty(panel, 'left out')
        continue
      bias_studies.bias_and_variance(panel, own, variable, _exact_square)
      panel.set_xlabel(label)
      if variable == 'num_trajectories':
        bias_studies.binary_axis(panel, own, variable)
        first = max(own, key=_relative_bias)
        x = sorted(bias_studies.unique(own, variable))
        start = 2 * _relative_bias(first)
        _guide(panel, x, start, -1, '$N^{-1}$ (bound)')
        _guide(panel, x, start, -2, '$N^{-2}$')
      elif variable == 'step_size':
        plotting.log_x(panel)
    axes[0].set_ylabel(_RATIO)
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)
    return figure


def _relative_bias(row: bias_studies.Row) -> float:
  return row['squared_bias_mean'] / row['exact_square_mean']


def hessian(
  rows: Sequence[bias_studies.Row],
  results: Mapping[str, Any],
  path: pathlib.Path,
) -> Any:
  """Bias of estimated Hessians, and of an injected Hessian error."""
  del results
  with plotting.panels(2, width=4.9, height=3.8) as (figure, axes):
    estimated = bias_studies.select(rows, series='estimated')
    axes[0].set_title(r'(a)  Estimated Hessians, $\alpha$ = 3, $N$ = 32')
    if estimated:
      unseen = bias_studies.bias_and_variance(
        axes[0], estimated, 'num_inner_steps', _exact_square
      )
      if unseen:
        names = ', '.join(plotting.style(x).label for x in unseen)
        text = textwrap.fill(f'No bias seen: {names}', 40)
        bias_studies.note(axes[0], text)
      axes[0].set(
        xlabel=_INNER_STEPS,
        ylabel=_RATIO,
      )
    else:
      plotting.say_empty(axes[0], 'left out')
    injected = bias_studies.select(rows, series='injected')
    axes[1].set_title(r'(b)  Injected Hessian error, $\alpha$ = 3')
    if injected:
      _injected(axes[1], injected)
    else:
      plotting.say_empty(axes[1], 'left out')
    if estimated:
      plotting.shared_legend(figure, axes[:1])
    outputs.write_figure(path, figure)
    return figure


def _injected(axes: Any, rows: Sequence[bias_studies.Row]) -> None:
  colors = (plotting.SKY_BLUE, plotting.BLUE, plotting.PURPLE, plotting.BLACK)
  steps = sorted(bias_studies.unique(rows, 'num_inner_steps'))
  for i, num_steps in enumerate(steps):
    own = sorted(
      bias_studies.select(rows, num_inner_steps=num_steps),
      key=lambda row: row['hessian_error'],
    )
    x = [row['hessian_error'] for row in own]
    color = colors[i % len(colors)]
    axes.plot(
      x,
      [row['squared_bias_mean'] for row in own],
      color=color,
      marker='o',
      markersize=3.5,
      label=f'$K$ = {num_steps}',
    )
    scale = own[-1]['squared_bias_mean']
    axes.annotate(
      f'$c^{{{2 * num_steps}}}$',
      (x[-1], scale),
      xytext=(5, -3),
      textcoords='offset points',
      color=color,
      annotation_clip=False,
    )
  axes.axvspan(0.5, 4, color=plotting.GREY, alpha=0.12, linewidth=0, zorder=0)
  axes.text(
    1.41,
    0.02,
    'published',
    transform=axes.get_xaxis_transform(),
    ha='center',
    va='bottom',
    color=plotting.GREY,
    fontsize=8,
  )
  axes.set(xlabel='injected error $c$')
  plotting.log_x(axes)
  plotting.log_y(axes)
  axes.set_ylabel('squared bias')
  axes.legend(loc='upper left', handlelength=1.6)


def off_policy(
  rows: Sequence[bias_studies.Row],
  results: Mapping[str, Any],
  path: pathlib.Path,
) -> Any:
  """Correlation against the distance of the policies, and one bias."""
  del results
  columns = bias_studies.unique(rows, 'series')
  shown = [x for x in ('inner', 'hessian', 'outer', 'all') if x in columns]
  with plotting.panels(len(shown) + 1, width=3.0, height=3.6) as (figure, axes):
    for letter, panel, column in zip(_LETTERS, axes, shown, strict=False):
      own = bias_studies.select(rows, series=column)
      title = f'({letter})  {_TITLES[column]}'
      bias_studies.correlation_panel(panel, own, 'off_policyness', title)
      panel.set(xlabel=r'off-policyness $\varepsilon$', ylim=(-0.06, 1.03))
    axes[0].set_ylabel('correlation with the exact\nmeta-gradient')
    last = shown.index('hessian') if 'hessian' in shown else len(shown) - 1
    own = bias_studies.select(rows, series=shown[last])
    bias_studies.bias_and_variance(
      axes[-1], own, 'off_policyness', _exact_square
    )
    letter, name = _LETTERS[len(shown)], _TITLES[shown[last]]
    axes[-1].set_title(f'({letter})  {name}')
    axes[-1].set(
      xlabel=r'off-policyness $\varepsilon$',
      ylabel=_RATIO,
    )
    plotting.shared_legend(figure, axes, bias_studies.BAND)
    outputs.write_figure(path, figure)
    return figure


FIGURES = {
  'decomposition': decomposition,
  'compositional': compositional,
  'hessian': hessian,
  'off_policy': off_policy,
}
