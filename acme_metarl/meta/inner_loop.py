"""The inner loop: parameters that live, moved by a function of meta-parameters.

An inner loop is two pure functions,

    init(meta_params) -> (params, opt_state)
    update(meta_params, params, opt_state, prepared) -> (params, opt_state)

Meta-parameters are any pytree. The actor runs both to act, the learner
differentiates them, evaluation and on-device training use the same ones.
`GradientAscent` is the library's: an optax optimiser climbs an off-policy
evaluator. MAML, Meta-SGD, learned evaluator options and learned rewards are
instances of it; whatever else is an inner loop of your own.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from acme_metarl import types
from acme_metarl.evaluators import derivatives, protocols, reductions
from acme_metarl.meta import policies


class MetaParams(NamedTuple):
  """What the outer loop learns.

  Attributes:
    policy: parameters of the policy before adaptation.
    step_sizes: inner step sizes, a scalar or a pytree shaped like `policy`.
    learned: further meta-parameters of the outer gradient.
    baseline: state of a baseline that is trained by regression.
  """

  policy: types.PyTree
  step_sizes: types.PyTree
  learned: types.PyTree = ()
  baseline: types.PyTree = ()


class InnerLoop(Protocol):
  """Adapts parameters to a task; pure functions."""

  def init_meta_params(
    self, key: chex.PRNGKey, observation: chex.ArrayTree
  ) -> types.PyTree:
    """Returns initial meta-parameters, for one unbatched observation."""

  def init(self, meta_params: types.PyTree) -> tuple[types.PyTree, Any]:
    """Returns the policy's parameters before adaptation, and what goes along.

    A state that is no array tree of its own is `()`.
    """

  def update(
    self,
    meta_params: types.PyTree,
    params: types.PyTree,
    opt_state: Any,
    prepared: types.Prepared,
  ) -> tuple[types.PyTree, Any]:
    """Returns both after an update on a prepared stage of one task."""


# (meta-parameters that are learned, prepared stage) -> prepared stage.
Transform = Callable[[types.PyTree, types.Prepared], types.Prepared]
# Meta-parameters that are learned -> options of the evaluator.
OptionsOf = Callable[[types.PyTree], Mapping[str, chex.Array]]


@dataclasses.dataclass(frozen=True)
class GradientAscent:
  """θ' = θ + η ∘ optimiser(∇_θ reduction(evaluator(…, ρ))).

  Attributes:
    log_prob: `(params, observation, action) -> [B, T]` of the policy, see
      `policies.log_prob_fn`.
    evaluator: what adaptation climbs, of one trajectory, see `evaluators`.
    reduction: turns its estimates into one objective, see `reductions`.
    optimizer: an optax transformation with a learning rate of 1; its updates
      are multiplied by the meta-parameters' step sizes.
    step_size: initial step size.
    step_sizes: 'fixed', or learned as one 'scalar' or 'per_parameter'.
    kind: of meta-gradient, see `task_loss`.
    differentiation: 'reverse' or 'mixed', see `mixed_gradient`.
    init_policy: `(key, observation) -> params` of the policy; needed by
      `init_meta_params` alone.
    init_learned: `(key, observation) -> learned`, initial further
      meta-parameters; None for none.
    transform: changes a prepared stage by them, for example its rewards.
    options: evaluator options as a function of them.
  """

  log_prob: policies.LogProbFn
  evaluator: protocols.Evaluator
  reduction: reductions.Reduction = reductions.start_state
  optimizer: optax.GradientTransformation = optax.sgd(1.0)
  step_size: chex.Numeric = 0.1
  step_sizes: str = 'fixed'
  kind: str = 'full'
  differentiation: str = 'reverse'
  init_policy: Callable[..., types.PyTree] | None = None
  init_learned: Callable[..., types.PyTree] | None = None
  transform: Transform | None = None
  options: OptionsOf | None = None

  def init_meta_params(
    self, key: chex.PRNGKey, observation: chex.ArrayTree
  ) -> MetaParams:
    """Returns initial meta-parameters."""
    if self.init_policy is None:
      raise ValueError('init_policy must be given, but got None.')
    params = self.init_policy(key, observation)
    dtype = jnp.result_type(*jax.tree_util.tree_leaves(params))
    if self.step_sizes == 'per_parameter':
      step_sizes = jax.tree_util.tree_map(
        lambda p: jnp.full_like(p, self.step_size), params
      )
    else:
      step_sizes = jnp.asarray(self.step_size, dtype)
    learned = ()
    if self.init_learned is not None:
      learned = self.init_learned(key, observation)
    return MetaParams(params, step_sizes, learned)

  def init(self, meta_params: MetaParams) -> tuple[types.PyTree, Any]:
    """Returns θ and the optimiser's initial state."""
    params = meta_params.policy
    return params, self.optimizer.init(params)

  def update(
    self,
    meta_params: MetaParams,
    params: types.PyTree,
    opt_state: Any,
    prepared: types.Prepared,
  ) -> tuple[types.PyTree, Any]:
    """Returns θ' and the optimiser's state."""
    gradient = self._gradient(meta_params.learned, params, prepared)
    return self._step(meta_params, params, opt_state, gradient)

  def observed_update(
    self,
    meta_params: MetaParams,
    params: types.PyTree,
    opt_state: Any,
    prepared: types.Prepared,
    evaluate: Callable[[types.PyTree, types.Prepared], Any],
  ) -> tuple[types.PyTree, Any, Any]:
    """The same, and what the policy before it says about the stage.

    In reverse mode the two share their passes, forward and backward.

    Args:
      meta_params: as for `update`.
      params: as for `update`.
      opt_state: as for `update`.
      prepared: as for `update`.
      evaluate: `(params, prepared) -> output` with the attribute `log_prob`.

    Returns:
      θ', the optimiser's state, and what `evaluate` gives at θ.
    """
    if self.differentiation == 'mixed' or self.kind == 'linearised':
      output = evaluate(params, prepared)
      return *self.update(meta_params, params, opt_state, prepared), output

    def objective(candidate):
      output = evaluate(candidate, prepared)
      value = self._objective(output.log_prob, meta_params.learned, prepared)
      return value, output

    gradient, output = jax.grad(objective, has_aux=True)(params)
    return *self._step(meta_params, params, opt_state, gradient), output

  def _step(self, meta_params, params, opt_state, gradient):
    if self.kind == 'first_order':
      gradient = lax.stop_gradient(gradient)
    descent = jax.tree_util.tree_map(jnp.negative, gradient)
    updates, opt_state = self.optimizer.update(descent, opt_state, params)
    return ascend(params, updates, meta_params.step_sizes), opt_state

  def objective(
    self,
    params: types.PyTree,
    learned: types.PyTree,
    prepared: types.Prepared,
    weights: chex.Array | None = None,
  ) -> chex.Array:
    """What adaptation climbs, a scalar.

    Args:
      params: policy parameters θ.
      learned: further meta-parameters.
      prepared: a prepared stage of one task.
      weights: `[B]` weight of each rollout; ones by default.
    """
    log_prob = self.log_prob(params, prepared.observation, prepared.action)
    return self._objective(log_prob, learned, prepared, weights)

  def _objective(self, log_prob, learned, prepared, weights=None):
    if self.transform is not None:
      prepared = self.transform(learned, prepared)
    evaluator = self.evaluator
    if self.options is not None:
      evaluator = functools.partial(evaluator, **self.options(learned))
    return derivatives.reduced_estimate(
      log_prob, prepared, evaluator, self.reduction, weights
    )

  def _gradient(self, learned, params, prepared) -> types.PyTree:
    if self.differentiation == 'mixed':
      return mixed_gradient(self.objective)(params, learned, prepared)
    weights = None
    if self.kind == 'linearised':
      log_prob = self.log_prob(params, prepared.observation, prepared.action)
      score = rollout_log_prob(log_prob, prepared.mask)
      # Worth 1, with the score for a derivative.
      weights = jnp.exp(score - lax.stop_gradient(score))
    return jax.grad(self.objective)(params, learned, prepared, weights)

  def trainable(self, meta_params: MetaParams) -> types.PyTree:
    """The part of the meta-parameters that the outer optimiser steps."""
    if self.step_sizes == 'fixed':
      meta_params = meta_params._replace(step_sizes=())
    if not jax.tree_util.tree_leaves(meta_params[1:3]):
      return meta_params.policy
    return meta_params._replace(baseline=())

  def merge(
    self, meta_params: MetaParams, trainable: types.PyTree
  ) -> MetaParams:
    """The meta-parameters with that part exchanged."""
    if not isinstance(trainable, MetaParams):
      return meta_params._replace(policy=trainable)
    if self.step_sizes == 'fixed':
      trainable = trainable._replace(step_sizes=meta_params.step_sizes)
    return trainable._replace(baseline=meta_params.baseline)


