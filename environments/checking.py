"""Holds environments to what they declare, and keeps their arrays apart.

What comes in from an environment becomes a fresh array of the declared shape
and type, or a `ValueError` that names the environment. What goes out to one is
a copy, because a user's code may write to it.
"""

from collections.abc import Callable, Mapping
import copy
from typing import Any

from dm_env import specs
from jax import tree_util
import jax.numpy as jnp
import numpy as np

from acme_metarl import types
from acme_metarl.meta import observations


def copies(tree: types.PyTree) -> types.PyTree:
  """The same tree with leaves of its own, also where they are objects."""
  return tree_util.tree_map(copy.deepcopy, tree)


def read_only(tree: types.PyTree) -> types.PyTree:
  """The same arrays, as views that cannot be written through."""

  def view(x):
    x = np.asarray(x).view()
    x.flags.writeable = False
    return x

  return tree_util.tree_map(view, tree)


def is_real(dtype: Any) -> bool:
  """Whether numbers of the type are real ones: Booleans, integers, floats."""
  return np.dtype(dtype).kind in 'biuf' or jnp.issubdtype(dtype, jnp.floating)


def observation_spec(tree: Any, who: Any) -> Any:
  """The specs that an environment's observations are held to.

  Floating-point ones become float32 and lose their bounds, which many
  environments do not keep. Integers keep theirs. Ordered dicts become plain.

  Args:
    tree: pytree of `dm_env.specs`.
    who: the environment, for messages.

  Returns:
    A pytree of specs.

  Raises:
    ValueError: if it is empty, or a leaf is no spec of real numbers.
  """

  def convert(path, spec):
    if not isinstance(spec, specs.Array) or not is_real(spec.dtype):
      raise ValueError(
        f'{who!r}: observation{tree_util.keystr(path)} has the spec '
        f'{describe(spec)}, need a dm_env.specs.Array of real numbers.'
      )
    if np.dtype(spec.dtype).kind in 'biu':
      return spec
    return specs.Array(spec.shape, np.float32, spec.name)

  tree = tree_util.tree_map_with_path(convert, observations.plain(tree))
  if not tree_util.tree_leaves(tree):
    raise ValueError(f'{who!r}: its observation has no arrays, need one.')
  return tree


def describe(spec: Any) -> str:
  """A spec in one line, which its `repr` need not be."""
  if not isinstance(spec, specs.Array):
    return f'of type {type(spec).__name__}'
  text = f'{spec.dtype} of shape {spec.shape}'
  if hasattr(spec, 'minimum') and spec.minimum.size:
    low, high = np.min(spec.minimum), np.max(spec.maximum)
    text += f', from {low} to {high}'
  return text


def action_spec(spec: Any, who: Any) -> specs.Array:
  """Refuses what is no spec of one array of real numbers; returns it."""
  if not isinstance(spec, specs.Array) or not is_real(spec.dtype):
    raise ValueError(
      f'{who!r}: its action has the spec {describe(spec)}, need one '
      'dm_env.specs.Array of real numbers.'
    )
  return spec


def observation(
  value: Any,
  tree: Any,
  who: Any,
  batch_shape: tuple[int, ...] = (),
  is_live: np.ndarray | None = None,
) -> Any:
  """Makes an observation what its specs say.

  Args:
    value: what the environment showed.
    tree: what `observation_spec` returned.
    who: the environment, for messages.
    batch_shape: axes in front of each array.
    is_live: `[*batch_shape]`, whose values matter; all by default.

  Returns:
    Fresh arrays, in the structure of `tree`.

  Raises:
    ValueError: on another structure or shape, and on numbers that an integer
      spec does not hold.
  """
  return _map(
    lambda spec, x, path: _array(x, spec, who, path, batch_shape, is_live),
    tree,
    value,
    'observation',
    who,
  )


def numbers(
  value: Any, what: str, who: Any, batch_shape: tuple[int, ...]
) -> np.ndarray:
  """A fresh float32 array `[*batch_shape]`; refuses other shapes."""
  array = _as_array(value, what, who)
  if array.shape != batch_shape:
    raise ValueError(
      f'{who!r}: {what} has shape {array.shape}, need {batch_shape}.'
    )
  return _to_float32(array)


