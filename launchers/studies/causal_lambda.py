"""Which causal λ gives the best derivatives, and why.

See `acme_metarl.studies.causal_accuracy`, and the main of this name.
"""

from collections.abc import Iterator, Sequence
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.launchers.runs import outputs, plotting, progress
from acme_metarl.launchers.studies import (
  causal_lambda_config,
  causal_lambda_lags,
  study,
)
from acme_metarl.studies import (
  causal_accuracy,
  derivative_accuracy,
  power_laws,
)

# What accuracies are of, and what the pages call it.
QUANTITIES = {
  'hessian': 'Hessian',
  'meta_gradient': 'Meta-gradient',
  'of_hessian': 'Meta-gradient, all else exact',
}
_NUM_RESAMPLES = 1000
_Row = dict[str, Any]


Config, Point = causal_lambda_config.Config, causal_lambda_config.Point


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  directory = outputs.writable_directory(directory)
  if config.measure == 'agent':
    # Needs Acme, which nothing else here does.
    from acme_metarl.launchers.studies import causal_lambda_agent

    return causal_lambda_agent.run(config, directory)
  # Products of many importance ratios leave the range of float32.
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', True)
  try:
    if config.measure == 'lags':
      return causal_lambda_lags.run(config, directory)
    found = _measure(config)
  finally:
    jax.config.update('jax_enable_x64', before)
  results = analyse(config, found)
  names = study.write(directory, results, results['rows'])
  tables = {
    'results.md': table(config, results, 'hessian'),
    'meta_gradient.md': table(config, results, 'meta_gradient'),
    'laws.md': law_table(results),
  }
  for name, text in tables.items():
    outputs.write(directory / name, text.encode())
  draw(config, results, directory / 'causal_lambda.png')
  return [*names, *tables, 'causal_lambda.png']


def _measure(config: Config) -> dict[Point, causal_accuracy.Accuracy]:
  """Accuracies `[trials, M]` at every point."""
  keys = jax.random.split(jax.random.PRNGKey(config.seed), config.num_trials)
  total = len(config.points) * config.num_trials
  with progress.bar(total, unit='MDP', desc='causal_lambda') as bar:

    def trial(point, key):
      found = causal_accuracy.trial(
        key,
        point.epsilon,
        point.num_trajectories,
        jnp.asarray(config.grid),
        config.step_size,
        config.setting_of(point.horizon),
      )
      bar.update()
      return jax.tree.map(np.asarray, found)

    return {
      point: jax.tree.map(
        lambda *x: np.stack(x), *[trial(point, key) for key in keys]
      )
      for point in config.points
    }


def analyse(
  config: Config, found: dict[Point, causal_accuracy.Accuracy]
) -> dict[str, list[_Row]]:
  """Means, the best causal λ of each point, and its laws.

  Args:
    config: what was measured.
    found: accuracies `[trials, M]` by point.

  Returns:
    'rows', 'best' and 'laws', each a list of rows.
  """
  index = power_laws.resamples(config.num_trials, _NUM_RESAMPLES, config.seed)
  rows, best = [], []
  # By quantity and point: the best causal λ of the mean over MDPs, and those of
  # means over resampled MDPs.
  peaks: dict[tuple[str, Point], tuple[float, np.ndarray]] = {}
  for point, accuracy in found.items():
    where = point._asdict()
    rows += _rows(config, where, accuracy)
    for quantity, own in accuracy._asdict().items():
      each = peak(config.grid, own)
      drawn = peak(config.grid, own[index].mean(1))
      of_mean = float(peak(config.grid, own.mean(0)))
      peaks[quantity, point] = of_mean, drawn
      mean, stderr = derivative_accuracy.mean_and_stderr(each)
      best.append(
        {
          'quantity': quantity,
          **where,
          'best_of_mean': of_mean,
          'best_of_mean_stderr': float(drawn.std()),
          'best_mean': mean,
          'best_stderr': stderr,
        }
      )
  laws = [
    _law(config, quantity, epsilon, peaks)
    for quantity in QUANTITIES
    for epsilon in dict.fromkeys(config.epsilons)
  ]
  return {'rows': rows, 'best': best, 'laws': laws}


def _rows(config, where, accuracy) -> Iterator[_Row]:
  for i, value in enumerate(config.grid):
    row = {**where, 'causal_lambda': value, 'num_trials': config.num_trials}
    for quantity, own in accuracy._asdict().items():
      mean, stderr = derivative_accuracy.mean_and_stderr(own[:, i])
      row[f'{quantity}_accuracy_mean'] = mean
      row[f'{quantity}_accuracy_stderr'] = stderr
    yield row


def _law(config, quantity, epsilon, peaks) -> _Row:
  """1 − best = coefficient · N^exponent, times T^exponent where it varies."""
  points = [point for point in config.points if point.epsilon == epsilon]
  x = np.array([[point.num_trajectories, point.horizon] for point in points])
  names = ('num_trajectories', 'horizon')[: 1 + bool(config.horizons)]
  of_mean, drawn = zip(*(peaks[quantity, p] for p in points), strict=True)
  # Where it is 1 the grid is too coarse to say how far below.
  least = (1 - config.grid[-2]) / 2
  laws = power_laws.fit_product(
    x[:, : len(names)],
    np.maximum(1 - np.array(of_mean), least),
    np.maximum(1 - np.stack(drawn, 1), least),
  )
  row = {
    'quantity': quantity,
    'epsilon': epsilon,
    'coefficient': laws[0].coefficient,
  }
  for name, law in zip(names, laws, strict=True):
    row[f'{name}_exponent'] = law.exponent
    row[f'{name}_low'], row[f'{name}_high'] = law.low, law.high
  return row


