"""Derivatives of any evaluator's estimate of a tabular softmax policy.

An estimate depends on the logits through log pi(a_t | x_t) alone. So it is
differentiated by those T numbers, whatever the evaluator is, and the chain
rule to the logits is applied once, to sums over trajectories: a T x T Hessian
per trajectory instead of one of the size of the table. Exact: nothing is
approximated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import derivatives as evaluator_derivatives
from acme_metarl.evaluators import protocols
from acme_metarl.tabular import mdp as mdp_lib
from acme_metarl.tabular import sampling


class Derivatives(NamedTuple):
  """Estimates of V(x_0) and of its derivatives by the logits.

  Attributes:
    value: `[E]`, one for each of E evaluators.
    gradient: `[E, X, A]`.
    hessian: `[E, X, A, X, A]`.
  """

  value: chex.Array
  gradient: chex.Array
  hessian: chex.Array


def estimate_derivatives(
  evaluators: Sequence[protocols.Evaluator],
  mdp: mdp_lib.TabularMDP,
  logits: chex.Array,
  behaviour: chex.Array,
  critic: chex.Array,
  trajectories: sampling.Trajectories,
  weights: chex.Array | None = None,
) -> Derivatives:
  """Estimates value, gradient and Hessian from behaviour data.

  All evaluators see the same trajectories. Sums over parts of the data add up,
  so that a large number of trajectories can go through in chunks.

  Args:
    evaluators: E functions as in `acme_metarl.evaluators`.
    mdp: the process; of it only the discount factor is used.
    logits: theta `[X, A]` of the target policy.
    behaviour: `[X, A]` probabilities of the policy that drew the data.
    critic: `[X]` values of states, constant in the logits.
    trajectories: N trajectories.
    weights: `[N]` weights of the trajectories in the sum, 1 / N each by
      default. The probabilities of all trajectories make the expectation.

  Returns:
    Weighted sums over the trajectories.
  """
  states = trajectories.states[:, :-1]
  if weights is None:
    weights = jnp.full(states.shape[:1], 1.0 / states.shape[0], logits.dtype)
  log_prob = mdp_lib.log_prob(logits, states, trajectories.actions)
  data = types.Prepared(
    observation=(),
    action=(),  # type: ignore[arg-type]
    v_tm1=critic[states],
    v_t=critic[trajectories.states[:, 1:]],
    r_t=trajectories.rewards,
    discount_t=mdp.discount * trajectories.discounts,
    advantage=(),  # type: ignore[arg-type]
    mask=None,  # type: ignore[arg-type]
    behaviour_log_prob=jnp.log(behaviour)[states, trajectories.actions],
  )

  def derivatives(log_prob, data):
    """Value [E], gradient [T, E] and Hessian [T, T, E] of one trajectory."""
    batch = jax.tree.map(lambda x: x[jnp.newaxis], data)

    def values(log_prob):
      return [
        evaluator_derivatives.reduced_estimate(
          log_prob[jnp.newaxis], batch, evaluate
        )
        for evaluate in evaluators
      ]

    by_evaluator = [
      _value_and_derivatives(lambda x, i=i: values(x)[i], log_prob)
      for i in range(len(evaluators))
    ]
    return [jnp.stack(x, -1) for x in zip(*by_evaluator, strict=True)]

  value, gradient, hessian = jax.vmap(derivatives)(log_prob, data)
  table_size = logits.size
  entry = states * logits.shape[1] + trajectories.actions  # [N, T] of [X * A]
  pair = entry[:, :, None] * table_size + entry[:, None, :]
  gradient = _sum_by(entry, gradient * weights[:, None, None], table_size)
  hessian = _sum_by(pair, hessian * weights[:, None, None, None], table_size**2)
  return Derivatives(
    weights @ value,
    *chain_rule(
      jax.nn.softmax(logits),
      gradient.reshape(-1, *logits.shape),
      hessian.reshape(-1, *logits.shape, *logits.shape),
    ),
  )


def _value_and_derivatives(function, x):
  """Value, gradient and Hessian of a scalar function of `x` `[T]`."""

  def gradient(x):
    value, gradient = jax.value_and_grad(function)(x)
    return gradient, (value, gradient)

  hessian, (value, gradient) = jax.jacfwd(gradient, has_aux=True)(x)
  return value, gradient, hessian


def _sum_by(index: chex.Array, terms: chex.Array, size: int) -> chex.Array:
  """Sums `terms` `[..., E]` that share an index `[...]`, to `[E, size]`."""
  terms = terms.reshape(-1, terms.shape[-1])
  return jax.ops.segment_sum(terms, index.reshape(-1), size).T


def chain_rule(
  policy: chex.Array, gradient: chex.Array, hessian: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """From derivatives by log pi to those by the logits.

  Args:
    policy: pi, `[X, A]`.
    gradient: `[E, X, A]` by log pi(a|x), entries taken for independent.
    hessian: `[E, X, A, X, A]` likewise.

  Returns:
    Gradient and Hessian by the logits, of the same shapes.
  """
  identity = jnp.eye(policy.shape[1], dtype=policy.dtype)
  # [X, A, A]: of log pi(a|x) by theta(x, b); all else is zero.
  score = identity - policy[:, None, :]
  by_state = jnp.sum(gradient, -1)  # [E, X]
  gradient = jnp.einsum('exa,xab->exb', gradient, score)
  hessian = jnp.einsum('xab,exayc,ycd->exbyd', score, hessian, score)
  # The second derivative of log pi(a|x) is the same for every a.
  curvature = policy[:, :, None] * (policy[:, None, :] - identity)
  states = jnp.arange(policy.shape[0])
  # Two index arrays apart from one another: their axis comes first.
  hessian = hessian.at[:, states, :, states, :].add(
    jnp.einsum('ex,xab->xeab', by_state, curvature)
  )
  return gradient, hessian