def number(value: Any, what: str, who: Any) -> float:
  """One real number of an environment's, as a float; NaN may be one."""
  if type(value) is float:
    return value
  array = _as_array(value, what, who)
  if array.shape != ():
    raise ValueError(
      f'{who!r}: {what} is an array of shape {array.shape}, need a number.'
    )
  return float(array)


def discounts(value: np.ndarray, who: Any, is_live: Any = True) -> None:
  """Refuses discounts outside [0, 1]; NaN is a divergence, and passes."""
  wrong = is_live & ((value < 0) | (value > 1))
  if np.any(wrong):
    raise ValueError(
      f'{who!r}: a discount is {np.asarray(value)[wrong].flat[0]}, need 0 to 1.'
    )


def _array(value, spec, who, path, batch_shape, is_live) -> np.ndarray:
  array = _as_array(value, path, who)
  shape = batch_shape + tuple(spec.shape)
  if array.shape != shape:
    raise ValueError(
      f'{who!r}: {path} has shape {array.shape}, but its spec says {shape}.'
    )
  if np.dtype(spec.dtype).kind == 'f':
    return _to_float32(array)
  with np.errstate(invalid='ignore'):
    cast = array.astype(spec.dtype)
    wrong = cast != array
  if hasattr(spec, 'minimum'):
    wrong |= (array < spec.minimum) | (array > spec.maximum)
  if is_live is not None:
    axes = (1,) * (wrong.ndim - is_live.ndim)
    wrong &= is_live.reshape(is_live.shape + axes)
  if wrong.any():
    raise ValueError(
      f'{who!r}: {path} is {array[wrong].flat[0]}, which its spec does not '
      f'hold: {describe(spec)}.'
    )
  return cast


def _as_array(value: Any, what: str, who: Any) -> np.ndarray:
  try:
    array = np.asarray(value)
  except ValueError:  # Of lists whose lengths differ.
    array = np.array(None)
  if not is_real(array.dtype):
    got = f'{value!r:.60}' if array.ndim == 0 else f'of type {array.dtype}'
    raise ValueError(f'{who!r}: {what} is {got}, need real numbers.')
  return array


def _to_float32(array: np.ndarray) -> np.ndarray:
  # What float32 does not hold becomes infinite, a divergence.
  with np.errstate(over='ignore', invalid='ignore'):
    return array.astype(np.float32)


def _map(function: Callable, tree: Any, value: Any, path: str, who: Any) -> Any:
  """`function(spec, value, path)` over a tree of specs.

  Not JAX's own: there an OrderedDict does not go with a dict, and a list that
  stands for an array is a tree.
  """
  if isinstance(tree, specs.Array):
    return function(tree, value, path)
  children, structure = tree_util.tree_flatten_with_path(
    tree, is_leaf=lambda x: x is not tree
  )
  keys = [key for (key,), _ in children]
  if not _fits(value, tree, keys):
    raise ValueError(
      f'{who!r}: {path} is {_brief(value)}, but its spec is {_brief(tree)}.'
    )
  return structure.unflatten(
    [
      _map(function, spec, _child(value, key), f'{path}{key}', who)
      for key, (_, spec) in zip(keys, children, strict=True)
    ]
  )


def _fits(value: Any, tree: Any, keys: list[Any]) -> bool:
  if not keys:  # None, or empty.
    return isinstance(value, type(tree)) and not value
  if all(isinstance(key, tree_util.DictKey) for key in keys):
    return isinstance(value, Mapping) and set(value) == {k.key for k in keys}
  if all(isinstance(key, tree_util.SequenceKey) for key in keys):
    return isinstance(value, tuple | list) and len(value) == len(keys)
  if all(isinstance(key, tree_util.GetAttrKey) for key in keys):
    return all(hasattr(value, key.name) for key in keys)
  return isinstance(value, type(tree))


def _child(value: Any, key: Any) -> Any:
  if isinstance(key, tree_util.DictKey):
    return value[key.key]
  if isinstance(key, tree_util.SequenceKey):
    return value[key.idx]
  if isinstance(key, tree_util.GetAttrKey):
    return getattr(value, key.name)
  return tree_util.tree_leaves(value, is_leaf=lambda x: x is not value)[key.key]


def _brief(value: Any) -> str:
  if isinstance(value, Mapping):
    return f'a mapping of {", ".join(map(repr, value))}'
  if isinstance(value, tuple | list):
    return f'a {type(value).__name__} of {len(value)}'
  return f'of type {type(value).__name__}'