def peak(x: Sequence[float], y: np.ndarray) -> np.ndarray:
  """Where the parabola through the highest point and its neighbours peaks.

  Args:
    x: `[M]` three or more positions in rising order.
    y: `[..., M]` values there.

  Returns:
    The position `[...]`; that of the highest point where it is an end.

  Example:
    >>> print(f'{peak([0.0, 0.5, 1.0], np.array([-0.16, -0.01, -0.36])):.1f}')
    0.4
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  top = np.argmax(y, -1)
  middle = np.clip(top, 1, len(x) - 2)[..., np.newaxis]

  def at(offset):
    return (
      x[middle + offset][..., 0],
      np.take_along_axis(y, middle + offset, -1)[..., 0],
    )

  (x0, y0), (x1, y1), (x2, y2) = at(-1), at(0), at(1)
  before, after = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
  fall = before - after
  inside = (top > 0) & (top < len(x) - 1) & (fall > 0)
  # The slope falls from `before` to `after` between the middles of the two.
  share = np.where(inside, before / np.where(inside, fall, 1.0), 0.0)
  return np.where(inside, (x0 + x1 + share * (x2 - x0)) / 2, x[top])


def table(config: Config, results: dict[str, list[_Row]], quantity: str) -> str:
  """Returns the accuracies as Markdown, a line for each point."""
  # The best one of each MDP says nothing where differences are all noise.
  best_name = 'best' if quantity == 'hessian' else 'best_of_mean'
  lines = [['ε', 'N', *(f'κ = {value:g}' for value in config.grid), 'best κ']]
  for best in results['best']:
    if (best['quantity'], best['horizon']) != (quantity, config.horizon):
      continue
    cells = [
      _number(
        row[f'{quantity}_accuracy_mean'], row[f'{quantity}_accuracy_stderr']
      )
      for row in results['rows']
      if all(row[name] == best[name] for name in Point._fields)
    ]
    mean = best['best_mean' if quantity == 'hessian' else 'best_of_mean']
    lines.append(
      [
        f'{best["epsilon"]:g}',
        f'{best["num_trajectories"]}',
        *cells,
        _number(mean, best[f'{best_name}_stderr']),
      ]
    )
  return study.markdown(lines)


def _number(mean: float, stderr: float) -> str:
  return f'{mean:.3f} ± {stderr:.3f}'


def law_table(results: dict[str, list[_Row]]) -> str:
  """Returns the laws as Markdown, with 95 % intervals of the exponents."""
  has_horizon = 'horizon_exponent' in results['laws'][0]
  names = ('num_trajectories', 'horizon')[: 1 + has_horizon]
  heads = ('exponent of N', 'exponent of T')[: 1 + has_horizon]
  lines = [['1 − κ* of', 'ε', 'coefficient', *heads]]
  for law in results['laws']:
    lines.append(
      [
        QUANTITIES[law['quantity']],
        f'{law["epsilon"]:g}',
        f'{law["coefficient"]:.2f}',
        *(
          f'{law[f"{x}_exponent"]:.2f} [{law[f"{x}_low"]:.2f}, '
          f'{law[f"{x}_high"]:.2f}]'
          for x in names
        ),
      ]
    )
  return study.markdown(lines)


def draw(config: Config, results: dict[str, list[_Row]], path: Any) -> Any:
  """Draws accuracies and the best causal λ; returns the figure."""
  epsilons = tuple(dict.fromkeys(config.epsilons))
  drawn = ('hessian', 'meta_gradient')
  with plotting.panels(len(epsilons) + 1, num_rows=2) as (figure, axes):
    rows = np.array(axes).reshape(2, -1)
    for quantity, row in zip(drawn, rows, strict=True):
      for panel, epsilon in zip(row, epsilons, strict=False):
        _draw_accuracy(panel, config, results['rows'], quantity, epsilon)
      row[0].set_ylabel('correlation with the exact one')
      _draw_best(row[-1], config, results['best'], quantity)
    plotting.shared_legend(figure, rows[:, :-1].ravel())
    outputs.write_figure(path, figure)
    return figure


def _draw_accuracy(panel, config, rows, quantity, epsilon) -> None:
  for index, number in enumerate(dict.fromkeys(config.num_trajectories)):
    point = Point(config.horizon, epsilon, number)
    own = [
      row
      for row in rows
      if all(row[name] == x for name, x in point._asdict().items())
    ]
    plotting.curve(
      panel,
      config.grid,
      [row[f'{quantity}_accuracy_mean'] for row in own],
      [row[f'{quantity}_accuracy_stderr'] for row in own],
      plotting.style(f'N = {number:,}', index),
    )
  panel.set_title(rf'{QUANTITIES[quantity]}, $\varepsilon$ = {epsilon:g}')
  panel.set_xlabel(r'causal $\lambda$')


def _draw_best(panel, config, best, quantity) -> None:
  """Every horizon on the first epsilon, every epsilon at the main horizon."""
  curves = dict.fromkeys(
    [(config.horizon, epsilon) for epsilon in config.epsilons]
    + [(horizon, config.epsilons[0]) for horizon in config.all_horizons]
  )
  for index, (horizon, epsilon) in enumerate(curves):
    own = [
      row
      for row in best
      if (row['quantity'], row['horizon'], row['epsilon'])
      == (quantity, horizon, epsilon)
    ]
    plotting.curve(
      panel,
      [row['num_trajectories'] for row in own],
      [row['best_of_mean'] for row in own],
      [row['best_of_mean_stderr'] for row in own],
      plotting.style(rf'T = {horizon}, $\varepsilon$ = {epsilon:g}', index),
    )
  panel.set_title(r'Best causal $\lambda$')
  panel.set_xlabel('number of trajectories $N$')
  panel.set_ylim(-0.03, 1.03)
  panel.legend(fontsize=8)
  plotting.log_x(panel)
