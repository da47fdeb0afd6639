"""Several steps on the same data, until they have led too far."""

from collections.abc import Callable
from typing import Any

import chex
import jax
from jax import lax
import jax.numpy as jnp

# What a step carries on -> (the same after it, a report of what was before).
Epoch = Callable[[Any], tuple[Any, Any]]


def repeat(
  epoch: Epoch,
  carry: Any,
  num_epochs: int,
  max_kl: chex.Numeric | None = None,
  kl_of: Callable[[Any], chex.Array] | None = None,
) -> tuple[Any, Any, Any, chex.Array]:
  """Repeats a step.

  Without a bound there are as many steps as asked for. With one, the first is
  always made, and none from where a KL divergence is beyond the bound, or is no
  number: what an outer step does to the ratios inside adaptation, whose
  products higher orders of the evaluators have, no clipping of the outer ones
  sees.

  Args:
    epoch: a step.
    carry: what it begins with.
    num_epochs: how many steps there are at most.
    max_kl: bound on the KL divergences, above 0; None for none.
    kl_of: of a report, `[...]` KL divergences of the policies before the step
      from those that made the data; not needed without a bound.

  Returns:
    What is carried on, the report of the first step and of the last one, and
    how many steps were made. Where the bound ended them, the last report is of
    what is carried on; else it is of what was before the last step.

  Example:
    >>> def epoch(x):
    ...   return x + 1, 10 * x
    >>> tuple(int(x) for x in repeat(epoch, jnp.array(0), 5))
    (5, 0, 40, 5)
    >>> tuple(int(x) for x in repeat(
    ...   epoch, jnp.array(0), 5, max_kl=25, kl_of=lambda report: report))
    (3, 0, 30, 3)
  """
  if max_kl is None:
    carry, reports = lax.scan(
      lambda carry, _: epoch(carry), carry, None, length=num_epochs
    )
    first, last = (
      jax.tree_util.tree_map(lambda x, i=i: x[i], reports) for i in (0, -1)
    )
    return carry, first, last, jnp.asarray(num_epochs)

  def is_running(state):
    made, is_beyond, *_ = state
    return (made < num_epochs) & ~is_beyond

  def step(state):
    made, _, carry, first, _ = state
    new_carry, report = epoch(carry)
    # NaN is within no bound.
    is_beyond = (made > 0) & ~jnp.all(kl_of(report) <= max_kl)
    carry = _select(is_beyond, carry, new_carry)
    first = _select(made > 0, first, report)
    return made + ~is_beyond, is_beyond, carry, first, report

  nothing = jax.tree_util.tree_map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(epoch, carry)[1]
  )
  start = jnp.asarray(0), jnp.asarray(False), carry, nothing, nothing
  made, _, carry, first, last = lax.while_loop(is_running, step, start)
  return carry, first, last, made


def _select(condition: chex.Array, new: Any, old: Any) -> Any:
  return jax.tree_util.tree_map(
    lambda x, y: jnp.where(condition, x, y), new, old
  )
