"""Causal λ that sets itself: what it measures, and what it then does."""

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


def _task_gradients(learner, causal_lambda):
  """`[G, P]`, of the loss that a fixed causal λ has."""
  loss = learner_lib.make_task_loss(_settings(causal_lambda), POLICY)
  params, trials = _init(learner).params, _trials()
  prepare = jax.vmap(jax.vmap(learner.prepare, (None, 0)), (None, 0))
  stages = prepare(params, trials)
  task = learner_lib.task_loss_lib.Task(
    stages._replace(behaviour_params=()),
    stages.behaviour_params,
    jnp.zeros(NUM_TASKS),
  )

  def loss_of(policy, one):
    merged = params._replace(policy=policy)
    return loss.task_loss(merged, one, jnp.full((1,), 5e-4))[0]

  gradients = jax.jit(jax.vmap(jax.grad(loss_of), (None, 0)))(
    params.policy, task
  )
  return np.stack(
    [
      _flat(jax.tree_util.tree_map(lambda x, g=g: x[g], gradients))
      for g in range(NUM_TASKS)
    ]
  )


def test_measures_the_gradients_of_fixed_causal_lambdas(adaptive):
  """Twice the same meta-batch, so that d times its average is |d|²."""
  start = _init(adaptive)
  first, _ = adaptive.update(start, _trials())
  second, metrics = adaptive.update(
    start._replace(dial=first.dial, num_updates=jnp.asarray(2, jnp.int32)),
    _trials(),
  )
  assert (first.dial.num_measured, second.dial.num_measured) == (1, 2)
  whole = _task_gradients(adaptive, 1.0)
  unit = whole.var(0, ddof=1).sum() / NUM_TASKS
  own = _task_gradients(adaptive, GRID[1])
  expected = (
    np.sum((whole - own).mean(0) ** 2) / unit,
    own.var(0, ddof=1).sum() / NUM_TASKS / unit,
  )
  dial = second.dial
  np.testing.assert_allclose(
    (dial.squared_bias[1], dial.variance[1]),
    expected,
    rtol=1e-6,
  )
  np.testing.assert_allclose(dial.variance[-1], 1.0)
  np.testing.assert_allclose(dial.squared_bias[-1], 0.0, atol=1e-20)
  assert metrics['causal_variance_0.6'] == dial.variance[1]


def test_updates_as_the_causal_lambda_that_is_set(adaptive):
  start = _init(adaptive)
  dial = start.dial._replace(causal_lambda=jnp.asarray(0.3))
  # No measurement at update 1.
  state = start._replace(num_updates=jnp.asarray(1, jnp.int32), dial=dial)
  new_state, metrics = adaptive.update(state, _trials())
  fixed = _learner(0.3)
  expected, _ = fixed.update(_init(fixed), _trials())
  np.testing.assert_allclose(
    _flat(new_state.params), _flat(expected.params), rtol=1e-9, atol=1e-12
  )
  assert metrics['causal_lambda'] == 0.3
  np.testing.assert_array_equal(_flat(new_state.dial), _flat(dial))


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


def _measure(state, gradients):
  """One measurement of gradients `[G, M, P]`."""
  parts = jax.vmap(causal_dial.task_sums)(gradients)
  sums = jax.tree_util.tree_map(lambda x: jnp.sum(x, 0), parts)
  return causal_dial.update(state, sums, gradients.shape[0])


def _start(num_parameters):
  return causal_dial.init(jnp.zeros(num_parameters))


def test_estimates_are_unbiased():
  """Within 4 standard errors, over 4000 pairs of meta-batches of 5 tasks."""
  count, num_tasks, num_parameters = 4000, 5, 2
  rng = np.random.default_rng(0)
  mean = np.linspace([0.0, 0.3], [1.0, -0.5], len(GRID))
  scale = np.linspace(0.5, 2.0, len(GRID))[:, None]
  noise = rng.normal(size=(2, count, num_tasks, 1, num_parameters))
  one, other = jnp.asarray(mean + scale * noise)

  @jax.jit
  @jax.vmap
  def measured(one, other):
    first = _measure(_start(num_parameters), one)
    # Both as they are, and not relative to the noise of the whole.
    parts = jax.vmap(causal_dial.task_sums)(other)
    sums = jax.tree_util.tree_map(lambda x: jnp.sum(x, 0), parts)
    difference, variance = causal_dial.spread(sums, num_tasks)
    kept = 1 - causal_dial.KEEP_DIFFERENCE
    return jnp.stack(
      [jnp.sum(difference * first.difference / kept, -1), variance]
    )

  found = np.asarray(measured(one, other))
  expected = np.stack(
    [
      np.sum((mean[-1] - mean) ** 2, -1),
      num_parameters * scale[:, 0] ** 2 / num_tasks,
    ]
  )
  error = found.std(0) / np.sqrt(count)
  assert np.all(np.abs(found.mean(0) - expected) <= 4 * error + 1e-12)
  assert np.all(error[0, :-1] > 0) and np.all(error[1] > 0)


