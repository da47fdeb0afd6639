"""The inner loop: optimisers, learned options and rewards, both derivatives."""

import functools

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import config, evaluators, types
from acme_metarl.evaluators import derivatives, reductions
from acme_metarl.meta import (
  inner_loop,
  objectives,
  policies,
  preparation,
  synthetic,
)
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import task_loss as task_loss_lib

POLICY = policies.gaussian(2, hidden_sizes=())
ORDER_2 = functools.partial(evaluators.taylor_expansion, order=2)


@pytest.fixture(scope='module')
def params(_float64):
  return POLICY.init(jax.random.PRNGKey(0), jnp.zeros(2))


@functools.cache
def _trials(num_inner_steps):
  params = POLICY.init(jax.random.PRNGKey(0), jnp.zeros(2))
  behaviour = jax.tree_util.tree_map(lambda p: p + 0.1 * jnp.sin(p), params)
  return jax.jit(
    lambda: synthetic.make_trials(
      jax.random.PRNGKey(1),
      POLICY,
      behaviour,
      observation_size=2,
      num_tasks=2,
      num_inner_steps=num_inner_steps,
      num_rollouts=3,
      horizon=5,
      early_termination=True,
    )
  )()


def _task(num_inner_steps, bootstraps=False):
  trial = jax.tree_util.tree_map(lambda x: x[0], _trials(num_inner_steps))
  if bootstraps:  # So that a return depends on its discount and its λ.
    trial = trial._replace(discount=trial.mask)
  prepare = functools.partial(preparation.prepare, discount=0.9)
  stages = jax.vmap(prepare)(trial)
  return task_loss_lib.Task(
    stages._replace(behaviour_params=()),
    stages.behaviour_params,
    jnp.zeros(()),
  )


def _loss(inner, num_inner_steps):
  return task_loss_lib.TaskLoss(
    POLICY, inner, num_inner_steps, objectives.Surrogate(), needs_kl=False
  )


def _value(inner, num_inner_steps, task):
  loss = _loss(inner, num_inner_steps)
  return lambda meta_params: loss.task_loss(
    meta_params, task, jnp.zeros(num_inner_steps)
  )[0]


def _assert_gradient_is_slope(function, tree):
  point, unravel = flatten_util.ravel_pytree(tree)
  directions = np.random.default_rng(0).normal(size=(3, point.size))

  @jax.jit
  def values_and_gradient(point):
    steps = 1e-5 * jnp.array([directions, -directions])
    flat = jax.vmap(jax.vmap(lambda x: function(unravel(x))))
    return flat(point + steps), jax.grad(lambda x: function(unravel(x)))(point)

  (ahead, behind), gradient = values_and_gradient(point)
  np.testing.assert_allclose(
    (ahead - behind) / 2e-5, directions @ gradient, rtol=1e-6, atol=1e-9
  )
  return unravel(gradient)


@pytest.mark.parametrize(
  'optimizer',
  [
    optax.sgd(1.0, momentum=0.9),
    optax.adam(1.0),
    optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0)),
  ],
  ids=['momentum', 'adam', 'clipped'],
)
def test_through_optax_against_finite_differences(optimizer, params):
  """Of parameters and of a step size for each of them, their state included."""
  inner = inner_loop.GradientAscent(
    policies.log_prob_fn(POLICY),
    ORDER_2,
    reductions.per_step,
    optimizer=optimizer,
  )
  sizes = jax.tree_util.tree_map(lambda p: 0.03 + 0.01 * jnp.sin(p), params)
  meta_params = inner_loop.MetaParams(params, sizes)
  _assert_gradient_is_slope(_value(inner, 3, _task(3)), meta_params)


def test_momentum_is_carried_from_step_to_step(params):
  """Twice the same gradient: the second step is 1.9 times the first."""
  inner = inner_loop.GradientAscent(
    lambda theta, observation, action: theta * observation,
    evaluators.log_likelihood,
    optimizer=optax.sgd(1.0, momentum=0.9),
  )
  ones = jnp.ones((1, 1))
  prepared = types.Prepared(
    observation=ones,
    action=ones,
    v_tm1=0 * ones,
    v_t=0 * ones,
    r_t=ones,
    discount_t=0 * ones,
    advantage=ones,
    mask=ones,
    behaviour_log_prob=0 * ones,
  )
  meta_params = inner_loop.MetaParams(jnp.zeros(()), jnp.asarray(0.1))
  state = inner.init(meta_params)
  first = inner.update(meta_params, *state, prepared)
  second = inner.update(meta_params, *first, prepared)
  np.testing.assert_allclose(first[0], 0.1)
  np.testing.assert_allclose(second[0] - first[0], 0.19)


EVALUATORS = {
  'importance_sampling': evaluators.importance_sampling,
  'doubly_robust': evaluators.doubly_robust,
  'order 2': ORDER_2,
  'log_likelihood': evaluators.log_likelihood,
}


@pytest.mark.parametrize('name', EVALUATORS)
def test_mixed_differentiation_is_the_same(name, params):
  def gradient(differentiation):
    inner = inner_loop.GradientAscent(
      policies.log_prob_fn(POLICY),
      EVALUATORS[name],
      reductions.per_step,
      differentiation=differentiation,
      optimizer=optax.adam(1.0),
    )
    meta_params = inner_loop.MetaParams(params, jnp.asarray(0.03))
    return jax.jit(jax.grad(_value(inner, 2, _task(2))))(meta_params)

  jax.tree_util.tree_map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12),
    gradient('mixed'),
    gradient('reverse'),
  )


def _learned(options, differentiation='reverse', **settings):
  settings = config.AlgorithmConfig(
    evaluator_options={'order': 2},
    discount=0.9,
    inner_kl_coefficient=0.0,
    learned_evaluator_options=options,
    inner_differentiation=differentiation,
    num_inner_steps=2,
    **settings,
  )
  return learner_lib.make_inner_loop(settings, POLICY)


