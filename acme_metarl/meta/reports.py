"""Numbers that environments report beside the reward: successes, say.

What becomes of them is said here once, for NumPy's arrays on the host and for
JAX's on a device. NaN stands where a rollout has no number.
"""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np


def ever(x: chex.Array) -> chex.Array:
  """The largest number of a rollout.

  >>> ever(np.array([0.0, 1.0, np.nan])).tolist()
  1.0

  Args:
    x: `[..., T]`.

  Returns:
    `[...]`, NaN where a rollout has no number.
  """
  xp, has = _module(x), ~_module(x).isnan(x)
  largest = xp.where(has, x, -np.inf).max(axis=-1)
  return xp.where(has.any(axis=-1), largest, np.nan)


def last(x: chex.Array) -> chex.Array:
  """The last number of a rollout; shapes as those of `ever`.

  >>> last(np.array([1.0, 0.0, np.nan])).tolist()
  0.0
  """
  xp, has = _module(x), ~_module(x).isnan(x)
  index = x.shape[-1] - 1 - xp.argmax(has[..., ::-1], axis=-1)
  return xp.take_along_axis(x, index[..., None], axis=-1)[..., 0]


def mean(x: chex.Array) -> chex.Array:
  """The mean of the numbers on the last axis; shapes as those of `ever`.

  >>> mean(np.array([1.0, 0.0, np.nan])).tolist()
  0.5
  """
  xp, has = _module(x), ~_module(x).isnan(x)
  number = has.sum(axis=-1).astype(x.dtype)
  total = xp.where(has, x, 0).sum(axis=-1)
  return xp.where(number > 0, total / xp.maximum(number, 1), np.nan)


def summaries(steps: Mapping[str, chex.Array]) -> dict[str, chex.Array]:
  """The largest, the last and the mean number of a rollout, then their means.

  >>> steps = {'success': np.array([[0, 1, 0, 1], [0, 0, np.nan, np.nan]])}
  >>> {name: float(value) for name, value in summaries(steps).items()}
  {'success_ever': 0.5, 'success_last': 0.5, 'success_mean': 0.25}

  Args:
    steps: by name, `[..., B, T]`.

  Returns:
    `[...]` by name, `'success_ever'`, `'success_last'`, `'success_mean'`. Of a
    success of 0 or 1 the first is the part of the rollouts that ever
    succeeded. Names that begin with `return` have `info_` in front: they are no
    returns.
  """
  return {
    f'{"info_" * name.startswith("return")}{name}_{how.__name__}': mean(how(x))
    for name, x in steps.items()
    for how in (ever, last, mean)
  }


def stage_means(tables: Mapping[str, chex.Array]) -> dict[str, chex.Array]:
  """Means over tasks, as columns of a table.

  >>> tables = {'success_ever': np.array([[0.0, 1.0], [0.5, 1.0]])}
  >>> {name: float(value) for name, value in stage_means(tables).items()}
  {'success_ever_0': 0.25, 'success_ever_1': 1.0}

  Args:
    tables: by name, `[G, K+1]`.

  Returns:
    Scalars, by name and number of inner steps taken: `'success_ever_0'`.
  """
  return {
    f'{name}_{stage}': mean(x[:, stage])
    for name, x in tables.items()
    for stage in range(x.shape[1])
  }


def _module(x: chex.Array) -> Any:
  return jnp if isinstance(x, jax.Array) else np
