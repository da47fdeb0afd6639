"""Which lags of the Hessian carry signal and which noise.

See `acme_metarl.studies.lag_moments`.
"""

from collections.abc import Iterator, Sequence
import pathlib
from typing import Any

import jax
import numpy as np

from acme_metarl.launchers.runs import outputs, played, plotting, progress
from acme_metarl.launchers.studies import causal_lambda_config, study
from acme_metarl.studies import derivative_accuracy, lag_moments

Config = causal_lambda_config.Config
_FIGURE, _TABLE, _ERRORS = 'lags.png', 'lags.md', 'weights.md'
# Lags of the table and the picture; later ones are worth nothing.
_NUM_SHOWN = 9
_GRID = np.linspace(0.0, 1.0, 201)
_Row = dict[str, Any]
# Signal, noise and share `[trials, T]`, and what a step forgets `[trials]`.
Found = dict[float, list[lag_moments.Moments]]


def run(config: Config, directory: pathlib.Path) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  keys = jax.random.split(jax.random.PRNGKey(config.seed), config.num_trials)
  epsilons = tuple(dict.fromkeys(config.epsilons))
  found: Found = {epsilon: [] for epsilon in epsilons}
  total = len(epsilons) * config.num_trials
  with progress.bar(total, unit='MDP', desc='lags') as bar:
    for epsilon in epsilons:
      for key in keys:
        moments = lag_moments.trial(
          key, epsilon, config.num_lag_trajectories, config.setting
        )
        found[epsilon].append(jax.tree.map(np.asarray, moments))
        bar.update()
  memory = [_memory(key, config.setting) for key in keys]
  results = analyse(config, found, memory)
  names = study.write(directory, results, results['rows'])
  outputs.write(directory / _TABLE, table(config, results).encode())
  outputs.write(directory / _ERRORS, error_table(results).encode())
  draw(config, results, directory / _FIGURE)
  return [*names, _TABLE, _ERRORS, _FIGURE]


def _memory(key, setting) -> float:
  """|λ₂|² of the behaviour policy's chain, what is left of a step's memory."""
  problem_key, _ = jax.random.split(key)
  problem = derivative_accuracy.sample_problem(problem_key, setting)
  chain = np.einsum(
    'xa,xay->xy', problem.behaviour, np.asarray(problem.mdp.transition)
  )
  return float(np.sort(np.abs(np.linalg.eigvals(chain)))[-2] ** 2)


def analyse(
  config: Config, found: Found, memory: Sequence[float]
) -> dict[str, list[_Row]]:
  """Means over MDPs.

  Args:
    config: what was measured.
    found: moments of each MDP, by epsilon.
    memory: of each MDP, what is left of a step's memory after another.

  Returns:
    'rows', one for each lag; 'errors', one for each number of trajectories; and
    'decays', one for each epsilon.
  """
  results: dict[str, list[_Row]] = {'rows': [], 'errors': [], 'decays': []}
  for epsilon, moments in found.items():
    results['rows'] += _lag_rows(config, epsilon, moments)
    results['errors'] += [
      _error_row(config, epsilon, number, moments)
      for number in dict.fromkeys(config.num_trajectories)
    ]
    results['decays'].append(_decay_row(epsilon, moments, memory))
  return results


def _lag_rows(config, epsilon, moments) -> Iterator[_Row]:
  signal = np.stack([np.diag(x.signal) for x in moments])
  noise = np.stack([np.diag(x.noise) for x in moments])
  columns = {
    'share': np.stack([x.share for x in moments]),
    'signal': signal,
    'noise': noise,
  }
  for number in dict.fromkeys(config.num_trajectories):
    columns[f'weight_{number}'] = np.stack(
      [lag_moments.best_weights(x, number) for x in moments]
    )
  for lag in range(config.horizon):
    row = {'epsilon': epsilon, 'lag': lag, 'num_trials': len(moments)}
    for name, x in columns.items():
      mean, stderr = derivative_accuracy.mean_and_stderr(x[:, lag])
      row |= {f'{name}_mean': mean, f'{name}_stderr': stderr}
    yield row


def _error_row(config, epsilon, number, moments) -> _Row:
  """Squared errors: first and second order, the best κ, the best weights."""
  # [trials, κ]
  of_powers = np.stack(
    [
      lag_moments.squared_error(
        x, _GRID[:, np.newaxis] ** np.arange(config.horizon), number
      )
      for x in moments
    ]
  )
  best = int(of_powers.mean(0).argmin())
  weighted = []
  for x in moments:
    weights = np.array(lag_moments.best_weights(x, number))
    weights[0] = 1.0  # Which no causal λ changes.
    weighted.append(lag_moments.squared_error(x, weights, number))
  row = {
    'epsilon': epsilon,
    'num_trajectories': number,
    'best_causal_lambda': float(_GRID[best]),
  }
  for name, errors in (
    ('first_order', of_powers[:, 0]),
    ('second_order', of_powers[:, -1]),
    ('best_causal_lambda', of_powers[:, best]),
    ('best_weights', np.array(weighted)),
  ):
    mean, stderr = derivative_accuracy.mean_and_stderr(errors)
    row |= {f'{name}_error_mean': mean, f'{name}_error_stderr': stderr}
  return row