def trainable_part(inner: InnerLoop, meta_params: types.PyTree) -> types.PyTree:
  """What the outer optimiser steps: all that an inner loop does not leave out.

  Args:
    inner: an inner loop; without a method `trainable` all of its
      meta-parameters are trained, but for a baseline's.
    meta_params: its meta-parameters.

  Example:
    >>> inner = GradientAscent(log_prob=None, evaluator=None)
    >>> trainable_part(inner, MetaParams({'w': 1.0}, step_sizes=0.1))
    {'w': 1.0}
  """
  if hasattr(inner, 'trainable'):
    return inner.trainable(meta_params)
  if isinstance(meta_params, MetaParams):
    return meta_params._replace(baseline=())
  return meta_params


def merge_trainable(
  inner: InnerLoop, meta_params: types.PyTree, trainable: types.PyTree
) -> types.PyTree:
  """The meta-parameters with the part exchanged that `trainable_part` gives.

  Example:
    >>> inner = GradientAscent(log_prob=None, evaluator=None)
    >>> merge_trainable(inner, MetaParams(1.0, step_sizes=0.1), 2.0)
    MetaParams(policy=2.0, step_sizes=0.1, learned=(), baseline=())
  """
  if hasattr(inner, 'merge'):
    return inner.merge(meta_params, trainable)
  if isinstance(meta_params, MetaParams):
    return trainable._replace(baseline=meta_params.baseline)
  return trainable


