"""Meta-gradients of a learned intrinsic reward on tabular MDPs (LIRPG).

The meta-parameter is a table of intrinsic rewards r_in, one number a state and
action. A softmax policy takes K policy-gradient steps on r + r_in,

    theta_{k+1} = theta_k + alpha grad_theta V(theta_k; r + r_in),

and the outer objective is V(theta_K; r), on the true reward alone. With
u_K the outer gradient and u_k = (I + alpha H_k) u_{k+1}, the meta-gradient is
the sum over k of alpha (d^2 V(theta_k) / d theta d r_in)^T u_{k+1}: with one
step only the mixed derivative counts, with more of them Hessians do.

Each of inner gradients, derivatives of the inner gradients (mixed derivatives
and Hessians) and outer gradient can be exact or an estimate, as in
`acme_metarl.meta_gradient_bias`. Advantages are generalised advantage estimates
of r + r_in and a critic of it, which depend on r_in.

See "On Learning Intrinsic Rewards for Policy Gradient Methods" by Zheng, Oh and
Singh (2018), https://arxiv.org/abs/1804.06459, and Section 5.1 of "A
Theoretical Understanding of Gradient Bias in Meta-Reinforcement Learning" by
Liu et al. (2022), https://arxiv.org/abs/2112.15400.
"""

from collections.abc import Callable, Sequence
import functools
import re
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import tabular
from acme_metarl.studies import meta_gradient_bias

ESTIMATORS = meta_gradient_bias.ESTIMATORS


class Settings(NamedTuple):
  """Numbers of an estimate, all of which may be traced.

  Attributes:
    step_size: alpha of the inner steps.
    num_inner_steps: K >= 1.
    num_trajectories: N >= 1, behind each estimated part of each step.
    critic_noise: standard deviation of the critic's error in every state, in
      units of |V| / X, the norm of the values over the number of states.
    off_policyness: epsilon in [0, 1). Data are drawn from
      (1 - epsilon) pi + epsilon deterministic, pi being the current policy.
    lambda_: of the generalised advantage estimates, in [0, 1].
    differentiable_critic: whether the critic of r + r_in, which moves with
      r_in, is differentiated.
  """

  step_size: chex.Numeric = 10.0
  num_inner_steps: chex.Numeric = 1
  num_trajectories: chex.Numeric = 64
  critic_noise: chex.Numeric = 1.0
  off_policyness: chex.Numeric = 0.0
  lambda_: chex.Numeric = 0.9
  differentiable_critic: chex.Numeric = True


# estimate(key, problem, parts, settings, intrinsic_reward=None) -> [X, A]
Estimate = Callable[..., chex.Array]


def advantage_weights(name: str, rho_tm1: chex.Array) -> chex.Array:
  """Weights w_t with which an evaluator adds up the advantages.

  With a state critic, each evaluator of `acme_metarl.evaluators` is
  V_0 = G_0 + sum_t (gamma_0 ... gamma_{t-1}) w_t A_t, with weights that are
  functions of the importance ratios alone:

  * importance sampling, doubly robust: (rho_t - 1) rho_0 ... rho_{t-1};
  * Taylor expansion of order K: the same with the product expanded in powers
    of rho - 1 up to the order K - 1;
  * log-likelihood: log rho_t.

  So advantages of any kind, and their derivatives, can be put in: evaluators
  hold theirs constant.

  Args:
    name: of an estimator.
    rho_tm1: `[T]` importance ratios.

  Returns:
    `[T]` weights.

  Raises:
    ValueError: if no estimator has the name.
  """
  if name == 'log_likelihood':
    return jnp.log(rho_tm1)
  excess = rho_tm1 - 1.0
  if name in ('importance_sampling', 'doubly_robust'):
    before = jnp.concatenate([jnp.ones_like(rho_tm1[:1]), rho_tm1[:-1]])
    return excess * jnp.cumprod(before)
  if not (match := re.fullmatch(r'taylor_([1-9]\d{0,2})', name)):
    raise ValueError(
      f'Unknown estimator {name!r}; choose from {", ".join(ESTIMATORS)}, or a '
      'higher order like taylor_4.'
    )
  # powers[j]: the sum over all j-tuples of earlier steps of their excesses'
  # products.
  powers = jnp.zeros(int(match.group(1)), rho_tm1.dtype).at[0].set(1.0)

  def step(powers, x):
    lower = jnp.concatenate([jnp.zeros_like(powers[:1]), powers[:-1]])
    return powers + x * lower, x * jnp.sum(powers)

  return lax.scan(step, powers, excess)[1]


