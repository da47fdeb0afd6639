"""Finds out whether environments that should be apart share their state.

One object returned twice, under different wrappers perhaps, or a task that is
kept in a class or in one array for all: every rollout then plays the task of
the last one, and nothing complains.
"""

from collections.abc import Callable, Mapping, Sequence
import numbers
from typing import Any

import numpy as np


def parts(environment: Any) -> list[Any]:
  """An environment and those that it wraps."""
  found, rest = [], [environment]
  while rest:
    one = rest.pop(0)
    if any(one is other for other in found):
      continue
    found.append(one)
    for value in vars(one).values() if hasattr(one, '__dict__') else ():
      inner = value
      if isinstance(value, Mapping):
        inner = list(value.values())
      rest += filter(
        is_environment, inner if isinstance(inner, list | tuple) else [inner]
      )
  return found


def is_environment(value: Any) -> bool:
  """Whether it is an environment of dm_env, gymnasium or the like."""
  return (
    not isinstance(value, type | str)
    and callable(getattr(value, 'reset', None))
    and callable(getattr(value, 'step', None))
    and (hasattr(value, 'action_space') or hasattr(value, 'action_spec'))
  )


def check_apart(environments: Sequence[Any], factory: Any) -> None:
  """Refuses environments that are, or wrap, the same one.

  Args:
    environments: all that the factory has made.
    factory: made them; for the message.

  Raises:
    ValueError: if two are the same.
  """
  owner = {}
  for i, environment in enumerate(environments):
    for part in parts(environment):
      if owner.setdefault(id(part), i) != i:
        raise ValueError(
          f'factory: {factory!r} returned the same {type(part).__name__} '
          'object twice, need a new environment at every call, because each '
          'rollout has one of its own.'
        )


def call(hook: Callable[..., Any], environment: Any, task: Any) -> None:
  """`hook(environment, task)`; refuses what cannot set a task.

  Args:
    hook: sets a task.
    environment: to set it for.
    task: to be set.

  Raises:
    ValueError: if the environment lacks what the hook uses, or the hook makes a
      new environment.
  """
  try:
    result = hook(environment, task)
  except AttributeError as error:
    lacking, name = error.obj, error.name
    if not is_environment(lacking):
      raise
    inner = getattr(lacking, 'unwrapped', lacking)
    fix = 'give it one that makes it play the task'
    if inner is not lacking and hasattr(inner, name):
      fix = f'it is a wrapper, so use environment.unwrapped.{name}'
    raise ValueError(
      f'set_task: {lacking!r} has no {name}, which it uses; {fix}.'
    ) from error
  if is_environment(result) and result is not environment:
    raise ValueError(
      f'set_task: it returned {result!r}; it must change the environment that '
      'it is given.'
    )


def call_watched(
  hook: Callable[..., Any], environment: Any, task: Any, other: Any
) -> None:
  """The same; refuses a hook that sets the task of all, or of a wrapper.

  Args:
    hook: sets a task.
    environment: to set it for.
    task: to be set.
    other: another environment of the same kind.

  Raises:
    ValueError: if the hook changes a number or an array that the environments
      share, or sets what an environment inside has too.
  """
  before, had = _shared(environment, other), _attributes(environment)
  call(hook, environment, task)
  after = _shared(environment, other)
  for key, value in before.items():
    if key in after and not _same(value, after[key]):
      raise ValueError(
        f'set_task: it changed {key[0]}, which all objects of the class share; '
        'the task must be kept in each environment of its own.'
      )
  layers = parts(environment)
  for i, (layer, new) in enumerate(
    zip(layers, _attributes(environment), strict=True)
  ):
    hidden = [
      name
      for name in sorted(new - (had[i] if i < len(had) else new))
      if any(hasattr(inner, name) for inner in layers[i + 1 :])
    ]
    if hidden:
      raise ValueError(
        f'set_task: it set {hidden[0]} of {layer!r}, which is a wrapper; the '
        'environment inside has its own and does not see that, so use '
        f'environment.unwrapped.{hidden[0]}.'
      )


def _attributes(environment: Any) -> list[set[str]]:
  """Names of what the environment, and each that it wraps, has of its own."""
  return [set(getattr(part, '__dict__', ())) for part in parts(environment)]


def _shared(environment: Any, other: Any) -> dict[Any, np.ndarray]:
  """Copies of the numbers and arrays that both environments have.

  Their keys are the attribute's name, and whose it is: that of a class, or that
  of one array in both.
  """
  found = {}
  for part, twin in zip(parts(environment), parts(other), strict=False):
    for cls in type(part).__mro__:
      for name, value in vars(cls).items():
        if _is_data(value):
          found[f'{cls.__qualname__}.{name}', cls] = np.array(value)
    twins = getattr(twin, '__dict__', {})
    for name, value in getattr(part, '__dict__', {}).items():
      if value is twins.get(name) and isinstance(value, np.ndarray | list):
        if _is_data(value):
          key = f'{type(part).__qualname__}.{name}', id(value)
          found[key] = np.array(value)
  return found


def _is_data(value: Any) -> bool:
  if isinstance(value, list | tuple):
    return all(isinstance(item, numbers.Number) for item in value)
  return value is None or isinstance(value, np.ndarray | numbers.Number)


def _same(left: np.ndarray, right: np.ndarray) -> bool:
  if left.shape != right.shape:
    return False
  # NaN is the same as NaN.
  return bool(np.all((left == right) | ((left != left) & (right != right))))