def mixed_gradient(objective: Callable[..., chex.Array]) -> Callable[..., Any]:
  """The gradient by the first argument, differentiated in forward mode.

  The derivative of a gradient in reverse mode keeps what both passes computed.
  Here the backward pass is the forward derivative of the gradient along the
  cotangent instead, which keeps the arguments alone: the Hessian is symmetric,
  so that product is the same. Forward derivatives of the result are not
  defined.

  See "Scalable Meta-Learning via Mixed-Mode Differentiation" by Kemaev et al.
  (2025), https://arxiv.org/abs/2505.00793.

  Args:
    objective: `(params, *arguments) -> scalar`.

  Returns:
    `(params, *arguments) -> gradient`, pytree like `params`; differentiable by
    all arguments in reverse mode.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> gradient = mixed_gradient(lambda x, scale: scale * jnp.sum(x**3))
    >>> jax.jacrev(gradient)(jnp.ones(2), 1.0).tolist()
    [[6.0, 0.0], [0.0, 6.0]]
  """

  @jax.custom_vjp
  def gradient(params, arguments):
    return jax.grad(objective)(params, *arguments)

  def forward(params, arguments):
    return gradient(params, arguments), (params, arguments)

  def backward(residuals, cotangent):
    params, arguments = residuals
    leaves, structure = jax.tree_util.tree_flatten(arguments)
    is_float = [jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves]
    floats = [x for x, yes in zip(leaves, is_float, strict=True) if yes]

    def gradients(params):
      def of_floats(params, floats):
        rest = iter(floats)
        values = [
          next(rest) if yes else x
          for x, yes in zip(leaves, is_float, strict=True)
        ]
        return objective(
          params, *jax.tree_util.tree_unflatten(structure, values)
        )

      return jax.grad(of_floats, argnums=(0, 1))(params, floats)

    _, (by_params, by_floats) = jax.jvp(gradients, (params,), (cotangent,))
    rest = iter(by_floats)
    by_arguments = [
      next(rest) if yes else np.zeros(jnp.shape(x), jax.dtypes.float0)
      for x, yes in zip(leaves, is_float, strict=True)
    ]
    return by_params, jax.tree_util.tree_unflatten(structure, by_arguments)

  gradient.defvjp(forward, backward)
  return lambda params, *arguments: gradient(params, arguments)


