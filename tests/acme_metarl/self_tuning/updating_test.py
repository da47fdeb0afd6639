"""Meta-gradients through chained updates, against what they must be."""

import dataclasses
import functools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import evaluators, self_tuning, tabular, types

EVALUATORS = {
  'log_likelihood': ('log_likelihood', {}),
  'order_1': ('taylor_expansion', {'order': 1}),
  'order_2': ('taylor_expansion', {'order': 2}),
  'causal_lambda': ('loaded_dice', {'causal_lambda': 0.5}),
  'doubly_robust': ('doubly_robust', {}),
  'leaky': ('truncated_doubly_robust', {'leak_rho': 0.5, 'leak_c': 0.5}),
}
OPTIMIZERS = {'sgd': optax.sgd(0.5), 'adam': self_tuning.adam(0.05)}
TUNED = {
  'discount': self_tuning.Range(),
  'lambda_': self_tuning.Range(),
  'policy_cost': self_tuning.Range(0.0, float('inf')),
  'value_cost': self_tuning.Range(),
  'entropy_cost': self_tuning.Range(),
}
START = self_tuning.Hyperparameters(0.9, 0.8, 1.0, 0.5, 0.1)
B, T, K = 3, 4, 3


def _torso(observation):
  return jnp.tanh(hk.Linear(3)(observation))


def _networks(critic='shared', critic_torso=None):
  return self_tuning.make_actor_critic(
    _spec(num_values=3),
    _spec(shape=(2,)),
    critic=critic,
    torso=_torso,
    critic_torso=critic_torso,
  )


def _spec(**attributes):
  return type('Spec', (), {'dtype': np.float64, **attributes})


def _update(name, optimizer, critic='shared', critic_torso=None, **options):
  evaluator, evaluator_options = EVALUATORS[name]
  return self_tuning.ActorCriticUpdate(
    _networks(critic, critic_torso),
    start=START,
    tuned=TUNED,
    evaluator=evaluator,
    evaluator_options=evaluator_options,
    optimizer=OPTIMIZERS[optimizer],
    critic=critic,
    **options,
  )


def _stage(update, params, key):
  """A rollout that `params` could have played."""
  keys = jax.random.split(key, 4)
  observation = jax.random.normal(keys[0], (B, T + 1, 2))
  distribution = update.networks.apply(params, observation, START).distribution
  action, log_prob = distribution.sample_and_log_prob(seed=keys[1])
  return jax.lax.stop_gradient(
    types.Stage(
      observation=observation,
      action=action[:, :-1],
      reward=jax.random.normal(keys[2], (B, T)),
      discount=1.0 * jax.random.bernoulli(keys[3], 0.8, (B, T)),
      mask=jnp.ones((B, T)),
      behaviour_log_prob=log_prob[:, :-1],
    )
  )


def _life(update):
  """A life with an optimiser that has seen a gradient."""
  life = update.init_meta_params(jax.random.PRNGKey(0), jnp.zeros(2))
  params = jax.tree_util.tree_map(
    lambda x: (
      x
      + 0.3 * jnp.sin(jnp.arange(x.size, dtype=x.dtype) + 1.0).reshape(x.shape)
    ),
    life.params,
  )
  gradient = jax.tree_util.tree_map(lambda x: 0.1 + 0.01 * x, params)
  _, opt_state = update.descend(params, life.opt_state, gradient)
  return life._replace(params=params, opt_state=opt_state)


def _chain(step, life, stages):
  """Parameters after 1, 2, … updates."""
  params, opt_state = life.params, life.opt_state
  for stage in stages:
    params, opt_state = step(life, params, opt_state, stage)
    yield params


