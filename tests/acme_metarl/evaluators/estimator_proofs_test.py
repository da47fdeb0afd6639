"""Unbiasedness as equalities: exact expectations over all trajectories."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators, tabular, types
from acme_metarl.evaluators import derivatives, ratios

ATOL = 1e-10


class Enumeration:
  """All trajectories of a small MDP under μ, and critics that are wrong.

  θ are the logits of the target policy, raveled. States 0 and 1 go on, the
  last one ends the episode where `terminating`.
  """

  def __init__(self, horizon, terminating=True, seed=0):
    rng = np.random.default_rng(seed)
    num_states = 3 if terminating else 2
    self.shape = (num_states, 2)
    self.horizon = horizon
    self.mdp = tabular.make_mdp(
      rng.dirichlet(np.full(num_states, 0.2), self.shape),
      3 * rng.normal(size=self.shape),
      0.9,
      terminal=np.arange(num_states) == 2 if terminating else None,
    )
    self.on_policy = jnp.asarray(rng.normal(size=2 * num_states))
    self.off_policy = jnp.asarray(rng.normal(size=2 * num_states))
    self.mu = tabular.softmax_policy(self.on_policy.reshape(self.shape))
    self.probabilities, self.data = tabular.enumerate_trajectories(
      self.mdp, self.mu, horizon
    )
    self.actions = self.data.actions
    self.states = self.data.states[:, :-1]
    self.discount_t = self.mdp.discount * self.data.discounts
    self.state_critic = jnp.asarray(rng.normal(size=num_states))
    self.state_action_critic = jnp.asarray(rng.normal(size=self.shape))

  def log_prob(self, theta, state, action):
    return tabular.log_prob(theta.reshape(self.shape), state, action)

  def rho(self, theta):
    return ratios.importance_ratios(
      self.log_prob(theta, self.states, self.actions),
      jnp.log(self.mu)[self.states, self.actions],
    )

  def v_pi(self, theta):
    policy = tabular.softmax_policy(theta.reshape(self.shape))
    return jnp.sum(policy * self.state_action_critic, axis=-1)

  def estimates(self, evaluator, theta, critic):
    """[M, T] of all trajectories."""
    v = self.v_pi(theta) if critic == 'state_action' else self.state_critic
    inputs = [
      v[self.states],
      v[self.data.states[:, 1:]],
      self.data.rewards,
      self.discount_t,
      self.rho(theta),
    ]
    options = {}
    if critic == 'state_action':
      options['q_tm1'] = self.state_action_critic[self.states, self.actions]
    if critic == 'state_action' and _is_taylor(evaluator):
      v_mu = jnp.sum(self.mu * self.state_action_critic, axis=-1)
      options['v_mu_tm1'] = v_mu[self.states]
    return jax.vmap(lambda args, options: evaluator(*args, **options))(
      inputs, options
    )

  def expectation(self, evaluator, critic):
    """θ -> [T] the expected estimate at every step still running."""

    def expected(theta):
      estimates = self.estimates(evaluator, theta, critic)
      return self.probabilities @ (estimates * self.data.mask)

    return expected

  def truth(self, critic):
    """θ -> [T] the expectation under μ of V^π at the state of every step."""

    def expected(theta):
      bootstrap = {
        None: lambda: None,
        'state': lambda: self.state_critic,
        'state_action': lambda: self.v_pi(theta),
      }[critic]()
      values, _ = tabular.finite_horizon_values(
        self.mdp,
        tabular.softmax_policy(theta.reshape(self.shape)),
        self.horizon,
        bootstrap,
      )
      visited = values[jnp.arange(self.horizon), self.states]
      return self.probabilities @ (visited * self.data.mask)

    return expected


def _is_taylor(evaluator):
  return getattr(evaluator, 'func', None) is evaluators.taylor_expansion


def taylor(order):
  return functools.partial(evaluators.taylor_expansion, order=order)


def all_derivatives(f, theta, up_to=3):
  functions = [f]
  for order in range(up_to):
    transform = jax.jacrev if order == 0 else jax.jacfwd
    functions.append(transform(functions[-1]))
  return jax.jit(lambda x: [g(x) for g in functions])(theta)


def directional_derivatives(f, theta, up_to):
  """Of f(θ + s d) by s at 0, for a fixed direction d."""
  direction = 3 * jnp.cos(jnp.arange(theta.size, dtype=theta.dtype))
  functions = [lambda s: f(theta + s * direction)]
  for _ in range(up_to):
    functions.append(jax.jacfwd(functions[-1]))
  return jax.jit(lambda s: [g(s) for g in functions])(jnp.zeros(()))


@pytest.fixture(scope='module')
def short():
  return Enumeration(horizon=3)


@pytest.fixture(scope='module')
def long():
  return Enumeration(horizon=4, terminating=False)


@pytest.mark.parametrize(
  ('evaluator', 'critic'),
  [
    (evaluators.importance_sampling, None),
    (evaluators.doubly_robust, 'state'),
    (evaluators.doubly_robust, 'state_action'),
    (taylor(3), 'state'),
    (taylor(3), 'state_action'),
  ],
)
def test_derivatives_are_unbiased_off_policy(short, evaluator, critic):
  """Orders 0 … 3 of every estimate, V̂_0 … V̂_{T-1}."""
  theta = short.off_policy
  chex.assert_trees_all_close(
    all_derivatives(short.expectation(evaluator, critic), theta),
    all_derivatives(short.truth(critic), theta),
    atol=ATOL,
    rtol=0,
  )


def test_the_enumeration_covers_terminations(short):
  np.testing.assert_allclose(short.probabilities.sum(), 1.0, atol=1e-14)
  assert (short.data.discounts[:, :-1] == 0).any()
  assert (short.data.discounts[:, -1] == 1).any()
  assert np.abs(short.rho(short.off_policy) - 1).max() > 0.5


@pytest.mark.parametrize('critic', ['state', 'state_action'])
@pytest.mark.parametrize('order', [1, 2, 3])
def test_taylor_is_exact_on_policy_up_to_its_order(long, order, critic):
  assert order < long.horizon
  f = long.expectation(taylor(order), critic)
  got = directional_derivatives(
    lambda theta: f(theta)[0], long.on_policy, order + 1
  )
  exact = directional_derivatives(
    lambda theta: long.truth(critic)(theta)[0], long.on_policy, order + 1
  )
  np.testing.assert_allclose(got[: order + 1], exact[: order + 1], atol=ATOL)
  assert abs(got[order + 1] - exact[order + 1]) > 1e-2


@pytest.mark.parametrize('order', [1, 2])
def test_taylor_hessian_on_policy_component_by_component(short, order):
  got = all_derivatives(
    short.expectation(taylor(order), 'state'), short.on_policy, 2
  )
  exact = all_derivatives(short.truth('state'), short.on_policy, 2)
  chex.assert_trees_all_close(
    got[: order + 1], exact[: order + 1], atol=ATOL, rtol=0
  )
  agrees = np.allclose(got[2], exact[2], atol=1e-2)
  assert agrees == (order == 2)


def test_low_orders_and_truncation_are_biased_off_policy(short):
  theta = short.off_policy
  exact = short.truth('state')(theta)[0]
  for evaluator in (taylor(1), taylor(2), evaluators.vtrace):
    estimate = short.expectation(evaluator, 'state')(theta)[0]
    assert abs(estimate - exact) > 1e-3


def test_log_likelihood_has_the_wrong_hessian(short):
  theta = short.on_policy
  got = all_derivatives(
    short.expectation(evaluators.log_likelihood, 'state'), theta, 2
  )
  exact = all_derivatives(short.truth('state'), theta, 2)
  chex.assert_trees_all_close(got[:2], exact[:2], atol=ATOL, rtol=0)
  assert np.abs(got[2] - exact[2])[0].max() > 1e-2


def test_state_action_expansion_needs_the_behaviour_expectation(short):
  # With v_μ replaced by v_π at μ = π nothing is left of the first-order term.
  theta = short.on_policy

  def double_counting(theta):
    v = short.v_pi(theta)
    q = short.state_action_critic[short.states, short.actions]
    estimates = jax.vmap(
      lambda *args: evaluators.taylor_expansion(
        *args[:5], q_tm1=args[5], v_mu_tm1=args[0]
      )
    )(
      v[short.states],
      v[short.data.states[:, 1:]],
      short.data.rewards,
      short.discount_t,
      short.rho(theta),
      q,
    )
    return short.probabilities @ estimates[:, 0]

  got = all_derivatives(double_counting, theta, 1)[1]
  exact = all_derivatives(short.truth('state_action'), theta, 1)[1][0]
  assert np.abs(got - exact).max() > 1e-2


def test_control_variate_of_tmaml_is_biased(short):
  """Liu, Socher and Xiong (2019): terms s = t have non-zero curvature."""

  def control_variate(theta):
    rho = short.rho(theta)
    baseline = short.state_critic[short.states] * short.data.mask
    terms = (1 - jnp.cumprod(rho, axis=1)) * (1 - rho) * baseline
    return short.probabilities @ jnp.sum(terms, axis=1)

  def without_own_step(theta):
    rho = short.rho(theta)
    before = jnp.cumprod(rho, axis=1) / rho
    baseline = short.state_critic[short.states] * short.data.mask
    return short.probabilities @ jnp.sum(
      (1 - before) * (1 - rho) * baseline, axis=1
    )

  value, gradient, hessian = all_derivatives(
    control_variate, short.on_policy, 2
  )
  np.testing.assert_allclose(value, 0.0, atol=ATOL)
  np.testing.assert_allclose(gradient, np.zeros_like(gradient), atol=ATOL)
  assert np.abs(hessian).max() > 1e-2
  fine = all_derivatives(without_own_step, short.on_policy, 2)
  for derivative in fine:
    np.testing.assert_allclose(derivative, 0 * derivative, atol=ATOL)


@pytest.mark.parametrize(
  'evaluator',
  [evaluators.importance_sampling, evaluators.doubly_robust, taylor(4)],
)
def test_sampled_gradient_is_consistent(long, evaluator):
  """Within five standard errors of the exact one, for every component."""
  num_trajectories = 4000
  data = tabular.sample_trajectories(
    jax.random.PRNGKey(1), long.mdp, long.mu, num_trajectories, long.horizon
  )
  states, actions = data.states[:, :-1], data.actions
  critic = jnp.zeros_like(long.state_critic)
  if evaluator is not evaluators.importance_sampling:
    critic = long.state_critic
  batch = types.Prepared(
    observation=states,
    action=actions,
    v_tm1=critic[states],
    v_t=critic[data.states[:, 1:]],
    r_t=data.rewards,
    discount_t=long.mdp.discount * data.discounts,
    advantage=jnp.zeros_like(data.rewards),
    mask=data.mask,
    behaviour_log_prob=jnp.log(long.mu)[states, actions],
  )

  @jax.jit
  @jax.vmap
  def gradients(trajectory):
    return derivatives.gradient(
      long.log_prob,
      long.off_policy,
      jax.tree.map(lambda x: x[None], trajectory),
      evaluator,
    )

  samples = gradients(batch)  # [N, D]
  truth = long.truth(None if not critic.any() else 'state')
  exact = all_derivatives(lambda x: truth(x)[0], long.off_policy, 1)[1]
  error = samples.mean(0) - exact
  standard_error = samples.std(0, ddof=1) / np.sqrt(num_trajectories)
  assert (np.abs(error) <= 5 * standard_error).all()
  assert (standard_error < 0.5).all()
