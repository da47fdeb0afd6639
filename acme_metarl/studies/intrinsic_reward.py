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
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import evaluators, tabular, types
from acme_metarl.studies import derivative_accuracy, meta_gradient_bias

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


def make_surrogate(
  name: str, lambda_: chex.Numeric
) -> Callable[..., chex.Array]:
  """Returns the estimate of V(x_0) as one function.

  Args:
    name: of an estimator. Importance sampling has no critic, so its return is
      the Monte Carlo one, and λ plays no part.
    lambda_: of the advantages.

  Returns:
    `surrogate(logits, reward, critic, mdp, behaviour, trajectories, weights)`,
    a scalar, to be differentiated by the logits `[X, A]`, the reward table
    `[X, A]` and the critic `[X]`; weights `[N]` sum to 1.

  Raises:
    ValueError: if no estimator has the name.
  """
  evaluator: Any = derivative_accuracy.make_evaluator(name)
  if name == 'doubly_robust':
    # With advantages of any λ.
    evaluator = functools.partial(evaluators.loaded_dice, lambda_=lambda_)
  elif name == 'truncated_doubly_robust':
    evaluator = functools.partial(evaluator, lambda_=lambda_)
  elif name != 'importance_sampling':
    evaluator = functools.partial(
      evaluator, lambda_=lambda_, stop_target_gradients=False
    )

  def surrogate(logits, reward, critic, mdp, behaviour, trajectories, weights):
    before = trajectories.states[:, :-1]
    actions, mask = trajectories.actions, trajectories.mask
    data = types.Prepared(
      observation=(),
      action=(),
      v_tm1=critic[before],
      v_t=critic[trajectories.states[:, 1:]],
      r_t=reward[before, actions] * mask,
      discount_t=mdp.discount * trajectories.discounts,
      advantage=(),
      mask=mask,
      behaviour_log_prob=jnp.log(behaviour)[before, actions],
    )
    return evaluators.reduced_estimate(
      tabular.log_prob(logits, before, actions),
      data,
      evaluator,
      weights=weights * weights.size,  # The reduction is a mean.
    )

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
    make_surrogate(name, 1.0)
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
