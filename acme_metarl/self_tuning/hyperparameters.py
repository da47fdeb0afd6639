"""The numbers that an actor-critic tunes while it learns, and their ranges.

What the meta-gradient steps is unbounded: a number sits behind a sigmoid, or,
where it has no upper bound, behind a softplus.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Hyperparameters(NamedTuple):
  """What an update of an actor-critic depends on, besides its data.

  Attributes:
    discount: γ in [0, 1].
    lambda_: λ of the returns, in [0, 1].
    policy_cost: coefficient of the policy loss.
    value_cost: coefficient of the mean squared error of the critic.
    entropy_cost: coefficient of the entropy that is subtracted from the loss.
  """

  discount: chex.Numeric = 0.99
  lambda_: chex.Numeric = 0.95
  policy_cost: chex.Numeric = 1.0
  value_cost: chex.Numeric = 0.5
  entropy_cost: chex.Numeric = 0.01


_MIXING = ('discount', 'lambda_')


@dataclasses.dataclass(frozen=True)
class Range:
  """The open interval that a tuned number stays in.

  Attributes:
    low: lower end.
    high: upper end; infinity for none.

  Example:
    >>> print(f'{Range(0.9, 1.0).to_number(jnp.zeros(())):.3f}')
    0.950
    >>> x = Range(0.0, math.inf).from_number(2.0)
    >>> print(f'{Range(0.0, math.inf).to_number(x):.3f}')
    2.000
  """

  low: float = 0.0
  high: float = 1.0

  def __post_init__(self):
    if not (math.isfinite(self.low) and self.low < self.high):
      raise ValueError(
        f'Range({self.low}, {self.high}): low needs to be finite and less than'
        ' high.'
      )

  def to_number(self, x: chex.Array) -> chex.Array:
    """Returns the number for what the meta-optimiser steps."""
    if math.isinf(self.high):
      return self.low + jax.nn.softplus(x)
    return self.low + (self.high - self.low) * jax.nn.sigmoid(x)

  def from_number(self, number: float) -> chex.Array:
    """The inverse of `to_number`, for a number inside."""
    if math.isinf(self.high):
      # log(exp(y) - 1), without overflow.
      shifted = number - self.low
      return jnp.asarray(shifted + math.log(-math.expm1(-shifted)))
    share = (number - self.low) / (self.high - self.low)
    return jnp.asarray(math.log(share / (1.0 - share)))


def ranges(
  tuned: Mapping[str, Range] | Sequence[str],
) -> dict[str, Range]:
  """Gives each tuned number its range, (0, 1) where it has none of its own.

  Args:
    tuned: names of `Hyperparameters`, or ranges by name.

  Raises:
    ValueError: if there is no such number.

  Example:
    >>> ranges(['discount'])
    {'discount': Range(low=0.0, high=1.0)}
  """
  if isinstance(tuned, str) or not isinstance(tuned, Mapping | Sequence):
    raise ValueError(
      f"tuned is {tuned!r}; it needs to be names, ('discount',) for example, or"
      ' ranges by name.'
    )
  given = dict(tuned) if isinstance(tuned, Mapping) else dict.fromkeys(tuned)
  for name, own in given.items():
    if name not in Hyperparameters._fields:
      raise ValueError(
        f'tuned has {name!r}; what can be tuned are'
        f' {", ".join(Hyperparameters._fields)}.'
      )
    if not isinstance(own, Range | None):
      raise ValueError(
        f'tuned[{name!r}] is {own!r}; it needs to be a Range, or None for'
        ' (0, 1).'
      )
  return {name: own or Range() for name, own in given.items()}


def check(start: Hyperparameters, tuned: Mapping[str, Range]) -> None:
  """Refuses start values that are outside of what they may be.

  Args:
    start: the start values.
    tuned: ranges of those that are tuned, by name.

  Raises:
    ValueError: names the first that does not fit.
  """
  if not isinstance(start, Hyperparameters):
    raise ValueError(
      f'hyperparameters is {start!r}; it needs to be a Hyperparameters.'
    )
  for name, value in start._asdict().items():
    high = 1.0 if name in _MIXING else math.inf
    is_number = not isinstance(value, str) and np.ndim(value) == 0
    if not is_number or not 0.0 <= value <= high or math.isinf(value):
      bounds = '[0, 1]' if name in _MIXING else '[0, inf)'
      raise ValueError(
        f'hyperparameters.{name} is {value}; it needs to be in {bounds}.'
      )
    if name not in tuned:
      continue
    own = tuned[name]
    if own.low < 0.0 or own.high > high:
      raise ValueError(
        f'tuned[{name!r}] is {own}; the range needs to be inside of'
        f' [0, {high}].'
      )
    if not own.low < value < own.high:
      raise ValueError(
        f'hyperparameters.{name} starts at {value}, but is tuned inside of'
        f' ({own.low}, {own.high}) and can never leave or reach the ends; start'
        ' strictly inside, or do not tune it.'
      )


def initial(
  start: Hyperparameters, tuned: Mapping[str, Range]
) -> dict[str, chex.Array]:
  """What the meta-optimiser steps, at the start: a scalar by name."""
  return {
    name: own.from_number(getattr(start, name)) for name, own in tuned.items()
  }


def current(
  start: Hyperparameters,
  tuned: Mapping[str, Range],
  unbounded: Mapping[str, chex.Array],
) -> Hyperparameters:
  """The numbers now: those that are tuned, and the start values of the rest.

  Example:
    >>> tuned = ranges(['discount'])
    >>> start = Hyperparameters(discount=0.5)
    >>> now = current(start, tuned, initial(start, tuned))
    >>> print(now.discount, now.lambda_)
    0.5 0.95
  """
  numbers = {
    name: own.to_number(unbounded[name]) for name, own in tuned.items()
  }
  return start._replace(**numbers)
