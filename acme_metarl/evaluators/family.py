r"""Off-policy evaluators whose derivatives of every order are estimates too.

An evaluator estimates V^π at every state of one trajectory of a behaviour
policy μ, as a function of the importance ratios ρ = π/μ. Written as a function
of the parameters θ of π, its m-th derivative estimates the m-th derivative of
V^π: differentiate as often as you need.

    evaluator(v_tm1, v_t, r_t, discount_t, rho_tm1, **options) -> [T]

* `v_tm1[k]`, `v_t[k]`: critic at x_k and at x_{k+1}, k = 0 … T-1;
* `r_t[k]`: reward after the action a_k;
* `discount_t[k]`: discount factor times the environment's discount after a_k,
  so 0 where the episode ended, also in the middle of a row;
* `rho_tm1[k]`: π_θ(a_k|x_k) / μ(a_k|x_k).

The result's k-th entry estimates V^π(x_k). All arrays are `[T]`, one
trajectory; `jax.vmap` is the batch. Nothing is held constant for
differentiation unless a docstring says so. `acme_metarl.reductions` turn the
estimates into one objective.
"""

from typing import Any, Protocol

import chex
from jax import lax
import jax.numpy as jnp

from acme_metarl.evaluators import input_checks, recurrences

# A ratio counts as truncated only beyond its threshold by this much: on-policy
# ratios are 1 only up to rounding.
_TRUNCATION_MARGIN = 1e-5


class Evaluator(Protocol):
  """Estimates V^π along one trajectory; a user's own plugs in anywhere."""

  def __call__(
    self,
    v_tm1: chex.Array,
    v_t: chex.Array,
    r_t: chex.Array,
    discount_t: chex.Array,
    rho_tm1: chex.Array,
    **options: Any,
  ) -> chex.Array:
    """Returns `[T]` estimates at x_0 … x_{T-1}."""


def importance_sampling(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
) -> chex.Array:
  """Step-wise importance sampling; its derivatives are known as DiCE.

  V̂_t = ρ_t (r_t + γ_t V̂_{t+1}), V̂_T = 0.

  Unbiased for the value of the T steps, at a high variance: the critic is
  checked, but not used.

  See "Eligibility Traces for Off-Policy Policy Evaluation" by Precup, Sutton
  and Singh (2000), https://scholarworks.umass.edu/cs_faculty_pubs/80/, and
  "DiCE: The Infinitely Differentiable Monte Carlo Estimator" by Foerster et al.
  (2018), https://arxiv.org/abs/1802.05098.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}, not used.
    v_t: `[T]` critic at x_1 … x_T, not used.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1.
  """
  _, _, r_t, discount_t, rho_tm1 = input_checks.trajectory(
    {}, v_tm1=v_tm1, v_t=v_t, r_t=r_t, discount_t=discount_t, rho_tm1=rho_tm1
  )
  return recurrences.linear(
    rho_tm1 * discount_t, rho_tm1 * r_t, jnp.zeros_like(r_t[-1])
  )


def doubly_robust(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  q_tm1: chex.Array | None = None,
) -> chex.Array:
  """Doubly robust evaluation; its derivatives are known as Loaded DiCE.

  V̂_t = v(x_t) + ρ_t (r_t + γ_t V̂_{t+1} − q(x_t, a_t)), V̂_T = v(x_T).

  Unbiased for any critic whose v is the expectation of q under the target
  policy, v(x) = Σ_a π(a|x) q(x, a). A state-only critic is q = v.

  See "Doubly Robust Off-policy Value Evaluation for Reinforcement Learning" by
  Jiang and Li (2016), https://arxiv.org/abs/1511.03722, and "Loaded DiCE" by
  Farquhar, Whiteson and Foerster (2019), https://arxiv.org/abs/1909.10549;
  Eq. (3) of "Unifying Gradient Estimators for Meta-Reinforcement Learning via
  Off-Policy Evaluation" by Tang et al. (2021),
  https://arxiv.org/abs/2106.13125.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T; only the last is used.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}); None for `v_tm1`.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1.
  """
  v_tm1, v_t, r_t, discount_t, rho_tm1, q_tm1 = input_checks.trajectory(
    {'q_tm1': q_tm1},
    v_tm1=v_tm1,
    v_t=v_t,
    r_t=r_t,
    discount_t=discount_t,
    rho_tm1=rho_tm1,
  )
  q_tm1 = v_tm1 if q_tm1 is None else q_tm1
  return recurrences.linear(
    rho_tm1 * discount_t, v_tm1 + rho_tm1 * (r_t - q_tm1), v_t[-1]
  )