@functools.cache
def _meta_gradients(name, optimizer, critic='shared', critic_torso=None):
  """For K = 1, 2, 3, by differentiation and by finite differences `[3, 5]`."""
  update = _update(name, optimizer, critic, critic_torso)
  # One program for an update and one for its derivative, however many.
  step = jax.jit(update.update)
  life = _life(update)
  play = jax.jit(functools.partial(_stage, update))
  stages, now = [], update.init(life)
  for k in range(K + 1):
    stages.append(play(now[0], jax.random.PRNGKey(k)))
    now = step(life, *now, stages[-1])

  def chain(tuned):
    return list(_chain(step, update.merge(life, tuned), stages[:-1]))

  # The outer loss is a policy loss: its advantages are constant.
  outer = jax.jit(jax.grad(update.outer_loss))
  params, pull_back = jax.vjp(chain, life.tuned)
  ends = [
    outer(x, stage, life) for x, stage in zip(params, stages[1:], strict=True)
  ]
  zeros = jax.tree.map(jnp.zeros_like, params)
  exact = [
    pull_back([*zeros[:k], ends[k], *zeros[k + 1 :]])[0] for k in range(K)
  ]
  differences = [_difference(chain, life.tuned, x, ends) for x in life.tuned]
  return (
    np.array([[x[name] for name in life.tuned] for x in exact]),
    np.array(differences).T,
  )


def _difference(chain, tuned, name, ends, size=1e-5):
  """Of parameters after K updates, along the outer gradients, for every K."""
  ahead, behind = (
    chain({**tuned, name: tuned[name] + sign * size}) for sign in (1.0, -1.0)
  )
  leaves = jax.tree.leaves
  return [
    sum(
      np.vdot(x, a - b) / (2 * size)
      for x, a, b in zip(*map(leaves, (end, *pair)), strict=True)
    )
    for end, *pair in zip(ends, ahead, behind, strict=True)
  ]


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
@pytest.mark.parametrize('name', EVALUATORS)
def test_meta_gradient_equals_finite_differences(_float64, name, optimizer):
  exact, differences = _meta_gradients(name, optimizer)
  assert np.abs(exact).min() > 1e-6  # Everything that is tuned has a part.
  np.testing.assert_allclose(exact, differences, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize(
  ('critic', 'critic_torso'),
  [
    ('conditioned', None),
    ('outer', None),
    ('shared', _torso),
    ('conditioned', _torso),
    ('outer', _torso),
  ],
)
def test_so_it_does_with_other_critics(_float64, critic, critic_torso):
  exact, differences = _meta_gradients('order_2', 'sgd', critic, critic_torso)
  np.testing.assert_allclose(exact, differences, rtol=2e-6, atol=1e-9)
  # With one update, what the critic's loss weighs moves no policy but a shared
  # network's. With more, the critic has a part in advantages.
  value_cost = np.abs(exact[:, sorted(TUNED).index('value_cost')])
  assert (value_cost[0] == 0) == (critic_torso is not None)
  assert (value_cost[1:] > 1e-6).all()


@pytest.mark.parametrize('critic', ['shared', 'conditioned', 'outer'])
def test_critics_of_their_own_share_nothing(_float64, critic):
  networks = _networks(critic, _torso)
  params = networks.init(jax.random.PRNGKey(0), jnp.ones(2))

  def outputs(params):
    evaluation = networks.apply(params, jnp.ones(2), START)
    logits = evaluation.distribution.logits
    return logits[0], evaluation.value, evaluation.outer_value

  moves = [
    {name for name, x in row.items() if jax.tree.leaves(x)[1].any()}
    for row in jax.jacobian(outputs)(params)
  ]
  policy, value, outer_value = moves
  assert len(policy) == 2
  size = 3 if critic == 'conditioned' else 2  # A torso, and what is on top.
  assert len(value) == len(outer_value) == size
  assert not policy & (value | outer_value)
  assert (value & outer_value == set()) == (critic == 'outer')


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_evaluators_agree_on_one_update_and_not_on_more(_float64, optimizer):
  found = {x: _meta_gradients(x, optimizer)[0] for x in EVALUATORS}
  reference = found['log_likelihood']
  for name, meta_gradient in found.items():
    np.testing.assert_allclose(
      meta_gradient[0], reference[0], rtol=1e-9, err_msg=name
    )
  # On-policy nothing is truncated, and doubly robust is what is left of it.
  np.testing.assert_allclose(
    found['leaky'][2], found['doubly_robust'][2], rtol=1e-9
  )
  names = [x for x in EVALUATORS if x != 'leaky']
  for i, name in enumerate(names):
    for other in names[:i]:
      distance = np.linalg.norm(found[name][2] - found[other][2])
      assert distance > 1e-4 * np.linalg.norm(reference[2]), (name, other)


@pytest.mark.parametrize(
  ('name', 'is_partial'), [('order_2', True), ('leaky', False)]
)
def test_a_function_is_what_its_name_is(_float64, name, is_partial):
  """By itself it holds its targets constant, γ and λ among them."""
  named = _update(name, 'sgd')
  function, options = getattr(evaluators, named.evaluator), EVALUATORS[name][1]
  if is_partial:
    function, options = functools.partial(function, **options), {}
  own = dataclasses.replace(
    named, evaluator=function, evaluator_options=options
  )
  life = _life(named)
  stage = _stage(named, life.params, jax.random.PRNGKey(0))

  def slopes(update):
    def total(tuned):
      params, _ = update.update(
        update.merge(life, tuned), *update.init(life), stage
      )
      return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(params))

    return jax.jit(jax.grad(total))(life.tuned)

  jax.tree.map(np.testing.assert_allclose, slopes(own), slopes(named))


