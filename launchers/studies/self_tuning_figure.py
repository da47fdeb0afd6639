"""The figure of `self_tuning`: returns, and what was tuned."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from acme_metarl.launchers.runs import outputs, plotting

_LABELS = {
  'a2c': 'A2C',
  'mg': 'Meta-gradient',
  'mg_outer': 'Meta-gradient, outer critic',
  'bmg': 'Bootstrapped',
  'bmg_outer': 'Bootstrapped, outer critic',
  'mgrl_k1': 'K = 1',
  'mgrl_k3': 'K = 3, log-likelihood',
  'lvc_k3': 'K = 3, order 1 (LVC)',
  'order_2_k3': 'K = 3, order 2',
  'causal_k3': 'K = 3, causal λ .5',
}
_PANELS = (
  ('return', 'return of an episode'),
  ('discount', 'discount γ'),
  ('lambda_', 'λ'),
  ('value_cost', 'coefficient of the value loss'),
  ('entropy_cost', 'coefficient of the entropy'),
)


def draw(
  runs: Mapping[str, Sequence[dict[str, Any]]], path: pathlib.Path
) -> Any:
  """Draws curves of all arms, one panel for each number that is tuned.

  Args:
    runs: stored runs by arm.
    path: of the PNG.

  Returns:
    The figure.
  """
  shown = [x for x in _PANELS if x[0] == 'return' or _moves(runs, x[0])]
  with plotting.panels(len(shown), width=3.6, height=3.2) as (figure, axes):
    for panel, (name, label) in zip(axes, shown, strict=True):
      for i, (arm, own) in enumerate(runs.items()):
        steps = np.array(own[0]['curve']['steps']) / 1e6
        values = np.array(
          [run['curve'][name] for run in own], float
        )  # None becomes NaN.
        mean, error = np.nanmean(values, axis=0), None
        if len(own) > 1:
          error = np.nanstd(values, axis=0, ddof=1)
        base = arm.removesuffix('_outer')
        label_of_arm = _LABELS.get(arm)
        if label_of_arm is None:
          label_of_arm = f'{_LABELS[base]}, outer critic'
        look = plotting.style(label_of_arm, i)
        panel.plot(steps, mean, color=look.color, label=label_of_arm)
        if error is not None:
          panel.fill_between(
            steps,
            mean - error,
            mean + error,
            color=look.color,
            alpha=0.14,
            lw=0,
          )
      panel.set(xlabel='million environment steps', ylabel=label)
    plotting.shared_legend(figure, axes)
    outputs.write_figure(path, figure)
    return figure


def _moves(runs, name: str) -> bool:
  return any(
    np.ptp(run['curve'][name]) > 1e-6 for own in runs.values() for run in own
  )
