"""Sums over the tasks of a meta-batch: in chunks, on every device.

A CPU is fastest with few tasks at a time, whose activations stay in its cache;
an accelerator wants them all at once. Devices share the tasks out.
"""

from collections.abc import Callable, Sequence
import functools
import inspect
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types

try:
  _shard_map = jax.shard_map
except AttributeError:  # JAX before 0.6.
  from jax.experimental.shard_map import (  # type: ignore[assignment]
    shard_map as _shard_map,
  )

# (what all tasks share, one task) -> pytree of arrays.
TaskFn = Callable[[types.PyTree, types.PyTree], types.PyTree]

_AXIS = 'tasks'
_SHARED = jax.sharding.PartitionSpec(_AXIS)
_REPLICATED = jax.sharding.PartitionSpec()
# The check of replicated outputs was renamed; it cannot follow scans.
_NO_CHECK: dict[str, Any] = {
  name: False
  for name in ('check_vma', 'check_rep')
  if name in inspect.signature(_shard_map).parameters
}


class TaskBatches(NamedTuple):
  """Tasks in chunks, filled up with copies of weight zero.

  Attributes:
    tasks: pytree `[N, C, ...]`; N chunks (a multiple of the devices) of C.
    weight: `[N, C]`, 1 for real tasks and 0 for copies.
  """

  tasks: types.PyTree
  weight: chex.Array


def default_chunk_size(devices: Sequence[jax.Device]) -> int | None:
  """One task at a time on a CPU, all of them (None) elsewhere.

  >>> default_chunk_size(jax.devices('cpu'))
  1
  """
  return 1 if devices[0].platform == 'cpu' else None


