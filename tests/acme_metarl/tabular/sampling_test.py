"""Sampled trajectories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular

_HORIZON = 5


@pytest.fixture(params=[False, True], ids=['continuing', 'terminating'])
def mdp(request):
  """Four states; the last is never reached, an action is never taken."""
  transition = jnp.array(
    [
      [[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [1, 0, 0, 0]],
      [[0, 0.1, 0.9, 0], [0.3, 0.3, 0.4, 0], [0, 1, 0, 0]],
      [[0.2, 0.2, 0.6, 0], [0, 0, 1, 0], [0, 1, 0, 0]],
      [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]],
    ]
  )
  reward = jax.random.uniform(jax.random.PRNGKey(0), (4, 3))
  terminal = [False, False, True, False] if request.param else None
  return tabular.make_mdp(transition, reward, 0.9, 1, terminal)


@pytest.fixture
def policy():
  return jnp.array([[0.3, 0.7, 0], [0.5, 0.5, 0], [0.9, 0.1, 0], [1, 0, 0]])


def _sample(mdp, policy, num_trajectories, seed=0):
  return tabular.sample_trajectories(
    jax.random.PRNGKey(seed), mdp, policy, num_trajectories, _HORIZON
  )


def test_shapes_and_types(mdp, policy):
  data = _sample(mdp, policy, 7)
  assert data.states.shape == (7, _HORIZON + 1)
  for x in data[1:]:
    assert x.shape == (7, _HORIZON)
  assert data.states.dtype == data.actions.dtype == jnp.int32
  for x in (data.rewards, data.discounts, data.mask):
    assert x.dtype == mdp.reward.dtype


def test_every_step_is_possible_and_rewarded(mdp, policy):
  data = jax.tree.map(np.asarray, _sample(mdp, policy, 3000))
  assert np.all(data.states[:, 0] == 1)
  assert set(np.unique(data.states)) == {0, 1, 2}
  real = data.mask == 1
  states, actions = data.states[:, :-1][real], data.actions[real]
  assert set(np.unique(actions)) == {0, 1}
  following = data.states[:, 1:][real]
  assert np.all(np.asarray(mdp.transition)[states, actions, following] > 0)
  np.testing.assert_array_equal(
    data.rewards[real], np.asarray(mdp.reward)[states, actions]
  )


def test_rows_are_padded_after_the_end(mdp, policy):
  data = jax.tree.map(np.asarray, _sample(mdp, policy, 3000))
  if mdp.terminal is None:
    assert np.all(data.mask == 1) and np.all(data.discounts == 1)
    return
  ended = np.maximum.accumulate(data.states == 2, axis=1)
  np.testing.assert_array_equal(data.mask, ~ended[:, :-1])
  np.testing.assert_array_equal(data.discounts, ~ended[:, 1:])
  padding = data.mask == 0
  assert padding.any() and not padding.all()
  assert np.all(data.states[:, 1:][padding] == 2)
  assert np.all(data.actions[padding] == 0)
  assert np.all(data.rewards[padding] == 0)


def test_frequencies_are_those_of_the_enumeration(mdp, policy):
  num_trajectories = 200_000
  data = _sample(mdp, policy, num_trajectories)
  probabilities, listed = tabular.enumerate_trajectories(mdp, policy, _HORIZON)

  def code(trajectories):
    digits = np.concatenate(
      [trajectories.states[:, 1:], trajectories.actions], axis=1
    )
    return digits @ (4 ** np.arange(2 * _HORIZON))

  codes = code(listed)
  order = np.argsort(codes)
  position = np.searchsorted(codes[order], code(data))
  counts = np.bincount(position, minlength=len(codes))
  expected = num_trajectories * np.asarray(probabilities)[order]
  frequent = expected > 10
  chi_squared = ((counts - expected) ** 2 / expected)[frequent].sum()
  degrees = frequent.sum() - 1
  assert degrees > 50
  assert abs(chi_squared - degrees) < 5 * np.sqrt(2 * degrees)


def test_seed_decides(mdp, policy):
  first, second = _sample(mdp, policy, 50), _sample(mdp, policy, 50)
  other = _sample(mdp, policy, 50, seed=1)
  np.testing.assert_array_equal(first.states, second.states)
  assert np.any(first.states != other.states)


def test_start_state_may_be_traced(mdp, policy):
  @jax.jit
  def sample(start_state):
    return _sample(mdp._replace(start_state=start_state), policy, 4).states

  np.testing.assert_array_equal(sample(0)[:, 0], 0)


@pytest.mark.parametrize('sizes', [(0, 5), (5, 0)])
def test_refuses_sizes(mdp, policy, sizes):
  with pytest.raises(ValueError, match='at least 1'):
    tabular.sample_trajectories(jax.random.PRNGKey(0), mdp, policy, *sizes)


def test_refuses_policy_of_another_shape(mdp, policy):
  with pytest.raises(ValueError, match='policy has shape'):
    _sample(mdp, policy.T, 3)
