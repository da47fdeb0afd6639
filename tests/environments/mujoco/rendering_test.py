"""Tests of the films and strips."""

import pathlib
import re
import types
import warnings

import numpy as np
from PIL import Image
import pytest

from acme_metarl.environments import films
from acme_metarl.environments.mujoco import (
  locomotion,
  rendering,
  task_distributions,
)

WIDTH, HEIGHT = 64, 48
CAPTION = 20


@pytest.fixture(scope='module')
def cheetah():
  env = locomotion.make('half_cheetah_direction', num_threads=1)
  yield env
  env.close()


@pytest.fixture
def painted(monkeypatch):
  """Replaces the drawing: a picture is as bright as the first position."""
  calls = []

  def draw(model_path, positions, width, height):
    calls.append((model_path, positions, width, height))
    frames = np.zeros((len(positions), height, width, 3), np.uint8)
    frames += positions[:, 0].astype(np.uint8)[:, None, None, None]
    return frames

  monkeypatch.setattr(rendering, 'draw', draw)
  return calls


def _rollout(brightness):
  return np.tile(np.array(brightness, float)[:, None], (1, 9))


def _brightness(picture, row, column):
  """The middle of one cell."""
  y = row * (HEIGHT + CAPTION) + CAPTION + HEIGHT // 2
  return int(picture[y, column * WIDTH + WIDTH // 2, 0])


def test_strip_has_a_row_per_rollout_and_its_moments(cheetah, painted):
  path = rendering.render_positions(
    cheetah,
    [_rollout([0, 50, 100, 150, 200]), _rollout([10, 20, 30])],
    'folder/strip.png',
    ['before', 'after'],
    width=WIDTH,
    height=HEIGHT,
    num_strip_frames=3,
  )
  picture = np.asarray(Image.open(path).convert('RGB'))
  assert picture.shape == (2 * (HEIGHT + CAPTION), 3 * WIDTH, 3)
  cells = [[_brightness(picture, i, j) for j in range(3)] for i in range(2)]
  assert cells == [[0, 100, 200], [10, 20, 30]]
  captions = [picture[i * (HEIGHT + CAPTION) :][:CAPTION] for i in range(2)]
  assert all(caption.min() < 100 for caption in captions)  # Some ink,
  assert not np.array_equal(*captions)  # not the same.
  assert pathlib.Path(painted[0][0]).name == 'half_cheetah.xml'


def test_film_shows_rollouts_in_a_grid_at_the_speed_of_life(cheetah, painted):
  import imageio

  with warnings.catch_warnings():
    warnings.simplefilter('error')  # JAX warns of forks.
    path = rendering.render_positions(
      cheetah,
      [
        _rollout([0] * 5 + [200] * 15),
        _rollout([100] * 4),
        _rollout([60] * 20),
      ],
      'film.mp4',
      num_columns=2,
      width=WIDTH - 1,  # Made even.
      height=HEIGHT,
    )
  film = np.stack(imageio.mimread(path, memtest=False))
  assert film.shape == (20, 2 * (HEIGHT + CAPTION), 2 * WIDTH, 3)
  with imageio.get_reader(path) as reader:
    assert reader.get_meta_data()['fps'] == pytest.approx(20)  # 1 / .05 s.

  def cells(frame):
    return [_brightness(frame, i, j) for i in (0, 1) for j in (0, 1)]

  # The codec loses a little; the shorter rollout stops at its last frame, and
  # the cell without one stays white.
  np.testing.assert_allclose(cells(film[0]), [0, 100, 60, 255], atol=8)
  np.testing.assert_allclose(cells(film[-1]), [200, 100, 60, 255], atol=8)


def test_without_ffmpeg_a_strip_is_written(cheetah, painted, monkeypatch):
  monkeypatch.setattr(films, '_can_write_films', lambda: False)
  path = rendering.render_positions(
    cheetah, [_rollout([1, 2])], 'film.mp4', width=WIDTH, height=HEIGHT
  )
  assert path == pathlib.Path('film.png')
  assert Image.open(path).size == (8 * WIDTH, HEIGHT + CAPTION)


def test_policies_are_played_from_starts_of_their_tasks(cheetah, painted):
  shapes = []

  def policy(push):
    def act(observation):
      shapes.append(observation.shape)
      return np.full((*observation.shape[:2], 6), push)

    return act

  rendering.render_rollouts(
    cheetah,
    [policy(0.0), policy(5.0)],
    'strip.png',
    tasks=np.array([1.0, -1.0], np.float32),
    rng=np.random.default_rng(0),
    num_rollouts=3,
    horizon=7,
    width=WIDTH,
    height=HEIGHT,
    num_strip_frames=8,
  )
  assert shapes == [(2, 3, 17)] * 14
  positions = painted[0][1].reshape(4, 8, 9)
  # Before and after of task 0, then of task 1: the pushed ones move more.
  moved = np.abs(np.diff(positions, axis=1)).sum(axis=(1, 2))
  assert min(moved[1], moved[3]) > 1.5 * max(moved[0], moved[2])
  assert np.abs(positions[:, 0]).max() <= 0.1  # Right after the reset.


def test_films_name_the_task_and_the_stage(cheetah, painted, monkeypatch):
  captions = []
  monkeypatch.setattr(
    films,
    '_caption',
    lambda frames, title: captions.append(title) or frames,
  )
  rendering.render_rollouts(
    cheetah,
    [lambda x: np.zeros((*x.shape[:2], 6))] * 3,
    'strip.png',
    tasks=np.array([1.0, -1.0], np.float32),
    rng=np.random.default_rng(0),
    horizon=1,
    width=WIDTH,
    height=HEIGHT,
  )
  whens = ('before adaptation', 'after 1 step', 'after 2 steps')
  for caption, (task, when) in zip(
    captions,
    [(t, w) for t in ('run forwards', 'run backwards') for w in whens],
    strict=True,
  ):
    assert re.fullmatch(rf'{task}, {when}: return -?[\d.]+', caption)


@pytest.mark.parametrize(
  ('distribution', 'task', 'name'),
  [
    (task_distributions.UnitCircle(), [0.0, -1.0], 'run towards 270°'),
    (task_distributions.Disc(3.0), [1.25, -2.0], 'go to (1.2, -2.0)'),
    (task_distributions.Speeds(2.0), 1.5, 'run at 1.50 m/s'),
    (lambda *_: None, {'mass': 1.0}, 'task 1'),
  ],
)
def test_names_of_tasks(distribution, task, name):
  environment = types.SimpleNamespace(task_distribution=distribution)
  tasks = [task] if isinstance(task, dict) else np.array([task])
  assert rendering.task_names(environment, tasks, 1) == [name]


def test_bad_input(cheetah, painted):
  good = _rollout([1, 2])
  for rollouts, path, titles, message in (
    ([good], 'film.gif', None, 'path'),
    ([], 'film.png', None, 'rollouts: got none'),
    ([good[:, 1:]], 'film.png', None, 'rollouts'),
    ([good[:0]], 'film.png', None, 'rollouts'),
    ([good * np.nan], 'film.png', None, 'not finite'),
    ([good], 'film.png', ['a', 'b'], 'titles'),
  ):
    with pytest.raises(ValueError, match=message):
      rendering.render_positions(cheetah, rollouts, path, titles)
  assert not painted


def test_libraries_are_tried_in_turn_and_the_failures_told(
  cheetah, monkeypatch
):
  monkeypatch.setattr(rendering, '_backends', lambda: ('first', 'second'))
  with pytest.raises(RuntimeError, match='libosmesa6') as error:
    rendering.draw(cheetah.model_path, np.zeros((1, 9)), WIDTH, HEIGHT)
  # With what MuJoCo itself said.
  for backend in ('first', 'second'):
    assert f'MUJOCO_GL: {backend} (exit code 1)' in str(error.value)


def test_the_user_chooses_the_library(monkeypatch):
  monkeypatch.delenv('MUJOCO_GL', raising=False)
  monkeypatch.setattr(rendering.platform, 'system', lambda: 'Linux')
  assert rendering._backends() == ('egl', 'osmesa')
  monkeypatch.setenv('MUJOCO_GL', 'osmesa')
  assert rendering._backends() == ('osmesa',)


def test_robots_are_drawn_offscreen(cheetah):
  lying = np.zeros((2, 9))
  lying[1, 1:3] = 0.3, 2.0
  try:
    frames = rendering.draw(cheetah.model_path, lying, WIDTH, HEIGHT)
  except RuntimeError as error:
    pytest.skip(str(error))
  assert frames.shape == (2, HEIGHT, WIDTH, 3)
  assert frames.dtype == np.uint8
  assert frames.std() > 10  # Not blank,
  assert np.abs(frames[0].astype(int) - frames[1]).mean() > 1  # nor the same.
