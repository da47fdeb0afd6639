"""How accurate Hessians and meta-gradients are with any causal lambda.

The problems, points and trajectories are those of `derivative_accuracy`. The
meta-gradient is that of one task and one inner step of size α,

    (I + α H) ∇V(θ + α g),

with gradient g and Hessian H estimated at θ from the same N trajectories of the
behaviour policy, as agents do, and ∇V at the adapted policy from N trajectories
of that policy. Off-policy g depends on causal lambda as well, so each one has
an adapted policy of its own; all of those use the same random numbers. The
exact one is `tabular.meta_gradient`.

A second meta-gradient has H alone estimated: it says what causal lambda does
where nothing else is noisy.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import tabular
from acme_metarl.studies import (
  derivative_accuracy,
  lag_terms,
  meta_gradient_bias,
)


class Accuracy(NamedTuple):
  """Correlations with the exact derivatives, in [-1, 1].

  Attributes:
    hessian: `[M]` by causal lambda.
    meta_gradient: `[M]`, all parts estimated.
    of_hessian: `[M]`, of the meta-gradient whose Hessian alone is estimated.
  """

  hessian: chex.Array
  meta_gradient: chex.Array
  of_hessian: chex.Array


@functools.partial(jax.jit, static_argnames=('setting',))
def trial(
  trial_key: chex.PRNGKey,
  epsilon: chex.Numeric,
  num_trajectories: chex.Numeric,
  causal_lambdas: chex.Array,
  step_size: chex.Numeric,
  setting: derivative_accuracy.Setting,
) -> Accuracy:
  """Runs one trial of one point; compiled once for all points of a setting.

  Args:
    trial_key: random key of the trial, the same for all points.
    epsilon: in [0, 1), distance of the target from the behaviour policy.
    num_trajectories: N >= 1.
    causal_lambdas: `[M]`.
    step_size: α.
    setting: sizes and distributions; a horizon of 2 at least.

  Returns:
    The accuracies.
  """
  problem, data_key = derivative_accuracy.start_trial(
    trial_key, epsilon, num_trajectories, setting
  )
  mdp = problem.mdp
  logits = derivative_accuracy.target_logits(problem, epsilon)
  data = lag_terms.sampled_tables(
    data_key,
    mdp,
    problem.behaviour,
    problem.critic,
    num_trajectories,
    setting.horizon,
  )
  lags = lag_terms.derivatives(data, logits, problem.behaviour)
  weights = lag_terms.powers(causal_lambdas, setting.horizon)
  gradient = jnp.einsum('ml,lxa->mxa', weights, lags.gradient)
  hessian = jnp.einsum('ml,lxayb->mxayb', weights, lags.hessian)
  exact_hessian = tabular.value_hessian(mdp, logits)
  exact_outer = tabular.value_gradient(
    mdp, tabular.adapt(mdp, logits, step_size)
  )
  exact = exact_outer + step_size * jnp.tensordot(exact_hessian, exact_outer)

  # No chunk of the data is drawn with it.
  outer_key = jax.random.split(data_key)[0]

  def adapted_gradient(gradient):
    return outer_gradient(
      outer_key,
      mdp,
      logits + step_size * gradient,
      num_trajectories,
      setting.horizon,
    )

  outer = jax.vmap(adapted_gradient)(gradient)
  estimate = outer + step_size * jnp.einsum('mxayb,myb->mxa', hessian, outer)
  of_hessian = exact_outer + step_size * jnp.einsum(
    'mxayb,yb->mxa', hessian, exact_outer
  )
  correlations = jax.vmap(derivative_accuracy.correlation, (0, None))
  return Accuracy(
    correlations(hessian, exact_hessian),
    correlations(estimate, exact),
    correlations(of_hessian, exact),
  )


def outer_gradient(
  key: chex.PRNGKey,
  mdp: tabular.TabularMDP,
  logits: chex.Array,
  num_trajectories: chex.Numeric,
  horizon: int,
) -> chex.Array:
  """Estimates the gradient of V(x_0) from the policy's own trajectories.

  The critic is V of the policy, with the noise of `derivative_accuracy`.

  Args:
    key: random key.
    mdp: the process.
    logits: theta `[X, A]`.
    num_trajectories: N >= 1, may be traced.
    horizon: T >= 2.

  Returns:
    The gradient `[X, A]`.
  """
  data_key, critic_key = jax.random.split(key)
  policy = tabular.softmax_policy(logits)
  critic = meta_gradient_bias.noisy_critic(
    critic_key, tabular.state_values(mdp, policy), 1.0
  )
  first = lag_terms.sampled_tables(
    data_key, mdp, policy, critic, num_trajectories, horizon
  ).first.reshape(policy.shape)
  # First order of the policy's own data: of log pi, each entry's share.
  return first - policy * jnp.sum(first, -1, keepdims=True)
