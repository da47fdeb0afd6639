"""Films and picture strips of rollouts, without a display."""

from collections.abc import Callable, Sequence
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from acme_metarl import types
from acme_metarl.environments import films
from acme_metarl.environments.mujoco import task_distributions

_SCRIPT = pathlib.Path(__file__).with_name('offscreen.py')
_TIMEOUT_SECONDS = 600


def render_rollouts(
  environment: Any,
  policies: Sequence[Callable[[np.ndarray], Any]],
  path: str | os.PathLike[str],
  *,
  tasks: types.PyTree,
  rng: np.random.Generator,
  num_rollouts: int = 1,
  horizon: int = 100,
  **options: Any,
) -> pathlib.Path:
  """Plays policies and draws the first rollout of each task under each policy.

  Random-parameter tasks all look alike: the model is drawn unscaled.

  Args:
    environment: a `LocomotionEnvironment`.
    policies: one per stage, before adaptation first: functions of observations
      `[G, B, ...]` to raw actions `[G, B, ...]`.
    path: where to write; see `render_positions`.
    tasks: pytree with leading axis `[G]`.
    rng: of the start states.
    num_rollouts: B; only the first one of each task is drawn.
    horizon: steps of each rollout; one that terminates stands still.
    **options: `width`, `height` and `num_strip_frames` of `render_positions`.

  Returns:
    The path that was written.

  Raises:
    ValueError, RuntimeError: as `render_positions` does.
  """
  path = films.check_path(path)
  stages = []
  for policy in policies:
    observation = environment.reset(tasks, num_rollouts, rng)
    positions, total = [environment.get_state().qpos[:, 0]], 0.0
    for _ in range(horizon):
      observation, reward, _ = environment.step(policy(observation))
      positions.append(environment.get_state().qpos[:, 0])
      total = total + reward[:, 0]
    stages.append((np.stack(positions, axis=1), total))
  num_tasks = len(stages[0][1])
  names = task_names(environment, tasks, num_tasks)
  rollouts, titles = [], []
  for task in range(num_tasks):
    for stage, (positions, total) in enumerate(stages):
      rollouts.append(positions[task])
      when = films.stage_name(stage)
      titles.append(f'{names[task]}, {when}: return {total[task]:.1f}')
  return render_positions(
    environment,
    rollouts,
    path,
    titles,
    num_columns=len(policies),
    **options,
  )


def task_names(
  environment: Any, tasks: types.PyTree, num_tasks: int
) -> list[str]:
  """What the tasks are, in words, such as 'run backwards'.

  >>> import types as python_types
  >>> cheetah = python_types.SimpleNamespace(
  ...   task_distribution=task_distributions.Signs())
  >>> task_names(cheetah, np.array([1.0, -1.0]), 2)
  ['run forwards', 'run backwards']

  Args:
    environment: a `LocomotionEnvironment`.
    tasks: pytree with leading axis `[G]`.
    num_tasks: G.

  Returns:
    G names; numbers where the task is no direction, speed or place.
  """
  distribution = environment.task_distribution
  for kind, name in _TASK_NAMES.items():
    if isinstance(distribution, kind):
      return [name(np.asarray(task)) for task in tasks]
  return [f'task {i + 1}' for i in range(num_tasks)]


def _direction(task: np.ndarray) -> str:
  return f'run towards {np.degrees(np.arctan2(*task[::-1])) % 360:.0f}°'


_TASK_NAMES: dict[type, Callable[[np.ndarray], str]] = {
  task_distributions.Signs: lambda task: (
    'run forwards' if task > 0 else 'run backwards'
  ),
  task_distributions.UnitCircle: _direction,
  task_distributions.Disc: lambda task: f'go to ({task[0]:.1f}, {task[1]:.1f})',
  task_distributions.Speeds: lambda task: f'run at {task:.2f} m/s',
}


