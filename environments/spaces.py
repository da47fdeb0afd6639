"""Gymnasium's spaces as dm_env's specs, known by their attributes.

Discrete spaces need not start at 0 there; here they do.
"""

from collections.abc import Mapping
from typing import Any

from dm_env import specs
import numpy as np


def to_spec(space: Any, name: str) -> Any:
  """The specs of a space.

  Args:
    space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of
      them.
    name: what it is a space of.

  Returns:
    `dm_env.specs`, in dicts and tuples where the space is made of several.

  Raises:
    ValueError: on other spaces, and on bounds that are not numbers.
  """
  if hasattr(space, 'spaces'):
    if isinstance(space.spaces, Mapping):
      return {
        key: to_spec(part, f'{name}[{key!r}]')
        for key, part in space.spaces.items()
      }
    return tuple(
      to_spec(part, f'{name}[{i}]') for i, part in enumerate(space.spaces)
    )
  if hasattr(space, 'nvec'):
    return specs.BoundedArray(
      space.shape, space.dtype, 0, np.asarray(space.nvec) - 1, name
    )
  if hasattr(space, 'n') and hasattr(space, 'start'):
    return specs.DiscreteArray(int(space.n), name=name)
  if hasattr(space, 'n'):
    return specs.BoundedArray(space.shape, space.dtype, 0, 1, name)
  if hasattr(space, 'low') and hasattr(space, 'high'):
    if np.isnan(space.low).any() or np.isnan(space.high).any():
      raise ValueError(f'{name} space: {space} has a bound that is NaN.')
    return specs.BoundedArray(
      space.shape, space.dtype, space.low, space.high, name
    )
  raise ValueError(
    f'{name} space: got {space}, need Box, Discrete, MultiDiscrete, '
    'MultiBinary, or a Dict or Tuple of them; gymnasium.wrappers has '
    'FlattenObservation and TransformAction for others.'
  )


def to_ours(value: Any, space: Any) -> Any:
  """A value of the space, with what is discrete counted from 0."""
  if hasattr(space, 'spaces'):
    if isinstance(space.spaces, Mapping) and isinstance(value, Mapping):
      return {
        key: to_ours(part, space.spaces[key]) if key in space.spaces else part
        for key, part in value.items()
      }
    if isinstance(value, tuple | list) and len(value) == len(space.spaces):
      return tuple(map(to_ours, value, space.spaces))
    return value
  start = getattr(space, 'start', 0)
  return value - start if np.any(start) else value


def to_theirs(value: Any, space: Any) -> Any:
  """One of our actions as a member of the space."""
  start = getattr(space, 'start', None)
  return value if start is None else (value + start).astype(space.dtype)
