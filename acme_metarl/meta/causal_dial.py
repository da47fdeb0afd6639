"""Causal λ that sets itself while the outer loop runs.

Causal λ, κ, is the evaluators' dial between first order (0) and the whole
Hessian (1). The less of the Hessian's cross terms is left, the more biased is
the meta-gradient, and the less noisy. Noise averages out over updates, bias
does not. So it counts over how many updates progress is an average: as many as
it takes until they agree.

The meta-gradients of the two halves of a meta-batch have a cosine of about
S / (S + 2N), S the squared norm of the expected meta-gradient and N the noise
of the whole meta-batch's. Where its running average is `AGREEMENT` or more, a
single update goes about where it should, and κ is the one that a single
meta-gradient is best known with; else κ keeps what counts over many updates.
The average begins at 0: in navigation halves agree for five updates, and a low
κ costs it a tenth of what it learns.

The outer objective's derivative by κ could not say it: on the behaviour policy
the inner gradient does not depend on κ. Nor could the distance from the whole
Hessian's meta-gradient, which is lost in noise for as long as it would matter,
nor a return that falls: it does not come back.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

# The value of `causal_lambda` that asks for it.
ADAPTIVE = 'adaptive'
# κ where halves agree and where they do not: look-backs of 1.4 and 5 steps.
AGREEING, DISAGREEING = 0.3, 0.8
AGREEMENT = 0.5
# What the average keeps at each update.
KEEP = 0.9


class DialState(NamedTuple):
  """What is known about κ.

  Attributes:
    causal_lambda: κ of the next update.
    cosine: running average of the halves' cosine.
  """

  causal_lambda: chex.Array
  cosine: chex.Array


def init(dtype: chex.ArrayDType = jnp.float32) -> DialState:
  """The state before the first update.

  Args:
    dtype: of its numbers.

  Example:
    >>> print(f'{init().causal_lambda:.1f}')
    0.8
  """
  return DialState(jnp.asarray(DISAGREEING, dtype), jnp.zeros((), dtype))


def update(state: DialState, cosine: chex.Array) -> DialState:
  """Averages a meta-batch in, and sets κ.

  Args:
    state: before.
    cosine: between the meta-gradients of the halves of a meta-batch.

  Returns:
    The state after. A cosine that is not finite is left out.

  Example:
    >>> state = init()
    >>> for _ in range(7):
    ...   state = update(state, jnp.asarray(0.99))
    >>> print(f'{state.causal_lambda:.1f}')
    0.3
  """
  dtype = state.cosine.dtype
  average = KEEP * state.cosine + (1 - KEEP) * cosine.astype(dtype)
  average = jnp.where(jnp.isfinite(cosine), average, state.cosine)
  causal_lambda = jnp.where(average < AGREEMENT, DISAGREEING, AGREEING)
  return DialState(causal_lambda.astype(dtype), average)
