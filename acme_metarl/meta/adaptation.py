"""Adaptation to a task: prepare a stage of data, step the policy's parameters.

The actor runs both functions to act, the learner differentiates the second,
evaluation uses both; `adapt` is a step of the inner loop that they run.
"""

import optax

from acme_metarl import types
from acme_metarl.evaluators import protocols, reductions
from acme_metarl.meta import inner_loop, policies, preparation

prepare = preparation.prepare
ascend = inner_loop.ascend


def adapt(
  params: types.PyTree,
  prepared: types.Prepared,
  log_prob: policies.LogProbFn,
  evaluator: protocols.Evaluator,
  reduction: reductions.Reduction,
  step_sizes: types.PyTree,
) -> types.PyTree:
  """One step of gradient ascent on a reduced evaluator; differentiable.

  θ' = θ + η ∇_θ reduction(evaluator(…, ρ)) with ρ = π_θ/μ from the stored
  log-probabilities of the behaviour policy μ, so that data of an older policy
  are corrected for.

  Args:
    params: policy parameters θ.
    prepared: a prepared stage of one task.
    log_prob: `(params, observation, action) -> [B, T]`, summed over the
      dimensions of the action.
    evaluator: off-policy evaluator of one trajectory, see `evaluators`.
    reduction: turns its estimates into one objective, see `reductions`.
    step_sizes: η, a scalar or a pytree shaped like `params`.

  Returns:
    Adapted parameters θ'.

  Example:
    >>> import jax.numpy as jnp
    >>> from acme_metarl import evaluators
    >>> ones = jnp.ones((1, 1))
    >>> data = types.Prepared(
    ...   observation=ones, action=ones, v_tm1=0 * ones, v_t=0 * ones,
    ...   r_t=2 * ones, discount_t=0 * ones, advantage=2 * ones, mask=ones,
    ...   behaviour_log_prob=0 * ones)
    >>> def log_prob(theta, observation, action):  # The score is 1.
    ...   return theta * observation
    >>> float(adapt(jnp.float32(0), data, log_prob, evaluators.doubly_robust,
    ...             evaluators.reductions.start_state, 0.1))
    0.20000000298023224
  """
  loop = inner_loop.GradientAscent(
    log_prob=log_prob,
    evaluator=evaluator,
    reduction=reduction,
    optimizer=optax.sgd(1.0),
  )
  meta_params = inner_loop.MetaParams(params, step_sizes)
  return loop.update(meta_params, *loop.init(meta_params), prepared)[0]
