"""Where there is nothing to learn from, no KL to measure, no curvature."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic


@pytest.fixture(autouse=True, scope='module')
def _float32():
  """As in training; rounding is what these tests are about."""
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', False)
  yield
  jax.config.update('jax_enable_x64', before)


def _mixture(observation):
  """Two Gaussians: no closed form of a KL divergence."""
  mean = hk.Linear(4)(observation).reshape((*observation.shape[:-1], 2, 2))
  logits = hk.get_parameter('logits', (2,), mean.dtype, jnp.zeros)
  return distrax.MixtureSameFamily(
    distrax.Categorical(logits=jnp.broadcast_to(logits, mean.shape[:-1])),
    distrax.Independent(distrax.Normal(mean, jnp.ones_like(mean)), 1),
  )


def _masked(observation):
  """Of three actions one is allowed at some steps only."""
  logits = hk.Linear(3)(observation)
  is_allowed = jnp.concatenate(
    [jnp.ones((*logits.shape[:-1], 2), bool), observation[..., :1] > 0], -1
  )
  return distrax.Categorical(logits=jnp.where(is_allowed, logits, -jnp.inf))


MIXTURE = policies.from_haiku(_mixture)
MASKED = policies.from_haiku(_masked)
GAUSSIAN = policies.gaussian(2, (4,))


def _update(name, policy, change=lambda trials: trials, **overrides):
  return next(_updates(name, policy, [change], **overrides))


def _updates(name, policy, changes, **overrides):
  """One update of the same state for each change of the trials."""
  settings = presets.make(name, num_tasks=4, num_rollouts=10, **overrides)
  learner = learner_lib.make_meta_learner(settings, policy, jax.devices()[:1])
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(2))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    state.params.policy,
    observation_size=2,
    num_tasks=4,
    num_rollouts=10,
    horizon=20,
    store_behaviour_params=policy is not MIXTURE,
  )
  update = jax.jit(learner.update)
  for change in changes:
    new_state, metrics = update(state, change(trials))
    yield state, new_state, jax.device_get(metrics)


def test_a_policy_without_kl_trains_where_none_is_needed():
  state, new_state, metrics = _update('vpg_maml', MIXTURE)
  assert metrics['num_skipped'] == 0
  assert 'outer_kl' not in metrics
  assert 'inner_kl_0' not in metrics
  for old, new in zip(
    *(jax.tree_util.tree_leaves(s.params.policy) for s in (state, new_state)),
    strict=True,
  ):
    assert np.max(np.abs(new - old)) > 1e-5


@pytest.mark.parametrize('name', ['promp', 'trpo_maml'])
def test_a_policy_without_kl_is_refused_where_it_is_needed(name):
  with pytest.raises(ValueError, match='has no Kullback-Leibler divergence'):
    _update(name, MIXTURE)


@pytest.mark.parametrize('name', ['promp_taypo2', 'trpo_dice', 'trpo_maml'])
def test_impossible_actions(name):
  _, _, metrics = _update(name, MASKED)
  assert metrics['num_skipped'] == 0
  assert metrics.get('step_accepted', 1.0) == 1.0
  assert metrics['outer_kl'] > 0


def test_unusable_curvature_is_counted():
  """Rewards so large that the product of curvature and gradient overflows."""

  def change(trials):
    return trials._replace(reward=1e30 * trials.reward)

  state, new_state, metrics = _update(
    'trpo_maml', GAUSSIAN, change, normalize_advantages=False, baseline='zero'
  )
  assert metrics['step_accepted'] == 0.0
  assert metrics['num_skipped'] == 1
  jax.tree_util.tree_map(
    np.testing.assert_array_equal, new_state.params, state.params
  )


def _with_equal_rewards(reward):
  def change(trials):
    discount = jnp.ones_like(trials.discount).at[..., -1].set(0.0)
    reward_of_all = jnp.full_like(trials.reward, reward)
    return trials._replace(reward=reward_of_all, discount=discount)

  return change


# Evolution strategies need trials of their own.
@pytest.mark.parametrize('name', sorted(set(presets.names()) - {'es_maml'}))
def test_equal_rewards_teach_exactly_nothing(name):
  """With reward −1 and discount 1 a baseline of time explains all but noise."""
  for state, new_state, metrics in _updates(
    name,
    GAUSSIAN,
    [_with_equal_rewards(0.0), _with_equal_rewards(-1.0)],
    discount=1.0,
    inner_kl_coefficient=0.0,
  ):
    assert metrics['meta_gradient_norm'] == 0.0
    assert metrics['num_skipped'] == 0
    jax.tree_util.tree_map(
      np.testing.assert_array_equal, new_state.params, state.params
    )


def test_a_kl_penalty_alone_teaches_nothing_but_rounding():
  """What was stored and what is computed again may differ in the last digit."""
  _, _, metrics = _update(
    'promp', GAUSSIAN, _with_equal_rewards(0.0), inner_kl_coefficient=1.0
  )
  assert metrics['meta_gradient_norm'] < 1e-7