def learned_options(
  initial: Mapping[str, float], discount: float
) -> tuple[Callable[..., types.PyTree], Transform, OptionsOf]:
  """Evaluator options, and the discount factor, behind sigmoids.

  Args:
    initial: initial values in (0, 1), by name.
    discount: the discount factor that prepared stages have.

  Returns:
    `init_learned`, `transform` and `options` of `GradientAscent`.

  Example:
    >>> init_learned, _, options = learned_options({'lambda_': 0.9}, 0.99)
    >>> print(f'{options(init_learned(None, None))["lambda_"]:.2f}')
    0.90
  """

  def init_learned(key, observation):
    del key, observation
    return {
      name: jax.scipy.special.logit(jnp.asarray(value, jnp.result_type(float)))
      for name, value in initial.items()
    }

  def transform(learned, prepared):
    if 'discount' not in learned:
      return prepared
    factor = jax.nn.sigmoid(learned['discount']) / discount
    factor = factor.astype(prepared.discount_t.dtype)
    return prepared._replace(discount_t=prepared.discount_t * factor)

  def options(learned):
    return {
      name: jax.nn.sigmoid(x)
      for name, x in learned.items()
      if name != 'discount'
    }

  return init_learned, transform, options


def rollout_log_prob(log_prob: chex.Array, mask: chex.Array) -> chex.Array:
  """Log-probability `[B]` of each rollout's actions, from `[B, T]`.

  Example:
    >>> log_prob = jnp.array([[-1.0, -2.0], [-3.0, -4.0]])
    >>> rollout_log_prob(log_prob, jnp.array([[1, 1], [1, 0]])).tolist()
    [-3.0, -3.0]
  """
  return jnp.sum(jnp.where(mask > 0, log_prob, 0.0), axis=1)


def ascend(
  params: types.PyTree, updates: types.PyTree, step_sizes: types.PyTree
) -> types.PyTree:
  """Returns θ + η ∘ updates, η a scalar or a pytree shaped like θ.

  Raises:
    ValueError: if the step sizes are neither, or a shape differs.

  Example:
    >>> import jax.numpy as jnp
    >>> ascend(jnp.zeros(2), jnp.array([1.0, 2.0]), 0.5).tolist()
    [0.5, 1.0]
  """
  structure = jax.tree_util.tree_structure(params)
  step_structure = jax.tree_util.tree_structure(step_sizes)
  is_leaf = jax.tree_util.treedef_is_leaf(step_structure)
  if is_leaf and not jnp.shape(step_sizes):
    return jax.tree_util.tree_map(
      lambda p, u: p + step_sizes * u, params, updates
    )
  shapes, step_shapes = (
    [jnp.shape(x) for x in jax.tree_util.tree_leaves(tree)]
    for tree in (params, step_sizes)
  )
  if step_structure != structure or shapes != step_shapes:
    raise ValueError(
      'step_sizes must be a scalar or a pytree shaped like the policy'
      f' parameters, {jax.tree_util.tree_map(jnp.shape, params)}, but got'
      f' {jax.tree_util.tree_map(jnp.shape, step_sizes)}.'
    )
  return jax.tree_util.tree_map(
    lambda p, u, s: p + s * u, params, updates, step_sizes
  )
