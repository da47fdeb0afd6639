r"""What an off-policy evaluator is.

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
differentiation unless a docstring says so. Options that are numbers may be
Python's, NumPy's or traced, one for all steps or `[T]`; traced ones are not
checked. `acme_metarl.evaluators.reductions` turn the estimates into one
objective.
"""

from typing import Protocol

import chex


class Evaluator(Protocol):
  """Estimates V^π along one trajectory; a user's own plugs in anywhere."""

  def __call__(
    self,
    v_tm1: chex.Array,
    v_t: chex.Array,
    r_t: chex.Array,
    discount_t: chex.Array,
    rho_tm1: chex.Array,
  ) -> chex.Array:
    """Returns `[T]` estimates at x_0 … x_{T-1}; options have defaults."""
