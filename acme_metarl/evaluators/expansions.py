"""Evaluators that expand V^π around the behaviour policy's returns.

See `acme_metarl.evaluators.protocols` for what the arguments are.
"""

import chex
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl.evaluators import (
  importance_weighted,
  input_checks,
  ratios,
  recurrences,
)


def taylor_expansion(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  order: int = 1,
  lambda_: chex.Numeric = 1.0,
  causal_lambda: chex.Numeric = 1.0,
  clip_rho_threshold: chex.Numeric = float('inf'),
  leak_rho: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
  v_mu_tm1: chex.Array | None = None,
  stop_target_gradients: bool = True,
) -> chex.Array:
  """The Taylor expansion of V^π around μ up to an order K, TayPO-K.

  V̂_t = Ĝ_t + Σ_{k=1..K} W_k(t), with A_t = Ĝ_t − v(x_t) and
  W_1(t) = (ρ_t − 1) A_t + γ_t W_1(t+1),
  W_k(t) = (ρ_t − 1) γ_t W_{k-1}(t+1) + γ_t W_k(t+1).

  W_k sums over all k-tuples of later steps; the recursion does it exactly, in
  O(KT). On the behaviour policy derivatives up to order K are those of the full
  expansion and the next one is not. From order T on the expansion is full:
  unbiased for any μ and, with λ = 1 and a state critic, equal to
  `doubly_robust`. Order 1 is LVC.

  **Causal λ**, κ, is a dial between order 1 and the whole: it decays how far
  the terms of later steps depend on earlier actions. With κ < 1,
  W_k(t) = (ρ_t − 1) κ_t γ_t C_{k-1}(t+1) + γ_t W_k(t+1), where C_k is W_k with
  κγ in the place of γ: a tuple that begins at x_i and ends with A_s weighs
  κ^(s-i). κ = 0 is order 1, κ = 1 the expansion above. On the behaviour policy
  values and gradients do not depend on κ, and from order 2 on gradient and
  Hessian are those of Loaded DiCE with that λ (Farquhar et al., 2019); third
  derivatives are those of the formula here, which differ from theirs for κ
  between 0 and 1. κ is differentiated always.

  **Truncated ratios**: with a `clip_rho_threshold`, ρ̄ = a min(ρ, threshold) +
  (1 − a) ρ takes the place of ρ, a = `leak_rho`, as in
  `truncated_doubly_robust`. It bounds the products of ratios where data is used
  several times; on the behaviour policy a threshold of 1 or more does nothing.

  With a state-action critic, also v_μ(x) = Σ_a μ(a|x) q(x, a) is needed:
  W_1(t) = (v_π − v_μ)(x_t) + (ρ_t − 1)(Ĝ_t − q(x_t, a_t)) + γ_t W_1(t+1).
  There the full expansion equals `doubly_robust` in expectation; sample by
  sample where q(x_t, a_t) is given for v_μ(x_t), whose expectation is the same.

  With `stop_target_gradients` everything but ρ, κ and v_π − v_μ is constant for
  differentiation: rewards, discounts, λ, the state critic, and q and v_μ where
  they are part of returns and advantages. v_π − v_μ is no target but the
  policies' own expectations: v_π depends on θ, and its derivative stays, at x_T
  in first order (its value there is part of Ĝ).
  Without it nothing is held constant, so that learned rewards, discounts, λ and
  critics get the derivatives of the formula.

  See "Taylor Expansion Policy Optimization" by Tang, Valko and Munos (2020),
  https://arxiv.org/abs/2003.06259, and Section 3.3 of "Unifying Gradient
  Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation" by Tang
  et al. (2021), https://arxiv.org/abs/2106.13125; for κ "Loaded DiCE" by
  Farquhar, Whiteson and Foerster (2019), https://arxiv.org/abs/1909.10549.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    order: K ≥ 1, a Python integer; beyond T there is nothing more to add.
    lambda_: number or `[T]` in [0, 1] for the return
      Ĝ_t = r_t + γ_t ((1 − λ) v(x_{t+1}) + λ Ĝ_{t+1}), Ĝ_T = v(x_T); 1 is the
      Monte Carlo return. It bootstraps from `v_t`, or, where `v_mu_tm1` is
      given, from that: Ĝ is a return of μ.
    causal_lambda: κ, number or `[T]` in [0, 1]; no effect at order 1.
    clip_rho_threshold: number or `[T]` > 0, infinite for none.
    leak_rho: a, number or `[T]` in [0, 1]; 1 makes truncated ratios constant.
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}), constant in θ.
    v_mu_tm1: `[T]` expectation of that critic under the behaviour policy,
      constant in θ. Both or neither.
    stop_target_gradients: whether the targets are constant, see above.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, if
      the order is no integer of at least 1, `lambda_`, `causal_lambda` or
      `leak_rho` is outside [0, 1], the threshold is not above 0, or only one of
      `q_tm1` and `v_mu_tm1` is given.

  Example:
    >>> v_tm1, v_t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.25])
    >>> args = v_tm1, v_t, r_t, discount_t, jnp.array([2.0, 3.0])
    >>> taylor_expansion(*args, order=1)
    Array([15., 14.], dtype=float32)
    >>> taylor_expansion(*args, order=2)  # T = 2: doubly robust.
    Array([19., 14.], dtype=float32)
    >>> taylor_expansion(*args, order=2, causal_lambda=0.5)
    Array([17., 14.], dtype=float32)
  """
  order = input_checks.positive_integer('order', order)
  stop = input_checks.boolean('stop_target_gradients', stop_target_gradients)
  _check_critic(q_tm1, v_mu_tm1)
  v_tm1, v_t, r_t, discount_t, rho_tm1, q_tm1, v_mu_tm1 = (
    input_checks.trajectory(
      {'q_tm1': q_tm1, 'v_mu_tm1': v_mu_tm1},
      v_tm1=v_tm1,
      v_t=v_t,
      r_t=r_t,
      discount_t=discount_t,
      rho_tm1=rho_tm1,
    )
  )
  length = r_t.shape[0]
  mixing = input_checks.mixing('lambda_', lambda_, r_t.dtype, length)
  causal = input_checks.mixing(
    'causal_lambda', causal_lambda, r_t.dtype, length
  )

  constant = lax.stop_gradient if stop else _identity
  rho_tm1 = ratios.truncated(
    rho_tm1, clip_rho_threshold, leak_rho, ('clip_rho_threshold', 'leak_rho')
  )
  weight = rho_tm1 - 1.0
  if q_tm1 is None:
    returns = _lambda_returns(v_t, r_t, discount_t, mixing)
    first = weight * constant(returns - v_tm1)
    last = jnp.zeros_like(v_t[-1])
  else:
    v_mu_t = recurrences.following(v_mu_tm1, v_t[-1])
    returns = _lambda_returns(v_mu_t, r_t, discount_t, mixing)
    first = v_tm1 - v_mu_tm1 + weight * constant(returns - q_tm1)
    # Zero, with the derivative that the constant return does not have.
    last = v_t[-1] - constant(v_t[-1])

  coefficient = constant(discount_t)
  if order == 1 or input_checks.is_one(causal_lambda):
    expansion = recurrences.nested(coefficient, weight, first, last, order)
  else:
    decayed = causal * coefficient
    # C_1 + … + C_{K-1}. Of a full expansion, all of them.
    chained = recurrences.nested(
      decayed, weight, first, last, order if order >= length else order - 1
    )
    later = decayed * recurrences.following(chained, last)
    expansion = recurrences.linear(coefficient, first + weight * later, last)
  return constant(returns) + expansion


