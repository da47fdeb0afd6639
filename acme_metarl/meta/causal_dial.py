"""Causal λ that sets itself while the outer loop runs.

Causal λ, κ, is the evaluators' dial between first order (0) and the whole
Hessian (1). The less of the Hessian's cross terms is left, the more biased is
the meta-gradient, and the less noisy. Noise averages out over updates, bias
does not. So κ is that of a grid which minimises

    |E d(κ)|² + tr Cov[ḡ(κ)] / MEMORY,   d(κ) = ḡ(1) − ḡ(κ),

ḡ the meta-gradient of a meta-batch, the mean over its tasks, and MEMORY the
number of updates that noise averages out over. What counts of d is what
persists: |E d|² is estimated by the product of d with its running average over
the measurements before, whose noise is independent. The covariance is estimated
by the spread over tasks. Both are taken relative to the noise of the whole,
tr Cov[ḡ(1)], and averaged over many measurements: on a robot the persistent
part of a single d is a tenth of it. κ is `START` unless another one is better
by more than `NUM_STDERRS` standard errors of that average, which it is asked at
every measurement of a whole run.

The derivative of the outer objective is no guide: on the behaviour policy the
inner gradient does not depend on κ, only its derivatives do, and what adapts to
act is the same for every κ.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from acme_metarl import types

# The value of `causal_lambda` that asks for it.
ADAPTIVE = 'adaptive'
# An effective look-back of 1, 2.5, 5, 10 and all steps.
GRID = (0.0, 0.6, 0.8, 0.9, 1.0)
# κ as long as there are fewer measurements than this, from which a standard
# error is itself uncertain, or nothing is sure. On the half-cheetah it has 1.2
# times the noise of first order and on navigation 2.3 times, where the whole
# Hessian has 5 and 25 times.
START, WARM_UP = 0.8, 20
# So often as a long run asks, two standard errors after five measurements are
# nothing: where no κ is better than `START`, five in six runs of 300 updates
# would leave it. With these it is one in ten.
NUM_STDERRS = 3.5
_START_INDEX = GRID.index(START)
# Updates in which noise averages out. That Adam's momentum remembers ten says
# too much: on the half-cheetah κ = .9 follows, where .8 and later .6 or less
# learn faster, which follow from 2.
MEMORY = 2
# Updates from one measurement to the next.
INTERVAL = 2
# What averages keep at each: of d, and of what is measured, once there are as
# many measurements as it remembers.
KEEP_DIFFERENCE, KEEP_COSTS = 0.8, 0.95


class DialState(NamedTuple):
  """What is known about κ.

  Attributes:
    causal_lambda: κ in use.
    difference: pytree `[M, ...]`, the running average of d by κ of the grid,
      towards 0 as long as there are few measurements.
    squared_bias: `[M]` the average of |E d|² / tr Cov[ḡ(1)].
    variance: `[M]` that of tr Cov[ḡ(κ)] / tr Cov[ḡ(1)].
    square: `[M]` that of the square by which a measured squared bias differs
      from that of `START`.
    num_measured: measurements so far; the first has no squared bias.
  """

  causal_lambda: chex.Array
  difference: types.PyTree
  squared_bias: chex.Array
  variance: chex.Array
  square: chex.Array
  num_measured: chex.Array


class Sums(NamedTuple):
  """Sums over tasks; of one task its own part.

  Attributes:
    gradient: pytree `[M, ...]`, by κ.
    square: `[M]` Σ_g |g_g(κ)|².
  """

  gradient: types.PyTree
  square: chex.Array


def init(params: types.PyTree) -> DialState:
  """The state before anything was measured.

  Args:
    params: what the outer optimiser steps.

  Example:
    >>> print(f'{init(jnp.zeros(3)).causal_lambda:.1f}')
    0.8
  """
  dtype = jnp.result_type(*jax.tree_util.tree_leaves(params))
  zeros = jnp.zeros((len(GRID),), dtype)
  return DialState(
    causal_lambda=jnp.asarray(START, dtype),
    difference=jax.tree_util.tree_map(
      lambda x: jnp.zeros((len(GRID), *jnp.shape(x)), x.dtype), params
    ),
    squared_bias=zeros,
    variance=zeros,
    square=zeros,
    num_measured=jnp.zeros((), jnp.int32),
  )


def task_sums(gradients: types.PyTree) -> Sums:
  """One task's part.

  Args:
    gradients: pytree `[M, ...]`, a task's gradient with each κ of the grid.

  Example:
    >>> task_sums(jnp.array([[0.0], [2.0]])).square.tolist()
    [0.0, 4.0]
  """
  return Sums(gradients, _dot(gradients, gradients))


def spread(sums: Sums, num_tasks: int) -> tuple[types.PyTree, chex.Array]:
  """What each κ leaves out, and its noise.

  Args:
    sums: over the tasks of a meta-batch.
    num_tasks: how many those are, G ≥ 2.

  Returns:
    d, a pytree `[M, ...]`, and `[M]` unbiased estimates of tr Cov[ḡ(κ)].

  Example:
    >>> task = jax.vmap(task_sums)(jnp.array([[[0.], [1.]], [[0.], [3.]]]))
    >>> sums = jax.tree_util.tree_map(lambda x: jnp.sum(x, 0), task)
    >>> difference, variance = spread(sums, 2)
    >>> print(difference.ravel(), variance)
    [2. 0.] [0. 1.]
  """
  mean = jax.tree_util.tree_map(lambda x: x / num_tasks, sums.gradient)
  variance = (sums.square / num_tasks - _dot(mean, mean)) / (num_tasks - 1)
  return jax.tree_util.tree_map(lambda x: x[-1:] - x, mean), variance


def update(state: DialState, sums: Sums, num_tasks: int) -> DialState:
  """Averages a measurement in, and sets κ.

  Args:
    state: before.
    sums: over the tasks of a meta-batch.
    num_tasks: how many those are; with a single one nothing can be said.

  Returns:
    The state after. A measurement that is not finite, or without noise to
    measure by, is left out.

  Example:
    >>> state = init(jnp.zeros(()))
    >>> tasks = jax.vmap(task_sums)(jnp.arange(10.0).reshape(2, 5))
    >>> sums = jax.tree_util.tree_map(lambda x: jnp.sum(x, 0), tasks)
    >>> update(state, sums, num_tasks=2).num_measured.item()
    1
  """
  difference, variance = spread(sums, max(num_tasks, 2))
  unit = variance[-1]
  is_usable = (num_tasks > 1) & (unit > 0) & jnp.all(jnp.isfinite(variance))
  # The average began at 0: so much of it are measurements.
  num_before = jnp.maximum(state.num_measured, 1).astype(unit.dtype)
  share = 1 - jnp.asarray(KEEP_DIFFERENCE, unit.dtype) ** num_before
  squared_bias = _dot(difference, state.difference) / share / unit
  square = (squared_bias - squared_bias[_START_INDEX]) ** 2
  weight = jnp.maximum(1 / num_before, 1 - KEEP_COSTS)

  def average(old, new):
    is_known = is_usable & (state.num_measured > 0)
    return jnp.where(is_known, old + weight * (new - old), old)

  state = state._replace(
    difference=jax.tree_util.tree_map(
      lambda old, new: jnp.where(
        is_usable,
        KEEP_DIFFERENCE * old + (1 - KEEP_DIFFERENCE) * new,
        old,
      ),
      state.difference,
      difference,
    ),
    squared_bias=average(state.squared_bias, squared_bias),
    variance=average(state.variance, variance / unit),
    square=average(state.square, square),
    num_measured=state.num_measured + is_usable,
  )
  best = jnp.argmin(_costs(state))
  grid = jnp.asarray(GRID, unit.dtype)
  return state._replace(
    causal_lambda=jnp.where(
      state.num_measured < WARM_UP, state.causal_lambda, grid[best]
    )
  )


def _costs(state: DialState) -> chex.Array:
  """`[M]` what each κ costs, at the end of an interval that favours `START`."""
  costs = state.squared_bias + state.variance / MEMORY
  excess = state.squared_bias - state.squared_bias[_START_INDEX]
  number = jnp.clip(
    state.num_measured - 2, 1, (1 + KEEP_COSTS) / (1 - KEEP_COSTS)
  )
  variance = jnp.maximum(state.square - excess**2, 0.0) / number
  return costs + NUM_STDERRS * jnp.sqrt(variance)


def metrics(state: DialState) -> dict[str, chex.Array]:
  """κ in use, and the averages by κ of the grid.

  Example:
    >>> list(metrics(init(jnp.zeros(3))))[:2]
    ['causal_lambda', 'causal_squared_bias_0.0']
  """
  found = {'causal_lambda': state.causal_lambda}
  for name in ('squared_bias', 'variance'):
    for value, x in zip(GRID, getattr(state, name), strict=True):
      found[f'causal_{name}_{value}'] = x
  return found


def _dot(x: types.PyTree, y: types.PyTree) -> chex.Array:
  """`[M]` inner products."""
  return jax.vmap(optax.tree_utils.tree_vdot)(x, y)