@pytest.mark.parametrize('name', ['lambda_', 'causal_lambda', 'discount'])
@pytest.mark.parametrize('differentiation', ['reverse', 'mixed'])
def test_learned_options_against_finite_differences(
  name, differentiation, params
):
  inner = _learned({name: 0.7}, differentiation)
  meta_params = inner.init_meta_params(jax.random.PRNGKey(0), jnp.zeros(2))
  np.testing.assert_allclose(jax.nn.sigmoid(meta_params.learned[name]), 0.7)
  task = _task(2, bootstraps=True)
  gradient = _assert_gradient_is_slope(_value(inner, 2, task), meta_params)
  assert abs(gradient.learned[name]) > 1e-6


def test_a_learned_option_starts_as_the_option(params):
  """An evaluator given the number has the same adaptation."""
  meta_params = inner_loop.MetaParams(params, jnp.asarray(0.1))
  task = _task(2, bootstraps=True)
  fixed = config.AlgorithmConfig(
    evaluator_options={'order': 2, 'lambda_': 0.7}, discount=0.9
  )
  value = _value(learner_lib.make_inner_loop(fixed, POLICY), 2, task)
  inner = _learned({'lambda_': 0.7})
  learned = inner.init_meta_params(jax.random.PRNGKey(0), jnp.zeros(2))
  np.testing.assert_allclose(
    jax.jit(_value(inner, 2, task))(learned),
    jax.jit(value)(meta_params),
    rtol=1e-12,
  )


def test_learned_rewards_against_finite_differences(params):
  """A reward added by a function of the observation, and its critic."""

  def transform(learned, prepared):
    reward = jnp.tanh(prepared.observation @ learned)
    return prepared._replace(r_t=prepared.r_t + reward * prepared.mask)

  inner = inner_loop.GradientAscent(
    policies.log_prob_fn(POLICY),
    functools.partial(ORDER_2, stop_target_gradients=False),
    reductions.per_step,
    transform=transform,
  )
  meta_params = inner_loop.MetaParams(
    params, jnp.asarray(0.1), jnp.array([0.3, -0.2])
  )
  task = _task(2)
  gradient = _assert_gradient_is_slope(_value(inner, 2, task), meta_params)
  assert np.all(np.abs(gradient.learned) > 1e-6)


class Shared:
  """Whoever needs another inner loop writes one: steps of one learned size."""

  def __init__(self, settings, policy):
    self._policy = policy
    self._settings = settings

  def init_meta_params(self, key, observation):
    return {
      'theta': self._policy.init(key, observation),
      'log_step': jnp.log(jnp.asarray(0.1)),
    }

  def init(self, meta_params):
    return meta_params['theta'], ()

  def update(self, meta_params, params, opt_state, prepared):
    def objective(candidate):
      log_prob = policies.log_prob_fn(self._policy)(
        candidate, prepared.observation, prepared.action
      )
      return derivatives.reduced_estimate(
        log_prob, prepared, evaluators.doubly_robust, reductions.per_step
      )

    step = jnp.exp(meta_params['log_step'])
    gradient = jax.grad(objective)(params)
    return jax.tree_util.tree_map(
      lambda p, g: p + step * g, params, gradient
    ), opt_state


@pytest.mark.parametrize('optimizer', ['adam', 'trust_region'])
def test_an_inner_loop_of_ones_own(optimizer):
  settings = config.AlgorithmConfig(
    num_tasks=2,
    inner_loop=Shared,
    outer_optimizer=optimizer,
    outer_objective='surrogate',
    num_outer_epochs=1,
  )
  learner = learner_lib.make_meta_learner(settings, POLICY, jax.devices()[:1])
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(2))
  new_state, metrics = jax.jit(learner.update)(state, _trials(1))
  assert metrics['num_skipped'] == 0
  moved = jax.tree_util.tree_map(
    lambda x, y: float(jnp.max(jnp.abs(x - y))), new_state.params, state.params
  )
  assert moved['log_step'] > 0
  assert moved['theta']['linear']['w'] > 0


@pytest.mark.parametrize('sizes', [jnp.ones(2), jnp.ones((1, 3)), {'a': 0.1}])
def test_refuses_step_sizes_of_other_shapes(sizes):
  """Broadcasting would give the parameters another shape."""
  with pytest.raises(ValueError, match='step_sizes must be a scalar'):
    inner_loop.ascend(jnp.zeros(3), jnp.ones(3), sizes)


@pytest.mark.parametrize(
  ('step_sizes', 'learned', 'trained'),
  [
    ('fixed', (), 'policy'),
    ('fixed', 'learned', inner_loop.MetaParams('policy', (), 'learned')),
    ('scalar', (), inner_loop.MetaParams('policy', 'sizes')),
    (
      'scalar',
      'learned',
      inner_loop.MetaParams('policy', 'sizes', 'learned'),
    ),
  ],
)
def test_what_is_trained_and_how_it_comes_back(step_sizes, learned, trained):
  """All but fixed step sizes and the baseline; the policy alone goes bare."""
  inner = inner_loop.GradientAscent(None, None, step_sizes=step_sizes)
  whole = inner_loop.MetaParams('policy', 'sizes', learned, 'baseline')
  assert inner_loop.trainable_part(inner, whole) == trained
  stepped = jax.tree_util.tree_map(lambda x: f'new {x}', trained)
  expected = whole._replace(policy='new policy')
  if learned:
    expected = expected._replace(learned='new learned')
  if step_sizes == 'scalar':
    expected = expected._replace(step_sizes='new sizes')
  assert inner_loop.merge_trainable(inner, whole, stepped) == expected
