r"""Gradients of N-sample objectives, L_N(θ) = E[F(θ, X̄)].

X̄ is the mean of N independent X_i = X(θ, z_i), z_i ~ p_θ. That is not the
mean of F(θ, X_i): F sees the noise of the mean. One-step meta-reinforcement
learning is of this kind, F(θ, x) = V(θ + ηx) at an estimated gradient x; see
`one_step_adaptation`.

The three estimators share the derivative through F's own θ and through X's own
θ. They differ in how they see that θ moves the samples:

* `score_function`: F(θ, X̄) Σ_i ∇log p(z_i). Unbiased, variance O(N).
* `linearised_score_function`: (1/N) Σ_i (∇_x F(θ, X̄)ᵀ X_i) ∇log p(z_i).
  Bias O(1/N), variance O(1/N).
* `path_wise`: differentiates the samples themselves, z_i = z(θ, noise_i).
  Unbiased, variance O(1/N), but the distribution must allow it.

From "Biased Gradient Estimate with Drastic Variance Reduction for Meta
Reinforcement Learning" by Tang (2022), https://arxiv.org/abs/2112.07328.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import input_checks


def _sample_itself(
  params: types.PyTree, sample: chex.ArrayTree
) -> chex.ArrayTree:
  del params
  return sample


class Objective(NamedTuple):
  """L_N(θ) = E[F(θ, X̄)], X̄ = mean of N statistics X(θ, z_i), z_i ~ p_θ.

  Attributes:
    distribution: `params -> p_θ`, distrax's interface. `log_prob` of a batch of
      N samples must be `[N]`, so wrap a vector of independent components in
      `distrax.Independent`. `sample` is needed by `sample` and `path_wise`
      only: trajectories that an environment drew need no more than `log_prob`.
    function: `(params, mean) -> F(θ, x)`, a scalar.
    statistic: `(params, sample) -> X(θ, z)` of ONE sample, any pytree of
      floating-point arrays; the sample itself by default.
  """

  distribution: Callable[[types.PyTree], Any]
  function: Callable[[types.PyTree, chex.ArrayTree], chex.Array]
  statistic: Callable[[types.PyTree, chex.ArrayTree], chex.ArrayTree] = (
    _sample_itself
  )


def sample(
  objective: Objective,
  params: types.PyTree,
  key: chex.PRNGKey,
  num_samples: int,
) -> chex.ArrayTree:
  """Draws N samples of p_θ, `[N, ...]`, constant for differentiation.

  Raises:
    ValueError: if `num_samples` is no integer of at least 1.
  """
  num_samples = input_checks.positive_integer('num_samples', num_samples)
  samples = objective.distribution(params).sample(
    seed=key, sample_shape=(num_samples,)
  )
  return lax.stop_gradient(samples)


def score_function(
  objective: Objective,
  params: types.PyTree,
  samples: chex.ArrayTree,
  *,
  baseline: chex.Numeric = 0.0,
) -> types.PyTree:
  """The score-function estimate of ∇L_N(θ), SF.

  ∇_θ F(θ, X̄) + (F(θ, X̄) − b) Σ_i ∇log p(z_i), where ∇_θ F includes the
  derivative through X's own θ. Unbiased, but the sum, not the mean, of N scores
  makes its variance O(N). With one-step adaptation it is E-MAML's estimate.

  The baseline b ≈ F(θ, E X) takes the growth away (the variance is then O(1)),
  where such a number is known without these samples.

  See https://arxiv.org/abs/2112.07328, and on E-MAML
  https://arxiv.org/abs/1803.01118.

  Args:
    objective: the N-sample objective.
    params: θ.
    samples: `[N, ...]` drawn from p_θ, at this θ; any pytree.
    baseline: b, a scalar that does not depend on the samples; constant.

  Returns:
    A pytree like `params`.

  Raises:
    ValueError: if there are no samples, or a shape does not fit.
  """
  num_samples = _num_samples(samples)
  samples = lax.stop_gradient(samples)

  def surrogate(theta):
    log_prob = _log_prob(objective, theta, samples, num_samples)
    value = _value(objective, theta, samples)
    constant = lax.stop_gradient(value - baseline)
    return value + constant * jnp.sum(log_prob)

  return jax.grad(surrogate)(params)


def linearised_score_function(
  objective: Objective, params: types.PyTree, samples: chex.ArrayTree
) -> types.PyTree:
  """The linearised score-function estimate of ∇L_N(θ), LSF.

  ∇_θ F(θ, X̄) + (1/N) Σ_i (∇_x F(θ, X̄)ᵀ X_i) ∇log p(z_i), where ∇_θ F includes
  the derivative through X's own θ. It is the derivative of F at the importance-
  sampling estimate of E X, the mean of ρ_i X_i with ρ_i = p_θ(z_i) / p(z_i):
  biased by O(1/N), because F is not linear, with a variance of O(1/N).

  With one-step adaptation it is (I + ηĤ)∇V, Ĥ the trajectory-level (DiCE)
  estimate of the Hessian.

  See https://arxiv.org/abs/2112.07328.

  Args:
    objective: the N-sample objective.
    params: θ.
    samples: `[N, ...]` drawn from p_θ, at this θ; any pytree.

  Returns:
    A pytree like `params`.

  Raises:
    ValueError: if there are no samples, or a shape does not fit.
  """
  num_samples = _num_samples(samples)
  samples = lax.stop_gradient(samples)

  def surrogate(theta):
    log_prob = _log_prob(objective, theta, samples, num_samples)
    # ρ = 1, with the derivative of log p.
    rho = jnp.exp(log_prob - lax.stop_gradient(log_prob))
    return _value(objective, theta, samples, rho)

  return jax.grad(surrogate)(params)


def path_wise(
  objective: Objective,
  params: types.PyTree,
  key: chex.PRNGKey,
  num_samples: int,
) -> types.PyTree:
  """The path-wise (reparameterisation) estimate of ∇L_N(θ), PW.

  The derivative of F(θ, X̄) through the samples, which must be a differentiable
  function of θ and of noise: unbiased, with a variance of O(1/N).

  Args:
    objective: the N-sample objective; its distribution must reparameterise its
      samples, as distrax's Normal, LogStddevNormal, Gumbel, Logistic or
      Uniform do. A continuous one that does not gives a wrong answer that
      cannot be told from a right one; a discrete one is refused.
    params: θ.
    key: random key.
    num_samples: N ≥ 1.

  Returns:
    A pytree like `params`.

  Raises:
    ValueError: if the samples are discrete, or `num_samples` is no integer of
      at least 1.
  """
  num_samples = input_checks.positive_integer('num_samples', num_samples)

  def surrogate(theta):
    samples = objective.distribution(theta).sample(
      seed=key, sample_shape=(num_samples,)
    )
    for leaf in jax.tree.leaves(samples):
      if not jnp.issubdtype(leaf.dtype, jnp.floating):
        raise ValueError(
          'objective.distribution must have continuous, reparameterised'
          f' samples for path_wise, but they are of dtype {leaf.dtype}. Use'
          ' linearised_score_function.'
        )
    return _value(objective, theta, samples)

  return jax.grad(surrogate)(params)


def one_step_adaptation(
  log_prob: Callable[[types.PyTree, chex.ArrayTree], chex.Array],
  value: Callable[[types.PyTree], chex.Array],
  step_size: chex.Numeric,
) -> Objective:
  """One-step meta-reinforcement learning as an N-sample objective.

  F(θ, x) = V(θ + ηx) at the estimate x of the policy gradient from N
  trajectories, X_i = R_i ∇log p_θ(τ_i). Samples are pairs `(τ, R)` of a
  trajectory and its return.

  Args:
    log_prob: `(params, trajectory) -> log p_θ(τ)` of one trajectory, up to a
      constant: the sum of the policy's log-probabilities.
    value: V, `params -> scalar`; exact, or an estimate from post-adaptation
      data.
    step_size: η.

  Returns:
    The objective.
  """

  class Trajectories(NamedTuple):
    params: types.PyTree

    def log_prob(self, samples):
      trajectories, _ = samples
      return jax.vmap(log_prob, in_axes=(None, 0))(self.params, trajectories)

  def function(params, mean):
    adapted = jax.tree.map(lambda p, x: p + step_size * x, params, mean)
    return value(adapted)

  def statistic(params, trajectory_and_return):
    trajectory, return_ = trajectory_and_return
    score = jax.grad(log_prob)(params, trajectory)
    return jax.tree.map(lambda x: return_ * x, score)

  return Objective(Trajectories, function, statistic)


def _value(
  objective: Objective,
  params: types.PyTree,
  samples: chex.ArrayTree,
  weights: chex.Array | None = None,
) -> chex.Array:
  """F at the mean of the statistics, each times its weight if given."""
  statistics = jax.vmap(objective.statistic, in_axes=(None, 0))(params, samples)

  def mean(x):
    if weights is None:
      return jnp.mean(x, axis=0)
    return jnp.tensordot(weights, x, axes=1) / weights.shape[0]

  value = objective.function(params, jax.tree.map(mean, statistics))
  if jnp.shape(value) != ():
    raise ValueError(
      f'objective.function must return a scalar, but got {jnp.shape(value)}.'
    )
  return value


def _log_prob(
  objective: Objective,
  params: types.PyTree,
  samples: chex.ArrayTree,
  num_samples: int,
) -> chex.Array:
  log_prob = objective.distribution(params).log_prob(samples)
  if jnp.shape(log_prob) != (num_samples,):
    raise ValueError(
      'log_prob of objective.distribution must be one number a sample,'
      f' ({num_samples},), but got {jnp.shape(log_prob)}. Wrap the components'
      ' of a vector in distrax.Independent.'
    )
  return log_prob


def _num_samples(samples: chex.ArrayTree) -> int:
  sizes = {jnp.shape(x)[:1] for x in jax.tree.leaves(samples)}
  if len(sizes) != 1 or sizes <= {(), (0,)}:
    raise ValueError(
      'samples must have one leading axis of N ≥ 1 samples in every array, but'
      f' got shapes {jax.tree.map(jnp.shape, samples)}.'
    )
  return sizes.pop()[0]
