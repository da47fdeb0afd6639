"""The meta-update of a whole meta-batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import presets
from acme_metarl.evaluators import reductions
from acme_metarl.meta import (
  adaptation,
  diagnostics,
  policies,
  synthetic,
)
from acme_metarl.meta import learner as learner_lib

POLICY = policies.gaussian(2, hidden_sizes=(3,))
NUM_TASKS = 3


@functools.cache
def _learner(name, chunk_size=None, **overrides):
  """A meta-learner and its compiled update."""
  settings = presets.make(
    name, num_tasks=NUM_TASKS, chunk_size=chunk_size or NUM_TASKS, **overrides
  )
  learner = learner_lib.make_meta_learner(
    settings, POLICY, devices=jax.devices()[:1]
  )
  return learner._replace(update=jax.jit(learner.update))


def _init(learner):
  return learner.init(jax.random.PRNGKey(0), jnp.zeros(2))


@functools.cache
def _trials(num_inner_steps=1, **kwargs):
  params = POLICY.init(jax.random.PRNGKey(0), jnp.zeros(2))
  make = functools.partial(
    synthetic.make_trials,
    policy=POLICY,
    observation_size=2,
    num_tasks=NUM_TASKS,
    num_inner_steps=num_inner_steps,
    num_rollouts=3,
    horizon=5,
    early_termination=True,
    **kwargs,
  )
  return jax.jit(make)(jax.random.PRNGKey(1), params=params)


def _assert_close(a, b, **tolerance):
  for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True):
    np.testing.assert_allclose(x, y, **tolerance)


def _task(tree, index):
  return jax.tree_util.tree_map(lambda x: x[index], tree)


class TestAdaptation:
  @pytest.mark.parametrize(
    'name', ['trpo_maml', 'trpo_emaml', 'trpo_dice', 'promp_taypo2']
  )
  def test_to_act_is_that_to_learn(self, name):
    """A peer adapts in one way to train and in another one to evaluate."""
    settings = presets.make(name, num_inner_steps=2)
    learner = learner_lib.make_meta_learner(settings, POLICY)
    params, trial = _init(learner).params, _task(_trials(2), 0)

    stages = jax.vmap(learner.prepare, (None, 0))(params, trial)
    acting = learner.init_inner(params)
    for index in range(2):
      stage = learner.prepare(params, _task(trial, index))
      acting = jax.jit(learner.update_inner)(params, *acting, stage)

    loss = learner_lib.make_task_loss(settings, POLICY)
    *_, learning = jax.jit(loss.unroll)(params, stages)
    _assert_close(acting[0], learning, rtol=1e-10, atol=1e-12)

  def test_leaks_nothing_from_task_to_task(self):
    """A peer's evaluation starts a task from the one before's parameters."""
    learner = _learner('promp')
    params, trials = _init(learner).params, _trials()
    first_stages = _task(trials, (slice(None), 0))

    @jax.jit
    @jax.vmap
    def adapt(stage):
      prepared = learner.prepare(params, stage)
      return learner.update_inner(params, *learner.init_inner(params), prepared)

    together = adapt(first_stages)
    reverse = adapt(_task(first_stages, slice(None, None, -1)))
    _assert_close(_task(reverse, slice(None, None, -1)), together, rtol=1e-10)
    alone = adapt(_task(first_stages, slice(2, 3)))
    _assert_close(_task(alone, 0), _task(together, 2), rtol=1e-10)


class TestAgainstPlainPython:
  """Nothing batched, chunked, scanned or shared."""

  def _mean_loss(self, learner, settings, params, trials, kl_coefficient):
    losses = []
    log_prob = policies.log_prob_fn(POLICY)
    for g in range(NUM_TASKS):
      first, last = (
        learner.prepare(params, _task(trials, (g, k))) for k in range(2)
      )
      adapted = adaptation.adapt(
        params,
        first,
        log_prob,
        settings.make_evaluator(),
        settings.make_reduction(),
        settings.inner_learning_rate,
      )
      objective = settings.make_outer_objective()(
        log_prob(adapted, last.observation, last.action), last
      )
      new = POLICY.apply(params, first.observation)
      old = policies.with_params(new, first.behaviour_params)
      kl = reductions.masked_mean(old.kl_divergence(new), first.mask)
      losses.append(-objective + kl_coefficient * kl)
    return sum(losses) / NUM_TASKS

  def test_promp(self):
    settings = presets.make('promp', inner_kl_coefficient=0.3)
    learner = _learner('promp', inner_kl_coefficient=0.3)
    state, trials = _init(learner), _trials()
    new_state, metrics = learner.update(state, trials)

    optimizer = optax.adam(1e-3)
    value_and_grad = jax.jit(
      jax.value_and_grad(
        lambda p: self._mean_loss(learner, settings, p, trials, 0.3)
      )
    )
    params = state.params.policy
    opt_state = optimizer.init(params)
    losses = []
    for _ in range(settings.num_outer_epochs):
      loss, gradient = value_and_grad(params)
      losses.append(loss)
      updates, opt_state = optimizer.update(gradient, opt_state)
      params = optax.apply_updates(params, updates)

    _assert_close(new_state.params.policy, params, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(metrics['loss_before'], losses[0])
    np.testing.assert_allclose(metrics['loss'], losses[-1])
    assert int(new_state.num_updates) == 1

  def test_trust_region(self):
    """The step lowers the loss, and the true mean KL stays within bounds."""
    settings = presets.make('trpo_maml')
    learner = _learner('trpo_maml')
    state, trials = _init(learner), _trials()
    new_state, metrics = learner.update(state, trials)
    assert metrics['step_accepted'] == 1

    log_prob = policies.log_prob_fn(POLICY)

    def last_distribution(params, g):
      adapted = adaptation.adapt(
        params,
        learner.prepare(params, _task(trials, (g, 0))),
        log_prob,
        settings.make_evaluator(),
        settings.make_reduction(),
        settings.inner_learning_rate,
      )
      last = learner.prepare(params, _task(trials, (g, 1)))
      return POLICY.apply(adapted, last.observation), last.mask

    @jax.jit
    def mean_kl(old_params, new_params):
      total = 0.0
      for g in range(NUM_TASKS):
        old, mask = last_distribution(old_params, g)
        new, _ = last_distribution(new_params, g)
        total += reductions.masked_mean(old.kl_divergence(new), mask)
      return total / NUM_TASKS

    kl = mean_kl(state.params.policy, new_state.params.policy)
    np.testing.assert_allclose(metrics['outer_kl'], kl, rtol=1e-6)
    assert 0.3 * settings.max_kl < kl <= settings.max_kl
    mean_loss = jax.jit(
      lambda p: self._mean_loss(learner, settings, p, trials, 0.0)
    )
    losses = [mean_loss(s.params.policy) for s in (state, new_state)]
    assert losses[1] < losses[0]
    np.testing.assert_allclose(
      [metrics['loss_before'], metrics['loss']], losses, rtol=1e-8
    )


@pytest.mark.parametrize('name', ['promp', 'trpo_emaml'])
@pytest.mark.parametrize('chunk_size', [1, 2])
def test_chunks_do_not_change_the_numbers(name, chunk_size):
  whole, chunked = _learner(name), _learner(name, chunk_size)
  state, trials = _init(whole), _trials()
  for expected, actual in zip(
    whole.update(state, trials), chunked.update(state, trials), strict=True
  ):
    _assert_close(actual, expected, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize('name', sorted(set(presets.names()) - {'es_maml'}))
def test_every_preset_learns_from_one_batch(name):
  """In its own terms: the loss falls, and the numbers fit together."""
  learner = _learner(name)
  state, trials = _init(learner), _trials()
  new_state, metrics = learner.update(state, trials)
  metrics = {key: float(value) for key, value in metrics.items()}
  assert metrics['loss'] < metrics['loss_before']
  assert metrics['num_skipped'] == 0
  assert metrics['inner_kl_0'] > 0 and metrics['outer_kl'] > 0
  assert 0.8 < metrics['effective_sample_size_0'] < 1
  assert 0.3 < metrics['effective_sample_size_1'] < 1
  assert 0 <= metrics['clipped_share'] < 1
  assert -1 <= metrics['meta_gradient_cosine'] <= 1
  assert metrics['meta_gradient_norm'] > 0
  assert metrics['meta_gradient_variance'] > 0
  for leaf in jax.tree_util.tree_leaves(new_state):
    assert isinstance(leaf, jax.Array)


def test_gradient_statistics_are_those_of_single_tasks():
  learner = _learner('vpg_maml')
  state, trials = _init(learner), _trials()
  _, metrics = learner.update(state, trials)
  settings = presets.make('vpg_maml')
  plain = TestAgainstPlainPython()

  def one_task(p, index):
    # The mean over copies of one task is that task's loss.
    repeated = jax.tree_util.tree_map(
      lambda x: jnp.repeat(x[index][jnp.newaxis], NUM_TASKS, 0), trials
    )
    return plain._mean_loss(learner, settings, p, repeated, 0.0)

  gradient = jax.jit(jax.grad(one_task))
  single = [gradient(state.params.policy, g) for g in range(NUM_TASKS)]
  flat = np.stack(
    [
      np.concatenate([x.ravel() for x in jax.tree_util.tree_leaves(g)])
      for g in single
    ]
  )
  np.testing.assert_allclose(
    metrics['meta_gradient_variance'], flat.var(0).sum(), rtol=1e-8
  )
  first, second = flat[::2].sum(0), flat[1::2].sum(0)
  cosine = first @ second / np.sqrt((first @ first) * (second @ second))
  np.testing.assert_allclose(metrics['meta_gradient_cosine'], cosine)


class TestRefusedSteps:
  @pytest.mark.parametrize('name', ['promp', 'trpo_maml'])
  def test_non_finite_gradients_are_skipped_and_counted(self, name):
    learner = _learner(name)
    state, trials = _init(learner), _trials()
    broken = trials._replace(reward=trials.reward.at[1, 1, 0, 0].set(jnp.nan))
    new_state, metrics = learner.update(state, broken)
    _assert_close(new_state.params, state.params, rtol=0)
    epochs = 5 if name == 'promp' else 1
    assert int(new_state.num_skipped) == metrics['num_skipped'] == epochs
    if name == 'promp':
      _assert_close(new_state.opt_state, state.opt_state, rtol=0)
    # And it goes on from there.
    after, metrics = learner.update(new_state, trials)
    assert int(after.num_skipped) == epochs
    assert metrics['loss'] < metrics['loss_before']

  def test_rejected_trust_region_step_restores_and_says_so(self):
    """Rewards that say nothing: no candidate lowers the loss."""
    learner = _learner('trpo_maml')
    state, trials = _init(learner), _trials()
    flat = trials._replace(reward=jnp.zeros_like(trials.reward))
    new_state, metrics = learner.update(state, flat)
    _assert_close(new_state.params, state.params, rtol=0)
    assert metrics['step_accepted'] == 0
    assert metrics['num_skipped'] == 0
    np.testing.assert_allclose(metrics['outer_kl'], 0, atol=1e-14)
    _, metrics = learner.update(state, trials)
    assert metrics['step_accepted'] == 1


class TestStepSizes:
  @pytest.mark.parametrize('kind', ['fixed', 'scalar', 'per_parameter'])
  def test_learned_or_fixed(self, kind):
    learner = _learner('promp', inner_step_sizes=kind)
    state = _init(learner)
    new_state, metrics = learner.update(state, _trials())
    before, after = (s.params.step_sizes for s in (state, new_state))
    if kind == 'per_parameter':
      structure = jax.tree_util.tree_structure(state.params.policy)
      assert jax.tree_util.tree_structure(after) == structure
    for x, y in zip(
      *map(jax.tree_util.tree_leaves, (before, after)), strict=True
    ):
      np.testing.assert_allclose(x, 0.1)
      assert np.all(x == y) if kind == 'fixed' else np.all(x != y)
    assert metrics['loss'] < metrics['loss_before']

  def test_trust_region_learns_them_too(self):
    learner = _learner('trpo_maml', inner_step_sizes='per_parameter')
    state = _init(learner)
    new_state, metrics = learner.update(state, _trials())
    assert metrics['step_accepted'] == 1
    log_std = new_state.params.step_sizes['~']['log_std']
    assert np.all(log_std != 0.1)


class TestInnerKL:
  def test_coefficients_adapt_one_by_one(self):
    """Halved below target / 1.5, doubled above 1.5 · target."""
    learner = _learner(
      'promp', num_inner_steps=2, adaptive_inner_kl=True, inner_kl_target=1e-4
    )
    state, trials = _init(learner), _trials(2)
    new_state, metrics = learner.update(state, trials)
    for k in range(2):
      kl = metrics[f'inner_kl_{k}']
      factor = 0.5 if kl < 1e-4 / 1.5 else 2.0 if kl > 1.5e-4 else 1.0
      np.testing.assert_allclose(
        new_state.kl_coefficient[k], factor * 5e-4, rtol=1e-6
      )
      assert metrics[f'kl_coefficient_{k}'] == new_state.kl_coefficient[k]
    assert np.any(new_state.kl_coefficient != state.kl_coefficient)

  def test_measured_from_the_behaviour_policy_stored_or_not(self):
    """On-policy data: what is not stored is recomputed, to the same."""
    learner = _learner('promp')
    state = _init(learner)
    stored, recomputed = (
      learner.update(state, _trials(store_behaviour_params=store))
      for store in (True, False)
    )
    assert _trials(store_behaviour_params=False).behaviour_params == ()
    np.testing.assert_allclose(
      stored[1]['inner_kl_0'], recomputed[1]['inner_kl_0'], rtol=1e-8
    )
    _assert_close(
      stored[0].params.policy, recomputed[0].params.policy, rtol=1e-8
    )


def test_update_can_be_vmapped_over_seeds():
  settings = presets.make('vpg_maml', chunk_size=2)
  learner = learner_lib.make_meta_learner(
    settings, POLICY, devices=jax.devices()[:1]
  )
  keys = jax.random.split(jax.random.PRNGKey(0), 2)
  states = jax.vmap(lambda k: learner.init(k, jnp.zeros(2)))(keys)
  trials = jax.tree_util.tree_map(lambda x: jnp.stack([x, x]), _trials())
  together, _ = jax.jit(jax.vmap(learner.update))(states, trials)
  alone, _ = _learner('vpg_maml').update(_task(states, 1), _trials())
  _assert_close(_task(together, 1), alone, rtol=1e-8, atol=1e-12)


def test_refuses_trials_with_other_stages():
  learner = learner_lib.make_meta_learner(presets.make('promp'), POLICY)
  with pytest.raises(ValueError, match=r'K \+ 1 = 2 stages .* got \(3, 3'):
    learner.update(_init(learner), _trials(2))


def test_diagnostics_do_not_enter_the_gradient():
  """They are functions of the same parameters, but only looked at."""
  task = jax.tree_util.tree_map(lambda x: x[0], _trials())
  mask = task.mask

  def total(log_prob):
    return jnp.sum(
      diagnostics.task_diagnostics(
        objective=jnp.zeros(()),
        inner_kl=jnp.zeros(1),
        outer_kl=jnp.zeros(()),
        log_prob=log_prob,
        stages=task._replace(mask=mask),
        clip_epsilon=0.3,
      ).effective_sample_size
    )

  np.testing.assert_array_equal(jax.grad(total)(task.behaviour_log_prob), 0)
