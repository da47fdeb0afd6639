"""Films and picture strips out of frames, with captions."""

from collections.abc import Sequence
import importlib.util
import os
import pathlib
import subprocess

from absl import logging
import numpy as np

# Even, as the video codec wants it.
_CAPTION_HEIGHT = 20
_DOTS_PER_INCH = 100
_TIMEOUT_SECONDS = 600
_WHITE = 255


def stage_name(stage: int) -> str:
  """What captions call the number of adaptation steps that were taken."""
  if stage == 0:
    return 'before adaptation'
  return f'after {stage} step{"" if stage == 1 else "s"}'


def check_path(path: str | os.PathLike[str]) -> pathlib.Path:
  """Refuses what is neither a film nor a picture.

  Raises:
    ValueError: on a path that ends otherwise.
  """
  path = pathlib.Path(path)
  if path.suffix not in ('.mp4', '.png'):
    raise ValueError(f'path: got {str(path)!r}, need one in .mp4 or .png.')
  return path


def writable(path: str | os.PathLike[str]) -> pathlib.Path:
  """The path, or that of a strip where films cannot be written.

  Raises:
    ValueError: on a path that is neither.
  """
  path = check_path(path)
  if path.suffix == '.mp4' and not _can_write_films():
    path = path.with_suffix('.png')
    logging.warning(
      'No film without ffmpeg (pip install "imageio[ffmpeg]"): writing the '
      'picture strip %s.',
      path,
    )
  return path


def moments(rollout: np.ndarray, num_frames: int) -> np.ndarray:
  """So many of its rows, evenly spaced, ends included."""
  index = np.linspace(0, len(rollout) - 1, num_frames).round().astype(int)
  return rollout[index]


def write(
  path: pathlib.Path,
  rollouts: Sequence[np.ndarray],
  titles: Sequence[str],
  *,
  fps: float,
  num_columns: int | None = None,
) -> pathlib.Path:
  """Writes rollouts beside each other.

  Args:
    path: `.mp4` makes a film, `.png` a strip with a row for each rollout.
    rollouts: frames of each, uint8 `[T, H, W, 3]` of one size; in a film,
      shorter ones stop at their last frame.
    titles: one caption for each.
    fps: frames in a second.
    num_columns: how many rollouts a film shows in a row; by default all.

  Returns:
    The path.
  """
  frames = [
    _caption(_even(rollout), title)
    for rollout, title in zip(rollouts, titles, strict=True)
  ]
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == '.mp4':
    _write_film(path, _tile(frames, num_columns or len(frames)), fps)
  else:
    _write_strip(path, frames)
  return path


def _even(frames: np.ndarray) -> np.ndarray:
  """Adds a white line or column where the video codec wants one."""
  _, height, width, _ = frames.shape
  return np.pad(
    frames,
    ((0, 0), (0, height % 2), (0, width % 2), (0, 0)),
    constant_values=_WHITE,
  )


def _can_write_films() -> bool:
  return importlib.util.find_spec('imageio_ffmpeg') is not None


def _caption(frames: np.ndarray, title: str) -> np.ndarray:
  """Puts a line of text above every frame, `[n, height, width, 3]`."""
  from matplotlib import figure as figure_lib
  from matplotlib.backends import backend_agg

  num_frames, _, width, _ = frames.shape
  size = (width / _DOTS_PER_INCH, _CAPTION_HEIGHT / _DOTS_PER_INCH)
  figure = figure_lib.Figure(size, dpi=_DOTS_PER_INCH)
  # Long ones become smaller; a letter is about half as wide as high.
  fontsize = min(7, width / (0.72 * max(len(title), 1)))
  figure.text(
    4 / width, 0.5, title, fontsize=fontsize, verticalalignment='center'
  )
  canvas = backend_agg.FigureCanvasAgg(figure)
  canvas.draw()
  line = np.asarray(canvas.buffer_rgba())[..., :3]
  return np.concatenate(
    [np.broadcast_to(line, (num_frames, *line.shape)), frames], axis=1
  )


def _write_strip(path: pathlib.Path, frames: list[np.ndarray]) -> None:
  from matplotlib import image

  rows = [np.concatenate(list(row), axis=1) for row in frames]
  image.imsave(path, np.concatenate(rows, axis=0))


def _tile(frames: list[np.ndarray], num_columns: int) -> np.ndarray:
  """Films `[n_i, h, w, 3]` in rows of `num_columns`: `[n, H, W, 3]`."""
  length = max(len(film) for film in frames)
  frames = [
    film[np.minimum(np.arange(length), len(film) - 1)] for film in frames
  ]
  frames += [np.full_like(frames[0], _WHITE)] * (-len(frames) % num_columns)
  rows = [
    np.concatenate(frames[start : start + num_columns], axis=2)
    for start in range(0, len(frames), num_columns)
  ]
  return np.concatenate(rows, axis=1)


def _write_film(path: pathlib.Path, film: np.ndarray, fps: float) -> None:
  """Runs ffmpeg; imageio would fork, which JAX warns of."""
  import imageio_ffmpeg

  _, height, width, _ = film.shape
  done = subprocess.run(
    [
      imageio_ffmpeg.get_ffmpeg_exe(),
      *('-y', '-v', 'error', '-f', 'rawvideo', '-pix_fmt', 'rgb24'),
      *('-s', f'{width}x{height}', '-r', f'{fps:.6g}', '-i', '-', '-an'),
      *('-c:v', 'libx264', '-crf', '20', '-pix_fmt', 'yuv420p', str(path)),
    ],
    input=film.tobytes(),
    capture_output=True,
    timeout=_TIMEOUT_SECONDS,
    check=False,
  )
  if done.returncode:
    raise RuntimeError(
      f'ffmpeg cannot write {path}: {done.stderr.decode(errors="replace")}'
    )
