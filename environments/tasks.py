"""Tasks of other people's environments: any pytree, with [G] in front."""

import copy
from typing import Any

import jax
import numpy as np

from acme_metarl import types


def stack(tasks: list[types.PyTree]) -> types.PyTree:
  """Puts tasks together so that `take` gives each of them back as it was.

  Numbers and arrays become arrays `[G, ...]`. What is not numeric (text, bytes,
  objects) becomes an object array `[G]`, and so do tasks without any leaf, such
  as None or ().

  Args:
    tasks: as the user drew them.

  Returns:
    A pytree with leading axis `[G]`.

  Raises:
    ValueError: if there are none, or if they differ in structure, shape or
      kind.
  """
  if not tasks:
    raise ValueError('num_tasks: got 0, need at least 1.')
  first, *others = tasks
  structure = jax.tree_util.tree_structure(first)
  for other in others:
    if jax.tree_util.tree_structure(other) != structure:
      raise ValueError(
        f'sample_task: it drew {first!r} and {other!r}, need tasks of one '
        'structure.'
      )
  if not structure.num_leaves:
    return _objects(tasks)
  columns = zip(*map(jax.tree_util.tree_leaves, tasks), strict=True)
  return structure.unflatten([_stack_leaves(column) for column in columns])


def count(tasks: types.PyTree) -> int:
  """G, of tasks that are stacked."""
  leaves = jax.tree_util.tree_leaves(tasks)
  sizes = {len(x) if np.ndim(x) else None for x in leaves}
  if len(sizes) != 1 or None in sizes or 0 in sizes:
    raise ValueError(
      'tasks: need arrays with a leading axis for the tasks, all of one size '
      f'from 1 on, got shapes {[np.shape(x) for x in leaves]}.'
    )
  return sizes.pop()


def take(tasks: types.PyTree, index: int) -> types.PyTree:
  """One task, a copy: whoever gets it may write to it."""
  return jax.tree_util.tree_map(lambda x: copy.deepcopy(x[index]), tasks)


def _stack_leaves(leaves: tuple[Any, ...]) -> np.ndarray:
  arrays = [np.asarray(leaf) for leaf in leaves]
  if any(array.dtype.kind not in 'biufc' for array in arrays):
    return _objects(leaves)
  if len({array.shape for array in arrays}) > 1:
    raise ValueError(
      'sample_task: it drew arrays of the shapes '
      f'{sorted({array.shape for array in arrays})}, need one shape.'
    )
  stacked = np.stack(arrays)
  for array, row in zip(arrays, stacked, strict=True):
    if not np.array_equal(array, row.astype(array.dtype), equal_nan=True):
      raise ValueError(
        f'sample_task: {array} and the other tasks have no common type that '
        'holds them, need one type of number.'
      )
  return stacked


def _objects(values: Any) -> np.ndarray:
  # Filled one by one: NumPy would look into sequences.
  array = np.empty(len(values), object)
  for i, value in enumerate(values):
    array[i] = value
  return array