def test_state_of_the_optimizer_can_be_held_constant(_float64):
  reference = _update('order_1', 'adam')
  life = _life(reference)
  stages = [
    _stage(reference, life.params, jax.random.PRNGKey(k)) for k in range(2)
  ]

  def total(tuned, differentiates):
    update = _update('order_1', 'adam', differentiates_optimizer=differentiates)
    *_, params = _chain(update.update, update.merge(life, tuned), stages)
    return sum(jnp.sum(x) for x in jax.tree.leaves(params))

  values = {
    x: jax.jit(jax.value_and_grad(total), static_argnums=1)(life.tuned, x)
    for x in (True, False)
  }
  assert values[True][0] == values[False][0]
  difference = values[True][1]['discount'] - values[False][1]['discount']
  assert abs(difference) > 1e-6


def test_shipped_meta_loss_has_that_gradient(_float64):
  config = self_tuning.SelfTuningConfig(
    hyperparameters=START,
    tuned=TUNED,
    num_inner_steps=2,
    optimizer=OPTIMIZERS['sgd'],
  )
  tuner = self_tuning.Tuner(config, _networks())
  update = tuner.update

  @jax.jit
  def compute():
    life = _life(update)
    stages, now = [], update.init(life)
    for k in range(3):
      stages.append(_stage(update, now[0], jax.random.PRNGKey(k)))
      now = update.update(life, *now, stages[-1])
    gradient, _ = jax.grad(tuner.meta_loss, has_aux=True)(
      life.tuned, life, stages[0], _next, tuple(stages[1:])
    )
    return gradient

  gradient = jax.device_get(compute())
  expected = _meta_gradients('log_likelihood', 'sgd')[0][1]
  np.testing.assert_allclose(list(gradient.values()), expected, rtol=1e-9)


@pytest.mark.parametrize('own', [None, optax.sgd(0.5)])
def test_a_bootstrapped_target_steps_down_the_outer_loss(_float64, own):
  """From where the inner loss led, by a state that has not seen its gradients.

  And the meta-gradient is that of the divergence from a constant target.
  """
  config = self_tuning.SelfTuningConfig(
    hyperparameters=START,
    tuned=TUNED,
    optimizer=OPTIMIZERS['adam'],
    bootstrap_steps=1,
    target_optimizer=own,
  )
  tuner = self_tuning.Tuner(config, _networks())
  update, life = tuner.update, _life(tuner.update)
  first = _stage(update, life.params, jax.random.PRNGKey(0))

  @jax.jit
  def move(tuned):
    merged = update.merge(life, tuned)
    return update.update(merged, *update.init(merged), first)[0]

  params = move(life.tuned)
  validation = _stage(update, params, jax.random.PRNGKey(1))
  gradient, (result, loss) = jax.jit(
    jax.grad(
      lambda x: tuner.meta_loss(x, life, first, _next, (validation,)),
      has_aux=True,
    )
  )(life.tuned)

  step = own or config.optimizer
  outer = jax.grad(update.outer_loss)(params, validation, life)
  changes, after = step.update(outer, step.init(params), params)
  jax.tree.map(np.testing.assert_allclose, result.target_opt_state, after)
  target = update.policies(
    optax.apply_updates(params, changes), validation, life
  )

  @jax.jit
  def distance(tuned):
    ours = update.policies(move(tuned), validation, life)
    return jnp.mean(target.kl_divergence(ours))

  np.testing.assert_allclose(loss, distance(life.tuned), rtol=1e-9)
  size = 1e-5
  for name, x in life.tuned.items():
    ahead, behind = (
      distance({**life.tuned, name: x + sign * size}) for sign in (1.0, -1.0)
    )
    difference = (ahead - behind) / (2 * size)
    assert abs(difference) > 1e-7
    np.testing.assert_allclose(gradient[name], difference, rtol=1e-5)


