"""Several steps on the same data, none of which leads too far."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp


class Progress(NamedTuple):
  """What a step begins with and what it gives.

  Attributes:
    params: what is stepped; floating-point arrays.
    rest: what a step carries on besides.
  """

  params: Any
  rest: Any


# What it begins with -> (the same after a step, a report of what was before).
Epoch = Callable[[Progress], tuple[Progress, Any]]


def repeat(
  epoch: Epoch, start: Progress, num_epochs: int
) -> tuple[Progress, Any, Any]:
  """Repeats a step.

  Args:
    epoch: a step.
    start: what it begins with.
    num_epochs: how many there are.

  Returns:
    What is carried on, the report of what was before the first step, and of
    what was before the last one.

  Example:
    >>> def epoch(x):
    ...   return Progress(x.params + 1, ()), 10 * x.params
    >>> end, first, last = repeat(epoch, Progress(jnp.zeros(()), ()), 5)
    >>> float(end.params), float(first), float(last)
    (5.0, 0.0, 40.0)
  """
  end, reports = lax.scan(
    lambda progress, _: epoch(progress), start, None, length=num_epochs
  )
  first, last = (
    jax.tree_util.tree_map(lambda x, i=i: x[i], reports) for i in (0, -1)
  )
  return end, first, last


def repeat_within(
  epoch: Epoch,
  evaluate: Callable[[Any], Any],
  start: Progress,
  num_epochs: int,
  max_kl: chex.Numeric,
) -> tuple[Progress, Any, Any, chex.Array]:
  """Repeats a step; one that leads too far is halved and tried again.

  A step leads too far if a KL divergence is beyond the bound and above what it
  was before the first step, if the loss is higher than it was there, or if one
  of them is no number: what an outer step does to the ratios inside adaptation,
  whose products higher orders of the evaluators have, no clipping of the outer
  ones sees. A try takes the place of a step, so that nothing costs more than
  without a bound, but for an evaluation at the end.

  Args:
    epoch: a step; its reports are pairs of what `evaluate` says and anything
      else.
    evaluate: of parameters: the loss `[]`, `[...]` KL divergences from the
      policies that made the data, and anything else.
    start: what it begins with.
    num_epochs: how many steps and tries there are at most.
    max_kl: bound on the KL divergences, above 0.

  Returns:
    What is carried on, the report of what was before the first step, what
    `evaluate` says of what is carried on, and how many steps were made.

  Example:
    >>> def evaluate(x):
    ...   return -x, x
    >>> def epoch(x):
    ...   return Progress(x.params + 4, ()), (evaluate(x.params), ())
    >>> end, _, last, made = repeat_within(
    ...   epoch, evaluate, Progress(jnp.zeros(()), ()), 5, max_kl=7.0)
    >>> float(end.params), float(last[1]), int(made)
    (6.0, 6.0, 2)
  """
  candidate, first = epoch(start)

  def judge(state, evaluation):
    kept, last, candidate, made = state
    (loss, kl), (first_loss, first_kl) = evaluation[:2], first[0][:2]
    # NaN is within no bound.
    is_good = jnp.all(kl <= jnp.maximum(max_kl, first_kl)) & (
      loss <= first_loss
    )
    kept = _select(is_good, candidate.params, kept)
    return is_good, (
      kept,
      _select(is_good, evaluation, last),
      Progress(_halfway(kept, candidate.params), candidate.rest),
      made + is_good,
    )

  def step(state, _):
    after, report = epoch(state[2])
    is_good, (kept, last, halved, made) = judge(state, report[0])
    return (kept, last, _select(is_good, after, halved), made), None

  state = start.params, first[0], candidate, jnp.asarray(0)
  state, _ = lax.scan(step, state, None, length=num_epochs - 1)
  _, (kept, last, _, made) = judge(state, evaluate(state[2].params))
  return Progress(kept, state[2].rest), first, last, made


def _halfway(x: Any, y: Any) -> Any:
  return jax.tree_util.tree_map(lambda x, y: (x + y) / 2, x, y)


def _select(condition: chex.Array, new: Any, old: Any) -> Any:
  return jax.tree_util.tree_map(
    lambda x, y: jnp.where(condition, x, y), new, old
  )
