"""Generation and checks of tabular MDPs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64])
@pytest.mark.parametrize('num_states', [1, 2, 60])
def test_transition_is_never_nan(num_states, dtype):
  concentrations = jnp.array([1e-37, 1e-30, 1e-3, 1.0, 1e30], dtype)
  rows = jax.vmap(
    lambda concentration: tabular.random_transition(
      jax.random.PRNGKey(0), (num_states, 5, num_states), concentration
    )
  )(concentrations)
  assert rows.dtype == dtype
  assert np.all(rows >= 0)
  np.testing.assert_allclose(rows.sum(-1), 1.0, atol=1e-5)


def test_transition_has_the_moments_of_a_dirichlet():
  size, concentration = 4, 0.5
  rows = tabular.random_transition(
    jax.random.PRNGKey(1), (40_000, size), concentration
  )
  mean = 1 / size
  variance = mean * (1 - mean) / (size * concentration + 1)
  np.testing.assert_allclose(rows.mean(0), mean, atol=0.01)
  np.testing.assert_allclose(rows.var(0), variance, rtol=0.03)


@pytest.mark.parametrize('sizes', [(1, 1), (1, 4), (6, 1)])
def test_random_mdp_is_valid(sizes):
  mdp = tabular.random_mdp(jax.random.PRNGKey(2), *sizes, discount=1.0)
  assert (mdp.num_states, mdp.num_actions) == sizes
  assert mdp.terminal is None
  assert np.all((mdp.reward >= 0) & (mdp.reward < 1))
  tabular.make_mdp(*mdp)  # Checks its values.


def test_random_mdps_differ_by_key_only_and_stack():
  keys = jax.random.split(jax.random.key(0), 3)
  stacked = jax.jit(jax.vmap(tabular.random_mdp))(keys)
  assert stacked.transition.shape == (3, 20, 5, 20)
  one = tabular.random_mdp(keys[1])
  np.testing.assert_allclose(stacked.reward[1], one.reward)
  np.testing.assert_allclose(stacked.transition[1], one.transition, atol=1e-12)
  assert np.abs(stacked.reward[0] - stacked.reward[1]).max() > 0.1


def test_policies_are_distributions():
  mdp = tabular.random_mdp(jax.random.PRNGKey(0), 6, 3)
  np.testing.assert_allclose(tabular.uniform_policy(mdp), 1 / 3)
  policy = tabular.random_deterministic_policy(jax.random.PRNGKey(1), mdp)
  assert set(np.unique(policy)) == {0.0, 1.0}
  np.testing.assert_array_equal(policy.sum(-1), 1.0)
  logits = jax.random.normal(jax.random.PRNGKey(2), (6, 3))
  state, action = jnp.array([0, 5]), jnp.array([2, 1])
  np.testing.assert_allclose(
    tabular.log_prob(logits, state, action),
    jnp.log(tabular.softmax_policy(logits))[state, action],
    atol=1e-12,
  )


_TRANSITION = np.full((2, 3, 2), 0.5)
_REWARD = np.zeros((2, 3))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      (_TRANSITION[:, :, :1], _REWARD, 0.9),
      r'transition has shape \(2, 3, 1\)',
    ),
    ((_TRANSITION[0], _REWARD, 0.9), 'transition has shape'),
    ((_TRANSITION, _REWARD.T, 0.9), r'reward has shape \(3, 2\)'),
    ((_TRANSITION, _REWARD, 1.1), 'discount is 1.1'),
    ((_TRANSITION, _REWARD, -0.1), 'discount is -0.1'),
    ((_TRANSITION, _REWARD, float('nan')), 'discount is nan'),
    ((_TRANSITION, _REWARD, [0.9, 0.9]), 'scalars'),
    ((_TRANSITION * 0.5, _REWARD, 0.9), 'misses the sum 1 by 0.5'),
    ((_TRANSITION * np.array([3, -1]), _REWARD, 0.9), 'smallest entry is -0.5'),
    ((_TRANSITION * np.nan, _REWARD, 0.9), 'rows of probabilities'),
    ((_TRANSITION, _REWARD + np.inf, 0.9), 'reward has entries'),
    ((_TRANSITION, _REWARD, 0.9, 2), 'start_state is 2'),
    ((_TRANSITION, _REWARD, 0.9, -1), 'start_state is -1'),
    ((_TRANSITION, _REWARD, 0.9, 0, [True]), 'terminal has shape'),
    (
      (_TRANSITION, _REWARD, 0.9, 0, [True, False]),
      '0 is terminal',
    ),
  ],
)
def test_make_mdp_refuses(arguments, message):
  with pytest.raises(ValueError, match=message):
    tabular.make_mdp(*arguments)


def test_make_mdp_takes_traced_values():
  mdp = jax.jit(tabular.make_mdp)(_TRANSITION, _REWARD, 0.9)
  np.testing.assert_array_equal(mdp.transition, _TRANSITION)


@pytest.mark.parametrize('sizes', [(0, 5), (5, 0), (-1, 1)])
def test_random_mdp_refuses_sizes(sizes):
  with pytest.raises(ValueError, match='at least 1'):
    tabular.random_mdp(jax.random.PRNGKey(0), *sizes)


@pytest.mark.parametrize('concentration', [0.0, -1.0, float('inf')])
def test_random_mdp_refuses_concentration(concentration):
  with pytest.raises(ValueError, match='concentration is'):
    tabular.random_mdp(jax.random.PRNGKey(0), concentration=concentration)