def _next(params, stages):
  del params
  return stages[0], stages[1:]


# What follows is exact: all trajectories, weighted by their probabilities.


def _tabular_networks(value=None):
  """A softmax table; `value(discount) -> [X]`, or no critic."""

  def apply(logits, observation, numbers):
    zero = jnp.zeros(observation.shape, logits.dtype)
    distribution = distrax.Categorical(logits=logits[observation])
    if value is None:
      return self_tuning.Evaluation(distribution, zero, zero)
    return self_tuning.Evaluation(
      distribution,
      value(jax.lax.stop_gradient(numbers.discount))[observation],
      value(_OUTER_DISCOUNT)[observation],
    )

  return self_tuning.ActorCritic(lambda key, x: None, apply)


def _all_rollouts(mdp, logits, horizon):
  """Every trajectory as a rollout; its mask is its probability."""
  policy = tabular.softmax_policy(logits)
  weights, paths = tabular.enumerate_trajectories(mdp, policy, horizon)
  states = paths.states[:, :-1]
  return types.Stage(
    observation=paths.states,
    action=paths.actions,
    reward=paths.rewards,
    discount=paths.discounts,
    mask=jnp.broadcast_to(weights[:, None], paths.rewards.shape),
    behaviour_log_prob=jnp.log(policy[states, paths.actions]),
  )


def _tabular_meta_gradient(tuner, life, mdp, path, horizon):
  """Of rollouts by the policies of a path of logits."""
  first, *rest = (_all_rollouts(mdp, logits, horizon) for logits in path)
  gradient = jax.jit(jax.grad(tuner.meta_loss, has_aux=True), static_argnums=3)
  return gradient(life.tuned, life, first, _next, tuple(rest))[0]


_OUTER_DISCOUNT = 0.95


@pytest.mark.parametrize('num_updates', [1, 2, 3])
@pytest.mark.parametrize('name', ['doubly_robust', 'order_2', 'log_likelihood'])
def test_equals_the_exact_meta_gradient(_float64, name, num_updates):
  horizon, rate = 2, 0.7
  mdp = tabular.random_mdp(jax.random.PRNGKey(1), 3, 2)._replace(discount=1.0)
  logits = jax.random.normal(jax.random.PRNGKey(2), (3, 2))
  evaluator, options = EVALUATORS[name]
  tuner = self_tuning.Tuner(
    self_tuning.SelfTuningConfig(
      hyperparameters=self_tuning.Hyperparameters(1.0, 1.0, 1.5, 0.0, 0.0),
      tuned={'policy_cost': TUNED['policy_cost']},
      evaluator=evaluator,
      evaluator_options=options,
      num_inner_steps=num_updates,
      optimizer=optax.sgd(rate),
      outer_discount=1.0,
      outer_lambda=1.0,
    ),
    _tabular_networks(),
  )
  tuned = {'policy_cost': TUNED['policy_cost'].from_number(1.5)}
  life = self_tuning.MetaParams(tuned, logits, optax.sgd(rate).init(logits))
  # The loss is a mean over steps, and V(x_0) their sum.
  size = rate / horizon
  path = [
    tabular.adapt(mdp, logits, 1.5 * size, k, horizon)
    for k in range(num_updates + 1)
  ]
  found = _tabular_meta_gradient(tuner, life, mdp, path, horizon)['policy_cost']

  def after(x):
    cost = TUNED['policy_cost'].to_number(x)
    adapted = tabular.adapt(mdp, logits, cost * size, num_updates, horizon)
    return -tabular.value(mdp, adapted, horizon) / horizon

  expected = jax.jit(jax.grad(after))(tuned['policy_cost'])
  if name == 'log_likelihood' and num_updates > 1:
    assert abs(found / expected - 1) > 1e-3  # Its Hessian is biased.
  else:
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def _two_states():
  """Action 0 pays now and stays in 0; action 1 leads to 1, which pays more."""
  return tabular.make_mdp(
    transition=jnp.array([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.4, 0.6]]]),
    reward=jnp.array([[0.5, 0.0], [1.5, 1.0]]),
    discount=0.5,
    start_state=0,
  )


