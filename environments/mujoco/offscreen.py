"""Draws robots without a display: a script of its own.

    python offscreen.py JOB.npz FRAMES.npy

`rendering` runs it in a process of its own, because MuJoCo chooses the OpenGL
library when it is first imported, and because a driver that crashes should not
take training with it. It imports nothing of this package.
"""

import sys

import mujoco
import numpy as np

_CAMERA = 'track'


def draw(
  model_path: str, positions: np.ndarray, width: int, height: int
) -> np.ndarray:
  """Draws one frame per position, seen by the model's tracking camera.

  Args:
    model_path: an XML file.
    positions: `[n, nq]`.
    width: of a frame, in pixels.
    height: of a frame, in pixels.

  Returns:
    `[n, height, width, 3]` uint8.
  """
  model = mujoco.MjModel.from_xml_path(model_path)
  model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
  model.vis.global_.offheight = max(model.vis.global_.offheight, height)
  data = mujoco.MjData(model)
  frames = np.empty((len(positions), height, width, 3), np.uint8)
  with mujoco.Renderer(model, height, width) as renderer:
    for frame, qpos in zip(frames, positions, strict=True):
      data.qpos[:] = qpos
      mujoco.mj_forward(model, data)
      renderer.update_scene(data, camera=_CAMERA)
      frame[:] = renderer.render()
  return frames


if __name__ == '__main__':
  with np.load(sys.argv[1]) as job:
    drawn = draw(
      str(job['model_path']),
      job['positions'],
      int(job['width']),
      int(job['height']),
    )
  np.save(sys.argv[2], drawn)