def batch_tasks(
  tasks: types.PyTree, chunk_size: int | None, num_devices: int
) -> TaskBatches:
  """Splits tasks `[G, ...]` into chunks that share out evenly over devices.

  Args:
    tasks: pytree with leading axis G.
    chunk_size: tasks in a chunk; None for as many as a device gets.
    num_devices: devices to share them out to.

  Returns:
    The chunks.

  Example:
    >>> batches = batch_tasks(jnp.arange(3), chunk_size=2, num_devices=1)
    >>> batches.tasks.tolist(), batches.weight.tolist()
    ([[0, 1], [2, 0]], [[True, True], [True, False]])
  """
  num_tasks = jax.tree_util.tree_leaves(tasks)[0].shape[0]
  per_device = -(-num_tasks // num_devices)
  chunk = min(chunk_size or per_device, per_device)
  num_chunks = num_devices * -(-per_device // chunk)
  size = num_chunks * chunk
  shape = (num_chunks, chunk)
  if size != num_tasks:
    index = np.arange(size) % num_tasks
    tasks = jax.tree_util.tree_map(lambda x: x[index], tasks)
  return TaskBatches(
    tasks=jax.tree_util.tree_map(
      lambda x: x.reshape(shape + x.shape[1:]), tasks
    ),
    weight=jnp.asarray((np.arange(size) < num_tasks).reshape(shape)),
  )


def sum_over_tasks(
  function: TaskFn,
  replicated: types.PyTree,
  batches: TaskBatches,
  devices: Sequence[jax.Device],
) -> types.PyTree:
  """Returns Σ_g function(replicated, task_g).

  Args:
    function: of what all tasks share and one task; returns a pytree of arrays.
    replicated: what all tasks share.
    batches: the tasks, from `batch_tasks`.
    devices: share the chunks out between them.

  Returns:
    The sum, on every device.

  Example:
    >>> batches = batch_tasks(jnp.arange(3), chunk_size=2, num_devices=1)
    >>> int(sum_over_tasks(lambda scale, x: scale * x, 10, batches,
    ...                    jax.devices()[:1]))
    30
  """

  def sum_chunk(replicated, chunk):
    values = _apply(function, replicated, chunk.tasks)
    return jax.tree_util.tree_map(
      lambda x: _weighted_sum(chunk.weight, x), values
    )

  def on_device(replicated, batches):
    total = _sum_chunks(functools.partial(sum_chunk, replicated), batches)
    return lax.psum(total, _AXIS) if len(devices) > 1 else total

  return _shard(on_device, devices, sharded_output=False)(replicated, batches)


def map_over_tasks(
  function: TaskFn,
  replicated: types.PyTree,
  batches: TaskBatches,
  devices: Sequence[jax.Device],
) -> types.PyTree:
  """Returns function(replicated, task_g) of every task, `[N, C, ...]`.

  Args:
    function: of what all tasks share and one task; returns a pytree of arrays.
    replicated: what all tasks share.
    batches: the tasks, from `batch_tasks`.
    devices: share the chunks out between them.

  Returns:
    The values, in chunks as the tasks are.

  Example:
    >>> batches = batch_tasks(jnp.arange(3), chunk_size=2, num_devices=1)
    >>> map_over_tasks(lambda scale, x: scale * x, 10, batches,
    ...                jax.devices()[:1]).tolist()
    [[0, 10], [20, 0]]
  """

  def on_device(replicated, batches):
    return lax.map(
      functools.partial(_apply, function, replicated), batches.tasks
    )

  return _shard(on_device, devices, sharded_output=True)(replicated, batches)


def map_tasks(
  function: TaskFn,
  replicated: types.PyTree,
  tasks: types.PyTree,
  devices: Sequence[jax.Device],
) -> types.PyTree:
  """Returns function(replicated, tasks), each device doing its share of tasks.

  Args:
    function: of what all tasks share and tasks `[g, ...]`, to `[g, ...]`.
    replicated: what all tasks share.
    tasks: pytree `[G, ...]`.
    devices: share the tasks out between them.

  Returns:
    Pytree `[G, ...]`.

  Example:
    >>> map_tasks(lambda scale, x: scale * x, 10, jnp.arange(3),
    ...           jax.devices()[:1]).tolist()
    [0, 10, 20]
  """
  num_tasks = jax.tree_util.tree_leaves(tasks)[0].shape[0]
  index = np.arange(-num_tasks % len(devices) + num_tasks) % num_tasks
  if len(index) != num_tasks:
    tasks = jax.tree_util.tree_map(lambda x: x[index], tasks)
  results = _shard(function, devices, sharded_output=True)(replicated, tasks)
  return jax.tree_util.tree_map(lambda x: x[:num_tasks], results)


def map_chunks(
  function: Callable[[types.PyTree], types.PyTree],
  tasks: types.PyTree,
  chunk_size: int | None,
) -> types.PyTree:
  """Returns function(task) of each task, in chunks, all on one device.

  Args:
    function: of one task; returns a pytree of arrays.
    tasks: pytree `[G, ...]`.
    chunk_size: tasks at once; None for all of them.

  Returns:
    Pytree `[G, ...]`.

  Example:
    >>> map_chunks(lambda x: 10 * x, jnp.arange(3), chunk_size=2).tolist()
    [0, 10, 20]
  """
  if chunk_size is None:
    return jax.vmap(function)(tasks)
  # A batch axis of one would only be in the compiler's way.
  return lax.map(
    function, tasks, batch_size=None if chunk_size == 1 else chunk_size
  )


def _shard(function, devices: Sequence[jax.Device], sharded_output: bool):
  if len(devices) == 1:
    return function
  spec = jax.sharding.PartitionSpec
  return _shard_map(
    function,
    mesh=jax.sharding.Mesh(np.asarray(devices), (_AXIS,)),
    in_specs=(spec(), spec(_AXIS)),
    out_specs=spec(_AXIS) if sharded_output else spec(),
    **_NO_CHECK,
  )


def _apply(function: TaskFn, replicated, tasks) -> types.PyTree:
  """The function's values for one chunk of tasks."""
  if jax.tree_util.tree_leaves(tasks)[0].shape[0] > 1:
    return jax.vmap(functools.partial(function, replicated))(tasks)
  # A batch axis of one would only be in the compiler's way.
  value = function(replicated, jax.tree_util.tree_map(lambda x: x[0], tasks))
  return jax.tree_util.tree_map(lambda x: x[jnp.newaxis], value)


def _sum_chunks(sum_chunk, batches: TaskBatches) -> types.PyTree:
  def accumulate(total, chunk):
    return jax.tree_util.tree_map(jnp.add, total, sum_chunk(chunk)), None

  first = jax.tree_util.tree_map(lambda x: x[0], batches)
  if batches.weight.shape[0] == 1:
    return sum_chunk(first)
  zeros = jax.tree_util.tree_map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(sum_chunk, first)
  )
  return lax.scan(accumulate, zeros, batches)[0]


def _weighted_sum(weight: chex.Array, x: chex.Array) -> chex.Array:
  weight = weight.reshape(weight.shape + (1,) * (x.ndim - 1))
  # Selected: whatever a copy gives, NaN included, is not counted.
  return jnp.sum(jnp.where(weight, x, 0), axis=0)