def truncated_doubly_robust(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  clip_rho_threshold: chex.Numeric = 1.0,
  clip_c_threshold: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
) -> chex.Array:
  """Doubly robust evaluation with truncated ratios, known as V-trace.

  V̂_t = v(x_t) + ρ̄_t (r_t + γ_t v(x_{t+1}) − q(x_t, a_t))
        + γ_t c̄_t (V̂_{t+1} − v(x_{t+1})), V̂_T = v(x_T),
  with ρ̄ = min(ρ, ρ-threshold) and c̄ = min(ρ, c-threshold).

  Less variance than `doubly_robust`, for a bias that grows with the distance of
  the policies. Infinite thresholds make the two equal.

  A ratio is truncated only beyond its threshold by a factor of 1 + 1e-5; up to
  there it stays as it is, derivatives included. Otherwise rounding would decide
  about derivatives on the behaviour policy, where the kink of a threshold of 1
  lies. A truncated ratio is constant.

  See "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
  Actor-Learner Architectures" by Espeholt et al. (2018), Eq. (1),
  https://arxiv.org/abs/1802.01561.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    clip_rho_threshold: scalar > 0, may be infinite, for the temporal
      differences.
    clip_c_threshold: scalar > 0, may be infinite, for the traces.
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}); None for `v_tm1`.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, or
      a threshold is not above 0.
  """
  v_tm1, v_t, r_t, discount_t, rho_tm1, q_tm1 = input_checks.trajectory(
    {'q_tm1': q_tm1},
    v_tm1=v_tm1,
    v_t=v_t,
    r_t=r_t,
    discount_t=discount_t,
    rho_tm1=rho_tm1,
  )
  q_tm1 = v_tm1 if q_tm1 is None else q_tm1
  clip_rho_threshold = input_checks.threshold(
    'clip_rho_threshold', clip_rho_threshold, rho_tm1.dtype
  )
  clip_c_threshold = input_checks.threshold(
    'clip_c_threshold', clip_c_threshold, rho_tm1.dtype
  )
  clipped_rho = _truncate(rho_tm1, clip_rho_threshold)
  clipped_c = _truncate(rho_tm1, clip_c_threshold)
  td = clipped_rho * (r_t + discount_t * v_t - q_tm1)
  trace = discount_t * clipped_c
  return recurrences.linear(trace, v_tm1 + td - trace * v_t, v_t[-1])