@pytest.mark.parametrize(
  ('critic', 'is_unbiased'),
  [('outer', True), ('shared', False), ('conditioned', False)],
)
def test_outer_critic_is_unbiased(_float64, critic, is_unbiased):
  """One step, bootstrapped with the exact values of what each is trained for.

  A conditioned critic was only ever trained at the discount that the agent had:
  linear in the discount, it has the least weights that are right there.
  """
  inner_discount = 0.5
  mdp = _two_states()
  logits = jnp.array([[0.2, -0.1], [0.3, 0.0]])
  policy = tabular.softmax_policy(logits)

  def exact(discount):
    return tabular.state_values(mdp._replace(discount=discount), policy)

  def conditioned(discount):
    share = 1 + inner_discount * discount
    return exact(inner_discount) * share / (1 + inner_discount**2)

  values = conditioned if critic == 'conditioned' else exact
  tuner = self_tuning.Tuner(
    self_tuning.SelfTuningConfig(
      hyperparameters=self_tuning.Hyperparameters(
        inner_discount, 1.0, 1.0, 0.0, 0.0
      ),
      tuned=['discount'],
      optimizer=optax.sgd(1e-9),
      critic=critic,
      outer_discount=_OUTER_DISCOUNT,
      outer_lambda=1.0,
      outer_value_cost=0.0,
    ),
    _tabular_networks(values),
  )
  tuned = {'discount': jnp.zeros(())}
  life = self_tuning.MetaParams(tuned, logits, optax.sgd(1e-9).init(logits))
  path = [logits, logits]
  found = _tabular_meta_gradient(tuner, life, mdp, path, 1)['discount'] / 1e-9

  def policy_gradient(discount):
    """Of the first step alone: Σ_a ∇π(a|x_0) Q(x_0, a)."""
    action_values = tabular.action_values(
      mdp._replace(discount=discount), policy
    )
    return jax.grad(
      lambda x: jnp.vdot(tabular.softmax_policy(x)[0], action_values[0])
    )(logits)

  outer = policy_gradient(_OUTER_DISCOUNT)
  # The inner critic's own discount is data: only γ itself is differentiated.
  bootstrapped = mdp.transition @ values(inner_discount)
  by_discount = jax.grad(
    lambda x: jnp.vdot(tabular.softmax_policy(x)[0], bootstrapped[0])
  )(logits)
  slope = jax.grad(jax.nn.sigmoid)(0.0)
  expected = -jnp.vdot(outer, by_discount) * slope
  if is_unbiased:
    np.testing.assert_allclose(found, expected, rtol=1e-6)
  else:
    assert abs(found / expected - 1) > 0.03


def test_rollouts_are_data(_float64):
  """Nothing is differentiated through how they were played."""
  tuner = self_tuning.Tuner(
    self_tuning.SelfTuningConfig(hyperparameters=START, tuned=TUNED),
    _networks(),
  )
  life = _life(tuner.update)
  stage = _stage(tuner.update, life.params, jax.random.PRNGKey(0))

  def scaled(params):
    scale = jnp.sum(jax.tree.leaves(params)[0])
    return stage._replace(reward=stage.reward * scale)

  @jax.jit
  def compute():
    params, _ = tuner.update.update(life, *tuner.update.init(life), stage)
    played = jax.lax.stop_gradient(scaled(params))

    def gradient(one):
      return jax.grad(tuner.meta_loss, has_aux=True)(
        life.tuned, life, stage, lambda params, _: (one(params), ()), ()
      )[0]

    return gradient(scaled), gradient(lambda _: played)

  found, expected = jax.device_get(compute())
  np.testing.assert_allclose(
    list(found.values()), list(expected.values()), rtol=1e-9
  )
