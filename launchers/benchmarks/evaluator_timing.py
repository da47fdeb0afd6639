"""Timing of evaluators' derivatives, for `benchmark_evaluators`."""

import functools
import time
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import evaluators, types
from acme_metarl.evaluators import derivatives, recurrences

NUM_ACTIONS = 4
DERIVATIVES = ('gradient', 'hessian_vector_product', 'hessian')


class Row(NamedTuple):
  """One measurement; times in milliseconds, compilation in seconds."""

  table: str
  name: str
  derivative: str
  length: int
  num_trajectories: int
  milliseconds: float
  ratio: float
  compilation: float


def log_prob(
  params: chex.Array, observation: chex.Array, action: chex.Array
) -> chex.Array:
  """A softmax policy with linear logits; `params` is [features, actions]."""
  return jax.nn.log_softmax(observation @ params)[action]


def make_batch(
  num_trajectories: int, length: int, num_features: int
) -> types.Prepared:
  """Random trajectories, a few of which end on the way."""
  rng = np.random.default_rng(0)
  shape = (num_trajectories, length)
  values = rng.normal(size=(num_trajectories, length + 1))
  ended = rng.uniform(size=shape) < 0.02
  batch = types.Prepared(
    observation=rng.normal(size=(*shape, num_features)),
    action=rng.integers(NUM_ACTIONS, size=shape),
    v_tm1=values[:, :-1],
    v_t=values[:, 1:],
    r_t=rng.normal(size=shape),
    discount_t=np.where(ended, 0.0, 0.99),
    advantage=np.zeros(shape),
    mask=np.ones(shape),
    behaviour_log_prob=np.full(shape, -np.log(NUM_ACTIONS)),
  )
  return jax.tree.map(
    lambda x: jnp.asarray(x, np.int32 if x.dtype == np.int64 else np.float32),
    batch,
  )


def make_evaluators(orders: list[int]) -> dict[str, evaluators.Evaluator]:
  """The Taylor expansions, order 1 first, and the other evaluators."""
  expansions = {
    f'taylor_{order}': functools.partial(
      evaluators.taylor_expansion, order=order
    )
    for order in sorted({1, *orders})
  }
  return {
    **expansions,
    'importance_sampling': evaluators.importance_sampling,
    'doubly_robust': evaluators.doubly_robust,
    'truncated_doubly_robust': evaluators.truncated_doubly_robust,
    'log_likelihood': evaluators.log_likelihood,
  }


def compare_evaluators(
  length: int,
  num_trajectories: int,
  orders: list[int],
  num_features: int,
  rounds: int,
) -> list[Row]:
  """Times the derivatives of every evaluator on one batch."""
  params = jnp.zeros((num_features, NUM_ACTIONS), jnp.float32)
  batch = make_batch(num_trajectories, length, num_features)
  compiled, compilation = {}, {}
  for name, evaluator in make_evaluators(orders).items():
    for derivative in DERIVATIVES:
      key = (name, derivative)
      compiled[key], compilation[key] = _compile(
        _derivative(derivative, evaluator), params, batch
      )
  times = interleaved_medians(compiled, rounds)
  return [
    Row(
      'evaluators',
      name,
      derivative,
      length,
      num_trajectories,
      times[name, derivative],
      times[name, derivative] / times['taylor_1', derivative],
      compilation[name, derivative],
    )
    for name, derivative in compiled
  ]


def _derivative(name: str, evaluator: evaluators.Evaluator):
  if name == 'hessian_vector_product':
    return lambda params, batch: derivatives.hessian_vector_product(
      log_prob, params, jnp.ones_like(params), batch, evaluator
    )
  function = getattr(derivatives, name)
  return lambda params, batch: function(log_prob, params, batch, evaluator)


