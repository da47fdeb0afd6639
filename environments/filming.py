"""Films of anybody's environment that can draw itself, before and after."""

from collections.abc import Callable, Sequence
import itertools
import pathlib
from typing import Any

import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import films, task_classes

_FRAMES_PER_SECOND = 20
# Pixels; smaller pictures are enlarged, so that captions fit.
_MIN_WIDTH = 256
# Parts of a task that a caption has room for.
_MOST_NUMBERS = 3


def film(
  batch: Any,
  policies: Sequence[Callable[[Any], Any]],
  path: pathlib.Path,
  *,
  tasks: types.PyTree,
  num_rollouts: int,
  horizon: int,
  rng: np.random.Generator,
  num_strip_frames: int = 8,
) -> pathlib.Path:
  """Plays policies and draws the first rollout of each task under each.

  Args:
    batch: a `BatchedEnvironment` with a method `render(rollouts)`: pictures of
      these rollouts (numbers below G·B, tasks first) as they are now, uint8
      `[H, W, 3]`, all of one size.
    policies: one per stage, functions of observations `[G, B, ...]` to raw
      actions.
    path: `.mp4` for a film, a row for each task and a column for each policy;
      `.png` for a strip of moments.
    tasks: pytree with leading axis `[G]`.
    num_rollouts: B.
    horizon: steps; a rollout that ends stands still.
    rng: of the start states.
    num_strip_frames: how many moments of a rollout a strip shows.

  Returns:
    The path that was written; where films cannot be, it is that of a strip.

  Raises:
    ValueError, RuntimeError: if the environment has no picture.
  """
  path = films.writable(path)
  num_tasks = jax.tree_util.tree_leaves(tasks)[0].shape[0]
  firsts = [task * num_rollouts for task in range(num_tasks)]
  names = task_names(batch, tasks, num_tasks)
  frames, titles = [[] for _ in policies], [[] for _ in policies]
  for stage, policy in enumerate(policies):
    observation = batch.reset(tasks, num_rollouts, rng)
    moments = [pictures(batch, firsts)]
    is_alive, total = np.ones(num_tasks, bool), np.zeros(num_tasks)
    success = np.full(num_tasks, np.nan)
    for _ in range(horizon):
      observation, reward, discount = batch.step(policy(observation))
      new = pictures(batch, firsts)
      moments.append(
        [
          after if goes_on else before
          for before, after, goes_on in zip(
            moments[-1], new, is_alive, strict=True
          )
        ]
      )
      total += np.where(is_alive, reward[:, 0], 0)
      reported = getattr(batch, 'info', {}).get('success')
      if reported is not None:
        now = np.where(is_alive, reported[:, 0], np.nan)
        success = np.fmax(success, now)
      is_alive &= discount[:, 0] > 0
      truncated = getattr(batch, 'truncated', None)
      if truncated is not None:
        is_alive &= ~truncated[:, 0]
    for task in range(num_tasks):
      film = np.stack([one[task] for one in moments])
      if path.suffix == '.png':
        film = films.moments(film, num_strip_frames)
      frames[stage].append(_enlarged(film))
      title = (
        f'{names[task]}, {films.stage_name(stage)}: return {total[task]:.1f}'
      )
      if not np.isnan(success[task]):
        title += f', success {success[task]:.3g}'
      titles[stage].append(title)
  # A row for each task.
  return films.write(
    path,
    list(itertools.chain(*zip(*frames, strict=True))),
    list(itertools.chain(*zip(*titles, strict=True))),
    num_columns=len(policies),
    fps=_FRAMES_PER_SECOND,
  )


def task_names(batch: Any, tasks: types.PyTree, num_tasks: int) -> list[str]:
  """What captions call tasks: by their class, and the number that they are."""
  classes = task_classes.names_of(batch, tasks, num_tasks)
  leaves = jax.tree_util.tree_leaves_with_path(tasks)
  names = []
  for i in range(num_tasks):
    numbers = [
      f'{_key(path)} {_in_words(leaf[i])}'.strip()
      for path, leaf in leaves
      if _is_number(leaf[i])
    ]
    kind = classes[i] if classes else 'task'
    if 0 < len(numbers) <= _MOST_NUMBERS:
      names.append(f'{kind} {", ".join(numbers)}')
    else:
      names.append(f'{classes[i]} task {i + 1}' if classes else f'task {i + 1}')
  return names


def _key(path: tuple[Any, ...]) -> str:
  """What a part of a task is called, if it has a name of its own."""
  if not path or isinstance(path[-1], jax.tree_util.SequenceKey):
    return ''
  name = str(getattr(path[-1], 'key', getattr(path[-1], 'name', '')))
  return '' if name == 'task' else name


def _in_words(value: Any) -> str:
  return ', '.join(f'{x:.3g}' for x in np.ravel(value))


def _is_number(value: Any) -> bool:
  """Whether a caption has room for it."""
  array = np.asarray(value)
  return array.dtype.kind in 'biuf' and 0 < array.size <= 4


def pictures(batch: Any, rollouts: Sequence[int]) -> list[np.ndarray]:
  """What `batch.render` shows of some rollouts, checked.

  Raises:
    ValueError: if one is no picture.
    RuntimeError: if it cannot be drawn here.
  """
  try:
    found = [np.asarray(x) for x in batch.render(rollouts)]
  except ValueError:
    raise
  except Exception as error:
    raise RuntimeError(
      f'{batch!r} could not be drawn ({type(error).__name__}: {error}); where '
      'there is no display, set MUJOCO_GL=egl (or osmesa) before the start.'
    ) from error
  for frame in found:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != found[0].shape:
      raise ValueError(
        f'{batch!r}: its render returned an array of shape {frame.shape}, need '
        '[height, width, 3], of one size for all.'
      )
    if frame.dtype != np.uint8:
      raise ValueError(
        f'{batch!r}: its render returned numbers of type {frame.dtype}, need '
        'uint8.'
      )
  return found


def _enlarged(frames: np.ndarray) -> np.ndarray:
  factor = -(-_MIN_WIDTH // frames.shape[2])
  return frames.repeat(factor, axis=1).repeat(factor, axis=2)
