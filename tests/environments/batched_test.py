"""Tests of batched, beyond what the properties of all environments test."""

from typing import NamedTuple

from absl.testing import absltest, parameterized
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments, types
from acme_metarl.environments import batched

G, B = 2, 3


class State(NamedTuple):
  """Any task, and how many steps were taken."""

  task: types.PyTree
  time: jax.Array


class AnyTask:
  """Pays the sum of its task, which is any pytree."""

  def __init__(self, task):
    self._task = task

  def sample_task(self, key):
    return jax.tree_util.tree_map(
      lambda x: x + jax.random.uniform(key), self._task
    )

  def reset(self, key, task):
    state = State(task, jnp.int32(0))
    return state, self._time_step(state)

  def step(self, state, action):
    state = state._replace(time=state.time + 1)
    return state, self._time_step(state)

  def info(self, state):
    return {'time': state.time}

  def _time_step(self, state):
    reward = sum(map(jnp.sum, jax.tree_util.tree_leaves(state.task)))
    return types.TimeStep(
      state.time.astype(jnp.float32), jnp.float32(reward), jnp.float32(1)
    )

  def observation_spec(self):
    return specs.Array((), np.float32)

  def action_spec(self):
    return specs.DiscreteArray(2)


class JaxBatchTest(parameterized.TestCase):
  @parameterized.parameters(
    (None,), ((),), ({},), ({'a': 1.0, 'b': (None, np.ones(2))},)
  )
  def test_tasks_of_any_tree(self, task):
    trial = environments.TrialEnvironment(AnyTask(task), G, B, 2, 1)
    trial.reset()
    time_step = trial.step(np.zeros((G, B), int))
    leaves = jax.tree_util.tree_leaves(trial.tasks)
    expected = sum(leaf.reshape(G, -1).sum(axis=1) for leaf in leaves)
    np.testing.assert_allclose(
      time_step.reward, np.broadcast_to(expected[:, None], (G, B)), rtol=1e-6
    )

  def test_tasks_that_the_caller_writes_to(self):
    batch = environments.batch(AnyTask(np.ones(64, np.float32)))
    tasks = np.ones((G, 64), np.float32)
    batch.reset(tasks, B, np.random.default_rng(0))
    tasks[:] = 7
    _, reward, _ = batch.step(np.zeros((G, B), int))
    np.testing.assert_array_equal(reward, 64)

  @parameterized.parameters(
    (np.zeros(()),), ((np.zeros(2), np.zeros(3)),), (np.zeros(0),)
  )
  def test_tasks_of_no_common_size(self, tasks):
    batch = environments.batch(AnyTask(0.0))
    with self.assertRaisesRegex(ValueError, 'tasks: need arrays'):
      batch.reset(tasks, B, np.random.default_rng(0))


class CheckActionTest(parameterized.TestCase):
  @parameterized.parameters(
    (specs.BoundedArray((), np.int32, -1, 1), [0.5], 'need integers'),
    (specs.BoundedArray((), np.int32, -1, 1), [2], 'need -1 to 1'),
    (specs.Array((), np.uint8), [256], 'need 0 to 255'),
    (specs.Array((), np.uint8), [-1], 'need 0 to 255'),
    (specs.Array((), bool), [2], 'need 0 to 1'),
    (specs.Array((), np.float32), [np.nan], 'not finite'),
    (specs.Array((), np.float32), [1e39], 'not finite'),
  )
  def test_refused(self, spec, action, message):
    with self.assertRaisesRegex(ValueError, f'action: .*{message}'):
      batched.check_action(np.array(action), spec, (1,))

  @parameterized.parameters(
    (specs.BoundedArray((), np.int32, -1, 1), np.array([1], np.int64)),
    (specs.Array((), np.float32), np.array([3])),
    (specs.Array((), bool), np.array([1])),
    (specs.Array((), np.float32), jnp.ones(1, jnp.bfloat16)),
  )
  def test_a_copy_of_the_specs_type(self, spec, action):
    got = batched.check_action(action, spec, (1,))
    self.assertEqual(got.dtype, spec.dtype)
    np.testing.assert_array_equal(got, np.asarray(action, spec.dtype))
    self.assertFalse(np.shares_memory(got, np.asarray(action)))


if __name__ == '__main__':
  absltest.main()
