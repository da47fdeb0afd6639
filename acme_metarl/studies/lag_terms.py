"""Second-order terms on tables, by how far apart the two steps are.

The estimate of V(x_0) by a Taylor expansion of order 2 with causal lambda κ is
a constant plus

    Σ_t g_t δ_t A_t + Σ_t Σ_{l≥1} κ^l g_{t+l} δ_t δ_{t+l} A_{t+l},

δ = ρ - 1, g_t the product of the discounts before step t, A the advantages of
the behaviour policy's returns. With a table ρ depends on state and action
alone. So all that enters of the data is which entries i = (x, a) were visited
at lag l from one another, summed in `Tables`: the estimate is
first·δ + Σ_l κ^l δᵀ pairs_l δ. Its derivatives are linear in κ^l: from those of
each lag follows every κ, and every other weight of the lags. Lag 0 is first
order, all lags together second order.

The expectation of the tables under the behaviour policy is a closed form.
"""

from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import tabular
from acme_metarl.evaluators import recurrences
from acme_metarl.studies import meta_gradient_bias
from acme_metarl.tabular import estimation

# Trajectories that are drawn and counted at a time.
CHUNK_SIZE = 250


class Tables(NamedTuple):
  """What data say about lags; weighted sums over trajectories.

  Attributes:
    first: `[XA]`, Σ_t g_t A_t of each entry.
    pairs: `[T - 1, XA, XA]`, for lags 1 … T - 1 Σ_t g_{t+l} A_{t+l} of each
      pair of the entries at t and at t + l.
  """

  first: chex.Array
  pairs: chex.Array


def tables(
  mdp: tabular.TabularMDP,
  critic: chex.Array,
  trajectories: tabular.Trajectories,
  weights: chex.Array,
) -> Tables:
  """Counts trajectories.

  Args:
    mdp: the process; of it only sizes and the discount factor are used.
    critic: `[X]` values of states.
    trajectories: N of length T >= 2.
    weights: `[N]`.

  Returns:
    Weighted sums over the trajectories.
  """
  num_states, num_actions = mdp.reward.shape
  size = num_states * num_actions
  states = trajectories.states
  discount = mdp.discount * trajectories.discounts
  returns = jax.vmap(recurrences.linear)(
    discount, trajectories.rewards, critic[states[:, -1]]
  )
  before = jnp.concatenate(
    [jnp.ones_like(discount[:, :1]), jnp.cumprod(discount[:, :-1], 1)], 1
  )
  term = weights[:, None] * before * (returns - critic[states[:, :-1]])
  entry = states[:, :-1] * num_actions + trajectories.actions
  horizon = entry.shape[1]
  # Every pair of steps t < s, once.
  first, second = jnp.triu_indices(horizon, 1)
  index = ((second - first - 1) * size + entry[:, first]) * size
  return Tables(
    _sum_by(entry, term, size),
    _sum_by(
      index + entry[:, second], term[:, second], (horizon - 1) * size**2
    ).reshape(horizon - 1, size, size),
  )


def _sum_by(index: chex.Array, terms: chex.Array, size: int) -> chex.Array:
  return jax.ops.segment_sum(terms.ravel(), index.ravel(), size)


def sampled_tables(
  key: chex.PRNGKey,
  mdp: tabular.TabularMDP,
  behaviour: chex.Array,
  critic: chex.Array,
  num_trajectories: chex.Numeric,
  horizon: int,
) -> Tables:
  """Draws N trajectories of the behaviour policy and averages over them.

  Args:
    key: random key; the trajectories are those of
      `derivative_accuracy.estimate` with the same key.
    mdp: the process.
    behaviour: `[X, A]` the policy that draws.
    critic: `[X]` values of states.
    num_trajectories: N >= 1, may be traced.
    horizon: T >= 2.

  Returns:
    Means over the trajectories.
  """
  return meta_gradient_bias.sum_over_chunks(
    lambda trajectories, weights: tables(mdp, critic, trajectories, weights),
    key,
    mdp,
    behaviour,
    num_trajectories,
    horizon,
    CHUNK_SIZE,
  )


