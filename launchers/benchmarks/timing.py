"""Timing of compiled programs, and the yardstick of what a processor can do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The yardstick: (80000 × 64) · (64 × 64) in float32.
_PRODUCT_SHAPE = (80_000, 64, 64)
# How often it runs in a turn, in a row.
_ROW = 20
# The rate of this product is what is asked for.
YARDSTICK = 'product on all devices'


class Compiled(NamedTuple):
  """A program, and how long its making took.

  Attributes:
    call: runs it and waits for its result, which it returns.
    seconds: of tracing and compilation.
  """

  call: Callable[..., Any]
  seconds: float


def compile_ahead(function: Callable[..., Any], *args: Any) -> Compiled:
  """Compiles a function for these arguments, without running it."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  seconds = time.perf_counter() - start
  return Compiled(lambda: jax.block_until_ready(compiled(*args)), seconds)


def count_flops(function: Callable[..., Any], *args: Any) -> float:
  """Floating-point operations of one call, as the compiler counts them.

  What is in a loop counts once, so the function must have none that matters.

  Args:
    function: of arrays.
    *args: arrays, or their shapes (`jax.ShapeDtypeStruct`).

  Returns:
    The number.
  """
  analysis = jax.jit(function).lower(*args).compile().cost_analysis()
  if isinstance(analysis, Sequence):  # A list of one, before JAX 0.5.
    analysis = analysis[0]
  return float(analysis['flops'])


def turns(
  functions: Mapping[str, Callable[[], Any]],
) -> Iterator[dict[str, float]]:
  """Times functions one after the other, again and again, for ever.

  What else the machine does comes and goes, but one turn mostly shares it. Each
  turn has the order of the last one reversed, as caches favour who comes later.

  Args:
    functions: by name; each waits for its result.

  Yields:
    Seconds by name, of a turn.
  """
  names = list(functions)
  while True:
    seconds = {}
    for name in names:
      start = time.perf_counter()
      functions[name]()
      seconds[name] = time.perf_counter() - start
    yield {name: seconds[name] for name in functions}
    names.reverse()


def take_turns(
  functions: Mapping[str, Callable[[], Any]],
  num_turns: int,
  max_seconds: float = math.inf,
) -> dict[str, np.ndarray]:
  """Times functions in turns, after one for warming up.

  Args:
    functions: by name; each waits for its result.
    num_turns: how many.
    max_seconds: after so many, no turn is begun.

  Returns:
    Seconds by name, `[num_turns]` or shorter.
  """
  timed = turns(functions)
  next(timed)
  taken = []
  while len(taken) < num_turns and not (
    taken and sum(sum(x.values()) for x in taken) > max_seconds
  ):
    taken.append(next(timed))
  return {name: np.array([x[name] for x in taken]) for name in functions}


class Products:
  """A plain product of matrices, timed in turns with other programs.

  Run many times in a row, so that its 20 MB of result go where the last ones
  were; where the operating system has to find memory first, page by page, it
  takes two to four times as long. Either on one device, whose threads may take
  all cores, or with its rows shared out over all devices. On idle cores the two
  are equal; on busy ones the former loses.

  Attributes:
    functions: what `take_turns` times.
  """

  def __init__(self):
    devices = jax.local_devices()
    spec = jax.sharding.PartitionSpec
    mesh = jax.sharding.Mesh(np.asarray(devices), ('rows',))
    # As many rows for every device, so perhaps a few more of them.
    num_rows = -(-_PRODUCT_SHAPE[0] // len(devices)) * len(devices)

    def product(num_rows, left_device, right_device):
      left = jnp.ones((num_rows, _PRODUCT_SHAPE[1]), jnp.float32)
      right = jnp.full(_PRODUCT_SHAPE[1:], 0.5, jnp.float32)
      args = (
        jax.device_put(left, left_device),
        jax.device_put(right, right_device),
      )
      return compile_ahead(jnp.dot, *args).call

    plain = product(_PRODUCT_SHAPE[0], devices[0], devices[0])
    shared = product(
      num_rows,
      jax.sharding.NamedSharding(mesh, spec('rows')),
      jax.sharding.NamedSharding(mesh, spec()),
    )

    def in_a_row(call):
      for _ in range(_ROW):
        call()

    self.functions = {
      'product': functools.partial(in_a_row, plain),
      YARDSTICK: functools.partial(in_a_row, shared),
    }
    flops = 2.0 * _ROW * math.prod(_PRODUCT_SHAPE)
    self._flops = {
      'product': flops,
      YARDSTICK: flops * num_rows / _PRODUCT_SHAPE[0],
    }

  def rates(self, seconds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Operations a second of every turn, from what `take_turns` gave."""
    return {name: flops / seconds[name] for name, flops in self._flops.items()}
