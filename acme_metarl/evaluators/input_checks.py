"""Checks of what users pass in: the mistake is a `ValueError` that explains."""

from collections.abc import Mapping
import operator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np


def is_traced(x: Any) -> bool:
  """Whether the value of `x` is unknown while JAX traces.

  Example:
    >>> import jax
    >>> is_traced(1.0)
    False
    >>> int(jax.jit(lambda x: x + is_traced(x))(1))
    2
  """
  return isinstance(x, jax.core.Tracer)


def float_array(name: str, x: Any, needs: str) -> chex.Array:
  """Returns `x` as an array, or says that it is not one of real floats.

  Example:
    >>> float_array('r_t', [1.0, 2.0], 'a floating-point array').shape
    (2,)
    >>> float_array('r_t', None, 'a floating-point array')
    Traceback (most recent call last):
    ValueError: r_t must be a floating-point array, but got NoneType.
  """
  try:
    if x is None:
      raise TypeError
    x = jnp.asarray(x)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'{name} must be {needs}, but got {type(x).__name__}.'
    ) from error
  if not jnp.issubdtype(x.dtype, jnp.floating):
    hint = (
      ''
      if jnp.issubdtype(x.dtype, jnp.complexfloating)
      else f' Convert it, for example with {name}.astype(jnp.float32).'
    )
    raise ValueError(f'{name} must be {needs}, but got dtype {x.dtype}.{hint}')
  return x


def trajectory(optional: Mapping[str, Any], **required: Any) -> tuple[Any, ...]:
  """Checks arrays of one trajectory; returns them in their common dtype.

  Args:
    optional: by argument name, each `[T]`, or None where not given.
    **required: by argument name, each `[T]` with the same T ≥ 1.

  Returns:
    The required arrays, then the optional ones or None, in the order given.

  Raises:
    ValueError: if one is no floating-point array of shape [T].

  Example:
    >>> import jax.numpy as jnp
    >>> r_t, q_tm1 = trajectory({'q_tm1': None}, r_t=jnp.ones(3))
    >>> r_t.shape, q_tm1
    ((3,), None)
  """
  needs = 'a floating-point array of shape [T]'
  checked: dict[str, Any] = {
    name: float_array(name, x, needs) for name, x in required.items()
  }
  for name, x in optional.items():
    checked[name] = None if x is None else float_array(name, x, needs)
  present = {name: x for name, x in checked.items() if x is not None}
  for name, x in present.items():
    if x.ndim == 0:
      raise ValueError(
        f'{name} must be {needs}, one entry a step, but got a scalar. Repeat'
        f' it, for example jnp.full_like(r_t, {name}).'
      )
    if x.ndim > 1:
      raise ValueError(
        f'{name} must be {needs}, but got shape {x.shape}. An evaluator takes'
        ' one trajectory; use jax.vmap for a batch.'
      )
  lengths = {name: x.shape[0] for name, x in present.items()}
  if len(set(lengths.values())) > 1:
    raise ValueError(
      'All arrays of a trajectory need the same length T, but got'
      f' {_listing(lengths)}.'
    )
  if 0 in lengths.values():
    raise ValueError(
      f'{next(iter(lengths))} is empty (T = 0): a trajectory needs at least'
      ' one step.'
    )
  dtype = common_dtype(*present.values())
  return tuple(x if x is None else x.astype(dtype) for x in checked.values())


def _listing(lengths: dict[str, int]) -> str:
  return ', '.join(f'{name} [{length}]' for name, length in lengths.items())


def positive_integer(name: str, x: Any) -> int:
  """Returns `x` as a Python integer ≥ 1, known while tracing.

  Example:
    >>> positive_integer('order', 2)
    2
    >>> positive_integer('order', 0)
    Traceback (most recent call last):
    ValueError: order must be a Python integer of at least 1, but got 0.
  """
  needs = f'{name} must be a Python integer of at least 1'
  if is_traced(x):
    raise ValueError(
      f'{needs}, but got a traced array. It sets the size of the computation:'
      ' close over it, or mark it static.'
    )
  try:
    value = operator.index(x)
  except TypeError as error:
    raise ValueError(f'{needs}, but got {x!r}.') from error
  if isinstance(x, bool | np.bool_) or value < 1:
    raise ValueError(f'{needs}, but got {x!r}.')
  return value


