"""Meta-gradients by an intrinsic reward, against exact sums and autodiff."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import intrinsic_reward, meta_gradient_bias
from acme_metarl.studies.meta_gradient_bias import estimation

HORIZON = 3
Parts, Settings = meta_gradient_bias.Parts, intrinsic_reward.Settings


@pytest.fixture(scope='module')
def problem(_float64):
  mdp_key, logits_key, policy_key = jax.random.split(jax.random.PRNGKey(3), 3)
  mdp = tabular.random_mdp(mdp_key, 2, 2, discount=0.9, concentration=1.0)
  return meta_gradient_bias.Problem(
    mdp,
    tabular.random_deterministic_policy(policy_key, mdp),
    0.5 * jax.random.normal(logits_key, (2, 2)),
  )


@pytest.fixture
def intrinsic():
  return jnp.array([[0.2, -0.3], [0.1, 0.4]])


@functools.cache
def _estimate(*names):
  return jax.jit(
    intrinsic_reward.make_estimate(names, HORIZON, max_inner_steps=3)
  )


def _with(mdp, reward):
  return mdp._replace(reward=mdp.reward + reward)


# The surrogate against sums of weighted advantages.


def weights_of(name, rho_tm1):
  """w_t, where V_0 = G_0 + Σ_t (γ_0 … γ_{t-1}) w_t A_t."""
  if name == 'log_likelihood':
    return jnp.log(rho_tm1)
  order = len(rho_tm1)
  if name.startswith('taylor'):
    order = int(name.removeprefix('taylor_'))
  weights = []
  for t in range(len(rho_tm1)):
    tuples = [
      jnp.prod(rho_tm1[np.array(steps, int)] - 1.0)
      for k in range(min(order, t + 1))
      for steps in itertools.combinations(range(t), k)
    ]
    weights.append((rho_tm1[t] - 1.0) * sum(tuples))
  return jnp.stack(weights)


@pytest.mark.parametrize(
  ('name', 'lambda_'),
  [('importance_sampling', 1.0)]
  + [
    (name, lambda_)
    for name in ('doubly_robust', 'log_likelihood', 'taylor_1', 'taylor_3')
    for lambda_ in (1.0, 0.7)
  ],
)
def test_the_surrogate_weighs_advantages(problem, name, lambda_):
  """Off-policy, an early end: derivatives by logits, reward and critic."""
  mdp = problem.mdp
  states = jnp.array([0, 0, 1, 0, 1])
  actions = jnp.array([1, 0, 1, 0])
  discounts, mask = jnp.array([1.0, 1.0, 0.0, 0.0]), jnp.array([1, 1, 1, 0.0])
  behaviour = jnp.array([[0.3, 0.7], [0.6, 0.4]])
  trajectories = tabular.Trajectories(
    *(x[None] for x in (states, actions, 0.0 * mask, discounts, mask))
  )
  surrogate = intrinsic_reward.make_surrogate(name, lambda_)

  def by_surrogate(logits, reward, critic):
    return surrogate(
      logits, reward, critic, mdp, behaviour, trajectories, jnp.ones(1)
    )

  def by_weights(logits, reward, critic):
    before = states[:-1]
    if name == 'importance_sampling':
      critic = 0.0 * critic
    discount_t = mdp.discount * discounts
    rewards = reward[before, actions] * mask
    delta = rewards + discount_t * critic[states[1:]] - critic[before]
    advantage, following = [], 0.0
    for t in reversed(range(len(mask))):
      following = delta[t] + lambda_ * discount_t[t] * following
      advantage.append(following)
    log_ratio = jax.nn.log_softmax(logits) - jnp.log(behaviour)
    rho = jnp.exp(log_ratio[before, actions] * mask)
    decay = jnp.cumprod(jnp.append(1.0, discount_t[:-1]))
    return jnp.dot(decay * weights_of(name, rho), jnp.stack(advantage[::-1]))

  def derivatives(function, logits, *rest):
    gradient = jax.grad(function)
    mixed = jax.jacrev(gradient, argnums=(0, 1, 2))
    return gradient(logits, *rest), mixed(logits, *rest)

  point = (problem.logits, mdp.reward, jnp.array([0.3, -0.2]))
  actual, expected = jax.jit(
    lambda point: [derivatives(f, *point) for f in (by_surrogate, by_weights)]
  )(point)
  chex.assert_trees_all_close(actual, expected, rtol=1e-10, atol=1e-12)


# The meta-gradient.


@pytest.mark.parametrize('num_steps', [1, 2, 3])
def test_exact_parts_give_the_derivative_of_learning(
  problem, intrinsic, num_steps
):
  settings = Settings(step_size=2.0, num_inner_steps=num_steps)

  @jax.jit
  def outer_value(intrinsic):
    logits = tabular.adapt(
      _with(problem.mdp, intrinsic), problem.logits, 2.0, num_steps
    )
    return tabular.value(problem.mdp, logits)

  got = _estimate()(
    jax.random.PRNGKey(0), problem, Parts(0, 0, 0), settings, intrinsic
  )
  exact = jax.jit(jax.grad(outer_value))(intrinsic)
  np.testing.assert_allclose(got, exact, rtol=1e-9)
  direction = jnp.array([[0.3, -0.5], [0.2, 0.1]])
  step = 1e-5 * direction
  difference = outer_value(intrinsic + step) - outer_value(intrinsic - step)
  np.testing.assert_allclose(
    difference / 2e-5, jnp.sum(got * direction), rtol=1e-7
  )


@pytest.mark.parametrize('moving_critic', [True, False])
def test_a_sampled_estimate_is_autodiff_through_the_swapped_step(
  problem, intrinsic, moving_critic
):
  """Theta' = sg(inner) + hessian - sg(hessian), on the same trajectories."""
  names = ('doubly_robust', 'taylor_1')
  num_steps, step_size, epsilon, lambda_ = 2, 1.5, 0.3, 0.9
  settings = Settings(
    step_size=step_size,
    num_inner_steps=num_steps,
    num_trajectories=estimation.CHUNK_SIZE,
    off_policyness=epsilon,
    lambda_=lambda_,
    differentiable_critic=moving_critic,
  )
  key = jax.random.PRNGKey(5)
  got = _estimate(*names)(key, problem, Parts(1, 2, 1), settings, intrinsic)

  stop = jax.lax.stop_gradient
  inner_key, hessian_key = jax.random.split(key)
  weights = jnp.full(estimation.CHUNK_SIZE, 1 / estimation.CHUNK_SIZE)

  def objective(name, key, at, reward):
    data_key, critic_key = jax.random.split(key)
    policy = tabular.softmax_policy(stop(at))
    behaviour = (1 - epsilon) * policy + epsilon * problem.deterministic
    value = tabular.state_values(problem.mdp._replace(reward=reward), behaviour)
    noise = jax.random.normal(critic_key, value.shape)
    critic = (value if moving_critic else stop(value)) + stop(
      jnp.linalg.norm(value) / len(value) * noise
    )
    trajectories = tabular.sample_trajectories(
      jax.random.fold_in(data_key, 0),
      problem.mdp,
      behaviour,
      estimation.CHUNK_SIZE,
      HORIZON,
    )
    surrogate = intrinsic_reward.make_surrogate(name, lambda_)
    return lambda x: surrogate(
      x, reward, critic, problem.mdp, behaviour, trajectories, weights
    )

  def outer(intrinsic):
    logits, reward = problem.logits, problem.mdp.reward
    for k in range(num_steps):
      total = reward + intrinsic
      first = objective(
        'doubly_robust', jax.random.fold_in(inner_key, k), logits, total
      )
      second = objective(
        'taylor_1', jax.random.fold_in(hessian_key, k), logits, total
      )
      inner = logits + step_size * jax.grad(first)(logits)
      hessian = logits + step_size * jax.grad(second)(logits)
      logits = stop(inner) + hessian - stop(hessian)
    last = jax.random.fold_in(inner_key, num_steps)
    return objective('doubly_robust', last, logits, reward)(logits)

  want = jax.jit(jax.grad(outer))(intrinsic)
  np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize('name', ['doubly_robust', 'taylor_1'])
