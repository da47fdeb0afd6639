"""Observations of any kind as one vector, for networks and baselines."""

import collections
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp


def plain(tree: Any) -> Any:
  """Makes ordered dicts plain ones, whose leaves JAX takes by sorted keys.

  Some environments show ordered dicts, and what was stored comes back plain: a
  policy must see the same vector of both.

  >>> from collections import OrderedDict
  >>> jax.tree_util.tree_leaves(OrderedDict(velocity=1, height=2))
  [1, 2]
  >>> jax.tree_util.tree_leaves(plain(OrderedDict(velocity=1, height=2)))
  [2, 1]

  Args:
    tree: an observation, or the specs of one.

  Returns:
    The same leaves.
  """

  def is_ordered(x):
    return isinstance(x, collections.OrderedDict)

  return jax.tree_util.tree_map(
    lambda x: {k: plain(v) for k, v in x.items()} if is_ordered(x) else x,
    tree,
    is_leaf=is_ordered,
  )


def flatten(observation: chex.ArrayTree, spec: Any = None) -> chex.Array:
  """Makes vectors of observations: what is discrete becomes one-hot.

  Without a spec the last axis of every leaf is its width, and integers are
  taken as numbers. With one, scalars get width 1, and where the spec has
  `num_values` integers become one-hot.

  >>> from dm_env import specs
  >>> spec = {'left': specs.Array((), float), 'seen': specs.DiscreteArray(3)}
  >>> observation = {'left': jnp.array([.5, .25]), 'seen': jnp.array([0, 2])}
  >>> flatten(observation, spec).tolist()
  [[0.5, 1.0, 0.0, 0.0], [0.25, 0.0, 0.0, 1.0]]

  Args:
    observation: array `[..., n]`, or a pytree of arrays whose batch axes are
      the same.
    spec: of one observation, the same pytree of `dm_env` specs; None if there
      is nothing to know.

  Returns:
    `[..., N]` floats, of the widest floating type among the leaves.

  Raises:
    ValueError: if the structures differ, one observation has more than one
      axis, or no axis and no spec.
  """
  leaves = list(map(jnp.asarray, _leaves(observation)))
  floats = [x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
  # Not promoted by JAX, which strict promotion forbids.
  dtype = jnp.result_type(float)
  if floats:
    dtype = max(floats, key=lambda x: jnp.finfo(x).bits)
  if spec is not None:
    leaf_specs = _leaves(check_spec(spec))
    if len(leaf_specs) != len(leaves):
      raise ValueError(
        f'observation has {len(leaves)} arrays, but observation_spec has'
        f' {len(leaf_specs)}; they must be of one structure.'
      )
    leaves = [
      _to_vector(x, leaf_spec, dtype)
      for x, leaf_spec in zip(leaves, leaf_specs, strict=True)
    ]
  if not all(x.ndim for x in leaves):
    raise ValueError(
      'observation has an array of shape (), whose width nobody knows; pass'
      ' observation_spec, so that scalars get width 1 and what is discrete'
      ' becomes one-hot.'
    )
  leaves = [x.astype(dtype) for x in leaves]
  return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves, axis=-1)


def to_vectors(
  observation: chex.ArrayTree,
  batch_ndim: int,
  num_values: Sequence[int | None] = (),
) -> chex.Array:
  """Makes vectors of observations whose number of batch axes is known.

  >>> observation = (jnp.array([0, 2]), jnp.zeros((2, 2, 2)))
  >>> to_vectors(observation, batch_ndim=1, num_values=(3, None)).shape
  (2, 7)

  Args:
    observation: a pytree of arrays; what follows the batch axes is flattened.
    batch_ndim: how many axes are batch axes.
    num_values: of each leaf, how many values there are if it is discrete, None
      if not; empty if none is.

  Returns:
    `[*batch, N]` floats.

  Raises:
    ValueError: if `num_values` is not one number a leaf.
  """
  leaves = list(map(jnp.asarray, _leaves(observation)))
  num_values = tuple(num_values) or (None,) * len(leaves)
  if len(num_values) != len(leaves):
    raise ValueError(
      f'num_values has {len(num_values)} entries, but observations have'
      f' {len(leaves)} arrays; give one each, None where not discrete.'
    )
  return flatten(
    [
      (x if size is None else jax.nn.one_hot(x, size)).reshape(
        (*x.shape[:batch_ndim], -1)
      )
      for x, size in zip(leaves, num_values, strict=True)
    ]
  )


def example(spec: Any) -> chex.ArrayTree:
  """One observation, all zeros.

  >>> from dm_env import specs
  >>> example({'x': specs.Array((3,), 'int32')})
  {'x': Array([0, 0, 0], dtype=int32)}

  Args:
    spec: `dm_env` specs of one observation, a pytree.
  """
  return jax.tree_util.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), spec)


def check_spec(spec: Any) -> Any:
  """Refuses observations that are no vectors, scalars or discrete values.

  >>> from dm_env import specs
  >>> check_spec(specs.Array((84, 84, 3), 'uint8'))
  Traceback (most recent call last):
  ...
  ValueError: observation_spec has an array of shape (84, 84, 3), but the \
networks of this library take vectors, scalars and discrete values. Pass a \
policy of your own, for example policies.from_haiku of a function with \
hk.Conv2D that returns a distribution; or flatten the observations.

  Args:
    spec: a pytree of `dm_env` specs of one observation.

  Returns:
    The same.

  Raises:
    ValueError: names the first shape that does not fit.
  """
  for leaf in jax.tree_util.tree_leaves(spec):
    shape = tuple(leaf.shape)
    if len(shape) > 1:
      raise ValueError(
        f'observation_spec has an array of shape {shape}, but the networks of'
        ' this library take vectors, scalars and discrete values. Pass a policy'
        ' of your own, for example policies.from_haiku of a function with'
        ' hk.Conv2D that returns a distribution; or flatten the observations.'
      )
  return spec


def num_values(spec: Any) -> tuple[int | None, ...]:
  """How many values each leaf of an observation has; None if not discrete.

  >>> from dm_env import specs
  >>> num_values((specs.DiscreteArray(3), specs.Array((2,), float)))
  (3, None)

  Args:
    spec: a pytree of `dm_env` specs.

  Returns:
    One number a leaf.
  """
  return tuple(getattr(leaf, 'num_values', None) for leaf in _leaves(spec))


def _leaves(tree: Any) -> list[Any]:
  return jax.tree_util.tree_leaves(plain(tree))


def _to_vector(x, spec, dtype) -> chex.Array:
  size = getattr(spec, 'num_values', None)
  if size is not None:
    return jax.nn.one_hot(x, size, dtype=dtype)
  return x if spec.shape else x[..., jnp.newaxis]
