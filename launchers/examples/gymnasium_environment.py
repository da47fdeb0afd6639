r"""Your Gymnasium environment: a rod that must stand at a hidden angle.

    python -m acme_metarl.launchers.train \
      --environment=acme_metarl.launchers.examples.gymnasium_environment:make \
      --evaluation_environment_options='{"split": "test"}'

`docs/your_environment.md` goes through it.
"""

import gymnasium
import numpy as np

from acme_metarl import environments


class Rod(gymnasium.Env):
  """Any environment of yours."""

  observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
  action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.angle = self.np_random.normal(scale=0.1)
    return self.show(), {}

  def step(self, action):
    self.angle += action[0]
    error = abs(self.angle - self.wanted)
    return self.show(), -error, False, False, {'success': error < 0.2}

  def show(self):
    return np.array([np.cos(self.angle), np.sin(self.angle)], np.float32)

  def render(self):  # May be left out.
    frame = np.full((96, 96, 3), 255, np.uint8)
    for angle, color in ((self.wanted, (213, 94, 0)), (self.angle, 0)):
      x, y = np.arange(40) * np.cos(angle), np.arange(40) * np.sin(angle)
      frame[(48 - y).astype(int), (48 + x).astype(int)] = color
    return frame


def set_task(rod, drawn):
  rod.wanted = drawn.task


def make(split='train'):
  """Two classes of tasks; half of each is held out for evaluations."""
  angles = np.linspace(0.2, 1.2, 20)[('train', 'test').index(split) :: 2]
  return environments.GymnasiumBatch(
    Rod,
    sample_task=environments.TaskClasses({'left': angles, 'right': -angles}),
    set_task=set_task,
    has_finite_tasks=split == 'train',
    reports=('success',),
  )
