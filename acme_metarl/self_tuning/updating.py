"""One update of an actor-critic as a function of its hyper-parameters.

`ActorCriticUpdate` is an inner loop (`meta.inner_loop`): parameters and the
optimiser's state live on, and the update is a function of meta-parameters. The
policy loss is any off-policy evaluator: on the behaviour policy all of them
have the gradient of A2C, and they differ in how that gradient depends on the
parameters before it, which enters once updates are chained.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import optax

from acme_metarl import algorithm_parts, evaluators, types
from acme_metarl.self_tuning import hyperparameters as hyperparameters_lib
from acme_metarl.self_tuning import networks as networks_lib

Hyperparameters = hyperparameters_lib.Hyperparameters

EVALUATORS: Mapping[str, Callable[..., chex.Array]] = {
  name: getattr(evaluators, name)
  for name in (
    'log_likelihood',
    'taylor_expansion',
    'loaded_dice',
    'doubly_robust',
    'truncated_doubly_robust',
  )
}
# Their λ decays ratios as well as returns.
_DECAYING = (
  evaluators.doubly_robust,
  evaluators.truncated_doubly_robust,
  evaluators.vtrace,
)


class MetaParams(NamedTuple):
  """What an update depends on, and the life that it is part of.

  Attributes:
    tuned: unbounded scalars by the names of hyper-parameters; all that the
      outer loop learns.
    params: parameters of the networks now.
    opt_state: the optimiser's state now.
  """

  tuned: dict[str, chex.Array]
  params: types.PyTree = ()
  opt_state: Any = ()


class _Outputs(NamedTuple):
  """What the networks say about a rollout `[B, T]`."""

  log_prob: chex.Array
  entropy: chex.Array
  value: chex.Array  # `[B, T+1]`
  outer_value: chex.Array  # `[B, T+1]`


@dataclasses.dataclass(frozen=True)
class ActorCriticUpdate:
  """θ' = θ + optimiser(−∇_θ loss), with the loss of an advantage actor-critic.

  loss = −c_π · mean Δ_t + c_v · mean (Ĝ_t − v(x_t))² − c_h · mean entropy, with
  Δ_t of `evaluators.per_step`, whose gradient on the behaviour policy is A_t ∇
  log π, and Ĝ the λ-return. Ĝ and A are constant for the gradient, and are
  functions of θ and of the hyper-parameters for whoever differentiates the
  update: nothing in here stops a derivative.

  Attributes:
    networks: the actor-critic.
    start: hyper-parameters that are not tuned keep these.
    tuned: ranges of the others, by name.
    evaluator: a name in `EVALUATORS`, or a function like one of
      `acme_metarl.evaluators` that takes `lambda_`. What it holds constant by
      `stop_target_gradients` is not, unless you say so.
    evaluator_options: of it.
    optimizer: any optax transformation that descends.
    differentiates_optimizer: whether its state is differentiated from update to
      update, or held constant.
    critic: see `networks.make_actor_critic`.
    outer_discount: γ of the outer critic and objective.
    outer_lambda: λ of the outer critic and objective.
    outer_value_cost: coefficient of the outer critic's mean squared error.
  """

  networks: networks_lib.ActorCritic
  start: Hyperparameters = Hyperparameters()
  tuned: Mapping[str, hyperparameters_lib.Range] = dataclasses.field(
    default_factory=dict
  )
  evaluator: str | Callable[..., chex.Array] = 'log_likelihood'
  evaluator_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  optimizer: optax.GradientTransformation = optax.sgd(1.0)
  differentiates_optimizer: bool = True
  critic: str = 'shared'
  outer_discount: float = 0.99
  outer_lambda: float = 0.95
  outer_value_cost: float = 0.5

  def init_meta_params(
    self, key: chex.PRNGKey, observation: chex.ArrayTree
  ) -> MetaParams:
    """Returns a life at its start, for one unbatched observation."""
    params = self.networks.init(key, observation)
    dtype = jnp.result_type(*jax.tree_util.tree_leaves(params))
    tuned = jax.tree_util.tree_map(
      lambda x: x.astype(dtype),
      hyperparameters_lib.initial(self.start, self.tuned),
    )
    return MetaParams(tuned, params, self.optimizer.init(params))

  def init(self, meta_params: MetaParams) -> tuple[types.PyTree, Any]:
    """Returns the parameters and the optimiser's state as they are now."""
    return meta_params.params, meta_params.opt_state

  def trainable(self, meta_params: MetaParams) -> types.PyTree:
    """Returns what the outer loop learns: the tuned numbers."""
    return meta_params.tuned

  def merge(
    self, meta_params: MetaParams, trainable: types.PyTree
  ) -> MetaParams:
    """Returns the same life with other tuned numbers."""
    return meta_params._replace(tuned=trainable)

  def hyperparameters(self, meta_params: MetaParams) -> Hyperparameters:
    """Returns the numbers that the tuned scalars stand for."""
    return hyperparameters_lib.current(
      self.start, self.tuned, meta_params.tuned
    )

  @property
  def outer_hyperparameters(self) -> Hyperparameters:
    """Returns the start values with the outer discount and λ."""
    return self.start._replace(
      discount=self.outer_discount, lambda_=self.outer_lambda
    )

  def update(
    self,
    meta_params: MetaParams,
    params: types.PyTree,
    opt_state: Any,
    stage: types.Stage,
  ) -> tuple[types.PyTree, Any]:
    """Returns both after an update on one rollout of each environment."""
    numbers = self.hyperparameters(meta_params)
    outputs, pull_back = jax.vjp(
      lambda x: self._outputs(x, stage, numbers), params
    )
    # With respect to the outputs alone, so that what the loss holds constant
    # is constant here, and nowhere else.
    cotangent = jax.grad(self._loss)(outputs, outputs, stage, numbers)
    (gradient,) = pull_back(cotangent)
    return self.descend(params, opt_state, gradient)

  def descend(
    self, params: types.PyTree, opt_state: Any, gradient: types.PyTree
  ) -> tuple[types.PyTree, Any]:
    """Returns parameters and optimiser state after a step down a gradient."""
    updates, opt_state = self.optimizer.update(gradient, opt_state, params)
    if not self.differentiates_optimizer:
      opt_state = lax.stop_gradient(opt_state)
    return optax.apply_updates(params, updates), opt_state

  def outer_loss(
    self,
    params: types.PyTree,
    stage: types.Stage,
    meta_params: MetaParams,
    entropy_cost: chex.Numeric = 0.0,
  ) -> chex.Array:
    """A policy loss with fixed γ and λ: −mean ρ_t A_t − c_h · mean entropy.

    Advantages are constant. They are formed with the outer critic if there is
    one, with the conditioned critic at the outer γ and λ, or else with the
    critic of the inner loss.

    Args:
      params: θ.
      stage: rollouts `[B, T]`, of θ or of what acted for it.
      meta_params: where a shared critic's networks look at the numbers now.
      entropy_cost: c_h.

    Returns:
      A scalar.
    """
    condition = (
      self.outer_hyperparameters
      if self.critic == 'conditioned'
      else lax.stop_gradient(self.hyperparameters(meta_params))
    )
    outputs = self._outputs(params, stage, condition)
    value = outputs.outer_value if self.critic == 'outer' else outputs.value
    objective = evaluators.reduced_estimate(
      outputs.log_prob,
      _prepared(stage, lax.stop_gradient(value), self.outer_discount),
      functools.partial(
        evaluators.taylor_expansion, order=1, lambda_=self.outer_lambda
      ),
      evaluators.per_step,
    )
    entropy = evaluators.masked_mean(outputs.entropy, stage.mask)
    return -objective - entropy_cost * entropy

  def policies(
    self, params: types.PyTree, stage: types.Stage, meta_params: MetaParams
  ) -> Any:
    """Returns the distributions `[B, T]` over actions at a rollout's states."""
    observation = jax.tree_util.tree_map(lambda x: x[:, :-1], stage.observation)
    numbers = self.hyperparameters(meta_params)
    return self.networks.apply(params, observation, numbers).distribution

  def _outputs(self, params, stage, numbers) -> _Outputs:
    evaluation = self.networks.apply(params, stage.observation, numbers)
    distribution = jax.tree_util.tree_map(
      lambda x: x[:, :-1], evaluation.distribution
    )
    return _Outputs(
      distribution.log_prob(stage.action),
      distribution.entropy(),
      evaluation.value,
      evaluation.outer_value,
    )

  def _loss(
    self,
    outputs: _Outputs,
    targets: _Outputs,
    stage: types.Stage,
    numbers: Hyperparameters,
  ) -> chex.Array:
    """The loss of `outputs`; what is constant in it is of `targets`."""
    data = _prepared(stage, targets.value, numbers.discount)
    objective = self._policy_objective(outputs.log_prob, data, numbers.lambda_)
    returns = _lambda_returns(data, numbers.lambda_)
    loss = -numbers.policy_cost * objective
    loss += numbers.value_cost * evaluators.masked_mean(
      (returns - outputs.value[:, :-1]) ** 2, stage.mask
    )
    loss -= numbers.entropy_cost * evaluators.masked_mean(
      outputs.entropy, stage.mask
    )
    if self.critic == 'outer':
      data = _prepared(stage, targets.outer_value, self.outer_discount)
      returns = _lambda_returns(data, self.outer_lambda)
      loss += self.outer_value_cost * evaluators.masked_mean(
        (returns - outputs.outer_value[:, :-1]) ** 2, stage.mask
      )
    return loss

  def _policy_objective(self, log_prob, data, lambda_) -> chex.Array:
    function = self.evaluator
    if isinstance(function, str):
      function = EVALUATORS[function]
    stop = 'stop_target_gradients'
    options = {**getattr(function, 'keywords', {}), **self.evaluator_options}
    if stop in algorithm_parts.evaluator_options(function):
      options.setdefault(stop, False)

    def reduction(estimates, v_t, discount_t, mask=None):
      # Where λ decays ratios, the next estimate is part of this one with λ.
      share = lambda_ if getattr(function, 'func', function) in _DECAYING else 1
      return evaluators.per_step(estimates, v_t, discount_t * share, mask)

    evaluator = functools.partial(function, **{**options, 'lambda_': lambda_})
    return evaluators.reduced_estimate(log_prob, data, evaluator, reduction)


def _prepared(
  stage: types.Stage, value: chex.Array, discount: chex.Numeric
) -> types.Prepared:
  """The rollout with a critic's values `[B, T+1]` and a discount factor."""
  return types.Prepared(
    observation=(),
    action=stage.action,
    v_tm1=value[:, :-1],
    v_t=value[:, 1:],
    r_t=stage.reward,
    discount_t=stage.discount * discount,
    advantage=jnp.zeros_like(stage.reward),
    mask=stage.mask,
    behaviour_log_prob=stage.behaviour_log_prob,
  )


def _lambda_returns(data: types.Prepared, lambda_: chex.Numeric) -> chex.Array:
  """λ-returns `[B, T]`: the doubly robust estimate with ratios of 1."""
  return jax.vmap(functools.partial(evaluators.doubly_robust, lambda_=lambda_))(
    data.v_tm1, data.v_t, data.r_t, data.discount_t, jnp.ones_like(data.r_t)
  )
