"""Recurrent policies: acting step by step is what learning unrolls."""

from dm_env import specs
import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.meta import policies

OBSERVATION = {'place': specs.DiscreteArray(3), 'speed': specs.Array((), float)}


def _policy(action_spec):
  return policies.gru(
    action_spec, OBSERVATION, memory_size=5, hidden_sizes=(4,)
  )


def _rollouts(batch=(3,), length=7):
  rng = np.random.default_rng(0)
  return {
    'place': jnp.asarray(rng.integers(0, 3, (*batch, length))),
    'speed': jnp.asarray(rng.normal(size=(*batch, length))),
  }


def _params(policy):
  one = jax.tree_util.tree_map(lambda x: x[0, 0], _rollouts())
  return policy.init(jax.random.PRNGKey(0), one)


@pytest.mark.parametrize(
  'action_spec',
  [
    specs.Array((2,), np.float32),
    specs.DiscreteArray(4),
    specs.BoundedArray((2,), np.int32, [0, -1], [1, 1]),
  ],
)
@pytest.mark.parametrize('batch', [(), (3,), (2, 3)])
def test_acting_and_unroll_give_the_same_log_probabilities(action_spec, batch):
  policy = _policy(action_spec)
  params = _params(policy)
  observation = _rollouts(batch)
  state = policies.initial_state(policy, batch)
  actions, log_probs = [], []
  act = jax.jit(lambda o, state: policies.act(policy, params, o, state))
  for t in range(7):
    now = jax.tree_util.tree_map(lambda x: x[..., t], observation)  # noqa: B023
    distribution, state = act(now, state)
    action, log_prob = distribution.sample_and_log_prob(
      seed=jax.random.PRNGKey(t)
    )
    actions.append(action)
    log_probs.append(log_prob)
  action = jnp.stack(actions, len(batch))
  unrolled = policies.log_prob_fn(policy)(params, observation, action)
  assert unrolled.shape == (*batch, 7)
  np.testing.assert_allclose(unrolled, jnp.stack(log_probs, -1), rtol=1e-12)


def test_memory_reaches_back_and_never_ahead():
  policy = _policy(specs.DiscreteArray(4))
  params = _params(policy)

  def logits(speed):
    observation = {**_rollouts(()), 'speed': speed}
    return policies.unroll(policy, params, observation).logits

  influence = jax.jacobian(logits)(_rollouts(())['speed'])  # [T, n, T]
  influence = np.abs(influence).sum(1)
  assert np.all(influence[np.tril_indices(7)] > 0)
  np.testing.assert_array_equal(influence[np.triu_indices(7, 1)], 0)


def test_derivatives_through_unroll_are_those_of_finite_differences():
  policy = _policy(specs.Array((2,), np.float32))
  flat, unravel = ravel_pytree(_params(policy))
  observation = _rollouts()
  action = jax.random.normal(jax.random.PRNGKey(2), (3, 7, 2))
  log_prob = policies.log_prob_fn(policy)

  @jax.jit
  def objective(flat):
    return jnp.mean(jnp.sin(log_prob(unravel(flat), observation, action)))

  gradient = jax.jit(jax.grad(objective))
  directions = jax.random.normal(jax.random.PRNGKey(3), (3, flat.size))
  step = 1e-5
  for v in directions:
    difference = objective(flat + step * v) - objective(flat - step * v)
    np.testing.assert_allclose(
      gradient(flat) @ v, difference / (2 * step), rtol=1e-6
    )
    product = jax.jvp(gradient, (flat,), (v,))[1]
    difference = gradient(flat + step * v) - gradient(flat - step * v)
    np.testing.assert_allclose(
      product, difference / (2 * step), rtol=1e-5, atol=1e-7
    )


def test_state_keeps_its_type():
  """So that it can be carried, whatever the type of observations."""
  policy = policies.gru(specs.DiscreteArray(2), memory_size=4)
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(2, jnp.float32))
  state = policy.initial_state()
  assert state.dtype == jnp.float64  # These tests are in double precision.
  _, new_state = policy.apply(params, jnp.zeros(2, jnp.float32), state)
  assert new_state.dtype == state.dtype


def test_feed_forward_policies_have_no_memory():
  policy = policies.tabular(3, 2)
  params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  assert policies.initial_state(policy, (4,)) == ()
  observation = jnp.array([[0, 1], [2, 2]])
  distribution, state = policies.act(policy, params, observation, ())
  assert state == ()
  np.testing.assert_array_equal(
    distribution.logits, policies.unroll(policy, params, observation).logits
  )


def test_a_memory_sees_no_images():
  with pytest.raises(ValueError, match='hk.Conv2D'):
    policies.gru(specs.DiscreteArray(2), specs.Array((8, 8, 3), np.uint8))
