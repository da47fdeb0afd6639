"""Whether an evaluator's derivatives are estimates: exact sums, no sampling."""

from collections.abc import Callable
import dataclasses
import functools
import inspect
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.evaluators import input_checks, ratios

Critic = Literal['state', 'state_action']

# Where jax.enable_x64 is a context manager, the experimental one is gone.
_home: Any = jax if hasattr(jax, 'enable_x64') else jax.experimental
_enable_x64 = _home.enable_x64
_DISCOUNT = 0.9
# More than enough to tell any two derivatives of the 6 logits apart.
_NUM_DIRECTIONS = 8


@dataclasses.dataclass(frozen=True)
class DerivativeCheck:
  """What `check_derivatives` found, derivative by derivative.

  The k-th number is about the derivative of order k, the 0th about the value:
  the largest absolute error of its expectation along a few random directions,
  as a share of the largest exact derivative. About 1e-15 is rounding: no bias.

  Attributes:
    on_policy: the bias at π = μ, orders 0 … K.
    off_policy: the bias far from it, orders 0 … K.
  """

  on_policy: tuple[float, ...]
  off_policy: tuple[float, ...]

  def __repr__(self) -> str:
    rows = [
      f'  {order:5d}  {on:9.1e}  {off:10.1e}'
      for order, (on, off) in enumerate(
        zip(self.on_policy, self.off_policy, strict=True)
      )
    ]
    header = 'DerivativeCheck: relative bias of the expected derivative'
    return '\n'.join([header, '  order  on-policy  off-policy', *rows])

  def unbiased_orders(self, tolerance: float = 1e-9) -> tuple[int, int]:
    """Up to which order, value included, there is no bias; −1 for none.

    Args:
      tolerance: largest bias that counts as none.

    Returns:
      The orders on and off the behaviour policy.

    Example:
      >>> DerivativeCheck((1e-16, 1e-16), (0.1, 0.2)).unbiased_orders()
      (1, -1)
    """

    def first_biased(bias):
      wrong = [i for i, x in enumerate(bias) if not x <= tolerance]
      return wrong[0] if wrong else len(bias)

    return first_biased(self.on_policy) - 1, first_biased(self.off_policy) - 1


def check_derivatives(
  evaluator: Callable[..., chex.Array],
  order: int = 2,
  *,
  critic: Critic = 'state',
  bootstrap: bool = True,
  horizon: int = 3,
  seed: int = 0,
  **options: Any,
) -> DerivativeCheck:
  """Measures the bias of an evaluator's derivatives, without sampling.

  Lists all trajectories of a small random MDP, some of which end early, under a
  behaviour policy μ. The expected estimate is then a sum, a function of the
  logits of the target policy, whose derivatives are compared with those of the
  exact value: at π = μ and at another π. The critics are wrong on purpose.
  Works in float64 whatever the program's setting.

  Args:
    evaluator: your own or one of `acme_metarl.evaluators`.
    order: K ≥ 0, the highest derivative.
    critic: `'state'`, or `'state_action'` for an evaluator that takes `q_tm1`
      and, where it has that argument, `v_mu_tm1`.
    bootstrap: whether the row goes on after its last step, where the critic's
      value of x_T counts. False ends every episode there: for evaluators that
      have no critic, like `importance_sampling`.
    horizon: T ≥ 1.
    seed: of the MDP, the policies and the critics.
    **options: of the evaluator.

  Returns:
    The biases.

  Raises:
    ValueError: if the evaluator does not return `[T]`, or an argument is
      outside of its range.

  Example:
    >>> from acme_metarl import evaluators
    >>> check = check_derivatives(evaluators.lvc, order=2)
    >>> check.unbiased_orders()  # The Hessian is wrong, off-policy everything.
    (1, -1)
    >>> check_derivatives(evaluators.doubly_robust, order=2).unbiased_orders()
    (2, 2)
  """
  if order < 0 or horizon < 1:
    raise ValueError(
      'order must be at least 0 and horizon at least 1, but got'
      f' {order} and {horizon}.'
    )
  if critic not in ('state', 'state_action'):
    raise ValueError(
      f"critic must be 'state' or 'state_action', but got {critic!r}."
    )
  with _enable_x64(True):
    example = _Example(seed, horizon, bootstrap, critic)
    evaluate = functools.partial(evaluator, **options)
    estimated, exact = (
      _derivatives(function, example.directions, order)
      for function in (
        lambda logits: example.expectation(evaluate, logits),
        example.exact_value,
      )
    )
    return DerivativeCheck(
      *(
        _biases(estimated(logits), exact(logits))
        for logits in (example.on_policy, example.off_policy)
      )
    )