def boolean(name: str, x: Any) -> bool:
  """Returns `x` as a Python boolean, known while tracing.

  Example:
    >>> boolean('stop_target_gradients', True)
    True
  """
  needs = f'{name} must be True or False'
  if is_traced(x):
    raise ValueError(
      f'{needs}, but got a traced array. It decides what is computed: close'
      ' over it, or mark it static.'
    )
  if not isinstance(x, bool | np.bool_):
    raise ValueError(f'{needs}, but got {x!r}.')
  return bool(x)


def threshold(name: str, x: Any, dtype: Any, length: int) -> chex.Array:
  """Returns numbers > 0 (infinity included) as [T]; traced ones unchecked.

  Example:
    >>> import jax.numpy as jnp
    >>> threshold('clip_rho_threshold', float('inf'), jnp.float32, 2)
    Array([inf, inf], dtype=float32)
  """
  needs = (
    f'{name} must be a number, or one a step, greater than 0, which may be'
    ' infinite'
  )
  array = _scalar_or_row(name, x, dtype, needs, length)
  # Under jit a plain number is known, the array made of it is not.
  if not is_traced(x) and not bool(np.all(np.asarray(x) > 0)):
    raise ValueError(f'{needs}, but got {x!r}.')
  return array


def mixing(name: str, x: Any, dtype: Any, length: int) -> chex.Array:
  """Returns weights in [0, 1] as [T]; traced ones are not checked.

  Example:
    >>> import jax.numpy as jnp
    >>> mixing('lambda_', 0.5, jnp.float32, 2)
    Array([0.5, 0.5], dtype=float32)
  """
  needs = f'{name} must be a number, or one a step, in [0, 1]'
  array = _scalar_or_row(name, x, dtype, needs, length)
  if not is_traced(x):
    value = np.asarray(x)
    if not bool(np.all((value >= 0) & (value <= 1))):
      raise ValueError(f'{needs}, but got {x!r}.')
  return array


def is_one(x: Any) -> bool:
  """Whether `x` is known to be 1 (at every step) while JAX traces.

  Example:
    >>> is_one(1), is_one([1.0, 0.5])
    (True, False)
  """
  return not is_traced(x) and bool(np.all(np.asarray(x) == 1))


def estimates(x: Any, shape: tuple[int, ...]) -> chex.Array:
  """Returns what a user's evaluator returned, or says what it needs to be.

  Example:
    >>> import jax.numpy as jnp
    >>> estimates(jnp.zeros((4, 3)), (4, 3)).shape
    (4, 3)
  """
  got = jnp.shape(x)
  if got != shape:
    *batch, length = shape
    raise ValueError(
      f'Your evaluator returned shape {got[len(batch) :]}, [T] is needed: one'
      f' estimate for each of the T = {length} steps of one trajectory.'
    )
  return x


def common_dtype(*arrays: chex.Array) -> Any:
  """The dtype that holds them all, also in JAX's strict promotion mode.

  Example:
    >>> import jax.numpy as jnp
    >>> common_dtype(jnp.zeros(1, jnp.float16), jnp.zeros(1)).name
    'float32'
  """
  with jax.numpy_dtype_promotion('standard'):
    return jnp.result_type(*arrays)


def _scalar_or_row(
  name: str, x: Any, dtype: Any, needs: str, length: int
) -> chex.Array:
  try:
    array = jnp.asarray(x)
  except (TypeError, ValueError) as error:
    raise ValueError(f'{needs}, but got {x!r}.') from error
  if not (
    jnp.issubdtype(array.dtype, jnp.floating)
    or jnp.issubdtype(array.dtype, jnp.integer)
  ):
    raise ValueError(f'{needs}, but got dtype {array.dtype}.')
  if array.shape not in ((), (length,)):
    raise ValueError(
      f'{needs}, but got shape {array.shape} where T = {length}.'
    )
  return jnp.broadcast_to(array.astype(dtype), (length,))
