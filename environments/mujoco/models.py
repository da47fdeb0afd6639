"""The robots' models: the XML files that gymnasium ships."""

import importlib.util
import os

from absl import logging
import mujoco


def find(file_name: str) -> str:
  """Path of one of gymnasium's MuJoCo models, without importing gymnasium.

  Args:
    file_name: such as `'ant.xml'`.

  Returns:
    The absolute path.

  Raises:
    ImportError: if gymnasium, or its file, is not there.
  """
  found = importlib.util.find_spec('gymnasium')
  if found is None or not found.submodule_search_locations:
    raise ImportError(
      'The MuJoCo environments use the models that the gymnasium package '
      'ships, and gymnasium is not installed: pip install gymnasium.'
    )
  folder = found.submodule_search_locations[0]
  path = os.path.join(folder, 'envs', 'mujoco', 'assets', file_name)
  if not os.path.exists(path):
    raise ImportError(
      f'gymnasium in {folder} has no model {file_name!r}; versions 1.0 to 1.4 '
      'are known to ship it.'
    )
  return path


def load(file_name: str) -> mujoco.MjModel:
  """Compiles one of gymnasium's models.

  MuJoCo's remarks about the file (half_cheetah.xml uses an attribute that is
  marked deprecated) go to the log at level INFO; MuJoCo itself would print them
  and leave a MUJOCO_LOG.TXT in the working directory.

  Args:
    file_name: such as `'ant.xml'`.

  Returns:
    The compiled model.
  """
  path = find(file_name)
  handler = mujoco.get_mju_user_warning()
  mujoco.set_mju_user_warning(
    lambda message: logging.info('MuJoCo on %s: %s', file_name, message)
  )
  try:
    return mujoco.MjModel.from_xml_path(path)
  finally:
    mujoco.set_mju_user_warning(handler)
