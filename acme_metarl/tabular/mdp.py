"""Tabular Markov decision processes, and policies given as tables."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Below this a Dirichlet sample is one-hot to any float's resolution, and a
# smaller number would only overflow the logarithms it is drawn from.
_SMALLEST_CONCENTRATION = 1e-30
_ROW_SUM_TOLERANCE = 1e-4


class TabularMDP(NamedTuple):
  """A Markov decision process with X states and A actions, as arrays.

  A pytree: it passes through `jax.jit`, and many of one size stack for
  `jax.vmap`. `make_mdp` builds one with its arguments checked.

  Attributes:
    transition: `[X, A, X]` probabilities of the next state.
    reward: `[X, A]` reward of an action, deterministic.
    discount: scalar in [0, 1], the discount factor.
    start_state: scalar integer, x_0.
    terminal: `[X]` booleans, states whose entering ends the episode; `None`
      where no state does.
  """

  transition: chex.Array
  reward: chex.Array
  discount: chex.Numeric
  start_state: chex.Numeric = 0
  terminal: chex.Array | None = None

  @property
  def num_states(self) -> int:
    return self.reward.shape[-2]

  @property
  def num_actions(self) -> int:
    return self.reward.shape[-1]


def make_mdp(
  transition: chex.Array,
  reward: chex.Array,
  discount: chex.Numeric,
  start_state: chex.Numeric = 0,
  terminal: chex.Array | None = None,
) -> TabularMDP:
  """Builds a `TabularMDP` of JAX arrays and checks it.

  Shapes are always checked, values where they are concrete (outside of JAX
  transformations).

  Args:
    transition: `[X, A, X]`, rows that sum to one.
    reward: `[X, A]`.
    discount: scalar in [0, 1].
    start_state: integer in [0, X).
    terminal: `[X]` booleans or `None`.

  Returns:
    The process.

  Raises:
    ValueError: if a shape or a value is not as described.
  """
  transition, reward = _float_array(transition), _float_array(reward)
  dtype = jnp.result_type(transition, reward)
  mdp = TabularMDP(
    transition=transition.astype(dtype),
    reward=reward.astype(dtype),
    discount=jnp.asarray(discount, dtype),
    start_state=jnp.asarray(start_state, jnp.int32),
    terminal=None if terminal is None else jnp.asarray(terminal, bool),
  )
  _check_shapes(mdp)
  if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(mdp)):
    _check_values(mdp)
  return mdp


def _float_array(x: chex.Array) -> chex.Array:
  x = jnp.asarray(x)
  return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def _check_shapes(mdp: TabularMDP) -> None:
  """Raises `ValueError` where shapes do not fit together."""
  shape = mdp.transition.shape
  if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
    raise ValueError(
      f'transition has shape {shape}; it needs [X, A, X] with X >= 1 states '
      'and A >= 1 actions.'
    )
  if mdp.reward.shape != shape[:2]:
    raise ValueError(
      f'reward has shape {mdp.reward.shape}; with this transition it needs '
      f'{shape[:2]}.'
    )
  if mdp.discount.shape or mdp.start_state.shape:
    raise ValueError(
      'discount and start_state need to be scalars; got shapes '
      f'{mdp.discount.shape} and {mdp.start_state.shape}.'
    )
  if mdp.terminal is not None and mdp.terminal.shape != shape[:1]:
    raise ValueError(
      f'terminal has shape {mdp.terminal.shape}; it needs {shape[:1]}.'
    )


def _check_values(mdp: TabularMDP) -> None:
  """Raises `ValueError` where concrete values make no process."""
  transition = np.asarray(mdp.transition, np.float64)
  row_error = np.abs(transition.sum(-1) - 1.0).max()
  if not (transition.min() >= 0 and row_error <= _ROW_SUM_TOLERANCE):
    raise ValueError(
      'transition needs rows of probabilities: its smallest entry is '
      f'{transition.min()}, a row misses the sum 1 by {row_error}.'
    )
  if not np.isfinite(np.asarray(mdp.reward)).all():
    raise ValueError('reward has entries that are not finite numbers.')
  if not 0 <= float(mdp.discount) <= 1:
    raise ValueError(f'discount is {mdp.discount}; it needs to be in [0, 1].')
  start_state = int(mdp.start_state)
  if not 0 <= start_state < mdp.num_states:
    raise ValueError(
      f'start_state is {start_state}; it needs to be one of the '
      f'{mdp.num_states} states.'
    )
  if mdp.terminal is not None and bool(mdp.terminal[start_state]):
    raise ValueError(
      f'start_state {start_state} is terminal; an episode needs a step.'
    )


def random_mdp(
  key: chex.PRNGKey,
  num_states: int = 20,
  num_actions: int = 5,
  discount: chex.Numeric = 0.8,
  concentration: chex.Numeric = 0.001,
) -> TabularMDP:
  """Draws an MDP as in Figure 1 of Tang et al. 2021.

  P(.|x, a) ~ Dirichlet(concentration), r(x, a) ~ U(0, 1); the start state is
  0 and no state is terminal. Never NaN: see `random_transition`.

  Args:
    key: random key.
    num_states: X >= 1.
    num_actions: A >= 1.
    discount: scalar in [0, 1].
    concentration: positive; the smaller, the nearer to deterministic
      transitions.

  Returns:
    The process.

  Raises:
    ValueError: if an argument is outside of its range.
  """
  if num_states < 1 or num_actions < 1:
    raise ValueError(
      f'num_states is {num_states} and num_actions is {num_actions}; both need '
      'to be at least 1.'
    )
  transition_key, reward_key = jax.random.split(key)
  transition = random_transition(
    transition_key, (num_states, num_actions, num_states), concentration
  )
  reward = jax.random.uniform(
    reward_key, (num_states, num_actions), transition.dtype
  )
  return make_mdp(transition, reward, discount)


def random_transition(
  key: chex.PRNGKey, shape: tuple[int, ...], concentration: chex.Numeric
) -> chex.Array:
  """Draws rows from a symmetric Dirichlet distribution, in log space.

  At small concentrations every gamma variate underflows and a plain sampler
  divides 0 by 0; the softmax of their logarithms has no such case.

  Args:
    key: random key.
    shape: shape of the sample, rows on the last axis.
    concentration: positive scalar; its dtype is the sample's.

  Returns:
    Probabilities of that shape.

  Raises:
    ValueError: if the concentration is not a positive finite number.
  """
  if not isinstance(concentration, jax.core.Tracer):
    if not (concentration > 0 and math.isfinite(concentration)):
      raise ValueError(
        f'concentration is {concentration}; it needs to be positive and finite.'
      )
  concentration = _float_array(concentration)
  concentration = jnp.maximum(concentration, _SMALLEST_CONCENTRATION)
  log_gamma = jax.random.loggamma(
    key, concentration, shape, concentration.dtype
  )
  return jax.nn.softmax(log_gamma)


def uniform_policy(mdp: TabularMDP) -> chex.Array:
  """Returns the `[X, A]` table of the uniformly random policy."""
  return jnp.full_like(mdp.reward, 1.0 / mdp.num_actions)


def random_deterministic_policy(
  key: chex.PRNGKey, mdp: TabularMDP
) -> chex.Array:
  """Draws an action per state; returns the one-hot table `[X, A]`."""
  action = jax.random.randint(key, (mdp.num_states,), 0, mdp.num_actions)
  return jax.nn.one_hot(action, mdp.num_actions, dtype=mdp.reward.dtype)


def softmax_policy(logits: chex.Array) -> chex.Array:
  """Returns action probabilities `[X, A]` of logits theta `[X, A]`."""
  return jax.nn.softmax(logits)


def log_prob(
  logits: chex.Array, state: chex.Array, action: chex.Array
) -> chex.Array:
  """Returns log pi_theta(action | state), the arrays' shape, of a softmax."""
  return jax.nn.log_softmax(logits)[state, action]