def lvc(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
  v_mu_tm1: chex.Array | None = None,
  stop_target_gradients: bool = True,
) -> chex.Array:
  """Low-variance curvature (Rothfuss et al., 2019): order 1 of Taylor.

  Another name of `taylor_expansion` with `order=1`, which has the arguments.

  See "ProMP: Proximal Meta-Policy Search" by Rothfuss et al. (2019),
  https://arxiv.org/abs/1810.06784.

  Example:
    >>> one = jnp.ones(1)
    >>> lvc(one, one, 3 * one, one, 2 * one)
    Array([7.], dtype=float32)
  """
  return taylor_expansion(
    v_tm1,
    v_t,
    r_t,
    discount_t,
    rho_tm1,
    order=1,
    lambda_=lambda_,
    q_tm1=q_tm1,
    v_mu_tm1=v_mu_tm1,
    stop_target_gradients=stop_target_gradients,
  )


def loaded_dice(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  causal_lambda: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
  stop_target_gradients: bool = False,
) -> chex.Array:
  """Loaded DiCE (Farquhar et al., 2019), with its dial κ, `causal_lambda`.

  The full expansion of `taylor_expansion` with causal λ, in O(T):
  V̂_t = r_t + γ_t V̂_{t+1} + (ρ_t − 1)(Ĝ_t + κ_t γ_t C_{t+1} − v(x_t)),
  C_t = (ρ_t − 1) A_t + κ_t γ_t ρ_t C_{t+1}, C_T = 0, A_t = Ĝ_t − v(x_t).

  As one sum, V̂_0 = Ĝ_0 + Σ_t (γ_0 … γ_{t-1}) D_t (ρ_t − 1) A_t, where
  D_{t+1} = 1 − κ_t + κ_t ρ_t D_t, D_0 = 1: κ is to the past what λ is to the
  future, and D_t mixes the products of the last 0, 1, 2, … ratios.

  κ = 1 is `doubly_robust`, κ = 0 `lvc`. On the behaviour policy gradient and
  Hessian are those of the objective of the paper,
  Σ_t (γ_0 … γ_{t-1}) (□(w_t) − □(w_t − log π_t)) A_t with
  w_t = κ w_{t-1} + log π_t and □(x) = exp(x − stop_gradient(x)). Off the
  behaviour policy, and for κ between 0 and 1 in third derivatives, it is the
  formula above that counts.

  λ is that of the advantages, as in the paper; in `doubly_robust` it also
  decays the ratios. So κ = 1 makes the two equal where λ = 1.

  See "Loaded DiCE: Trading off Bias and Variance in Any-Order Score Function
  Estimators for Reinforcement Learning" by Farquhar, Whiteson and Foerster
  (2019), https://arxiv.org/abs/1909.10549.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    lambda_: number or `[T]` in [0, 1], of the return Ĝ as in
      `taylor_expansion`.
    causal_lambda: κ, number or `[T]` in [0, 1].
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}); None for `v_tm1`.
      q(x_t, a_t) then stands for v_μ(x_t) in the expansion: no expectation
      under μ is needed.
    stop_target_gradients: whether the targets are constant, as in
      `taylor_expansion`. By default nothing is.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, or
      `lambda_` or `causal_lambda` is outside [0, 1].

  Example:
    >>> v_tm1, v_t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.25])
    >>> args = v_tm1, v_t, r_t, discount_t, jnp.array([2.0, 3.0])
    >>> loaded_dice(*args)
    Array([19., 14.], dtype=float32)
    >>> loaded_dice(*args, causal_lambda=0.5)
    Array([17., 14.], dtype=float32)
  """
  stop = input_checks.boolean('stop_target_gradients', stop_target_gradients)
  args = v_tm1, v_t, r_t, discount_t, rho_tm1
  input_checks.mixing(
    'causal_lambda', causal_lambda, jnp.result_type(float), np.size(r_t)
  )
  if (
    not stop
    and input_checks.is_one(lambda_)
    and input_checks.is_one(causal_lambda)
  ):
    # One recurrence instead of two.
    return importance_weighted.doubly_robust(
      *args, lambda_=lambda_, q_tm1=q_tm1
    )
  return taylor_expansion(
    *args,
    order=max(1, np.size(r_t)),
    lambda_=lambda_,
    causal_lambda=causal_lambda,
    q_tm1=q_tm1,
    v_mu_tm1=q_tm1,
    stop_target_gradients=stop,
  )


