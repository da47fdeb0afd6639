"""The outer loss of one task as a function of the meta-parameters.

Differentiating `TaskLoss.task_loss` gives the meta-gradient; how the inner
updates are differentiated is the choice of `kind`:

* 'full': through the updates, Hessian included.
* 'first_order': inner gradients held constant (FMAML).
* 'emaml': full, plus the score of the pre-update samples, weighted by the
  normalised post-update reward (E-MAML: Stadie et al. 2018,
  https://arxiv.org/abs/1803.01118; Al-Shedivat et al. 2018).
* 'score_function': full, plus the score of the pre-update samples times the
  value of the outer objective itself, minus its mean over the other tasks: the
  complete score-function estimator of an objective of N samples. It is
  unbiased for what the outer objective estimates, with a variance that grows
  with the number of rollouts. That needs an outer objective whose value is the
  value of the adapted policy, not only its gradient (`OuterObjective`), and
  inputs that do not depend on the samples: a baseline fitted to them
  ('linear_feature') and `normalize_advantages` make the inner update and the
  objective functions of all samples together, and bias it.
* 'linearised': full, plus the linearised score function, Σ_i (∇F·X_i)
  ∇log p(τ_i) / N: biased, with a variance that falls with it. Both after Tang
  (2022), "Biased Gradient Estimate with Drastic Variance Reduction for Meta
  Reinforcement Learning", https://arxiv.org/abs/2112.07328.
* 'reptile': no outer loss; the mean of θ_K − θ over tasks takes the place of
  the gradient (Nichol, Achiam and Schulman, 2018,
  https://arxiv.org/abs/1803.02999).
* 'evolution_strategies': no differentiation; antithetic perturbations of the
  meta-parameters, weighted by the return after adaptation from them (ES-MAML:
  Song et al. 2020, https://arxiv.org/abs/1910.01215). On device only.

The three with scores take the inner update for a function of samples that
themselves come from the policy, so they are meant for the evaluator
'log_likelihood', which leaves that dependence out.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import diagnostics, inner_loop, objectives, policies
from acme_metarl.meta.inner_loop import MetaParams as MetaParams


class Task(NamedTuple):
  """The data of one task in the outer loss; none of it depends on parameters.

  Attributes:
    stages: `[K+1, B, T, ...]` prepared stages.
    reference: distribution parameters `[K+1, B, T, ...]` that KL divergences
      are measured from; `()` where there are none to measure.
    score_weight: scalar, multiplies the score of the pre-update samples.
  """

  stages: types.Prepared
  reference: types.PyTree
  score_weight: chex.Array


class StageOutput(NamedTuple):
  """What a policy says about one stage.

  Attributes:
    distribution: its action distribution at the stage's observations.
    log_prob: `[B, T]` log-probabilities of the stage's actions.
  """

  distribution: Any
  log_prob: chex.Array


@dataclasses.dataclass(frozen=True)
class TaskLoss:
  """An algorithm's inner loop and outer loss for one task.

  Attributes:
    policy: the policy.
    inner: the inner loop.
    num_inner_steps: K.
    outer_objective: judges the adapted policy on the last stage.
    kind: of meta-gradient, see the module.
    clip_epsilon: ratios outside 1 ± this count as clipped in the diagnostics.
    needs_kl: whether KL divergences are part of the loss or of a constraint.
      Otherwise they are reported where the distribution has them.
    stage_weights: `[K+1]` weight of the outer objective of each stage's policy
      on that stage; None for the last one alone.
  """

  policy: types.Policy
  inner: inner_loop.InnerLoop
  num_inner_steps: int
  outer_objective: objectives.OuterObjective
  kind: str = 'full'
  clip_epsilon: float = 0.3
  needs_kl: bool = True
  stage_weights: tuple[float, ...] | None = None

  def with_causal_lambda(self, value: chex.Array | None) -> 'TaskLoss':
    """The same with a causal λ for the inner evaluator; None for its own.

    Example:
      >>> from acme_metarl import evaluators
      >>> loss = TaskLoss(None, inner_loop.GradientAscent(
      ...   None, evaluators.taylor_expansion), 1, objectives.Surrogate())
      >>> loss.with_causal_lambda(0.5).inner.evaluator.keywords
      {'causal_lambda': 0.5}
    """
    if value is None:
      return self
    inner: Any = self.inner  # `GradientAscent`; other ones have no evaluator.
    evaluator = functools.partial(inner.evaluator, causal_lambda=value)
    inner = dataclasses.replace(inner, evaluator=evaluator)
    return dataclasses.replace(self, inner=inner)

  def unroll(
    self, params: types.PyTree, stages: types.Prepared
  ) -> list[types.PyTree]:
    """Adapts K times, each on its own stage.

    Args:
      params: the meta-parameters.
      stages: prepared stages of one task, `[K+1, B, T, ...]`.

    Returns:
      The policy's parameters at each of the K+1 stages.
    """
    adapted, opt_state = self.inner.init(params)
    found = [adapted]
    for index in range(self.num_inner_steps):
      adapted, opt_state = self.inner.update(
        params, adapted, opt_state, take_stage(stages, index)
      )
      found.append(adapted)
    return found

  def evaluate(
    self, policy_params: types.PyTree, prepared: types.Prepared
  ) -> StageOutput:
    """What the policy says about a prepared stage."""
    distribution = policies.unroll(
      self.policy, policy_params, prepared.observation
    )
    return StageOutput(distribution, distribution.log_prob(prepared.action))

  def outputs(
    self, params: types.PyTree, stages: types.Prepared
  ) -> list[StageOutput]:
    """What the policy of each of the K+1 stages says about it."""
    if not hasattr(self.inner, 'observed_update'):
      return [
        self.evaluate(adapted, take_stage(stages, index))
        for index, adapted in enumerate(self.unroll(params, stages))
      ]
    adapted, opt_state = self.inner.init(params)
    found = []
    for index in range(self.num_inner_steps):
      adapted, opt_state, output = self.inner.observed_update(
        params, adapted, opt_state, take_stage(stages, index), self.evaluate
      )
      found.append(output)
    last = take_stage(stages, self.num_inner_steps)
    return [*found, self.evaluate(adapted, last)]

  def reference(self, params: types.PyTree, stages: types.Prepared):
    """Distribution parameters `[K+1, B, T, ...]` of every stage's policy."""
    outputs = self.outputs(params, stages)
    if not self._has_kl(outputs[-1]):
      return ()
    leaves = [
      policies.distribution_params(output.distribution) for output in outputs
    ]
    return jax.tree_util.tree_map(lambda *x: jnp.stack(x), *leaves)

  def task_loss(
    self, params: types.PyTree, task: Task, kl_coefficient: chex.Array
  ) -> tuple[chex.Array, diagnostics.TaskDiagnostics]:
    """The loss of one task, to be minimised, and its diagnostics.

    Args:
      params: the meta-parameters.
      task: the task's data.
      kl_coefficient: `[K]` weight of each inner step's KL divergence from the
        reference; their mean is added where `needs_kl`.

    Returns:
      −(objective + score term) + mean_k kl_coefficient_k KL_k, and diagnostics.
    """
    outputs = self.outputs(params, task.stages)
    objective = self._judged(
      self.outer_objective, [x.log_prob for x in outputs], task.stages
    )
    loss = -objective
    kl: Any = None
    if self._has_kl(outputs[-1]):
      kl = jnp.stack(
        [self._kl(output, task, index) for index, output in enumerate(outputs)]
      )
    if self.needs_kl:
      loss += jnp.mean(kl_coefficient * kl[:-1])
    if self.kind in ('emaml', 'score_function'):
      loss -= task.score_weight * self._score(outputs[:-1], task.stages)
    return loss, diagnostics.task_diagnostics(
      objective=objective,
      inner_kl=None if kl is None else kl[:-1],
      outer_kl=None if kl is None else kl[-1],
      log_prob=jnp.stack([output.log_prob for output in outputs]),
      stages=task.stages,
      clip_epsilon=self.clip_epsilon,
    )

  def value(self, params: types.PyTree, stages: types.Prepared) -> chex.Array:
    """The outer objective's estimate of the adapted policy's value."""
    log_probs = [output.log_prob for output in self.outputs(params, stages)]

    def estimate(log_prob, stage):
      return objectives.value(self.outer_objective, log_prob, stage)

    return self._judged(estimate, log_probs, stages)

  def _judged(self, objective, log_probs, stages) -> chex.Array:
    """An objective on the last stage, or its weighted sum over all."""
    if self.stage_weights is None:
      last = take_stage(stages, self.num_inner_steps)
      return objective(log_probs[-1], last)
    return sum(
      weight * objective(log_prob, take_stage(stages, index))
      for index, (weight, log_prob) in enumerate(
        zip(self.stage_weights, log_probs, strict=True)
      )
      if weight
    )

  def displacement(
    self, params: types.PyTree, stages: types.Prepared
  ) -> types.PyTree:
    """θ_K − θ, by which Reptile moves the policy."""
    first, *_, last = self.unroll(params, stages)
    return jax.tree_util.tree_map(jnp.subtract, last, first)

  def _has_kl(self, output: StageOutput) -> bool:
    """Whether KL divergences can be had.

    Raises:
      ValueError: if they cannot, and are needed.
    """
    distribution = output.distribution
    has_kl = hasattr(distribution, 'kl_divergence')
    if has_kl:
      try:
        jax.eval_shape(lambda: distribution.kl_divergence(distribution))
      except NotImplementedError:
        has_kl = False
    if self.needs_kl and not has_kl:
      raise ValueError(
        f'policy: a {type(distribution).__name__} has no Kullback-Leibler'
        ' divergence, which the trust region and the KL penalty need. Use'
        ' another outer_optimizer and inner_kl_coefficient=0.'
      )
    return has_kl

  def _kl(self, output: StageOutput, task: Task, index: int) -> chex.Array:
    """Mean KL(reference ‖ policy) over the steps of a stage."""
    reference = jax.tree_util.tree_map(lambda x: x[index], task.reference)
    old = policies.with_params(output.distribution, reference)
    return masked_kl(old, output.distribution, task.stages.mask[index])

  def _score(self, outputs, stages) -> chex.Array:
    """The score of all pre-update samples; its value means nothing."""
    total: chex.Numeric = 0.0
    for index, output in enumerate(outputs):
      mask = stages.mask[index]
      if self.kind == 'emaml':
        total += reductions.masked_mean(output.log_prob, mask)
      else:
        total += jnp.sum(inner_loop.rollout_log_prob(output.log_prob, mask))
    return total