def advantages(
  reward_tm1: chex.Array,
  value: chex.Array,
  discount_t: chex.Array,
  lambda_: chex.Numeric,
) -> chex.Array:
  """Generalised advantage estimates, differentiable in everything.

  Args:
    reward_tm1: `[T]` rewards.
    value: `[T + 1]` critic at x_0 ... x_T.
    discount_t: `[T]` discounts.
    lambda_: in [0, 1].

  Returns:
    `[T]` A_t = delta_t + lambda gamma_t A_{t+1}.
  """
  delta = reward_tm1 + discount_t * value[1:] - value[:-1]

  def step(following, inputs):
    delta_t, discount = inputs
    advantage = delta_t + lambda_ * discount * following
    return advantage, advantage

  return lax.scan(
    step, jnp.zeros_like(delta[0]), (delta, discount_t), reverse=True
  )[1]


def make_surrogate(
  name: str, lambda_: chex.Numeric
) -> Callable[..., chex.Array]:
  """Returns the estimate of V(x_0), up to a constant, as one function.

  Args:
    name: of an estimator. Importance sampling has no critic, so its advantage
      is the plain return: critic 0 and lambda 1.
    lambda_: of the advantages.

  Returns:
    `surrogate(logits, reward, critic, mdp, behaviour, trajectories, weights)`,
    a scalar, to be differentiated by the logits `[X, A]`, the reward table
    `[X, A]` and the critic `[X]`. Its derivatives that involve the logits are
    those of the evaluator; weights `[N]` sum to 1.
  """
  has_critic = name != 'importance_sampling'

  def surrogate(logits, reward, critic, mdp, behaviour, trajectories, weights):
    log_ratio = jax.nn.log_softmax(logits) - jnp.log(behaviour)

    def one(states, actions, discounts, mask):
      before = states[:-1]
      discount_t = mdp.discount * discounts
      value = critic[states] if has_critic else jnp.zeros_like(critic)[states]
      advantage = advantages(
        reward[before, actions] * mask,
        value,
        discount_t,
        lambda_ if has_critic else 1.0,
      )
      rho_tm1 = jnp.exp(log_ratio[before, actions] * mask)
      decay = jnp.cumprod(
        jnp.concatenate([jnp.ones_like(discount_t[:1]), discount_t[:-1]])
      )
      return jnp.dot(decay * advantage_weights(name, rho_tm1), advantage)

    estimates = jax.vmap(one)(
      trajectories.states,
      trajectories.actions,
      trajectories.discounts,
      trajectories.mask,
    )
    return jnp.dot(weights, estimates)

  return surrogate


def make_estimate(
  estimators: Sequence[str] = ESTIMATORS,
  horizon: int = 20,
  max_inner_steps: int = 8,
) -> Estimate:
  """Returns the function that draws one estimate of the meta-gradient.

  Args:
    estimators: names; their order gives `Parts` numbers. Without any, all parts
      are exact.
    horizon: T, length of the trajectories; each closes with the critic.
    max_inner_steps: the largest `Settings.num_inner_steps`; larger ones count
      as this.

  Returns:
    `estimate(key, problem, parts, settings, intrinsic_reward=None) -> [X, A]`,
    to be jitted and vmapped over keys and problems; parts are numbers, see
    `meta_gradient_bias.Parts.numbers`, and no intrinsic reward is 0.
  """
  for name in estimators:
    advantage_weights(name, jnp.ones(1))
  differentiate = functools.partial(_differentiate, tuple(estimators), horizon)

  def estimate(key, problem, parts, settings, intrinsic_reward=None):
    reward = problem.mdp.reward
    inner_reward = (
      reward if intrinsic_reward is None else reward + intrinsic_reward
    )
    num_steps = jnp.minimum(settings.num_inner_steps, max_inner_steps)
    inner_key, hessian_key = jax.random.split(key)

    def forward(k, carry):
      # Step K is the outer gradient, of the true reward.
      logits, _ = carry
      is_inner = k < num_steps
      gradient = differentiate(
        jnp.where(is_inner, parts.inner, parts.outer),
        jax.random.fold_in(inner_key, k),
        _with_reward(problem, jnp.where(is_inner, inner_reward, reward)),
        settings,
        _Point(logits[k], None),
      )
      adapted = logits[k] + settings.step_size * gradient
      return logits.at[k + 1].set(adapted), gradient

    start = jnp.asarray(problem.logits)
    logits = jnp.zeros((max_inner_steps + 2, *start.shape), start.dtype)
    logits, outer = lax.fori_loop(
      0,
      num_steps + 1,
      forward,
      (logits.at[0].set(start), jnp.zeros_like(start)),
    )

    def backward(i, carry):
      vector, meta_gradient = carry
      k = num_steps - 1 - i
      hessian, mixed = differentiate(
        jnp.asarray(parts.hessian),
        jax.random.fold_in(hessian_key, k),
        _with_reward(problem, inner_reward),
        settings,
        _Point(logits[k], vector),
      )
      return (
        vector + settings.step_size * hessian,
        meta_gradient + settings.step_size * mixed,
      )

    start = (outer, jnp.zeros_like(outer))
    return lax.fori_loop(0, num_steps, backward, start)[1]

  return estimate


