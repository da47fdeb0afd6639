"""Several steps on the same data, and the bound that ends them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import config as config_lib
from acme_metarl import presets
from acme_metarl.meta import epochs, policies, synthetic
from acme_metarl.meta import learner as learner_lib

POLICY = policies.gaussian(2, hidden_sizes=(3,))


def _epoch(state):
  """Doubles a number; says what it was."""
  return {'x': 2 * state['x']}, {'kl': state['x'] * jnp.ones(2)}


def _repeat(length, bound=None, start=1.0):
  carry, first, last, made = jax.jit(
    lambda x: epochs.repeat(
      _epoch, {'x': x}, length, bound, lambda report: report['kl']
    )
  )(jnp.asarray(start))
  return carry['x'], first['kl'][0], last['kl'][0], made


@pytest.mark.parametrize(
  ('bound', 'expected'),
  [
    (None, (16, 1, 8, 4)),
    (100.0, (16, 1, 8, 4)),  # Within the bound to the end.
    (8.0, (16, 1, 8, 4)),  # At the bound is not beyond it.
    (7.9, (8, 1, 8, 3)),
    (0.1, (2, 1, 2, 1)),  # The first step is always made.
  ],
)
def test_ends_beyond_the_bound(bound, expected):
  np.testing.assert_array_equal(_repeat(4, bound), expected)


def test_what_is_no_number_is_beyond_every_bound():
  carry, first, last, made = _repeat(4, 1.0, start=np.nan)
  assert made == 1
  assert np.isnan([carry, first, last]).all()


def test_each_seed_ends_by_itself_under_vmap():
  made = jax.vmap(
    lambda x: epochs.repeat(
      _epoch, {'x': x}, 6, 3.0, lambda report: report['kl']
    )[3]
  )(jnp.asarray([0.1, 1.0, 5.0]))
  np.testing.assert_array_equal(made, [5, 2, 1])


@functools.cache
def _updated(num_outer_epochs, max_epoch_kl):
  """The state and metrics after one meta-batch."""
  settings = presets.make(
    'promp',
    num_tasks=3,
    num_outer_epochs=num_outer_epochs,
    max_epoch_kl=max_epoch_kl,
    outer_learning_rate=0.03,
    inner_kl_coefficient=0.0,
  )
  learner = learner_lib.make_meta_learner(settings, POLICY, jax.devices()[:1])
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(2))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    POLICY,
    state.params.policy,
    observation_size=2,
    num_tasks=3,
    num_rollouts=3,
    horizon=5,
  )
  state, metrics = jax.jit(learner.update)(state, trials)
  return state, jax.device_get(metrics)


def test_a_bound_leaves_the_steps_before_it_as_they_are():
  """The same as so many epochs without one; the KL is that of the end."""
  bound = 0.02
  state, metrics = _updated(8, bound)
  made = int(metrics['num_epochs'])
  assert 1 < made < 8
  largest = max(metrics['outer_kl'], metrics['inner_kl_0'])
  assert largest > bound
  expected, unbounded = _updated(made, None)
  for x, y in zip(
    *map(jax.tree_util.tree_leaves, (state, expected)), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13)
  assert max(unbounded['outer_kl'], unbounded['inner_kl_0']) <= bound
  np.testing.assert_allclose(metrics['loss_before'], unbounded['loss_before'])
  assert 'num_epochs' not in unbounded


@pytest.mark.parametrize(
  ('changes', 'problem'),
  [
    ({'max_epoch_kl': 0.0}, 'max_epoch_kl must be a number above 0'),
    ({'max_epoch_kl': 0.1, 'num_outer_epochs': 1}, 'allow more epochs'),
  ],
)
def test_refuses(changes, problem):
  with pytest.raises(ValueError, match=problem):
    config_lib.AlgorithmConfig(**changes)
