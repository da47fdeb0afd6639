"""Checkpoints: arrays and JSON in one file that appears whole or not at all.

A checkpoint is one NumPy archive. Its arrays are those of a pytree, named by
their place in it; what else there is to know is JSON, in an array of bytes.
Loading executes no code: nothing is pickled.
"""

from collections.abc import Mapping
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

from absl import logging
import jax
import numpy as np

from acme_metarl import types

_METADATA = 'metadata'
_NAME = re.compile(r'checkpoint_(\d{8})\.npz')


class Checkpoint(NamedTuple):
  """What was saved.

  Attributes:
    step: its number.
    arrays: by name, see `restore_tree`.
    metadata: from JSON.
    path: of the file.
  """

  step: int
  arrays: Mapping[str, np.ndarray]
  metadata: dict[str, Any]
  path: pathlib.Path

  def get(self, name: str) -> Any:
    """Returns what the metadata say under a name.

    Raises:
      ValueError: if they say nothing.
    """
    if name not in self.metadata:
      raise ValueError(
        f'Checkpoint {self.path} lacks {name!r}: it is of another launcher, or '
        'none of ours.'
      )
    return self.metadata[name]

  def number(self, name: str) -> Any:
    """Returns a number that the metadata hold.

    Raises:
      ValueError: if it is none.
    """
    value = self.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
      raise ValueError(
        f'Checkpoint {self.path}: {name} is {value!r}, and must be a number.'
      )
    return value


class Checkpointer:
  """Keeps the last few checkpoints of a directory."""

  def __init__(self, directory: str | os.PathLike[str], max_to_keep: int = 3):
    """Makes a checkpointer; the directory is made by the first `save`.

    Args:
      directory: holds nothing but checkpoints.
      max_to_keep: older ones are deleted.
    """
    if max_to_keep < 1:
      raise ValueError(f'max_to_keep: got {max_to_keep}, need at least 1.')
    self._directory = pathlib.Path(directory)
    self._max_to_keep = max_to_keep

  def paths(self) -> list[pathlib.Path]:
    """All checkpoints, oldest first."""
    if not self._directory.is_dir():
      return []
    found = [p for p in self._directory.iterdir() if _NAME.fullmatch(p.name)]
    return sorted(found, key=lambda path: path.name)

  def save(
    self, step: int, tree: types.PyTree, metadata: Mapping[str, Any]
  ) -> pathlib.Path:
    """Saves a checkpoint, then deletes the oldest ones.

    Args:
      step: its number; a later checkpoint has a larger one.
      tree: a pytree of arrays.
      metadata: what JSON can hold.

    Returns:
      The path of the file.

    Raises:
      OSError: if it cannot be written, say because the disk is full; earlier
        checkpoints are as they were.
    """
    arrays = named_leaves(tree)
    text = json.dumps(dict(metadata)).encode()
    arrays[_METADATA] = np.frombuffer(text, np.uint8)
    self._directory.mkdir(parents=True, exist_ok=True)
    path = self._directory / file_name(step)
    _write_atomically(path, arrays)
    for old in self.paths()[: -self._max_to_keep]:
      old.unlink()
    return path

  def load_latest(self) -> Checkpoint | None:
    """Loads the newest checkpoint that is whole; says which ones are not."""
    for path in reversed(self.paths()):
      try:
        return load(path)
      except ValueError as error:
        logging.warning('%s Falling back to the one before.', error)
    return None


def file_name(step: int) -> str:
  """Name of the checkpoint of a step."""
  return f'checkpoint_{step:08d}.npz'


def load(path: str | os.PathLike[str]) -> Checkpoint:
  """Loads one checkpoint.

  Args:
    path: of the file.

  Returns:
    The checkpoint.

  Raises:
    ValueError: if the file is damaged, or none of ours.
    FileNotFoundError: if it does not exist.
  """
  path = pathlib.Path(path)
  try:
    with np.load(path, allow_pickle=False) as file:
      # Reading arrays checks no checksum if a header claims fewer numbers.
      damaged = file.zip.testzip()
      if damaged is not None:
        raise ValueError(f'{damaged} has another checksum')
      arrays = dict(file)
    metadata = dict(json.loads(arrays.pop(_METADATA).tobytes()))
    match = _NAME.fullmatch(path.name)
    # A copy may be called otherwise.
    step = int(metadata.get('iteration', match and match.group(1)))
  except (FileNotFoundError, PermissionError):
    raise
  except Exception as error:  # Whatever a damaged archive makes of its readers.
    raise ValueError(
      f'Checkpoint {path} is damaged ({type(error).__name__}: {error}).'
    ) from error
  return Checkpoint(step, arrays, metadata, path)


def named_leaves(tree: types.PyTree) -> dict[str, np.ndarray]:
  """Leaves by their place in the tree, for example `.params['w']`."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def restore_tree(
  template: types.PyTree, arrays: Mapping[str, np.ndarray]
) -> types.PyTree:
  """Puts saved arrays back into a pytree.

  Args:
    template: a pytree of arrays of the same structure and shapes.
    arrays: of a checkpoint.

  Returns:
    A pytree of the saved arrays.

  Raises:
    ValueError: if names, shapes or types differ.
  """
  expected = named_leaves(template)
  for name in sorted(set(expected) | set(arrays)):
    have, need = (
      f'{x[name].dtype}{list(x[name].shape)}' if name in x else 'nothing'
      for x in (arrays, expected)
    )
    if have != need:
      raise ValueError(
        f'The checkpoint does not fit: {name} is {have} there, and {need} '
        'here. Use the configuration of the run that saved it.'
      )
  leaves = [arrays[name] for name in expected]
  return jax.tree_util.tree_unflatten(
    jax.tree_util.tree_structure(template), leaves
  )


def _write_atomically(
  path: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> None:
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    with open(temporary, 'wb') as file:
      np.savez(file, **arrays)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  directory = os.open(path.parent, os.O_RDONLY)
  try:
    os.fsync(directory)
  finally:
    os.close(directory)
