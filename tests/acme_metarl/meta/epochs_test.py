"""Several steps on the same data, and the bound that ends them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import config as config_lib
from acme_metarl import presets
from acme_metarl.meta import baselines, epochs, policies, synthetic
from acme_metarl.meta import learner as learner_lib

POLICY = policies.gaussian(2, hidden_sizes=(3,))


def _evaluate(x):
  """The loss falls until 20; the KL is the parameter."""
  return jnp.abs(x - 20.0), x * jnp.ones(2)


def _epoch(progress):
  """Adds four; counts its calls."""
  x, count = progress
  return epochs.Progress(x + 4.0, count + 1), (_evaluate(x), count)


def _repeat(length, bound, start=0.0, evaluate=_evaluate, epoch=_epoch):
  """Where it ends, the first loss, the last KL, steps made and tried."""
  end, first, last, made = jax.jit(
    lambda x: epochs.repeat_within(
      epoch, evaluate, epochs.Progress(x, 0), length, bound
    )
  )(jnp.asarray(start))
  return end.params, first[0][0], last[1][0], made, end.rest


@pytest.mark.parametrize(
  ('length', 'bound', 'expected'),
  [
    (3, 100.0, (12.0, 20.0, 12.0, 3, 3)),  # Never beyond the bound.
    (3, 12.0, (12.0, 20.0, 12.0, 3, 3)),  # At the bound is not beyond it.
    # From 8, 12 is beyond and 10 is not; from there 14 is, and no try is left.
    (5, 11.0, (10.0, 20.0, 10.0, 3, 4)),
    (1, 3.0, (0.0, 20.0, 0.0, 0, 1)),  # Nothing is within.
    (2, 3.0, (2.0, 20.0, 2.0, 1, 1)),
    (3, 1.5, (1.0, 20.0, 1.0, 1, 1)),
  ],
)
def test_a_step_beyond_the_bound_is_halved(length, bound, expected):
  np.testing.assert_array_equal(_repeat(length, bound), expected)


def test_a_step_to_a_higher_loss_is_halved():
  """From 18 to 22 the loss is as it was; from there 26, 24 and 23 are worse."""
  np.testing.assert_array_equal(
    _repeat(4, 100.0, start=18.0), (22.0, 2.0, 22.0, 1, 2)
  )


def test_data_from_afar_do_not_hold_it_up():
  """A KL beyond the bound from the start may not grow, and may fall."""

  def evaluate(x):
    return -jnp.abs(x), jnp.stack([5.0 - x, x])

  def epoch(progress):
    x, count = progress
    return epochs.Progress(x + 1.0, count + 1), (evaluate(x), count)

  np.testing.assert_array_equal(
    _repeat(3, 1.5, evaluate=evaluate, epoch=epoch)[:1], [1.5]
  )


def test_what_is_no_number_is_beyond_every_bound():
  end, *_, made, _ = _repeat(4, 1.0, start=np.nan)
  assert made == 0
  assert np.isnan(end)


def test_each_seed_is_halved_by_itself_under_vmap():
  made = jax.vmap(
    lambda x, bound: (
      epochs.repeat_within(_epoch, _evaluate, epochs.Progress(x, 0), 3, bound)[
        0
      ].params
    )
  )(jnp.zeros(3), jnp.asarray([2.0, 7.0, 12.0]))
  np.testing.assert_array_equal(made, [2.0, 6.0, 12.0])


@functools.cache
def _updated(num_outer_epochs, max_epoch_kl, baseline='linear_feature'):
  """The state and metrics after one meta-batch."""
  settings = presets.make(
    'promp',
    num_tasks=3,
    num_outer_epochs=num_outer_epochs,
    max_epoch_kl=max_epoch_kl,
    outer_learning_rate=0.03,
    baseline=baseline,
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


def test_steps_within_the_bound_are_as_they_are():
  """The same as without a bound; what is reported is of the end."""
  (state, metrics), (expected, unbounded) = _updated(2, 1e3), _updated(2, None)
  assert metrics['num_epochs'] == 2
  for x, y in zip(
    *map(jax.tree_util.tree_leaves, (state, expected)), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13)
  np.testing.assert_allclose(metrics['loss_before'], unbounded['loss_before'])
  np.testing.assert_allclose(
    metrics['outer_kl'], _updated(3, None)[1]['outer_kl'], rtol=1e-6
  )
  assert 'num_epochs' not in unbounded


def test_the_policy_stays_within_the_bound():
  bound = 0.02
  free = _updated(8, None)[1]
  assert max(free['outer_kl'], free['inner_kl_0']) > bound
  _, metrics = _updated(8, bound)
  assert 0 < metrics['num_epochs'] < 8
  assert bound / 4 < max(metrics['outer_kl'], metrics['inner_kl_0']) <= bound
  assert metrics['loss'] < metrics['loss_before']


def test_what_no_outer_step_trains_is_not_halved():
  """A baseline's state has counts, which have no half."""
  value = baselines.LearnedValue((3,), num_epochs=1)
  state, metrics = _updated(3, 0.02, value)
  assert metrics['num_epochs'] < 3
  counts = [
    x
    for x in jax.tree_util.tree_leaves(state.params.baseline)
    if jnp.issubdtype(x.dtype, jnp.integer)
  ]
  assert counts


@pytest.mark.parametrize(
  ('changes', 'problem'),
  [
    ({'max_epoch_kl': 0.0}, 'max_epoch_kl must be a number above 0'),
    (
      {
        'max_epoch_kl': 0.1,
        'num_outer_epochs': 1,
        'outer_optimizer': 'trust_region',
        'outer_objective': 'surrogate',
      },
      'the trust region has max_kl',
    ),
  ],
)
def test_refuses(changes, problem):
  with pytest.raises(ValueError, match=problem):
    config_lib.AlgorithmConfig(**changes)