def nested_by_triangle(
  coefficient: chex.Array,
  weight: chex.Array,
  constant: chex.Array,
  last: chex.Array,
  order: int,
) -> chex.Array:
  """What `recurrences.nested` does, by triangular products; O(order · T²)."""
  length = constant.shape[0]

  def add_row(row, inputs):  # Products of the coefficients from t on.
    a, unit = inputs
    row = unit + a * row
    return row, row

  units = jnp.eye(length + 1, dtype=constant.dtype)
  _, products = lax.scan(
    add_row, units[-1], (coefficient, units[:-1]), reverse=True
  )  # [T, T + 1]
  triangle = products[:, :-1]
  w = triangle @ constant + products[:, -1] * last
  total = w
  following = last
  for _ in range(order - 1):
    w_next = jnp.append(w[1:], following)
    w = triangle @ (coefficient * weight * w_next)
    total += w
    following = jnp.zeros_like(last)
  return total


def compare_expansions(
  length: int, num_trajectories: int, order: int, rounds: int
) -> list[Row]:
  """Times the recurrence and triangular products, differentiated by ρ."""
  batch = make_batch(num_trajectories, length, num_features=1)
  weight = 0.1 * batch.v_t

  def differentiate(expand, derivative):
    def objective(weight, batch):
      first = weight * batch.r_t
      estimates = jax.vmap(functools.partial(expand, order=order))(
        batch.discount_t, weight, first, jnp.zeros_like(weight[:, 0])
      )
      return jnp.mean(estimates[:, 0])

    gradient = jax.grad(objective)
    if derivative == 'gradient':
      return gradient
    return lambda weight, batch: jax.jvp(
      lambda x: gradient(x, batch), (weight,), (batch.v_tm1,)
    )[1]

  ways = {'recurrence': recurrences.nested, 'triangle': nested_by_triangle}
  compiled, compilation = {}, {}
  for derivative in DERIVATIVES[:2]:
    for name, expand in ways.items():
      key = (name, derivative)
      compiled[key], compilation[key] = _compile(
        differentiate(expand, derivative), weight, batch
      )
  times = interleaved_medians(compiled, rounds)
  return [
    Row(
      f'expansion_{order}',
      name,
      derivative,
      length,
      num_trajectories,
      times[name, derivative],
      times[name, derivative] / times['recurrence', derivative],
      compilation[name, derivative],
    )
    for name, derivative in compiled
  ]


def _compile(function, *args):
  """Returns a call without arguments, and the seconds of compilation."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  seconds = time.perf_counter() - start
  return functools.partial(compiled, *args), seconds


def interleaved_medians(functions: dict, rounds: int) -> dict:
  """Median milliseconds of each, all timed in turns, after a first call."""
  times = {key: [] for key in functions}
  for i in range(rounds + 1):
    for key, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function())
      if i > 0:
        times[key].append(1e3 * (time.perf_counter() - start))
  return {key: float(np.median(x)) for key, x in times.items()}


def switch_sentences(rows: list[Row]) -> list[str]:
  """Up to which length triangular products pay, for every N and table."""
  sentences = []
  groups = sorted({(row.num_trajectories, row.derivative) for row in rows})
  for num_trajectories, derivative in groups:
    ratios = {
      row.length: row.ratio
      for row in rows
      if row.name == 'triangle'
      and (row.num_trajectories, row.derivative)
      == (num_trajectories, derivative)
    }
    paying = []
    for length in sorted(ratios):
      if ratios[length] > 0.95:  # Less than that is noise.
        break
      paying.append(length)
    answer = f'up to T = {paying[-1]}' if paying else 'at none of these T'
    sentences.append(
      f'N = {num_trajectories}, {derivative}: triangular products are faster'
      f' {answer}; time over that of the recurrence: '
      + ', '.join(f'T = {t}: {ratios[t]:.2f}' for t in sorted(ratios))
    )
  return sentences


def table(rows: list[Row]) -> str:
  """The rows as text, below a header."""
  header = (
    f'{"T":>6s} {"N":>6s}  {"":24s}{"derivative":24s}{"ms":>10s}'
    f'{"ratio":>10s}{"compile s":>12s}'
  )
  lines = [
    f'{row.length:6d} {row.num_trajectories:6d}  {row.name:24s}'
    f'{row.derivative:24s}{row.milliseconds:10.3f}{row.ratio:10.2f}'
    f'{row.compilation:12.2f}'
    for row in rows
  ]
  return '\n'.join([header, *lines])