class _Point(NamedTuple):
  """Where to differentiate, and what.

  Attributes:
    logits: `[X, A]`.
    vector: None for the gradient by the logits; otherwise `[X, A]`, for the
      products of the derivatives of that gradient, by logits and by reward,
      with this vector.
  """

  logits: chex.Array
  vector: chex.Array | None

  def derivatives(
    self,
    objective: Callable[[chex.Array, chex.Array, chex.Array], chex.Array],
    reward: chex.Array,
    critic: chex.Array,
  ) -> chex.ArrayTree:
    """Of an objective of logits, reward and critic; by all three if mixed."""
    if self.vector is None:
      return jax.grad(objective)(self.logits, reward, critic)

    def slope(logits, reward, critic):
      def of_logits(x):
        return objective(x, reward, critic)

      return jax.jvp(of_logits, (logits,), (self.vector,))[1]

    return jax.grad(slope, argnums=(0, 1, 2))(self.logits, reward, critic)


def _with_reward(
  problem: meta_gradient_bias.Problem, reward: chex.Array
) -> meta_gradient_bias.Problem:
  return problem._replace(mdp=problem.mdp._replace(reward=reward))


def _differentiate(
  estimators: tuple[str, ...],
  horizon: int,
  number: chex.Array,
  key: chex.PRNGKey,
  problem: meta_gradient_bias.Problem,
  settings: Settings,
  point: _Point,
) -> chex.ArrayTree:
  """Derivatives of V(x_0) at a point: exact, or an estimator's average.

  Args:
    estimators: names.
    horizon: T.
    number: 0 for exact, otherwise 1 + the estimator's index.
    key: random key.
    problem: its MDP's reward is the one that counts.
    settings: numbers of the estimate.
    point: where, and what.

  Returns:
    The gradient by the logits; or a Hessian-vector product and the product
    of the mixed derivative, which has the critic's part in it.
  """
  mdp = problem.mdp
  data_key, critic_key = jax.random.split(key)
  behaviour = meta_gradient_bias.behaviour_policy(
    problem, point.logits, settings.off_policyness
  )

  def critic_of(reward):
    value = tabular.state_values(mdp._replace(reward=reward), behaviour)
    fixed = lax.stop_gradient(value)
    noisy = meta_gradient_bias.noisy_critic(
      critic_key, fixed, settings.critic_noise
    )
    return noisy + settings.differentiable_critic * (value - fixed)

  def exact():
    def objective(logits, reward, critic):
      del critic
      return tabular.value(mdp._replace(reward=reward), logits)

    return point.derivatives(
      objective, mdp.reward, jnp.zeros_like(mdp.reward[:, 0])
    )

  def sampled():
    critic = critic_of(mdp.reward)

    def chunk(trajectories, weights):
      def branch(name):
        surrogate = make_surrogate(name, settings.lambda_)

        def objective(logits, reward, critic):
          return surrogate(
            logits, reward, critic, mdp, behaviour, trajectories, weights
          )

        return point.derivatives(objective, mdp.reward, critic)

      branches = [functools.partial(branch, name) for name in estimators]
      return lax.switch(number - 1, branches)

    return meta_gradient_bias.sum_over_chunks(
      chunk, data_key, mdp, behaviour, settings.num_trajectories, horizon
    )

  if estimators:
    derivatives = lax.cond(number == 0, exact, sampled)
  else:
    derivatives = exact()
  if point.vector is None:
    return derivatives
  by_logits, by_reward, by_critic = derivatives
  pull_back = jax.vjp(critic_of, mdp.reward)[1]
  return by_logits, by_reward + pull_back(by_critic)[0]
