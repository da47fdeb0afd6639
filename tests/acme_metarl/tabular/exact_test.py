"""Exact values and derivatives, against other ways to the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular

_DISCOUNT = 0.8

_value = jax.jit(tabular.value, static_argnums=2)
_gradient = jax.jit(tabular.value_gradient, static_argnums=2)
_hessian = jax.jit(tabular.value_hessian, static_argnums=2)


@pytest.fixture(params=[False, True], ids=['continuing', 'terminating'])
def mdp(request):
  mdp = tabular.random_mdp(
    jax.random.PRNGKey(0), 4, 3, _DISCOUNT, concentration=0.5
  )
  if request.param:
    mdp = mdp._replace(terminal=jnp.array([False, False, True, False]))
  return mdp


@pytest.fixture
def logits():
  return jax.random.normal(jax.random.PRNGKey(1), (4, 3))


def _continuing(mdp):
  """The same values without `terminal`: a reward-free state that loops."""
  if mdp.terminal is None:
    return mdp
  loop = jnp.broadcast_to(jnp.eye(4)[:, None], (4, 3, 4))
  at = mdp.terminal[:, None]
  return mdp._replace(
    transition=jnp.where(at[..., None], loop, mdp.transition),
    reward=jnp.where(at, 0.0, mdp.reward),
    terminal=None,
  )


def test_state_values_solve_bellmans_equation(mdp, logits):
  policy = tabular.softmax_policy(logits)
  plain = _continuing(mdp)
  value = np.zeros(4)
  for _ in range(300):
    q = plain.reward + _DISCOUNT * plain.transition @ value
    value = (policy * q).sum(-1)
  np.testing.assert_allclose(
    tabular.state_values(mdp, policy), value, atol=1e-12
  )
  q_of_mdp = tabular.action_values(mdp, policy)
  live = slice(None) if mdp.terminal is None else ~np.asarray(mdp.terminal)
  np.testing.assert_allclose(q_of_mdp[live], q[live], atol=1e-12)
  np.testing.assert_allclose(tabular.value(mdp, logits), value[0], atol=1e-12)


def test_finite_horizon_values_by_hand():
  # Two states in turn, rewards 1 and 10.
  mdp = tabular.make_mdp([[[0.0, 1.0]], [[1.0, 0.0]]], [[1.0], [10.0]], 0.5)
  values, action_values = tabular.finite_horizon_values(
    mdp, jnp.ones((2, 1)), 3, bootstrap=jnp.array([100.0, 200.0])
  )
  expected = [[31.0, 25.5], [31.0, 40.0 + 2.5 + 8.5], [101.0, 60.0], [100, 200]]
  expected[1] = [1 + 0.5 * 60, 10 + 0.5 * 101]
  expected[0] = [1 + 0.5 * expected[1][1], 10 + 0.5 * expected[1][0]]
  np.testing.assert_allclose(values, expected)
  np.testing.assert_allclose(action_values[..., 0], expected[:3])


@pytest.mark.parametrize('derivative', [_value, _gradient, _hessian])
def test_finite_horizon_approaches_infinite(mdp, logits, derivative):
  np.testing.assert_allclose(
    derivative(mdp, logits, 250), derivative(mdp, logits), atol=1e-12
  )


def test_bootstrap_with_own_value_is_infinite_horizon(mdp, logits):
  value = tabular.state_values(mdp, tabular.softmax_policy(logits))
  np.testing.assert_allclose(
    tabular.value(mdp, logits, 3, value), value[0], atol=1e-12
  )


def test_gradient_is_the_policy_gradient_theorem(mdp, logits):
  plain = _continuing(mdp)
  policy = tabular.softmax_policy(logits)
  transition = jnp.einsum('xa,xay->xy', policy, plain.transition)
  occupancy = jnp.linalg.inv(jnp.eye(4) - _DISCOUNT * transition)[0]
  value = tabular.state_values(plain, policy)
  advantage = tabular.action_values(plain, policy) - value[:, None]
  np.testing.assert_allclose(
    tabular.value_gradient(mdp, logits),
    occupancy[:, None] * policy * advantage,
    atol=1e-12,
  )


@pytest.mark.parametrize('horizon', [None, 5])
def test_derivatives_are_limits_of_differences(mdp, logits, horizon):
  step = 1e-5

  @jax.jit
  @jax.vmap
  def differences(direction):
    direction = direction.reshape(4, 3)
    return tuple(
      (
        f(mdp, logits + step * direction, horizon)
        - f(mdp, logits - step * direction, horizon)
      )
      / (2 * step)
      for f in (_value, _gradient)
    )

  gradient, hessian = differences(jnp.eye(12))
  np.testing.assert_allclose(
    _gradient(mdp, logits, horizon).ravel(), gradient, atol=1e-9
  )
  exact = _hessian(mdp, logits, horizon)
  np.testing.assert_allclose(exact.reshape(12, 4, 3), hessian, atol=1e-9)
  flat = exact.reshape(12, 12)
  np.testing.assert_allclose(flat, flat.T, atol=1e-14)
  assert np.abs(flat).max() > 1e-3


def test_hundred_parameters_in_both_precisions():
  mdp = tabular.random_mdp(jax.random.PRNGKey(0))
  logits = jax.random.normal(jax.random.PRNGKey(1), (20, 5))
  exact = _hessian(mdp, logits)
  single = jax.tree.map(lambda x: x.astype(jnp.float32), (mdp, logits))
  rounded = _hessian(single[0]._replace(start_state=mdp.start_state), single[1])
  assert exact.shape == (20, 5, 20, 5)
  assert (exact.dtype, rounded.dtype) == (jnp.float64, jnp.float32)
  np.testing.assert_allclose(rounded, exact, atol=1e-6)


@pytest.mark.parametrize('num_inner_steps', [1, 2])
def test_meta_gradient_is_the_product_of_jacobians(
  mdp, logits, num_inner_steps
):
  step_size = 0.7
  jacobian = jnp.eye(12)
  theta = logits
  for _ in range(num_inner_steps):
    hessian = _hessian(mdp, theta).reshape(12, 12)
    jacobian = jacobian @ (jnp.eye(12) + step_size * hessian)
    theta = theta + step_size * _gradient(mdp, theta)
  np.testing.assert_allclose(
    tabular.adapt(mdp, logits, step_size, num_inner_steps), theta
  )
  np.testing.assert_allclose(
    tabular.meta_gradient(mdp, logits, step_size, num_inner_steps).ravel(),
    jacobian @ _gradient(mdp, theta).ravel(),
    atol=1e-12,
  )
  assert _value(mdp, theta) > _value(mdp, logits)


def test_refuses(mdp, logits):
  policy = tabular.softmax_policy(logits)
  with pytest.raises(ValueError, match='horizon is 0'):
    tabular.finite_horizon_values(mdp, policy, 0)
  with pytest.raises(ValueError, match='bootstrap has shape'):
    tabular.finite_horizon_values(mdp, policy, 2, jnp.zeros(3))
  with pytest.raises(ValueError, match='finite horizon only'):
    tabular.value(mdp, logits, bootstrap=jnp.zeros(4))
  with pytest.raises(ValueError, match=r'policy has shape \(4,\)'):
    tabular.state_values(mdp, policy[:, 0])
