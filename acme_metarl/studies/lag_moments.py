"""Signal and noise of the Hessian's terms, by the lag of their two steps.

With H_l what one trajectory says about lag l (`lag_terms`), s_l = E H_l its
expectation and v_l = tr Cov H_l its noise, the mean over N trajectories, each
lag times a weight w_l, has the expected squared error

    |Σ_l (w_l - 1) s_l|² + Σ_{l,m} w_l w_m tr Cov(H_l, H_m) / N.

If lags did not depend on one another, w_l = |s_l|² / (|s_l|² + v_l / N) would
make it least. Causal lambda is a weight κ^l.
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

# Trajectories whose Hessians are held at a time, one for each lag.
_CHUNK_SIZE = 10


class Moments(NamedTuple):
  """Of the lags 0 … T - 1, in units of the exact Hessian's squared norm |H|².

  Attributes:
    signal: `[T, T]` inner products of the expectations, s_l · s_m.
    noise: `[T, T]` traces of the covariances of single trajectories' terms.
    share: `[T]` s_l · H; the shares of all lags and of what a horizon cuts off
      add up to 1.
  """

  signal: chex.Array
  noise: chex.Array
  share: chex.Array


@functools.partial(jax.jit, static_argnames=('setting',))
def trial(
  trial_key: chex.PRNGKey,
  epsilon: chex.Numeric,
  num_trajectories: chex.Numeric,
  setting: derivative_accuracy.Setting,
) -> Moments:
  """Measures one of the problems of `derivative_accuracy`.

  Args:
    trial_key: random key of the trial.
    epsilon: in [0, 1), distance of the target from the behaviour policy.
    num_trajectories: behind the noise; the signal is exact.
    setting: sizes and distributions; a horizon of 2 at least.

  Returns:
    The moments.
  """
  problem, data_key = derivative_accuracy.start_trial(
    trial_key, epsilon, num_trajectories, setting
  )
  logits = derivative_accuracy.target_logits(problem, epsilon)
  mdp, behaviour, critic = problem.mdp, problem.behaviour, problem.critic

  def hessians(data):
    found = lag_terms.derivatives(data, logits, behaviour).hessian
    return found.reshape(setting.horizon, -1)

  mean = hessians(
    lag_terms.expected_tables(mdp, behaviour, critic, setting.horizon)
  )
  exact = tabular.value_hessian(mdp, logits).ravel()

  def chunk(trajectories, weights):
    def one(trajectory):
      single = jax.tree.map(lambda x: x[None], trajectory)
      one_weight = jnp.ones((1,), logits.dtype)
      return hessians(lag_terms.tables(mdp, critic, single, one_weight)) - mean

    noise = jax.vmap(one)(trajectories)  # [C, T, XA XA]
    return jnp.einsum('c,clh,cmh->lm', weights, noise, noise)

  noise = meta_gradient_bias.sum_over_chunks(
    chunk,
    data_key,
    mdp,
    behaviour,
    num_trajectories,
    setting.horizon,
    _CHUNK_SIZE,
  )
  unit = exact @ exact
  return Moments(mean @ mean.T / unit, noise / unit, mean @ exact / unit)


def best_weights(
  moments: Moments, num_trajectories: chex.Numeric
) -> chex.Array:
  """Weights `[T]` of least squared error if lags were independent.

  0 of a lag that no trajectory has anything to say about.
  """
  signal, noise = jnp.diag(moments.signal), jnp.diag(moments.noise)
  total = signal + noise / num_trajectories
  return signal / jnp.where(total > 0, total, 1.0)


def squared_error(
  moments: Moments, weights: chex.Array, num_trajectories: chex.Numeric
) -> chex.Array:
  """Expected squared error `[...]` of the Hessian, of weights `[..., T]`."""

  def form(matrix, x):
    return jnp.sum((x @ matrix) * x, -1)

  return (
    form(moments.signal, weights - 1)
    + form(moments.noise, weights) / num_trajectories
  )
