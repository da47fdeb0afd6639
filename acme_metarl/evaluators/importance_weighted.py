"""Evaluators that weigh what was seen by importance ratios, step by step.

See `acme_metarl.evaluators.protocols` for what the arguments are.
"""

import chex
import jax.numpy as jnp

from acme_metarl.evaluators import input_checks, ratios, recurrences


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

  Example:
    >>> v = jnp.zeros(2)
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.0])
    >>> importance_sampling(v, v, r_t, discount_t, jnp.array([2.0, 3.0]))
    Array([21., 15.], dtype=float32)
  """
  _, _, r_t, discount_t, rho_tm1 = input_checks.trajectory(
    {}, v_tm1=v_tm1, v_t=v_t, r_t=r_t, discount_t=discount_t, rho_tm1=rho_tm1
  )
  return recurrences.linear(
    rho_tm1 * discount_t, rho_tm1 * r_t, jnp.zeros_like(r_t[-1])
  )


def dice(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
) -> chex.Array:
  """DiCE (Foerster et al., 2018): another name of `importance_sampling`.

  Example:
    >>> one = jnp.ones(1)
    >>> dice(one, one, 3 * one, one, 2 * one)
    Array([6.], dtype=float32)
  """
  return importance_sampling(v_tm1, v_t, r_t, discount_t, rho_tm1)


def dice_with_baseline(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
) -> chex.Array:
  """DiCE with the baseline that its authors give it.

  V̂_t = IS_t + B_t, IS the step-wise importance-sampling estimate, and
  B_t = (1 − ρ_t) v(x_t) + γ_t B_{t+1}, B_T = 0.

  Unbiased like `importance_sampling`. On the behaviour policy the gradient is
  that of `doubly_robust` where the last discount is 0; higher derivatives keep
  the variance that a baseline of single steps cannot see.

  See Section 5 of "DiCE: The Infinitely Differentiable Monte Carlo Estimator"
  by Foerster et al. (2018), https://arxiv.org/abs/1802.05098, and "Loaded DiCE"
  by Farquhar, Whiteson and Foerster (2019), https://arxiv.org/abs/1909.10549.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}.
    v_t: `[T]` critic at x_1 … x_T, not used.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1.

  Example:
    >>> v = jnp.array([2.0, 4.0])
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.0])
    >>> dice_with_baseline(v, v, r_t, discount_t, jnp.array([2.0, 3.0]))
    Array([15.,  7.], dtype=float32)
  """
  v_tm1, _, r_t, discount_t, rho_tm1 = input_checks.trajectory(
    {}, v_tm1=v_tm1, v_t=v_t, r_t=r_t, discount_t=discount_t, rho_tm1=rho_tm1
  )
  zero = jnp.zeros_like(r_t[-1])
  sampled = recurrences.linear(rho_tm1 * discount_t, rho_tm1 * r_t, zero)
  return sampled + recurrences.linear(discount_t, (1.0 - rho_tm1) * v_tm1, zero)


def doubly_robust(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
) -> chex.Array:
  """Doubly robust evaluation; its derivatives are known as Loaded DiCE.

  V̂_t = v(x_t) + ρ_t (r_t + γ_t ((1 − λ) v(x_{t+1}) + λ V̂_{t+1}) − q(x_t, a_t)),
  V̂_T = v(x_T).

  With λ = 1 it is unbiased for any critic whose v is the expectation of q under
  the target policy, v(x) = Σ_a π(a|x) q(x, a). A state-only critic is q = v.
  Smaller λ trade variance for the bias of the critic.

  Settings with names of their own:

  * ρ = 1 and a state critic: the λ-return, which with v = max_a q is the target
    of Peng's Q(λ) (`rlax.q_lambda`);
  * ρ = 1 and `q_tm1`: V̂ − v + q is the target of Harutyunyan's Q(λ), which
    corrects off-policy data without ratios. See "Q(λ) with Off-Policy
    Corrections" (2016), https://arxiv.org/abs/1602.04951;
  * truncated ratios: `truncated_doubly_robust`, V-trace(λ) and Retrace(λ).

  See "Doubly Robust Off-policy Value Evaluation for Reinforcement Learning" by
  Jiang and Li (2016), https://arxiv.org/abs/1511.03722, and "Loaded DiCE" by
  Farquhar, Whiteson and Foerster (2019), https://arxiv.org/abs/1909.10549;
  Eq. (3) of "Unifying Gradient Estimators for Meta-Reinforcement Learning via
  Off-Policy Evaluation" by Tang et al. (2021),
  https://arxiv.org/abs/2106.13125.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T; with λ = 1 only the last is used.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    lambda_: number or `[T]` in [0, 1].
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}); None for `v_tm1`.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, or
      `lambda_` is outside [0, 1].

  Example:
    >>> v_tm1, v_t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.25])
    >>> rho_tm1 = jnp.array([2.0, 3.0])
    >>> doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1)
    Array([19., 14.], dtype=float32)
    >>> doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_=0.5)
    Array([13., 14.], dtype=float32)
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
  mixing = input_checks.mixing('lambda_', lambda_, r_t.dtype, r_t.shape[0])
  continuation = discount_t
  if not input_checks.is_one(lambda_):
    r_t = r_t + discount_t * (1.0 - mixing) * v_t
    continuation = discount_t * mixing
  return recurrences.linear(
    rho_tm1 * continuation, v_tm1 + rho_tm1 * (r_t - q_tm1), v_t[-1]
  )