def taylor_expansion(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  order: int = 1,
  lambda_: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
  v_mu_tm1: chex.Array | None = None,
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

  With a state-action critic, also v_μ(x) = Σ_a μ(a|x) q(x, a) is needed:
  W_1(t) = (v_π − v_μ)(x_t) + (ρ_t − 1)(Ĝ_t − q(x_t, a_t)) + γ_t W_1(t+1).
  There the full expansion equals `doubly_robust` in expectation.

  The return Ĝ on μ's data and the advantages Ĝ − v, Ĝ − q are held constant
  for differentiation; v_π − v_μ is not, nor is a state-action critic's
  v_π(x_T) at the end of the row (its derivative there is of first order, its
  value is part of Ĝ).

  See "Taylor Expansion Policy Optimization" by Tang, Valko and Munos (2020),
  https://arxiv.org/abs/2003.06259, and Section 3.3 of "Unifying Gradient
  Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation" by Tang
  et al. (2021), https://arxiv.org/abs/2106.13125.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    order: K ≥ 1, a Python integer; beyond T there is nothing more to add.
    lambda_: scalar or `[T]` in [0, 1] for the return
      Ĝ_t = r_t + γ_t ((1 − λ) v(x_{t+1}) + λ Ĝ_{t+1}), Ĝ_T = v(x_T); 1 is the
      Monte Carlo return. It bootstraps from `v_t`, or, where `v_mu_tm1` is
      given, from that: Ĝ is a return of μ.
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}), constant in θ.
    v_mu_tm1: `[T]` expectation of that critic under the behaviour policy,
      constant in θ. Both or neither.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, if
      the order is no integer of at least 1, `lambda_` is outside [0, 1], or
      only one of `q_tm1` and `v_mu_tm1` is given.
  """
  order = input_checks.positive_integer('order', order)
  if (q_tm1 is None) != (v_mu_tm1 is None):
    given, missing = (
      ('q_tm1', 'v_mu_tm1') if v_mu_tm1 is None else ('v_mu_tm1', 'q_tm1')
    )
    raise ValueError(
      f'{missing} must be given where {given} is, but got None: with a'
      ' state-action critic the expansion needs q(x, a) and its expectation'
      ' under the behaviour policy.'
    )
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
  lambda_ = input_checks.mixing('lambda_', lambda_, r_t.dtype, length)

  weight = rho_tm1 - 1.0
  if q_tm1 is None:
    returns = _lambda_returns(v_t, r_t, discount_t, lambda_)
    first = weight * lax.stop_gradient(returns - v_tm1)
    last = jnp.zeros_like(v_t[-1])
  else:
    v_mu_t = jnp.concatenate([v_mu_tm1[1:], v_t[-1:]])
    returns = _lambda_returns(v_mu_t, r_t, discount_t, lambda_)
    advantage = lax.stop_gradient(returns - q_tm1)
    first = v_tm1 - v_mu_tm1 + weight * advantage
    last = v_t[-1] - lax.stop_gradient(v_t[-1])

  expansion = recurrences.nested(discount_t, weight, first, last, order)
  return lax.stop_gradient(returns) + expansion


def log_likelihood(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
) -> chex.Array:
  """The log-likelihood surrogate of plain MAML: its Hessian is wrong.

  V̂_t = Ĝ_t + Σ_{s≥t} (Π_{t≤i<s} γ_i) A_s log ρ_s.

  On the behaviour policy its value and gradient are those of the other
  evaluators; higher derivatives miss the products of scores and are biased.
  It is here to be compared with.

  The return Ĝ and the advantages A = Ĝ − v are held constant for
  differentiation. A ratio below the smallest normal number of its dtype, zero
  included, counts as that number and is constant.

  See "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" by
  Finn, Abbeel and Levine (2017), https://arxiv.org/abs/1703.03400; on its
  Hessian, Section 4 of https://arxiv.org/abs/1802.05098.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    lambda_: scalar or `[T]` in [0, 1] for the return
      Ĝ_t = r_t + γ_t ((1 − λ) v(x_{t+1}) + λ Ĝ_{t+1}), Ĝ_T = v(x_T).

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, or
      `lambda_` is outside [0, 1].
  """
  v_tm1, v_t, r_t, discount_t, rho_tm1 = input_checks.trajectory(
    {}, v_tm1=v_tm1, v_t=v_t, r_t=r_t, discount_t=discount_t, rho_tm1=rho_tm1
  )
  lambda_ = input_checks.mixing('lambda_', lambda_, r_t.dtype, r_t.shape[0])
  returns = _lambda_returns(v_t, r_t, discount_t, lambda_)
  # NaN and negative ratios (a mistake) stay what they are.
  tiny = jnp.finfo(rho_tm1.dtype).tiny
  lost = (rho_tm1 >= 0) & (rho_tm1 < tiny)
  log_rho = jnp.log(jnp.where(lost, tiny, rho_tm1))
  terms = lax.stop_gradient(returns - v_tm1) * log_rho
  expansion = recurrences.linear(discount_t, terms, jnp.zeros_like(v_t[-1]))
  return lax.stop_gradient(returns) + expansion


def dice(v_tm1, v_t, r_t, discount_t, rho_tm1):
  """DiCE (Foerster et al., 2018): `importance_sampling`."""
  return importance_sampling(v_tm1, v_t, r_t, discount_t, rho_tm1)


def loaded_dice(v_tm1, v_t, r_t, discount_t, rho_tm1, **options):
  """Loaded DiCE (Farquhar et al., 2019): `doubly_robust`."""
  return doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1, **options)


def lvc(v_tm1, v_t, r_t, discount_t, rho_tm1, **options):
  """Low-variance curvature (Rothfuss et al., 2019): order 1 of Taylor."""
  return taylor_expansion(
    v_tm1, v_t, r_t, discount_t, rho_tm1, order=1, **options
  )


def vtrace(v_tm1, v_t, r_t, discount_t, rho_tm1, **options):
  """V-trace (Espeholt et al., 2018): `truncated_doubly_robust`."""
  return truncated_doubly_robust(
    v_tm1, v_t, r_t, discount_t, rho_tm1, **options
  )


def _lambda_returns(
  v_t: chex.Array, r_t: chex.Array, discount_t: chex.Array, lambda_: chex.Array
) -> chex.Array:
  """Ĝ_t = r_t + γ_t ((1 − λ_t) v(x_{t+1}) + λ_t Ĝ_{t+1}), Ĝ_T = v(x_T)."""
  return recurrences.linear(
    discount_t * lambda_, r_t + discount_t * (1.0 - lambda_) * v_t, v_t[-1]
  )


def _truncate(rho: chex.Array, threshold: chex.Array) -> chex.Array:
  # Selected, not min: up to the margin ρ and its derivatives are untouched,
  # NaN stays, and an infinite threshold never enters arithmetic.
  beyond = rho > threshold * (1.0 + _TRUNCATION_MARGIN)
  return jnp.where(beyond, threshold, rho)