def masked_kl(old: Any, new: Any, mask: chex.Array) -> chex.Array:
  """Mean KL(old ‖ new) over the steps that count.

  >>> import distrax
  >>> old, new = distrax.Normal(jnp.zeros(2), 1.0), distrax.Normal(1.0, 1.0)
  >>> float(masked_kl(old, new, jnp.array([1.0, 0.0])))
  0.5
  """
  return reductions.masked_mean(old.kl_divergence(new), mask)


def emaml_weights(stages: types.Prepared, reward: chex.Array) -> chex.Array:
  """E-MAML's weights of the pre-update scores.

  Args:
    stages: prepared `[G, K+1, B, T, ...]`.
    reward: `[G, K+1, B, T]` raw rewards.

  Returns:
    `[G]`, the mean post-update reward of each task, all of them normalised over
    all tasks.

  Example:
    >>> ones = jnp.ones((2, 2, 1, 1))
    >>> stages = types.Prepared(
    ...   observation=ones, action=ones, v_tm1=ones, v_t=ones, r_t=ones,
    ...   discount_t=ones, advantage=ones, mask=ones, behaviour_log_prob=ones)
    >>> reward = jnp.array([1.0, 3.0])[:, None, None, None] * ones
    >>> emaml_weights(stages, reward).tolist()
    [-1.0, 1.0]
  """
  mask, last = stages.mask[:, -1], reward[:, -1]
  mean = reductions.masked_mean(last, mask)
  std = jnp.sqrt(reductions.masked_mean((last - mean) ** 2, mask))
  return jax.vmap(reductions.masked_mean)((last - mean) / (std + 1e-8), mask)


def score_function_weights(values: chex.Array) -> chex.Array:
  """Weights `[G]` of the pre-update scores, from the values of the objective.

  Args:
    values: `[G]`, what `TaskLoss.value` says of each task.

  Returns:
    Each task's value minus the mean of the others', which is a control variate
    independent of the task's samples; with one task its value.

  Example:
    >>> score_function_weights(jnp.array([1.0, 2.0, 6.0])).tolist()
    [-3.0, -1.5, 4.5]
  """
  others = jnp.sum(values) - values
  return values - others / jnp.maximum(values.shape[0] - 1, 1)


def take_stage(stages: types.Prepared, index: int) -> types.Prepared:
  """One of the stages of a task, from `[K+1, ...]`.

  >>> take_stage((jnp.arange(3), jnp.ones((3, 2))), 1)[0].item()
  1
  """
  return jax.tree_util.tree_map(lambda x: x[index], stages)