def truncated_doubly_robust(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  clip_rho_threshold: chex.Numeric = 1.0,
  clip_c_threshold: chex.Numeric = 1.0,
  leak_rho: chex.Numeric = 1.0,
  leak_c: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
) -> chex.Array:
  """Doubly robust evaluation with truncated ratios, known as V-trace(λ).

  V̂_t = v(x_t) + ρ̄_t (r_t + γ_t v(x_{t+1}) − q(x_t, a_t))
        + γ_t λ c̄_t (V̂_{t+1} − v(x_{t+1})), V̂_T = v(x_T),
  with ρ̄ = a min(ρ, threshold) + (1 − a) ρ, and c̄ likewise with thresholds and
  leaks a of their own.

  Less variance than `doubly_robust`, for a bias that grows with the distance of
  the policies. Infinite thresholds, or leaks of 0, make the two equal.

  A ratio is truncated only beyond its threshold by a factor of 1 + 1e-5; up to
  there it stays as it is, derivatives included. Otherwise rounding would decide
  about derivatives on the behaviour policy, where the kink of a threshold of 1
  lies. Beyond, with a leak of 1, it is constant; smaller leaks give it 1 − a of
  its derivative back (STAC).

  Settings with names of their own:

  * a state critic, leaks of 1: V-trace(λ); `rlax.vtrace` gives V̂ − v;
  * the same with `leak_rho` = `leak_c` = a: leaky V-trace
    (`rlax.leaky_vtrace`);
  * `q_tm1`, both thresholds and leaks 1: Retrace(λ), V̂ = v + min(1, ρ)(R − q)
    with R_t = r_t + γ_t ((1 − λ) v(x_{t+1}) + λ V̂_{t+1}) the target of
    `rlax.retrace`;
  * the same with ρ = 1: Harutyunyan's Q(λ), see `doubly_robust`.

  See "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
  Actor-Learner Architectures" by Espeholt et al. (2018), Eq. (1),
  https://arxiv.org/abs/1802.01561, "A Self-Tuning Actor-Critic Algorithm" by
  Zahavy et al. (2020), https://arxiv.org/abs/2002.12928, and "Safe and
  Efficient Off-Policy Reinforcement Learning" by Munos et al. (2016),
  https://arxiv.org/abs/1606.02647.

  Args:
    v_tm1: `[T]` critic at x_0 … x_{T-1}. With `q_tm1` its expectation under the
      target policy, which then depends on θ and is differentiated.
    v_t: `[T]` critic at x_1 … x_T.
    r_t: `[T]` rewards.
    discount_t: `[T]` discounts.
    rho_tm1: `[T]` importance ratios.
    lambda_: number or `[T]` in [0, 1], a factor of the traces c̄.
    clip_rho_threshold: number or `[T]` > 0, may be infinite, for the temporal
      differences.
    clip_c_threshold: number or `[T]` > 0, may be infinite, for the traces.
    leak_rho: a, number or `[T]` in [0, 1], of the temporal differences.
    leak_c: a, number or `[T]` in [0, 1], of the traces.
    q_tm1: `[T]` critic at (x_0, a_0) … (x_{T-1}, a_{T-1}); None for `v_tm1`.

  Returns:
    `[T]` estimates of V^π at x_0 … x_{T-1}.

  Raises:
    ValueError: if an input is no floating-point array of shape [T], T ≥ 1, a
      threshold is not above 0, or `lambda_` or a leak is outside [0, 1].

  Example:
    >>> v_tm1, v_t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    >>> r_t, discount_t = jnp.array([3.0, 5.0]), jnp.array([0.5, 0.25])
    >>> args = v_tm1, v_t, r_t, discount_t, jnp.array([2.0, 3.0])
    >>> truncated_doubly_robust(*args)
    Array([6., 6.], dtype=float32)
    >>> truncated_doubly_robust(*args, leak_rho=0.0, leak_c=0.0)
    Array([19., 14.], dtype=float32)
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
  mixing = input_checks.mixing('lambda_', lambda_, r_t.dtype, r_t.shape[0])
  clipped_rho = ratios.truncated(
    rho_tm1, clip_rho_threshold, leak_rho, ('clip_rho_threshold', 'leak_rho')
  )
  clipped_c = ratios.truncated(
    rho_tm1, clip_c_threshold, leak_c, ('clip_c_threshold', 'leak_c')
  )
  td = clipped_rho * (r_t + discount_t * v_t - q_tm1)
  trace = discount_t * clipped_c
  if not input_checks.is_one(lambda_):
    trace = trace * mixing
  return recurrences.linear(trace, v_tm1 + td - trace * v_t, v_t[-1])


def vtrace(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  lambda_: chex.Numeric = 1.0,
  clip_rho_threshold: chex.Numeric = 1.0,
  clip_c_threshold: chex.Numeric = 1.0,
  leak_rho: chex.Numeric = 1.0,
  leak_c: chex.Numeric = 1.0,
  q_tm1: chex.Array | None = None,
) -> chex.Array:
  """V-trace values, not the errors (values minus `v_tm1`) of `rlax.vtrace`.

  Another name of `truncated_doubly_robust`, which has the arguments.

  Example:
    >>> one = jnp.ones(1)
    >>> vtrace(one, one, 3 * one, one, 2 * one)  # rlax.vtrace gives 3.
    Array([4.], dtype=float32)
  """
  return truncated_doubly_robust(
    v_tm1,
    v_t,
    r_t,
    discount_t,
    rho_tm1,
    lambda_=lambda_,
    clip_rho_threshold=clip_rho_threshold,
    clip_c_threshold=clip_c_threshold,
    leak_rho=leak_rho,
    leak_c=leak_c,
    q_tm1=q_tm1,
  )
