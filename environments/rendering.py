"""Pictures of policies before and after adaptation."""

from collections.abc import Callable, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from acme_metarl import types
from acme_metarl.environments import (
  batched,
  filming,
  films,
  navigation_2d,
  trial,
)

# Inches, of one task in one stage.
_PANEL_SIZE = 2.6
_KEY_HEIGHT = 0.4
# What a panel shows around the square of goals, and around all that happens.
_MARGIN = 0.4

# Observations [G, B, ...] to raw actions [G, B, ...].
BatchPolicy = Callable[[Any], Any]


def render(
  environment: Any,
  policies: Sequence[BatchPolicy],
  path: str | os.PathLike,
  *,
  tasks: types.PyTree | None = None,
  num_tasks: int = 4,
  num_rollouts: int = 10,
  horizon: int = 100,
  seed: int = 0,
  **options: Any,
) -> pathlib.Path:
  """Plays policies and writes what they do as a picture or a film.

  2-D navigation: a PNG (or whatever matplotlib knows by the path's ending) with
  a row of panels per task and a column per policy, showing every trajectory.
  MuJoCo: an MP4, or a PNG strip of frames, of the first rollout of each task,
  drawn offscreen; see `environments.mujoco.rendering` for its options.
  Others that can draw themselves: the same, see `environments.filming`.

  Args:
    environment: as `make` returns it, batched, or a whole `TrialEnvironment`.
    policies: one per stage, say before and after adaptation: functions of the
      observations `[G, B, ...]` of all rollouts to raw actions `[G, B, ...]`.
    path: where to write.
    tasks: pytree with leading axis `[G]`; drawn anew if not given.
    num_tasks: how many tasks to draw where `tasks` is not given.
    num_rollouts: rollouts of each task under each policy.
    horizon: steps of each rollout.
    seed: of tasks and start states.
    **options: passed on to the function that draws.

  Returns:
    The path that was written; where films cannot be, it is that of a strip.

  Raises:
    ValueError: if there are no policies, or the environment has no picture.
    RuntimeError: if MuJoCo finds nothing to draw with, neither EGL nor OSMesa.
  """
  if not policies:
    raise ValueError('policies: got none, need at least one.')
  if isinstance(environment, trial.TrialEnvironment):
    environment = environment.environment
  batch = batched.batch(environment)
  rng = np.random.default_rng(seed)
  if tasks is None:
    tasks = batch.sample_tasks(rng, num_tasks)
  inner = getattr(batch, 'environment', batch)
  if isinstance(inner, navigation_2d.Navigation2D):
    observations, returns = _play(
      batch, policies, tasks, num_rollouts, horizon, rng
    )
    has_dead_zone = inner.reward == 'sparse' and not inner.momentum
    return plot_navigation(
      observations,
      tasks,
      path,
      returns=returns,
      dead_zone=navigation_2d.DEAD_ZONE if has_dead_zone else None,
      **options,
    )
  if type(batch).__module__.startswith(f'{__package__}.mujoco.'):
    from acme_metarl.environments.mujoco import rendering as mujoco_rendering

    return mujoco_rendering.render_rollouts(
      batch,
      policies,
      path,
      tasks=tasks,
      num_rollouts=num_rollouts,
      horizon=horizon,
      rng=rng,
      **options,
    )
  if callable(getattr(batch, 'render', None)):
    return filming.film(
      batch,
      policies,
      pathlib.Path(path),
      tasks=tasks,
      num_rollouts=num_rollouts,
      horizon=horizon,
      rng=rng,
      **options,
    )
  raise ValueError(
    f'environment: {inner!r} has no picture, need a method render; see '
    'docs/your_environment.md.'
  )


def ending(environment: Any) -> str:
  """What `render` makes of an environment: '.png' or '.mp4'."""
  if isinstance(environment, trial.TrialEnvironment):
    environment = environment.environment
  inner = getattr(environment, 'environment', environment)
  return '.png' if isinstance(inner, navigation_2d.Navigation2D) else '.mp4'


def plot_navigation(
  observations: Any,
  goals: Any,
  path: str | os.PathLike,
  *,
  returns: Any | None = None,
  dead_zone: float | None = None,
) -> pathlib.Path:
  """Draws trajectories in the plane, a row per task and a column per stage.

  Replayed data fits as it is: the observations of a meta-batch, `[G, K+1, B,
  T+1, 2]`.

  Args:
    observations: `[G, K+1, B, T+1, 2 or 4]`, positions first.
    goals: `[G, 2]`.
    path: where to write; its ending says the format.
    returns: `[G, K+1]`, mean returns, written above the panels.
    dead_zone: shows where |x| + |y| is less, where the sparse reward is 0.

  Returns:
    The path.

  Raises:
    ValueError: if the shapes do not fit.
  """
  figure = navigation_figure(observations, goals, returns, dead_zone)
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path)
  return path