def log_likelihood(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  stop_target_gradients: bool = True,
) -> chex.Array:
  """The log-likelihood surrogate of plain MAML: its Hessian is wrong.

  V̂_t = Ĝ_t + Σ_{s≥t} (Π_{t≤i<s} γ_i) A_s log ρ_s.

  On the behaviour policy its value and gradient are those of the other
  evaluators; higher derivatives miss the products of scores and are biased.
  It is here to be compared with.

  With `stop_target_gradients` everything but ρ is held constant for
  differentiation: rewards, discounts, λ and the critic. Without it nothing is.
  A ratio below the smallest normal number of its dtype, zero included, counts
  as that number and is constant.

  See "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" by
  Finn, Abbeel and Levine (2017), https://arxiv.org/abs/1703.03400; on its
  Hessian, Section 4 of https://arxiv.org/abs/1802.05098.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    lambda_: number or `[T]` in [0, 1] for the return
      Ĝ_t = r_t + γ_t ((1 − λ) v(x_{t+1}) + λ Ĝ_{t+1}), Ĝ_T = v(x_T).
    stop_target_gradients: whether the targets are constant, see above.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, or
      `lambda_` is outside [0, 1].

  Example:
    >>> one = jnp.ones(1)
    >>> log_likelihood(one, one, 3 * one, one, one)
    Array([4.], dtype=float32)
  """
  stop = input_checks.boolean('stop_target_gradients', stop_target_gradients)
  v_tm1, v_t, r_t, discount_t, rho_tm1 = input_checks.trajectory(
    {}, v_tm1=v_tm1, v_t=v_t, r_t=r_t, discount_t=discount_t, rho_tm1=rho_tm1
  )
  mixing = input_checks.mixing('lambda_', lambda_, r_t.dtype, r_t.shape[0])
  constant = lax.stop_gradient if stop else _identity
  returns = _lambda_returns(v_t, r_t, discount_t, mixing)
  # NaN and negative ratios (a mistake) stay what they are.
  tiny = jnp.finfo(rho_tm1.dtype).tiny
  lost = (rho_tm1 >= 0) & (rho_tm1 < tiny)
  log_rho = jnp.log(jnp.where(lost, tiny, rho_tm1))
  expansion = recurrences.linear(
    constant(discount_t),
    constant(returns - v_tm1) * log_rho,
    jnp.zeros_like(v_t[-1]),
  )
  return constant(returns) + expansion


def _check_critic(q_tm1: object, v_mu_tm1: object) -> None:
  if (q_tm1 is None) == (v_mu_tm1 is None):
    return
  given, missing = (
    ('q_tm1', 'v_mu_tm1') if v_mu_tm1 is None else ('v_mu_tm1', 'q_tm1')
  )
  raise ValueError(
    f'{missing} must be given where {given} is, but got None: with a'
    ' state-action critic the expansion needs q(x, a) and its expectation'
    ' under the behaviour policy.'
  )


def _identity(x: chex.Array) -> chex.Array:
  return x


def _lambda_returns(
  v_t: chex.Array, r_t: chex.Array, discount_t: chex.Array, lambda_: chex.Array
) -> chex.Array:
  """Ĝ_t = r_t + γ_t ((1 − λ_t) v(x_{t+1}) + λ_t Ĝ_{t+1}), Ĝ_T = v(x_T)."""
  return recurrences.linear(
    discount_t * lambda_, r_t + discount_t * (1.0 - lambda_) * v_t, v_t[-1]
  )
