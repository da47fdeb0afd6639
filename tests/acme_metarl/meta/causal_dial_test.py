"""Causal λ that sets itself: by what, and what it then does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import config as config_lib
from acme_metarl import presets
from acme_metarl.meta import causal_dial, policies, synthetic
from acme_metarl.meta import learner as learner_lib

POLICY = policies.gaussian(2, hidden_sizes=(3,))
NUM_TASKS = 4
HIGH, LOW = causal_dial.DISAGREEING, causal_dial.AGREEING


def _settings(causal_lambda, preset='promp_taypo2'):
  return presets.make(
    preset,
    num_tasks=NUM_TASKS,
    evaluator='taylor_expansion',
    evaluator_options={'order': 2, 'causal_lambda': causal_lambda},
  )


def _learner(causal_lambda, preset='promp_taypo2'):
  made = learner_lib.make_meta_learner(
    _settings(causal_lambda, preset), POLICY, jax.devices()[:1]
  )
  return made._replace(update=jax.jit(made.update))


@pytest.fixture(scope='module')
def adaptive():
  return _learner('adaptive')


@functools.cache
def _trials():
  params = POLICY.init(jax.random.PRNGKey(0), jnp.zeros(2))
  return synthetic.make_trials(
    jax.random.PRNGKey(1),
    POLICY,
    params,
    observation_size=2,
    num_tasks=NUM_TASKS,
    num_rollouts=3,
    horizon=5,
  )


def _init(learner):
  return learner.init(jax.random.PRNGKey(0), jnp.zeros(2))


def _flat(tree):
  return np.concatenate([x.ravel() for x in jax.tree_util.tree_leaves(tree)])


@pytest.mark.parametrize('preset', ['promp_taypo2', 'trpo_dice'])
def test_updates_as_what_it_is_set_to_by_what_was_before(preset):
  adaptive = _learner('adaptive', preset)
  start = _init(adaptive)
  assert start.dial.causal_lambda == HIGH
  first, metrics = adaptive.update(start, _trials())
  assert metrics['causal_lambda'] == HIGH
  np.testing.assert_allclose(
    first.dial.cosine,
    (1 - causal_dial.KEEP) * metrics['meta_gradient_cosine'],
    rtol=1e-12,
  )
  for value in (HIGH, LOW):
    dial = start.dial._replace(causal_lambda=jnp.asarray(value))
    new_state, metrics = adaptive.update(start._replace(dial=dial), _trials())
    assert metrics['causal_lambda'] == value
    fixed = _learner(value, preset)
    expected, _ = fixed.update(_init(fixed), _trials())
    np.testing.assert_allclose(
      _flat(new_state.params), _flat(expected.params), rtol=1e-9, atol=1e-12
    )


def test_what_adapts_to_act_knows_no_causal_lambda(adaptive):
  """On its own data: neither its value nor what the outer loop could learn."""
  params = _init(adaptive).params
  stage = jax.tree_util.tree_map(lambda x: x[0, 0], _trials())
  prepared = adaptive.prepare(params, stage)
  expected, _ = adaptive.update_inner(
    params, *adaptive.init_inner(params), prepared
  )
  loss = learner_lib.make_task_loss(_settings('adaptive'), POLICY)

  def adapted(value):
    inner = loss.with_causal_lambda(value).inner
    return inner.update(params, *inner.init(params), prepared)[0]

  found, slope = jax.jit(lambda x: jax.jvp(adapted, (x,), (1.0,)))(0.6)
  np.testing.assert_allclose(_flat(found), _flat(expected), rtol=1e-9)
  np.testing.assert_allclose(_flat(slope), 0.0, atol=1e-12)


def _after(cosines):
  """States after each of the cosines."""

  def update(state, cosine):
    state = causal_dial.update(state, cosine)
    return state, state

  start = causal_dial.init(jnp.float64)
  return jax.lax.scan(update, start, jnp.asarray(cosines))[1]


def test_averages_cosines_and_sets_it_by_the_average():
  """A constant cosine c has the average c (1 − KEEP^n) after n updates."""
  count = np.arange(1, 41)
  for cosine in (0.45, 0.6, 0.95):
    states = _after(np.full(40, cosine))
    average = cosine * (1 - causal_dial.KEEP**count)
    np.testing.assert_allclose(states.cosine, average, rtol=1e-12)
    np.testing.assert_array_equal(
      states.causal_lambda, np.where(average < 0.5, HIGH, LOW)
    )
  # It goes back, too.
  end = _after(np.repeat([0.9, 0.1], 40)).causal_lambda
  assert (end[39], end[-1]) == (LOW, HIGH)


def test_the_cosine_is_that_of_signal_and_noise():
  """S / (S + 2N) over 4000 meta-batches, within 4 standard errors.

  In 400 dimensions, where the norms of halves are nearly what is expected.
  """
  count, size, noise = 4000, 400, 0.7
  rng = np.random.default_rng(0)
  # Halves have twice the noise of the whole.
  draws = rng.normal(size=(count, 2, size)) * np.sqrt(2 * noise / size)
  draws[:, :, 0] += 1.0
  one, other = draws[:, 0], draws[:, 1]
  norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
  cosines = np.sum(one * other, -1) / norms
  error = np.std(cosines) / np.sqrt(count)
  expected = 1 / (1 + 2 * noise)
  # The norms' own spread adds a part in `size`.
  assert abs(np.mean(cosines) - expected) < 4 * error + 2 / size


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_leaves_out_what_is_not_finite(bad):
  one, same, after = np.asarray(_after([0.7, bad, 0.9]).cosine)
  assert one == same == pytest.approx(0.07)
  assert after == pytest.approx(0.9 * 0.07 + 0.09)


@pytest.mark.parametrize(
  ('changes', 'problem'),
  [
    ({'meta_gradient': 'first_order'}, 'meta-gradient'),
    ({'num_tasks': 1}, 'at least 2 tasks'),
    ({'learned_evaluator_options': {'causal_lambda': 0.5}}, 'learned as well'),
    ({'inner_loop': lambda config, policy: None}, 'inner loop of the library'),
    ({'evaluator_options': {'causal_lambda': 'much'}}, "got 'much'"),
    ({'evaluator': 'lvc'}, 'lvc does not take'),
  ],
)
def test_refuses(changes, problem):
  settings = {'evaluator_options': {'causal_lambda': 'adaptive'}, **changes}
  with pytest.raises(ValueError, match=problem):
    config_lib.AlgorithmConfig(**settings)
