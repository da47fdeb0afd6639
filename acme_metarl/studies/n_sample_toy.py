"""The 1-D toy of N-sample objectives: L_N(θ) = E[-(X̄ - 1)²], X_i ~ N(θ, σ²).

Everything about it is known in closed form, `exact_moments`. With e = θ - 1 and
u = σ²/N:

* ∇L_N(θ) = -2e;
* score function: no bias, variance N e⁴/σ² + 14 e² + 15 u;
* score function with the baseline f(θ) = -e²: no bias, variance 8 e² + 15 u;
* linearised score function: bias -2θ/N, a variance of
  4u ((eθ/σ + σ)² + 2 e²)/σ² + O(1/N²);
* path-wise: no bias, variance 4u.

The linear growth of the first vanishes at θ = 1, the bias of the third at
θ = 0: study another θ. See "Biased Gradient Estimate with Drastic Variance
Reduction for Meta Reinforcement Learning" by Tang (2022),
https://arxiv.org/abs/2112.07328.
"""

from collections.abc import Sequence
import functools
import math
from typing import NamedTuple

import chex
import distrax
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.evaluators import input_checks
from acme_metarl.studies import n_sample_objectives as nso

ESTIMATORS = (
  'score_function',
  'score_function_with_baseline',
  'linearised_score_function',
  'path_wise',
)
TARGET = 1.0

# Samples drawn at a time; about a megabyte.
_CHUNK_SIZE = 2**18


class Moments(NamedTuple):
  """Bias and variance of an estimator, measured.

  Attributes:
    bias: mean of the estimates minus the exact gradient.
    bias_stderr: its standard error.
    variance: of one estimate.
    variance_stderr: its standard error.
  """

  bias: float
  bias_stderr: float
  variance: float
  variance_stderr: float


def objective(scale: chex.Numeric = 1.0) -> nso.Objective:
  """Returns the toy: f(x) = -(x - 1)² at the mean of samples of N(θ, σ²)."""
  return nso.Objective(
    distribution=lambda theta: distrax.Normal(theta, scale),
    function=lambda theta, mean: _function(mean),
  )


def exact_gradient(theta: chex.Numeric) -> chex.Numeric:
  """Returns ∇L_N(θ) = -2(θ - 1), for every N and σ."""
  return -2.0 * (theta - TARGET)


def exact_moments(
  name: str, theta: float, num_samples: int, scale: float = 1.0
) -> tuple[float, float]:
  """Returns bias and variance of an estimator of `ESTIMATORS`, exactly.

  Raises:
    ValueError: if no estimator has the name.
  """
  check_estimators([name])
  n, s = num_samples, scale**2
  e, u = theta - TARGET, s / n
  if name == 'score_function':
    return 0.0, e**4 / u + 14 * e**2 + 15 * u
  if name == 'score_function_with_baseline':
    return 0.0, 8 * e**2 + 15 * u
  if name == 'path_wise':
    return 0.0, 4 * u
  # -2(e + m)(θm + m² + v)/s, where m ~ N(0, u) is the deviation of the mean
  # and v, independent of it, the samples' variance around their own mean.
  v1, v2 = u * (n - 1), u**2 * (n - 1) * (n + 1)
  second_moment = (
    e**2 * (theta**2 * u + 3 * u**2 + v2 + 2 * u * v1)
    + 2 * e * (6 * theta * u**2 + 2 * theta * u * v1)
    + 3 * theta**2 * u**2
    + 15 * u**3
    + u * v2
    + 6 * u**2 * v1
  )
  bias = -2.0 * theta / n
  mean = exact_gradient(theta) + bias
  return bias, 4 * second_moment / s**2 - mean**2


def estimate(
  name: str,
  key: chex.PRNGKey,
  theta: chex.Numeric,
  num_samples: int,
  scale: chex.Numeric = 1.0,
) -> chex.Array:
  """Returns one estimate of ∇L_N(θ) by an estimator of `ESTIMATORS`."""
  toy = objective(scale)
  if name == 'path_wise':
    return nso.path_wise(toy, theta, key, num_samples)
  samples = nso.sample(toy, theta, key, num_samples)
  if name == 'linearised_score_function':
    return nso.linearised_score_function(toy, theta, samples)
  baseline = _function(theta) if name.endswith('with_baseline') else 0.0
  return nso.score_function(toy, theta, samples, baseline=baseline)


