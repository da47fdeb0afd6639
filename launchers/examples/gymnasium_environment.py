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
  """Any environment of yours, with a method that sets its task."""

  observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
  action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
  metadata = {'render_modes': ['rgb_array'], 'render_fps': 20}
  render_mode = 'rgb_array'

  def set_task(self, angle):
    self._wanted = float(angle)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._angle = self.np_random.normal(scale=0.1)
    return self._show(), {}

  def step(self, action):
    self._angle += float(action[0])
    error = abs(self._angle - self._wanted)
    return self._show(), -error, False, False, {'success': error < 0.2}

  def _show(self):
    return np.array([np.cos(self._angle), np.sin(self._angle)], np.float32)

  def render(self):
    frame = np.full((96, 96, 3), 255, np.uint8)
    for angle, color in (
      (self._wanted, (213, 94, 0)),
      (self._angle, (0, 114, 178)),
    ):
      along = np.linspace(0, 40, 80)
      x, y = 48 + along * np.cos(angle), 48 - along * np.sin(angle)
      frame[y.astype(int), x.astype(int)] = color
    return frame


def make(split='train', num_processes=0):
  """Two classes of tasks; half of each is held out for evaluations."""
  first = 0 if split == 'train' else 1
  angles = np.linspace(0.2, 1.2, 20)[first::2]

  def make_batch():
    return environments.GymnasiumBatch(
      Rod,
      sample_task=environments.TaskClasses({'left': angles, 'right': -angles}),
      set_task=lambda rod, drawn: rod.set_task(drawn.task),
      has_finite_tasks=split == 'train',
      reports=('success',),
    )

  if num_processes:
    return environments.ProcessBatch(make_batch, num_processes)
  return make_batch()
