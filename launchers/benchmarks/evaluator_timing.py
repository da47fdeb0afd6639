"""Timing of evaluators' derivatives, for `benchmark_evaluators`."""

from collections.abc import Iterator
import dataclasses
import functools

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import evaluators, types
from acme_metarl.evaluators import derivatives, recurrences
from acme_metarl.launchers.benchmarks import benchmark, timing

NUM_ACTIONS = 4
DERIVATIVES = ('gradient', 'hessian_vector_product', 'hessian')


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    lengths: trajectory lengths T.
    orders: orders K of the Taylor expansion.
    num_trajectories: numbers of trajectories N.
    num_features: features of an observation; the policy has 4 times as many
      parameters.
    max_steps: leave out combinations with more steps N T than this.
    rounds: how often everything is timed.
  """

  lengths: tuple[int, ...] = (5, 20, 100, 400)
  orders: tuple[int, ...] = (1, 2, 3, 4)
  num_trajectories: tuple[int, ...] = (20, 1000)
  num_features: int = 16
  max_steps: int = 100_000
  rounds: int = 15

  def __post_init__(self):
    benchmark.check_positive(
      self, *(field.name for field in dataclasses.fields(self))
    )
    if not self.grid:
      raise ValueError(
        'no combination of --lengths and --num_trajectories has at most'
        f' --max_steps={self.max_steps} steps; raise it or ask for less.'
      )

  @property
  def grid(self) -> list[tuple[int, int]]:
    """Lengths and numbers of trajectories that are measured."""
    return [
      (length, size)
      for size in sorted(set(self.num_trajectories))
      for length in sorted(set(self.lengths))
      if length * size <= self.max_steps
    ]


def measure(config: Config) -> Iterator[benchmark.Row]:
  """Yields rows of evaluators, and of the ways to expand.

  Ratios are to the Taylor expansion of order 1, and to the recurrence.
  """
  orders = sorted(set(config.orders))
  for length, size in config.grid:
    yield from compare_evaluators(
      length, size, orders, config.num_features, config.rounds
    )
    yield from compare_expansions(
      length, size, max(2, orders[0]), config.rounds
    )


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
) -> Iterator[benchmark.Row]:
  """Times the derivatives of every evaluator on one batch."""
  params = jnp.zeros((num_features, NUM_ACTIONS), jnp.float32)
  batch = make_batch(num_trajectories, length, num_features)
  for derivative in DERIVATIVES:
    programs = {
      name: timing.compile_ahead(_derivative(derivative, one), params, batch)
      for name, one in make_evaluators(orders).items()
    }
    case = f'T {length}, N {num_trajectories}, {derivative}'
    yield from benchmark.compare(case, programs, rounds, 'taylor_1')


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


def _nested_by(method: recurrences.Method, *args, order: int) -> chex.Array:
  with recurrences.use(method):
    return recurrences.nested(*args, order=order)


def compare_expansions(
  length: int, num_trajectories: int, order: int, rounds: int
) -> Iterator[benchmark.Row]:
  """Times ways to expand, differentiated by ρ.

  The recurrence as the library does it here, and by either of its methods; and
  triangular products.
  """
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
  for method in ('scan', 'associative'):
    ways[method] = functools.partial(_nested_by, method)
  for derivative in DERIVATIVES[:2]:
    programs = {
      name: timing.compile_ahead(differentiate(way, derivative), weight, batch)
      for name, way in ways.items()
    }
    case = f'T {length}, N {num_trajectories}, {derivative}, order {order}'
    yield from benchmark.compare(case, programs, rounds, 'recurrence')