def measure(
  name: str,
  key: chex.PRNGKey,
  theta: float,
  num_samples: int,
  num_replications: int,
  scale: float = 1.0,
  num_batches: int = 50,
) -> Moments:
  """Measures bias and variance from independent estimates.

  Standard errors come from the spread between batches of estimates, whatever
  the distribution of the estimates.

  Args:
    name: an estimator of `ESTIMATORS`.
    key: random key.
    theta: θ.
    num_samples: N ≥ 1.
    num_replications: number of estimates, rounded up to a multiple of
      `num_batches`; at least twice as many.
    scale: σ > 0.
    num_batches: at least 2.

  Returns:
    The moments.

  Raises:
    ValueError: if an argument is outside of its range.
  """
  check_estimators([name])
  num_samples = input_checks.positive_integer('num_samples', num_samples)
  check_replications(num_replications, num_batches)
  if not scale > 0:
    raise ValueError(f'scale is {scale}; it needs to be positive.')
  count = math.ceil(num_replications / num_batches)
  sums = _batch_sums(name, key, theta, num_samples, count, scale, num_batches)
  total, squares = (np.asarray(x, np.float64) for x in sums)
  means = total / count
  variances = (squares - count * means**2) / (count - 1)
  spread = np.sqrt(num_batches)
  return Moments(
    float(means.mean()),
    float(means.std(ddof=1) / spread),
    float(variances.mean()),
    float(variances.std(ddof=1) / spread),
  )


@functools.partial(
  jax.jit,
  static_argnames=('name', 'num_samples', 'num_replications', 'num_batches'),
)
def _batch_sums(
  name, key, theta, num_samples, num_replications, scale, num_batches
):
  """Sum and sum of squares of the errors of each batch, `[num_batches]`."""
  chunk_size = min(num_replications, max(1, _CHUNK_SIZE // num_samples))
  num_chunks = math.ceil(num_replications / chunk_size)

  def chunk(key):
    keys = jax.random.split(key, chunk_size)
    estimates = jax.vmap(
      lambda k: estimate(name, k, theta, num_samples, scale)
    )(keys)
    return estimates - exact_gradient(theta)

  def batch(key):
    errors = jax.lax.map(chunk, jax.random.split(key, num_chunks))
    used = jnp.arange(errors.size) < num_replications
    errors = jnp.where(used, errors.ravel(), 0.0)
    return jnp.sum(errors), jnp.sum(errors**2)

  return jax.lax.map(batch, jax.random.split(key, num_batches))


def optimise(
  name: str,
  key: chex.PRNGKey,
  initial_theta: float,
  num_samples: int,
  step_size: float,
  num_steps: int,
  scale: float = 1.0,
) -> chex.Array:
  """Returns θ `[num_steps + 1]` along stochastic gradient ascent on L_N."""

  def step(theta, key):
    gradient = estimate(name, key, theta, num_samples, scale)
    theta = theta + step_size * gradient
    return theta, theta

  initial_theta = jnp.asarray(initial_theta, float)
  keys = jax.random.split(key, num_steps)
  _, thetas = jax.lax.scan(step, initial_theta, keys)
  return jnp.concatenate([initial_theta[None], thetas])


def check_estimators(names: Sequence[str]) -> None:
  """Raises `ValueError` unless all are names of `ESTIMATORS`."""
  if not names:
    raise ValueError(
      f'estimators is empty; choose from {", ".join(ESTIMATORS)}.'
    )
  for name in names:
    if name not in ESTIMATORS:
      raise ValueError(
        f'Unknown estimator {name!r}; choose from {", ".join(ESTIMATORS)}.'
      )


def check_replications(num_replications: int, num_batches: int = 50) -> None:
  """Raises `ValueError` unless moments can be measured with so many."""
  if num_batches < 2:
    raise ValueError(f'num_batches is {num_batches}; it needs at least 2.')
  if num_replications < 2 * num_batches:
    raise ValueError(
      f'num_replications is {num_replications}; it needs to be at least'
      f' {2 * num_batches}, two for each of {num_batches} batches.'
    )


def _function(mean: chex.Numeric) -> chex.Numeric:
  return -((mean - TARGET) ** 2)