def _decay_row(epsilon, moments, memory) -> _Row:
  """By what signal / noise falls from one lag to the next."""
  last = min(_NUM_SHOWN, moments[0].share.size) - 1
  each = []
  for x in moments:
    signal, noise = np.diag(x.signal), np.diag(x.noise)
    if min(signal[1], signal[last], noise[1], noise[last]) > 0:
      ratio = (signal[last] / noise[last]) / (signal[1] / noise[1])
      each.append(np.log(ratio) / max(last - 1, 1))
  mean, stderr = played.mean_and_stderr(np.array(each))
  return {
    'epsilon': epsilon,
    'signal_to_noise_decay': float(np.exp(mean)),
    'low': float(np.exp(mean - 1.96 * stderr)),
    'high': float(np.exp(mean + 1.96 * stderr)),
    'memory_mean': float(np.mean(memory)),
  }


def _shown_numbers(config: Config) -> list[int]:
  """Every other number of trajectories, the largest included."""
  return sorted(set(config.num_trajectories))[::-2][::-1]


def table(config: Config, results: dict[str, list[_Row]]) -> str:
  """Returns the lags as Markdown, on the first epsilon."""
  numbers = _shown_numbers(config)
  epsilon = config.epsilons[0]
  best = {
    row['num_trajectories']: row['best_causal_lambda']
    for row in results['errors']
    if row['epsilon'] == epsilon
  }
  lines = [
    [
      'lag',
      'share of H',
      'signal',
      'noise',
      *(f'best weight, N = {x:,} (κ^lag)' for x in numbers),
    ]
  ]
  for row in results['rows']:
    if row['epsilon'] != epsilon or row['lag'] >= _NUM_SHOWN:
      continue
    lag = row['lag']
    lines.append(
      [
        f'{lag}',
        f'{row["share_mean"]:.4f} ± {row["share_stderr"]:.4f}',
        f'{row["signal_mean"]:.2g}',
        f'{row["noise_mean"]:.1f}',
        *(
          f'{row[f"weight_{x}_mean"]:.3f} ({best[x] ** lag:.3f})'
          for x in numbers
        ),
      ]
    )
  return study.markdown(lines)


def error_table(results: dict[str, list[_Row]]) -> str:
  """Returns the squared errors as Markdown, a line for each point."""
  lines = [
    ['ε', 'N', 'first order', 'second order', 'best κ^lag', 'κ', 'best weights']
  ]
  for row in results['errors']:

    def error(name, row=row):
      return (
        f'{row[f"{name}_error_mean"]:.3f} ± {row[f"{name}_error_stderr"]:.3f}'
      )

    lines.append(
      [
        f'{row["epsilon"]:g}',
        f'{row["num_trajectories"]}',
        error('first_order'),
        error('second_order'),
        error('best_causal_lambda'),
        f'{row["best_causal_lambda"]:.2f}',
        error('best_weights'),
      ]
    )
  return study.markdown(lines)


def draw(config: Config, results: dict[str, list[_Row]], path: Any) -> Any:
  """Draws signal, noise and weights by lag; returns the figure."""
  epsilon, numbers = config.epsilons[0], _shown_numbers(config)
  rows = [
    row
    for row in results['rows']
    if row['epsilon'] == epsilon and row['lag'] < _NUM_SHOWN
  ]
  lags = [row['lag'] for row in rows]
  with plotting.panels(2) as (figure, axes):
    left, right = axes
    looks = [plotting.style('signal', 0)]
    values = [[row['signal_mean'] for row in rows]]
    for i, number in enumerate(numbers):
      looks.append(plotting.style(f'noise, N = {number:,}', i + 1))
      values.append([row['noise_mean'] / number for row in rows])
    for look, y in zip(looks, values, strict=True):
      plotting.curve(left, lags, y, None, look)
    plotting.log_y(left)
    left.set_ylabel('squared norm, in that of H')
    left.set_title('Hessian by lag')
    for i, number in enumerate(numbers):
      plotting.curve(
        right,
        lags,
        [row[f'weight_{number}_mean'] for row in rows],
        [row[f'weight_{number}_stderr'] for row in rows],
        plotting.style(f'best, N = {number:,}', i + 1),
      )
      (best,) = (
        row['best_causal_lambda']
        for row in results['errors']
        if (row['epsilon'], row['num_trajectories']) == (epsilon, number)
      )
      right.plot(
        lags,
        best ** np.array(lags, float),
        color=plotting.style('', i + 1).color,
        linestyle=':',
        label=rf'$\kappa^l$, $\kappa$ = {best:.2f}',
      )
    right.set_title('Weights')
    for panel in axes:
      panel.set_xlabel('lag of the two steps')
      panel.legend(fontsize=8)
    outputs.write_figure(path, figure)
    return figure