def test_expected_mixed_derivative_is_exact(problem, intrinsic, name):
  """With lambda = 1, for any critic that does not move."""
  mdp = _with(problem.mdp, intrinsic)
  policy = tabular.softmax_policy(problem.logits)
  probabilities, trajectories = tabular.enumerate_trajectories(
    mdp, policy, HORIZON
  )
  critic = jnp.array([0.3, -0.2])
  surrogate = intrinsic_reward.make_surrogate(name, 1.0)

  def estimate(logits, reward):
    return surrogate(
      logits, reward, critic, mdp, policy, trajectories, probabilities
    )

  def exact(logits, reward):
    return tabular.value(mdp._replace(reward=reward), logits, HORIZON, critic)

  for function in (jax.grad, lambda f: jax.jacfwd(jax.grad(f), argnums=1)):
    np.testing.assert_allclose(
      jax.jit(function(estimate))(problem.logits, mdp.reward),
      jax.jit(function(exact))(problem.logits, mdp.reward),
      atol=1e-12,
    )


def test_padding_after_the_end_does_not_count(problem):
  """A row with an early end equals the row cut there."""
  mdp = problem.mdp._replace(terminal=jnp.array([False, True]))
  ended = tabular.Trajectories(
    states=jnp.array([[0, 0, 1, 1]]),
    actions=jnp.array([[1, 0, 0]]),
    rewards=jnp.array([[0.3, 0.2, 0.0]]),
    discounts=jnp.array([[1.0, 0.0, 0.0]]),
    mask=jnp.array([[1.0, 1.0, 0.0]]),
  )
  cut = tabular.Trajectories(
    ended.states[:, :3], *(x[:, :2] for x in ended[1:])
  )
  behaviour = jnp.full((2, 2), 0.5)
  for name in ('doubly_robust', 'log_likelihood', 'importance_sampling'):
    surrogate = intrinsic_reward.make_surrogate(name, 0.9)

    def gradient(trajectories, surrogate=surrogate):
      return jax.grad(surrogate)(
        problem.logits,
        mdp.reward,
        jnp.array([0.3, 0.0]),
        mdp,
        behaviour,
        trajectories,
        jnp.ones(1),
      )

    both = jax.jit(lambda *rows, f=gradient: [f(row) for row in rows])
    np.testing.assert_allclose(*both(ended, cut), rtol=1e-12)


def test_an_unknown_estimator_has_a_sentence():
  with pytest.raises(ValueError, match="Unknown evaluator 'lvc'; choose"):
    intrinsic_reward.make_estimate(('lvc',))