def expected_tables(
  mdp: tabular.TabularMDP,
  behaviour: chex.Array,
  critic: chex.Array,
  horizon: int,
) -> Tables:
  """The expectation of the tables, in closed form.

  Args:
    mdp: a process without terminal states.
    behaviour: `[X, A]` the policy that draws.
    critic: `[X]` values of states.
    horizon: T >= 2.

  Returns:
    What the mean over infinitely many trajectories is.

  Raises:
    ValueError: if the process has terminal states.
  """
  if mdp.terminal is not None:
    raise ValueError(
      'mdp: it has terminal states; the closed form needs one without.'
    )
  step = mdp.discount * mdp.transition  # [X, A, X]
  state_step = jnp.einsum('xa,xay->xy', behaviour, step)
  start = jax.nn.one_hot(mdp.start_state, mdp.num_states, dtype=step.dtype)

  def forwards(occupancy, _):
    return occupancy @ state_step, occupancy

  _, occupancy = lax.scan(forwards, start, None, length=horizon)  # [T, X]
  _, action_values = tabular.finite_horizon_values(
    mdp, behaviour, horizon, critic
  )
  advantages = behaviour * (action_values - critic[:, None])  # [T, X, A]
  # Steps after the last one have none.
  padded = jnp.concatenate([advantages, jnp.zeros_like(advantages)])

  def one_lag(reach, lag):
    """`reach`: discounted probabilities of the state `lag` steps later."""
    later = lax.dynamic_slice_in_dim(padded, lag, horizon)
    pair = jnp.einsum('tx,xa,xay,tyb->xayb', occupancy, behaviour, reach, later)
    return reach @ state_step, pair

  _, pairs = lax.scan(one_lag, step, jnp.arange(1, horizon))
  size = behaviour.size
  return Tables(
    jnp.einsum('tx,txa->xa', occupancy, advantages).ravel(),
    pairs.reshape(horizon - 1, size, size),
  )


def derivatives(
  data: Tables, logits: chex.Array, behaviour: chex.Array
) -> tabular.Derivatives:
  """What each lag brings to value, gradient and Hessian.

  Args:
    data: tables.
    logits: theta `[X, A]` of the target policy.
    behaviour: `[X, A]` of the policy that drew the data.

  Returns:
    Derivatives by the logits, one for each of the lags 0 … T - 1 in the place
    of evaluators. The value is without the constant.
  """
  policy = tabular.softmax_policy(logits)
  rho = (policy / behaviour).ravel()
  delta = rho - 1.0
  pairs = jnp.concatenate([jnp.zeros_like(data.pairs[:1]), data.pairs])
  first = jnp.zeros_like(pairs[..., 0]).at[0].set(data.first)
  both = pairs + jnp.swapaxes(pairs, 1, 2)
  # By log pi: that of rho is rho itself.
  slope = rho * (first + both @ delta)
  curvature = rho[:, None] * both * rho + jax.vmap(jnp.diag)(slope)
  shape = logits.shape
  return tabular.Derivatives(
    first @ delta + 0.5 * (both @ delta) @ delta,
    *estimation.chain_rule(
      policy,
      slope.reshape(-1, *shape),
      curvature.reshape(-1, *shape, *shape),
    ),
  )


def powers(causal_lambda: chex.Array, horizon: int) -> chex.Array:
  """Weights `[M, T]` of lags 0 … T - 1 for causal lambdas `[M]`.

  >>> powers(jnp.array([0.0, 0.5]), 3).tolist()
  [[1.0, 0.0, 0.0], [1.0, 0.5, 0.25]]
  """
  return jnp.asarray(causal_lambda)[:, None] ** jnp.arange(horizon)