class _Example:
  """A small MDP, everything that can happen in it, and critics."""

  def __init__(self, seed: int, horizon: int, bootstrap: bool, critic: Critic):
    # Imported here, because the enumeration is built on this package.
    from acme_metarl import tabular

    self._tabular = tabular
    rng = np.random.default_rng(seed)
    shape = (3, 2)  # States, the last of which ends the episode; actions.
    self._mdp = tabular.make_mdp(
      jnp.asarray(rng.dirichlet(np.full(3, 0.3), shape)),
      jnp.asarray(3 * rng.normal(size=shape)),
      _DISCOUNT,
      terminal=np.arange(3) == 2,
    )
    self._horizon, self._bootstrap = horizon, bootstrap
    self._is_state_action = critic == 'state_action'
    self.on_policy, self.off_policy = jnp.asarray(rng.normal(size=(2, *shape)))
    self._mu = tabular.softmax_policy(self.on_policy)
    self.directions = jnp.asarray(rng.normal(size=(_NUM_DIRECTIONS, *shape)))
    self._q = jnp.asarray(rng.normal(size=shape))
    self._v = jnp.asarray(rng.normal(size=3))
    self._probabilities, self._data = tabular.enumerate_trajectories(
      self._mdp, self._mu, horizon
    )

  def _critic(self, logits: chex.Array) -> chex.Array:
    if not self._is_state_action:
      return self._v
    return jnp.sum(self._tabular.softmax_policy(logits) * self._q, axis=-1)

  def exact_value(self, logits: chex.Array) -> chex.Array:
    """V(x_0) of the target policy over the horizon, closed by the critic."""
    return self._tabular.value(
      self._mdp,
      logits,
      self._horizon,
      self._critic(logits) if self._bootstrap else None,
    )

  def expectation(
    self, evaluator: Callable[..., chex.Array], logits: chex.Array
  ) -> chex.Array:
    """The expected estimate at the start, summed over all trajectories."""
    states, actions = self._data.states, self._data.actions
    before = states[:, :-1]
    value = self._critic(logits)
    discount_t = _DISCOUNT * self._data.discounts
    if not self._bootstrap:
      discount_t = discount_t.at[:, -1].set(0.0)
    rho_tm1 = ratios.importance_ratios(
      self._tabular.log_prob(logits, before, actions),
      jnp.log(self._mu)[before, actions],
    )
    arrays = {}
    if self._is_state_action:
      arrays['q_tm1'] = self._q[before, actions]
      if 'v_mu_tm1' in inspect.signature(evaluator).parameters:
        arrays['v_mu_tm1'] = jnp.sum(self._mu * self._q, axis=-1)[before]
    estimates = input_checks.estimates(
      jax.vmap(lambda args, arrays: evaluator(*args, **arrays))(
        (
          value[before],
          value[states[:, 1:]],
          self._data.rewards,
          discount_t,
          rho_tm1,
        ),
        arrays,
      ),
      rho_tm1.shape,
    )
    return jnp.dot(self._probabilities, estimates[:, 0])


def _derivatives(
  function: Callable[[chex.Array], chex.Array],
  directions: chex.Array,
  order: int,
) -> Callable[[chex.Array], list[chex.Array]]:
  """Returns logits -> derivatives along each direction, orders 0 … `order`."""

  def along(logits, direction):
    functions = [lambda step: function(logits + step * direction)]
    for _ in range(order):
      functions.append(jax.jacfwd(functions[-1]))
    return [f(jnp.zeros((), logits.dtype)) for f in functions]

  return jax.jit(
    lambda logits: jax.vmap(along, in_axes=(None, 0))(logits, directions)
  )


def _biases(
  estimated: list[chex.Array], exact: list[chex.Array]
) -> tuple[float, ...]:
  return tuple(
    float(jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y)))
    for x, y in zip(estimated, exact, strict=True)
  )
