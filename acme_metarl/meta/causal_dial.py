"""Causal λ that sets itself while the outer loop runs.

Causal λ, κ, is the evaluators' dial between first order (0) and the whole
Hessian (1). The less of the Hessian's cross terms is left, the more biased is
the meta-gradient, and the less noisy. Noise averages out over updates, bias
does not: a return after adaptation that falls, and stays below what it has
been, is a sign of bias.

So κ starts low, where a single meta-gradient is best known, and takes the next
of a grid when the running average of that return lies below the best that it
was with this κ, by `NUM_STDERRS` standard errors over tasks. On robots returns
do not fall, and κ stays; in navigation they do.

Neither a gradient nor a measured bias could say it. On the behaviour policy the
inner gradient does not depend on κ, so that the outer objective has no
derivative by it. The difference from the whole Hessian's meta-gradient measures
bias where that one is unbiased; in navigation it is not, as the same
trajectories adapt a policy and give its Hessian.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# The value of `causal_lambda` that asks for it.
ADAPTIVE = 'adaptive'
# An effective look-back of 1.4 and 5 steps.
GRID = (0.3, 0.8)
# What the average keeps at each update, once there are as many as it remembers.
KEEP = 0.8
# Few, for the next κ costs no more than noise where returns have come to rest,
# and where they fall each update costs.
NUM_STDERRS = 2.0


class DialState(NamedTuple):
  """What is known about κ; returns are undiscounted, after all adaptation.

  Attributes:
    causal_lambda: κ in use.
    average: running average of the return.
    variance: of the average, from the spread over tasks.
    best: the highest average so far with this κ.
    best_variance: the variance that it had.
    num_updates: with this κ.
  """

  causal_lambda: chex.Array
  average: chex.Array
  variance: chex.Array
  best: chex.Array
  best_variance: chex.Array
  num_updates: chex.Array


def init(dtype: chex.ArrayDType = jnp.float32) -> DialState:
  """The state before the first update.

  Args:
    dtype: of its numbers.

  Example:
    >>> print(f'{init().causal_lambda:.1f}')
    0.3
  """
  return _start(jnp.asarray(GRID[0], dtype))


def _start(causal_lambda: chex.Array) -> DialState:
  zero = jnp.zeros_like(causal_lambda)
  return DialState(
    causal_lambda, zero, zero, zero - jnp.inf, zero, jnp.zeros((), jnp.int32)
  )


def update(state: DialState, returns: chex.Array) -> DialState:
  """Averages a meta-batch in, and raises κ where returns have fallen.

  Args:
    state: before.
    returns: `[G]` of the tasks of a meta-batch, G ≥ 2, means over rollouts.

  Returns:
    The state after. Returns that are not finite are left out.

  Example:
    >>> state = init()
    >>> for level in (1.0, 1.0, 0.0, 0.0):
    ...   state = update(state, level + jnp.array([-0.1, 0.1]))
    >>> print(f'{state.causal_lambda:.1f}')
    0.8
  """
  dtype = state.average.dtype
  returns = returns.astype(dtype)
  weight = jnp.maximum(1 / (state.num_updates + 1), 1 - KEEP).astype(dtype)
  average = state.average + weight * (jnp.mean(returns) - state.average)
  variance = (1 - weight) ** 2 * state.variance + weight**2 * jnp.var(
    returns, ddof=1
  ) / returns.size
  is_best = average > state.best
  known = state._replace(
    average=average,
    variance=variance,
    best=jnp.where(is_best, average, state.best),
    best_variance=jnp.where(is_best, variance, state.best_variance),
    num_updates=state.num_updates + 1,
  )
  stderr = jnp.sqrt(known.best_variance + variance)
  has_fallen = known.best - average > NUM_STDERRS * stderr
  grid = jnp.asarray(GRID, dtype)
  following = jnp.min(jnp.where(grid > state.causal_lambda, grid, grid[-1]))
  state_after = _choose(has_fallen, _start(following), known)
  return _choose(jnp.all(jnp.isfinite(returns)), state_after, state)


def _choose(
  condition: chex.Array, one: DialState, other: DialState
) -> DialState:
  return jax.tree_util.tree_map(
    lambda x, y: jnp.where(condition, x, y), one, other
  )