def navigation_figure(
  observations: Any,
  goals: Any,
  returns: Any | None = None,
  dead_zone: float | None = None,
) -> Any:
  """The Matplotlib figure that `plot_navigation` writes.

  Raises:
    ValueError: if the shapes do not fit.
  """
  observations, goals = np.asarray(observations), np.asarray(goals)
  if observations.ndim != 5 or observations.shape[-1] not in (2, 4):
    raise ValueError(
      f'observations: got shape {observations.shape}, need [tasks, stages, '
      'rollouts, steps + 1, 2 or 4].'
    )
  num_tasks, num_stages = observations.shape[:2]
  if goals.shape != (num_tasks, 2):
    raise ValueError(
      f'goals: got shape {goals.shape}, need {(num_tasks, 2)}, one per task.'
    )
  # Neither pyplot nor a display: nothing global is touched.
  from matplotlib import figure as figure_lib

  figure = figure_lib.Figure(
    figsize=(_PANEL_SIZE * num_stages, _PANEL_SIZE * num_tasks + _KEY_HEIGHT),
    layout='constrained',
    dpi=150,
  )
  panels = figure.subplots(
    num_tasks, num_stages, squeeze=False, sharex=True, sharey=True
  )
  # Nothing that happens is outside.
  limit = _MARGIN + max(
    navigation_2d.GOAL_RANGE,
    np.abs(goals).max(),
    np.abs(observations[..., :2]).max(),
  )
  for task in range(num_tasks):
    for stage in range(num_stages):
      goal = ', '.join(f'{x:.3g}' for x in goals[task])
      title = f'task {goal}, {films.stage_name(stage)}'
      if returns is not None:
        title += f'\nmean return {np.asarray(returns)[task, stage]:.2f}'
      axes = panels[task, stage]
      _draw_panel(
        axes, observations[task, stage], goals[task], title, dead_zone
      )
      axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
      axes.label_outer()
  handles, labels = panels[0, 0].get_legend_handles_labels()
  figure.legend(
    handles,
    labels,
    loc='outside lower center',
    ncols=min(len(labels), 1 + 2 * num_stages),
    fontsize=7,
    frameon=False,
  )
  return figure


def _draw_panel(axes, trajectories, goal, title, dead_zone) -> None:
  """One task in one stage; `trajectories` is `[B, T+1, ...]`."""
  from matplotlib import patches

  if dead_zone is not None:
    corners = dead_zone * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    axes.add_patch(
      patches.Polygon(
        corners, color='#D9D9D9', zorder=0, label='dead zone: reward 0'
      )
    )
  for trajectory in trajectories:
    axes.plot(
      trajectory[:, 0],
      trajectory[:, 1],
      color='#56B4E9',
      linewidth=0.8,
      alpha=0.7,
      zorder=1,
    )
  marks = {'linestyle': 'none', 'zorder': 2}
  axes.plot(
    *trajectories[:, 0, :2].T,
    marker='o',
    markersize=3,
    markerfacecolor='white',
    markeredgecolor='#0072B2',
    label='start',
    **marks,
  )
  axes.plot(
    *trajectories[:, -1, :2].T,
    marker='.',
    markersize=5,
    color='black',
    label='end',
    **marks,
  )
  axes.plot(
    *goal, marker='*', markersize=12, color='#D55E00', label='goal', **marks
  )
  axes.set_aspect('equal')
  axes.set(xlabel='x position', ylabel='y position')
  axes.set_title(title, fontsize=8)
  axes.xaxis.label.set_size(7)
  axes.yaxis.label.set_size(7)
  axes.tick_params(labelsize=6)


def _play(
  batch: batched.BatchedEnvironment,
  policies: Sequence[BatchPolicy],
  tasks: types.PyTree,
  num_rollouts: int,
  horizon: int,
  rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
  """Observations `[G, K+1, B, T+1, ...]` and mean returns `[G, K+1]`."""
  observations, returns = [], []
  for policy in policies:
    observation = batch.reset(tasks, num_rollouts, rng)
    trajectory, total = [observation], 0.0
    for _ in range(horizon):
      observation, reward, _ = batch.step(policy(observation))
      trajectory.append(observation)
      total = total + reward
    observations.append(np.stack(trajectory, axis=2))
    returns.append(np.mean(total, axis=1))
  return np.stack(observations, axis=1), np.stack(returns, axis=1)
