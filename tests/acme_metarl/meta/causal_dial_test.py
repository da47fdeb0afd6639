"""Causal λ that sets itself: when it is raised, and what it then does."""

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
GRID = causal_dial.GRID


def _settings(causal_lambda, **overrides):
  return presets.make(
    'promp_taypo2',
    num_tasks=NUM_TASKS,
    num_outer_epochs=2,
    evaluator_options={'order': 2, 'causal_lambda': causal_lambda},
    **overrides,
  )


def _learner(causal_lambda):
  made = learner_lib.make_meta_learner(
    _settings(causal_lambda), POLICY, jax.devices()[:1]
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


def test_averages_the_return_after_adaptation(adaptive):
  trials = _trials()
  mask = np.ones_like(trials.mask)
  mask[:, :, 0, 3:] = 0  # A rollout that ended early counts up to there.
  trials = trials._replace(mask=jnp.asarray(mask))
  state, metrics = adaptive.update(_init(adaptive), trials)
  returns = np.sum(np.asarray(trials.reward) * mask, -1)[:, -1].mean(-1)
  np.testing.assert_allclose(state.dial.average, returns.mean(), rtol=1e-12)
  np.testing.assert_allclose(
    state.dial.variance, returns.var(ddof=1) / NUM_TASKS, rtol=1e-12
  )
  assert metrics['causal_lambda'] == GRID[0]


def test_updates_as_the_causal_lambda_that_is_set(adaptive):
  start = _init(adaptive)
  # It was far better once.
  dial = start.dial._replace(best=jnp.asarray(1e3), best_variance=jnp.ones(()))
  new_state, metrics = adaptive.update(start._replace(dial=dial), _trials())
  fixed = _learner(GRID[1])
  expected, _ = fixed.update(_init(fixed), _trials())
  np.testing.assert_allclose(
    _flat(new_state.params), _flat(expected.params), rtol=1e-9, atol=1e-12
  )
  assert metrics['causal_lambda'] == GRID[1]
  assert new_state.dial.num_updates == 0


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


@jax.jit
def _after(state, returns):
  """States after each of the meta-batches `[N, G]`."""

  def update(state, own):
    state = causal_dial.update(state, own)
    return state, state

  return jax.lax.scan(update, state, returns)[1]


def _draw(levels, num_tasks=40, seed=0):
  rng = np.random.default_rng(seed)
  noise = rng.normal(size=(len(levels), num_tasks))
  return jnp.asarray(np.asarray(levels)[:, None] + noise)


def _start():
  return causal_dial.init(jnp.float64)


def test_average_and_its_variance_are_those_of_a_weighted_mean():
  returns = _draw(np.linspace(0, 3, 12))
  states = _after(_start(), returns)
  weights = np.zeros(0)
  for number in range(12):
    # A plain mean of the first five, then each update keeps four fifths.
    new = max(1 / (number + 1), 1 - causal_dial.KEEP)
    weights = np.append(weights * (1 - new), new)
    own = np.asarray(returns[: number + 1])
    np.testing.assert_allclose(states.average[number], weights @ own.mean(1))
    np.testing.assert_allclose(
      states.variance[number], weights**2 @ own.var(1, ddof=1) / 40
    )
  assert np.all(np.asarray(states.causal_lambda) == GRID[0])


def test_the_average_is_as_noisy_as_it_says():
  """Over 4000 runs, within 4 standard errors of a variance."""
  count = 4000
  returns = _draw(np.zeros(10 * count), num_tasks=5).reshape((count, 10, 5))
  end = jax.vmap(lambda x: _after(_start(), x))(returns)
  found = np.var(np.asarray(end.average)[:, -1], ddof=1)
  expected = np.mean(np.asarray(end.variance)[:, -1])
  assert abs(found / expected - 1) < 4 * np.sqrt(2 / count)


@pytest.mark.parametrize('fall', [0.0, 0.5])
def test_is_raised_where_returns_fall(fall):
  """From 2, by seven standard errors of an average, or not."""
  levels = [*np.linspace(0, 2, 30), *np.full(10, 2.0), *np.full(9, 2.0 - fall)]
  found = np.asarray(_after(_start(), _draw(levels)).causal_lambda)
  assert np.all(found[:40] == GRID[0])
  assert found[-1] == (GRID[1] if fall else GRID[0])


def test_stays_with_the_last_of_the_grid():
  levels = -np.arange(60.0)
  states = _after(_start(), _draw(levels))
  found = np.asarray(states.causal_lambda)
  assert list(dict.fromkeys(found)) == list(GRID)
  # What was with another κ is forgotten.
  raised = int(np.argmax(found == GRID[1]))
  assert states.num_updates[raised] == 0
  np.testing.assert_allclose(
    states.average[raised + 1], levels[raised + 1], atol=4 / np.sqrt(40)
  )


def test_returns_that_rise_do_not_raise_it():
  """By half a standard error at each of 100 updates, in 400 runs."""
  levels = np.arange(100) * 0.5 / np.sqrt(40)
  draws = _draw(np.tile(levels, 400)).reshape((400, 100, 40))
  found = jax.vmap(lambda x: _after(_start(), x).causal_lambda)(draws)
  share = np.mean(np.asarray(found)[:, -1] > GRID[0])
  assert share < 0.02


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_leaves_out_what_is_not_finite(bad):
  state = jax.tree_util.tree_map(lambda x: x[-1], _after(_start(), _draw([1])))
  after = causal_dial.update(state, jnp.asarray([0.0, bad]))
  np.testing.assert_array_equal(_flat(after), _flat(state))


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