@pytest.mark.parametrize(
  ('noise', 'best'), [(0.01, 1.0), (4.0, 0.8), (1e3, 0.0)]
)
def test_the_noisier_the_cross_terms_the_less_of_them(noise, best):
  """Gradients κ + noise κ⁴ z, the z of mean 0 and variance 1."""
  grid = np.asarray(GRID)
  variance = (noise * grid**4) ** 2 / 40
  costs = (1 - grid) ** 2 + variance / causal_dial.MEMORY
  assert grid[np.argmin(costs)] == best
  draws = np.random.default_rng(1).normal(size=(40, 1))
  draws = (draws - draws.mean()) / draws.std(ddof=1)
  gradients = jnp.asarray((grid + noise * grid**4 * draws)[..., None])
  state = _start(1)
  measure = jax.jit(_measure)
  for number in range(causal_dial.WARM_UP):
    assert state.causal_lambda == causal_dial.START
    assert state.num_measured == number
    state = measure(state, gradients)
  assert state.causal_lambda == best
  np.testing.assert_allclose(
    state.squared_bias, (1 - grid) ** 2 / variance[-1], rtol=1e-7, atol=1e-15
  )
  np.testing.assert_allclose(
    state.variance, variance / variance[-1], rtol=1e-7, atol=1e-12
  )


@pytest.mark.parametrize(
  ('excess', 'stderr', 'best'),
  [
    (-0.4, 0.1, 0.0),  # Four standard errors better than the start.
    (-0.3, 0.1, causal_dial.START),  # Three.
    (0.3, 0.1, causal_dial.START),
  ],
)
def test_leaves_its_start_for_what_is_sure_alone(excess, stderr, best):
  """With the noise of 42 measurements; one that says nothing changes none."""
  squared_bias = jnp.asarray([0.5 + excess, 0.5, 0.5, 0.5, 0.5])
  difference = squared_bias - 0.5
  state = _start(2)._replace(
    squared_bias=squared_bias,
    variance=jnp.asarray([1.0, 1.5, 1.0, 1.5, 1.5]),
    square=difference**2 + 39 * stderr**2 * (difference != 0),
    num_measured=jnp.asarray(42, jnp.int32),
  )
  after = _measure(state, jnp.full((4, len(GRID), 2), jnp.nan))
  assert after.causal_lambda == best


def test_what_is_no_better_seldom_takes_the_place_of_the_start():
  """In less than one of four runs of 300 updates, expected is one of ten.

  Gradients are noise alone, the same for all κ, so that no κ costs less than
  another. With two standard errors after five measurements it was .84.
  """
  num_runs, num_measurements, num_tasks, num_parameters = 60, 150, 10, 30

  def measure(state, key):
    shape = num_tasks, len(GRID), num_parameters
    state = _measure(state, jax.random.normal(key, shape, jnp.float32))
    return state, state.causal_lambda != causal_dial.START

  @jax.jit
  @jax.vmap
  def leaves(key):
    keys = jax.random.split(key, num_measurements)
    start = causal_dial.init(jnp.zeros(num_parameters, jnp.float32))
    return jnp.any(jax.lax.scan(measure, start, keys)[1])

  keys = jax.random.split(jax.random.PRNGKey(0), num_runs)
  share = np.mean(leaves(keys))
  # Three standard errors of a share of one in ten.
  assert share < 0.1 + 3 * np.sqrt(0.1 * 0.9 / num_runs)


def test_averages_are_means_at_first():
  rng = np.random.default_rng(2)
  state = _start(3)
  measure = jax.jit(_measure)
  own = []
  for _ in range(4):
    gradients = rng.normal(size=(5, len(GRID), 3))
    before = np.asarray(state.difference)
    share = 1 - causal_dial.KEEP_DIFFERENCE ** max(len(own), 1)
    difference = gradients.mean(0)[-1:] - gradients.mean(0)
    unit = gradients[:, -1].var(0, ddof=1).sum() / 5
    own.append(np.sum(difference * before, -1) / share / unit)
    state = measure(state, jnp.asarray(gradients))
  measured = np.array(own[1:])  # The first had none before it.
  np.testing.assert_allclose(state.squared_bias, measured.mean(0), atol=1e-12)
  square = (measured - measured[:, [2]]) ** 2
  np.testing.assert_allclose(state.square, square.mean(0), atol=1e-12)
  assert GRID[2] == causal_dial.START


@pytest.mark.parametrize('bad', [jnp.nan, 0.0])
def test_leaves_out_what_says_nothing(bad):
  """What is not finite, and tasks that are all the same."""
  rng = np.random.default_rng(0)
  state = _start(2)
  for _ in range(3):
    state = _measure(state, jnp.asarray(rng.normal(size=(4, len(GRID), 2))))
  after = _measure(state, jnp.full((4, len(GRID), 2), bad))
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
