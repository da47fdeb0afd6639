"""What lower precision costs the meta-gradient, against float64."""

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import config, types
from acme_metarl.meta import learner as learner_lib


def _trials(key, dtype) -> types.Stage:
  """Rollouts of noise, of 4 tasks: like real ones to the arithmetic."""
  shape = (4, 2, 5, 20)
  keys = jax.random.split(key, 3)

  def draw(key, shape):
    return jax.random.normal(key, shape, jnp.float32)

  action = draw(keys[0], (*shape, 2))
  stage = types.Stage(
    observation=draw(keys[1], (*shape[:-1], shape[-1] + 1, 3)),
    action=action,
    reward=draw(keys[2], shape),
    discount=jnp.ones(shape).at[..., -1].set(0),
    mask=jnp.ones(shape),
    behaviour_log_prob=-jnp.sum(action**2, -1) / 2 - np.log(2 * np.pi),
  )
  return jax.tree_util.tree_map(lambda x: x.astype(dtype), stage)


def _meta_gradient(compute_dtype, dtype) -> np.ndarray:
  settings = config.AlgorithmConfig(
    compute_dtype=compute_dtype,
    outer_optimizer='sgd',
    outer_learning_rate=1.0,
    num_outer_epochs=1,
    hidden_sizes=(64, 64),
    evaluator_options={'order': 2},
  )
  spec = jax.ShapeDtypeStruct((2,), jnp.float32)
  learner = learner_lib.make_meta_learner(settings, settings.make_policy(spec))
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(3, jnp.float32))
  state = jax.tree_util.tree_map(
    lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state
  )
  new_state, _ = jax.jit(learner.update)(
    state, _trials(jax.random.PRNGKey(1), dtype)
  )
  before, after = (ravel_pytree(x.params.policy)[0] for x in (state, new_state))
  assert after.dtype == dtype
  return np.asarray(before - after, np.float64)


@pytest.mark.parametrize(
  ('compute_dtype', 'largest_error'),
  # Measured: 8e-7 and 7e-3.
  [(None, 1e-4), ('bfloat16', 5e-2)],
)
def test_meta_gradient_is_close_to_that_in_float64(
  compute_dtype, largest_error
):
  exact = _meta_gradient(None, jnp.float64)
  gradient = _meta_gradient(compute_dtype, jnp.float32)
  error = np.linalg.norm(gradient - exact) / np.linalg.norm(exact)
  assert 0 < error < largest_error


def test_precision_is_really_lower():
  bfloat16 = _meta_gradient('bfloat16', jnp.float32)
  float32 = _meta_gradient(None, jnp.float32)
  assert np.linalg.norm(bfloat16 - float32) > 1e-4 * np.linalg.norm(float32)
