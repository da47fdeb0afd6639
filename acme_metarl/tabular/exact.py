"""Exact values of tabular policies, and their exact derivatives.

Everything is a differentiable function of arrays: derivatives of any order
follow by automatic differentiation. Two horizons:

* `horizon=None`: infinite, V = (I - gamma P_pi)^-1 r_pi. Needs a discount
  factor below 1, or termination that is certain.
* `horizon=T`: V_T = bootstrap, V_t = r_pi + gamma P_pi V_{t+1}.

Entering a terminal state ends an episode; the value there is 0.
"""

import chex
import jax
import jax.numpy as jnp

from acme_metarl.tabular import mdp as mdp_lib

TabularMDP = mdp_lib.TabularMDP


def _discounted_transition(mdp: TabularMDP) -> chex.Array:
  """Discounted P `[X, A, X]` without the mass that enters terminal states."""
  transition = mdp.discount * mdp.transition
  if mdp.terminal is None:
    return transition
  return jnp.where(mdp.terminal, 0.0, transition)


def _zero_at_terminals(mdp: TabularMDP, value: chex.Array) -> chex.Array:
  return value if mdp.terminal is None else jnp.where(mdp.terminal, 0.0, value)


def state_values(mdp: TabularMDP, policy: chex.Array) -> chex.Array:
  """Returns V^pi `[X]` at infinite horizon.

  Args:
    mdp: the process.
    policy: `[X, A]` action probabilities.
  """
  _check_table(mdp, policy, 'policy')
  reward = jnp.sum(policy * mdp.reward, -1)
  transition = jnp.einsum('xa,xay->xy', policy, _discounted_transition(mdp))
  identity = jnp.eye(mdp.num_states, dtype=transition.dtype)
  value = jnp.linalg.solve(identity - transition, reward)
  return _zero_at_terminals(mdp, value)


def action_values(mdp: TabularMDP, policy: chex.Array) -> chex.Array:
  """Returns Q^pi `[X, A]` at infinite horizon, for a `policy` `[X, A]`."""
  value = state_values(mdp, policy)
  return mdp.reward + _discounted_transition(mdp) @ value


def finite_horizon_values(
  mdp: TabularMDP,
  policy: chex.Array,
  horizon: int,
  bootstrap: chex.Array | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Returns values of the steps that remain, for every step.

  Args:
    mdp: the process.
    policy: `[X, A]` action probabilities.
    horizon: T >= 1 steps.
    bootstrap: `[X]` value of the states at time T; 0 by default.

  Returns:
    V `[T + 1, X]`, `V[T]` being the bootstrap, and Q `[T, X, A]`.

  Raises:
    ValueError: if the horizon is not positive or a shape does not fit.
  """
  _check_table(mdp, policy, 'policy')
  if horizon < 1:
    raise ValueError(f'horizon is {horizon}; it needs to be at least 1.')
  if bootstrap is None:
    bootstrap = jnp.zeros_like(mdp.reward[:, 0])
  if bootstrap.shape != (mdp.num_states,):
    raise ValueError(
      f'bootstrap has shape {bootstrap.shape}; it needs ({mdp.num_states},).'
    )
  transition = _discounted_transition(mdp)

  def backwards(value_t, _):
    q_tm1 = mdp.reward + transition @ value_t
    value_tm1 = _zero_at_terminals(mdp, jnp.sum(policy * q_tm1, -1))
    return value_tm1, (value_tm1, q_tm1)

  dtype = jnp.result_type(mdp.reward, policy, bootstrap)
  last = _zero_at_terminals(mdp, bootstrap.astype(dtype))
  _, (values, action_values_) = jax.lax.scan(
    backwards, last, None, length=horizon, reverse=True
  )
  return jnp.concatenate([values, last[None]]), action_values_


def value(
  mdp: TabularMDP,
  logits: chex.Array,
  horizon: int | None = None,
  bootstrap: chex.Array | None = None,
) -> chex.Array:
  """Returns V(x_0) of the softmax policy, a differentiable scalar.

  Args:
    mdp: the process.
    logits: theta `[X, A]`.
    horizon: number of steps, or `None` for infinitely many.
    bootstrap: `[X]` value at the end of a finite horizon; 0 by default.
  """
  policy = mdp_lib.softmax_policy(logits)
  if horizon is None:
    if bootstrap is not None:
      raise ValueError('bootstrap has a meaning with a finite horizon only.')
    values = state_values(mdp, policy)
  else:
    values = finite_horizon_values(mdp, policy, horizon, bootstrap)[0][0]
  return values[mdp.start_state]


def value_gradient(
  mdp: TabularMDP,
  logits: chex.Array,
  horizon: int | None = None,
  bootstrap: chex.Array | None = None,
) -> chex.Array:
  """Returns the exact policy gradient of V(x_0), `[X, A]`. See `value`."""
  return jax.grad(value, argnums=1)(mdp, logits, horizon, bootstrap)


def value_hessian(
  mdp: TabularMDP,
  logits: chex.Array,
  horizon: int | None = None,
  bootstrap: chex.Array | None = None,
) -> chex.Array:
  """Returns the exact Hessian of V(x_0), `[X, A, X, A]`. See `value`."""
  return jax.hessian(value, argnums=1)(mdp, logits, horizon, bootstrap)


def adapt(
  mdp: TabularMDP,
  logits: chex.Array,
  step_size: chex.Numeric,
  num_inner_steps: int = 1,
  horizon: int | None = None,
) -> chex.Array:
  """Returns theta `[X, A]` after exact gradient-ascent steps on V(x_0)."""
  for _ in range(num_inner_steps):
    logits = logits + step_size * value_gradient(mdp, logits, horizon)
  return logits


def meta_gradient(
  mdp: TabularMDP,
  logits: chex.Array,
  step_size: chex.Numeric,
  num_inner_steps: int = 1,
  horizon: int | None = None,
) -> chex.Array:
  """Returns the exact gradient `[X, A]` of V(x_0) after adaptation.

  (I + step_size * Hessian) times the gradient at the adapted logits, for each
  inner step in turn: the MAML objective of one task with nothing estimated.

  Args:
    mdp: the process.
    logits: theta `[X, A]` before adaptation.
    step_size: of the inner gradient steps.
    num_inner_steps: how many of them.
    horizon: number of steps, or `None` for infinitely many.
  """

  def adapted_value(theta):
    adapted = adapt(mdp, theta, step_size, num_inner_steps, horizon)
    return value(mdp, adapted, horizon)

  return jax.grad(adapted_value)(logits)


def _check_table(mdp: TabularMDP, table: chex.Array, name: str) -> None:
  if jnp.shape(table) != mdp.reward.shape:
    raise ValueError(
      f'{name} has shape {jnp.shape(table)}; it needs {mdp.reward.shape}.'
    )
