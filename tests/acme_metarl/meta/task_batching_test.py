"""Sums over tasks: chunks, padding. Several devices: meta_learning_test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.meta import task_batching


@pytest.mark.parametrize('chunk_size', [1, 2, 3, 5, 8, None])
@pytest.mark.parametrize('num_devices', [1, 2, 3, 8])
def test_every_task_counts_once(chunk_size, num_devices):
  tasks = {'x': jnp.arange(1.0, 6.0), 'y': jnp.ones((5, 2))}
  batches = task_batching.batch_tasks(tasks, chunk_size, num_devices)
  num_chunks, chunk = batches.weight.shape
  assert num_chunks % num_devices == 0
  assert chunk <= (chunk_size or 5)
  assert batches.tasks['y'].shape == (num_chunks, chunk, 2)
  np.testing.assert_array_equal(batches.tasks['x'][batches.weight], tasks['x'])


@pytest.mark.parametrize('chunk_size', [1, 2, 3, None])
def test_sum_and_map(chunk_size):
  tasks = jnp.arange(1.0, 6.0)
  batches = task_batching.batch_tasks(tasks, chunk_size, 1)
  devices = jax.devices()[:1]

  def function(scale, task):
    return {'a': scale * task**2, 'b': jnp.stack([task, 1.0])}

  total = jax.jit(
    lambda: task_batching.sum_over_tasks(function, 3.0, batches, devices)
  )()
  np.testing.assert_allclose(total['a'], 3 * 55)
  np.testing.assert_allclose(total['b'], [15, 5])
  values = task_batching.map_over_tasks(function, 3.0, batches, devices)
  np.testing.assert_allclose(values['a'], 3 * batches.tasks**2)


@pytest.mark.parametrize('chunk_size', [1, 2, 8, None])
def test_chunks_do_not_change_values(chunk_size):
  tasks = {'x': jnp.arange(1.0, 6.0), 'y': jnp.arange(10.0).reshape(5, 2)}
  values = task_batching.map_chunks(
    lambda task: task['x'] * jnp.sum(task['y']), tasks, chunk_size
  )
  np.testing.assert_allclose(values, tasks['x'] * tasks['y'].sum(axis=1))


def test_copies_do_not_count_whatever_they_give():
  batches = task_batching.batch_tasks(jnp.arange(1.0, 4.0), 2, 1)
  poisoned = batches._replace(
    tasks=jnp.where(batches.weight, batches.tasks, jnp.nan)
  )
  total = task_batching.sum_over_tasks(
    lambda _, x: x, (), poisoned, jax.devices()[:1]
  )
  np.testing.assert_allclose(total, 6)


def test_default_is_one_task_at_a_time_on_a_cpu():
  class Device:
    platform = 'gpu'

  assert task_batching.default_chunk_size(jax.devices('cpu')) == 1
  assert task_batching.default_chunk_size([Device()]) is None