def render_positions(
  environment: Any,
  rollouts: Sequence[np.ndarray],
  path: str | os.PathLike[str],
  titles: Sequence[str] | None = None,
  *,
  num_columns: int | None = None,
  width: int = 320,
  height: int = 240,
  num_strip_frames: int = 8,
) -> pathlib.Path:
  """Draws rollouts of one robot beside each other.

  Record a rollout as `environment.get_state().qpos[task, rollout]` after the
  reset and after every step.

  Args:
    environment: the `LocomotionEnvironment` that was rolled out.
    rollouts: positions `[T+1, nq]` of each; shorter ones stop at their last
      frame.
    path: where to write; `.mp4` makes a film at the speed of life, `.png` a
      strip of moments with one row per rollout. A film needs imageio with
      ffmpeg; without it a strip is written instead.
    titles: one caption per rollout.
    num_columns: how many rollouts a film shows in a row; by default all.
    width: of one robot's picture, in pixels; made even.
    height: of one robot's picture, in pixels; made even.
    num_strip_frames: how many moments of a rollout a strip shows.

  Returns:
    The path that was written.

  Raises:
    ValueError: on a path that ends otherwise, no rollouts, rollouts of another
      robot, or a wrong number of titles.
    RuntimeError: if neither EGL nor OSMesa can draw on this machine.
  """
  path = films.writable(path)
  rollouts = _check_rollouts(environment, rollouts)
  titles = list(titles) if titles is not None else [''] * len(rollouts)
  if len(titles) != len(rollouts):
    raise ValueError(
      f'titles: got {len(titles)} for {len(rollouts)} rollouts, need as many.'
    )
  if path.suffix == '.png':
    rollouts = [films.moments(x, num_strip_frames) for x in rollouts]
  # The video codec wants even sizes.
  width, height = width + width % 2, height + height % 2
  frames = draw(environment.model_path, np.concatenate(rollouts), width, height)
  ends = np.cumsum([len(rollout) for rollout in rollouts])[:-1]
  return films.write(
    path,
    np.split(frames, ends),
    titles,
    num_columns=num_columns,
    fps=1 / environment.dt,
  )


def draw(
  model_path: str, positions: np.ndarray, width: int, height: int
) -> np.ndarray:
  """Draws one picture per position, in a process of its own.

  Args:
    model_path: an XML file.
    positions: `[n, nq]`.
    width: of a picture, in pixels.
    height: of a picture, in pixels.

  Returns:
    `[n, height, width, 3]` uint8.

  Raises:
    RuntimeError: if no OpenGL library can draw without a display.
  """
  failures = {}
  with tempfile.TemporaryDirectory() as folder:
    job, result = f'{folder}/job.npz', f'{folder}/frames.npy'
    np.savez(
      job,
      model_path=model_path,
      positions=positions,
      width=width,
      height=height,
    )
    for backend in _backends():
      process = subprocess.run(
        [sys.executable, str(_SCRIPT), job, result],
        env=_child_environment(backend),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
      )
      if process.returncode == 0:
        return np.load(result)
      lines = process.stderr.strip().splitlines() or ['no message']
      failures[backend] = f'{lines[-1]} (exit code {process.returncode})'
  reasons = '; '.join(f'{name}: {why}' for name, why in failures.items())
  raise RuntimeError(
    'Cannot render: no OpenGL library could draw without a display. Install '
    'EGL (Debian: apt-get install libegl1 libgl1-mesa-dri) or OSMesa (Debian: '
    'apt-get install libosmesa6), or name a working one in the environment '
    f'variable MUJOCO_GL. Tried {reasons}.'
  )


def _check_rollouts(environment, rollouts) -> list[np.ndarray]:
  rollouts = [np.asarray(rollout, np.float64) for rollout in rollouts]
  if not rollouts:
    raise ValueError('rollouts: got none, need at least one.')
  num_positions = environment.model.nq
  for rollout in rollouts:
    if (
      rollout.ndim != 2
      or not len(rollout)
      or (rollout.shape[1] != num_positions)
    ):
      raise ValueError(
        f'rollouts: got one of shape {rollout.shape}, need positions '
        f'[T+1, {num_positions}].'
      )
    if not np.isfinite(rollout).all():
      raise ValueError('rollouts: got positions that are not finite.')
  return rollouts


def _backends() -> tuple[str, ...]:
  """Values of MUJOCO_GL to try, in this order."""
  chosen = os.environ.get('MUJOCO_GL', '').strip()
  if chosen:
    return (chosen,)
  if platform.system() == 'Linux':
    return ('egl', 'osmesa')
  return ('on',)  # Elsewhere the system's own library needs no display.


def _child_environment(backend: str) -> dict[str, str]:
  variables = dict(os.environ, MUJOCO_GL=backend)
  variables.pop('PYOPENGL_PLATFORM', None)
  if backend in ('egl', 'osmesa'):
    variables['PYOPENGL_PLATFORM'] = backend
  return variables
