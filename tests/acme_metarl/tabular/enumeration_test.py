"""The list of all trajectories."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular


def _mdp(terminal=None):
  mdp = tabular.random_mdp(jax.random.PRNGKey(0), 3, 2, 0.9, concentration=1.0)
  return tabular.make_mdp(mdp.transition, mdp.reward, mdp.discount, 0, terminal)


def _policy():
  return tabular.softmax_policy(
    jax.random.normal(jax.random.PRNGKey(1), (3, 2))
  )


def test_equals_brute_force():
  mdp, policy = _mdp(), _policy()
  probabilities, data = tabular.enumerate_trajectories(mdp, policy, 2)
  assert probabilities.shape == (36,)
  found = {
    (*s, *a): p
    for s, a, p in zip(
      data.states.tolist(),
      data.actions.tolist(),
      probabilities.tolist(),
      strict=True,
    )
  }
  assert len(found) == 36
  p = np.asarray(mdp.transition)
  for x1, x2, a0, a1 in itertools.product(
    range(3), range(3), range(2), range(2)
  ):
    expected = policy[0, a0] * p[0, a0, x1] * policy[x1, a1] * p[x1, a1, x2]
    np.testing.assert_allclose(found[0, x1, x2, a0, a1], expected, rtol=1e-12)


@pytest.mark.parametrize('terminal', [None, [False, True, False]])
def test_expected_return_is_the_exact_value(terminal):
  mdp, policy = _mdp(terminal), _policy()
  horizon = 4
  probabilities, data = tabular.enumerate_trajectories(mdp, policy, horizon)
  np.testing.assert_allclose(probabilities.sum(), 1.0, atol=1e-13)
  bootstrap = jnp.array([3.0, 5.0, 7.0])
  returns = data.rewards @ mdp.discount ** np.arange(horizon)
  returns += (
    mdp.discount**horizon
    * data.discounts[:, -1]
    * bootstrap[data.states[:, -1]]
  )
  values, _ = tabular.finite_horizon_values(mdp, policy, horizon, bootstrap)
  np.testing.assert_allclose(probabilities @ returns, values[0, 0], atol=1e-13)


def test_early_ends_appear_once_and_padded():
  mdp, policy = _mdp([False, True, False]), _policy()
  _, data = tabular.enumerate_trajectories(mdp, policy, 4)
  rows = np.concatenate([data.states, data.actions], axis=1)
  assert len(np.unique(rows, axis=0)) == len(rows)
  # Sum over the step of the end, 2 * 4^(t-1) ways each, and no end at all.
  assert len(rows) == sum(2 * 4 ** (t - 1) for t in range(1, 5)) + 4**4
  padding = np.asarray(data.mask) == 0
  assert np.all(data.states[:, 1:][padding] == 1)
  for x in (data.actions, data.rewards, data.discounts):
    assert np.all(x[padding] == 0)


def test_impossible_trajectories_are_left_out():
  mdp = _mdp()
  policy = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
  probabilities, data = tabular.enumerate_trajectories(mdp, policy, 3)
  assert np.all(probabilities > 0)
  assert np.all(policy[data.states[:, :-1], data.actions] > 0)


def test_refuses_too_many():
  mdp = tabular.random_mdp(jax.random.PRNGKey(0), concentration=1.0)
  with pytest.raises(ValueError, match='1e[+]40 .* max_trajectories=1000000'):
    tabular.enumerate_trajectories(mdp, tabular.uniform_policy(mdp), 20)
  with pytest.raises(ValueError, match='max_trajectories=35'):
    tabular.enumerate_trajectories(_mdp(), _policy(), 2, max_trajectories=35)
  tabular.enumerate_trajectories(_mdp(), _policy(), 2, max_trajectories=36)


def test_refuses_bad_arguments():
  with pytest.raises(ValueError, match='horizon is 0'):
    tabular.enumerate_trajectories(_mdp(), _policy(), 0)
  with pytest.raises(ValueError, match='policy has shape'):
    tabular.enumerate_trajectories(_mdp(), _policy().T, 2)
