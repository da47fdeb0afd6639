"""Atari 2600 games with the preprocessing that DeepMind's agents see.

    pip install "acme-metarl[atari]"

`ale-py` is GPL-2.0-only, and ships the games. Nothing imports it but `make`,
when it is called.
"""

import collections
import importlib
import math
from typing import Any

import dm_env
from dm_env import specs
import numpy as np

# Frames that an action is held for; the brightest of the last two are shown.
_FRAME_SKIP = 4
_SIZE = 84
_STACK = 4
# Half an hour of play at 60 frames a second.
_MAX_FRAMES = 108_000
_NO_OP = 0


def make(
  game: str,
  *,
  sticky: float = 0.25,
  max_noops: int = 0,
  max_abs_reward: float | None = 1.0,
  ends_on_life_loss: bool = False,
  max_frames: int = _MAX_FRAMES,
  seed: int = 0,
) -> 'AtariEnvironment':
  """Makes a game.

  Frames are held for 4, pooled over the last 2, greyed, scaled to 84 by 84 and
  stacked 4 deep, as Acme's `AtariWrapper` does it. Sticky actions follow
  "Revisiting the Arcade Learning Environment" by Machado et al. (2018),
  https://arxiv.org/abs/1709.06009; for the older protocol use `sticky=0,
  max_noops=30`.

  Args:
    game: name of its ROM, `pong` for example.
    sticky: probability that a frame's action is that of the frame before.
    max_noops: largest number of frames without action at the start.
    max_abs_reward: rewards are clipped to this; None for no clipping.
    ends_on_life_loss: whether the discount is 0 where a life is lost, which
      does not end the episode.
    max_frames: of an episode.
    seed: of everything that is drawn.

  Returns:
    A dm_env environment.

  Raises:
    ValueError: if there is no such game, a number is out of its range, or
      ale-py is not installed.
  """
  try:
    ale_py = importlib.import_module('ale_py')
    roms = importlib.import_module('ale_py.roms')
    importlib.import_module('PIL.Image')
  except ImportError as error:
    raise ValueError(
      f'Atari needs ale-py: pip install "acme-metarl[atari]" ({error}).'
    ) from error
  if not 0 <= sticky < 1:
    raise ValueError(f'sticky is {sticky}; it needs to be in [0, 1).')
  for name, value, least, most in (
    ('max_noops', max_noops, 0, math.inf),
    ('max_frames', max_frames, _FRAME_SKIP, math.inf),
    # What the emulator takes.
    ('seed', seed, 0, 2**31 - 1),
  ):
    if not (isinstance(value, int | np.integer) and least <= value <= most):
      raise ValueError(
        f'{name} is {value}; it needs to be an integer in [{least}, {most}].'
      )
  if max_abs_reward is not None and not max_abs_reward > 0:
    raise ValueError(
      f'max_abs_reward is {max_abs_reward}; it needs to be above 0, or None.'
    )
  games = sorted(roms.get_all_rom_ids())
  if game not in games:
    raise ValueError(f'game is {game!r}; there are {", ".join(games)}.')
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  emulator = ale_py.ALEInterface()
  emulator.setFloat('repeat_action_probability', sticky)
  emulator.setInt('random_seed', seed)
  emulator.loadROM(str(roms.get_rom_path(game)))
  return AtariEnvironment(
    emulator, max_noops, max_abs_reward, ends_on_life_loss, max_frames, seed
  )


class AtariEnvironment(dm_env.Environment):
  """A game; observations are `[84, 84, 4]` uint8, oldest frame first.

  `episode_return` is the unclipped return of the episode so far, or of the one
  that just ended.
  """

  def __init__(
    self,
    emulator: Any,
    max_noops: int,
    max_abs_reward: float | None,
    ends_on_life_loss: bool,
    max_frames: int,
    seed: int,
  ):
    """Wraps an emulator of ale-py with a game in it; see `make`."""
    self._emulator = emulator
    self._actions = list(emulator.getMinimalActionSet())
    self._max_noops = max_noops
    self._max_abs_reward = max_abs_reward
    self._ends_on_life_loss = ends_on_life_loss
    self._max_frames = max_frames
    self._rng = np.random.default_rng(seed)
    self._screen = np.zeros(emulator.getScreenDims(), np.uint8)
    self._previous = np.zeros_like(self._screen)
    self._frames: collections.deque[np.ndarray] = collections.deque(
      maxlen=_STACK
    )
    self._resize = importlib.import_module('PIL.Image')
    self._is_over = True
    self.episode_return = 0.0

  def reset(self) -> dm_env.TimeStep:
    self._emulator.reset_game()
    self._is_over = False
    self.episode_return = 0.0
    for _ in range(self._rng.integers(self._max_noops + 1)):
      self._emulator.act(self._actions[_NO_OP])
      if self._emulator.game_over():
        self._emulator.reset_game()
    self._emulator.getScreenGrayscale(self._screen)
    frame = self._scaled(self._screen)
    self._frames.extend([np.zeros_like(frame)] * (_STACK - 1) + [frame])
    return dm_env.restart(self._observation())

  def step(self, action: Any) -> dm_env.TimeStep:
    if self._is_over:
      return self.reset()
    lives = self._emulator.lives()
    reward = 0.0
    for i in range(_FRAME_SKIP):
      reward += self._emulator.act(self._actions[int(action)])
      if i >= _FRAME_SKIP - 2:
        self._previous, self._screen = self._screen, self._previous
        self._emulator.getScreenGrayscale(self._screen)
      if self._emulator.game_over():
        # The frame before may be one of a step before this.
        self._emulator.getScreenGrayscale(self._screen)
        self._previous[...] = self._screen
        break
    self.episode_return += reward
    self._frames.append(self._scaled(np.maximum(self._previous, self._screen)))
    if self._max_abs_reward is not None:
      reward = float(
        np.clip(reward, -self._max_abs_reward, self._max_abs_reward)
      )
    observation = self._observation()
    if self._emulator.game_over():
      self._is_over = True
      return dm_env.termination(np.float32(reward), observation)
    if self._emulator.getEpisodeFrameNumber() >= self._max_frames:
      self._is_over = True
      return dm_env.truncation(np.float32(reward), observation)
    lost = self._ends_on_life_loss and self._emulator.lives() < lives
    return dm_env.transition(
      np.float32(reward), observation, np.float32(0.0 if lost else 1.0)
    )

  def observation_spec(self) -> specs.BoundedArray:
    return specs.BoundedArray(
      (_SIZE, _SIZE, _STACK), np.uint8, 0, 255, 'observation'
    )

  def action_spec(self) -> specs.DiscreteArray:
    return specs.DiscreteArray(len(self._actions), name='action')

  def reward_spec(self) -> specs.Array:
    return specs.Array((), np.float32, 'reward')

  def _observation(self) -> np.ndarray:
    return np.stack(self._frames, axis=-1)

  def _scaled(self, screen: np.ndarray) -> np.ndarray:
    image = self._resize.fromarray(screen)
    bilinear = self._resize.Resampling.BILINEAR
    return np.asarray(image.resize((_SIZE, _SIZE), bilinear), np.uint8)
