"""The outer loss of one task as a function of the meta-parameters.

Differentiating `task_loss` gives the meta-gradient; how the inner updates are
differentiated is the choice of `MetaGradient`:

* 'full': through the updates, Hessian included.
* 'first_order': inner gradients held constant (FMAML).
* 'emaml': full, plus the score of the pre-update samples, weighted by the
  normalised post-update reward (E-MAML: Stadie et al. 2018,
  https://arxiv.org/abs/1803.01118; Al-Shedivat et al. 2018).
* 'score_function': full, plus the complete score-function estimator of an
  objective of N samples: unbiased, with a variance that grows with the number
  of rollouts.
* 'linearised': full, plus the linearised score function, Σ_i (∇F·X_i)
  ∇log p(τ_i) / N: biased, with a variance that falls with it. Both after Tang
  (2022), "Biased Gradient Estimate with Drastic Variance Reduction for Meta
  Reinforcement Learning", https://arxiv.org/abs/2112.07328.

The last three take the inner update for a function of samples that themselves
come from the policy, so they are meant for the evaluator 'log_likelihood',
which leaves that dependence out.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import adaptation, diagnostics, objectives, policies


class MetaParams(NamedTuple):
  """What the outer loop learns.

  Attributes:
    policy: parameters of the policy before adaptation.
    step_sizes: inner step sizes, a scalar or a pytree shaped like `policy`.
  """

  policy: types.PyTree
  step_sizes: types.PyTree


class Task(NamedTuple):
  """The data of one task in the outer loss; none of it depends on parameters.

  Attributes:
    stages: `[K+1, B, T, ...]` prepared stages.
    reference: distribution parameters `[K+1, B, T, ...]` that KL divergences
      are measured from.
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
class MetaGradient:
  """An algorithm's inner loop and outer loss for one task.

  Attributes:
    policy: the policy.
    evaluator: what adaptation climbs, reduced by
    reduction: a reduction.
    num_inner_steps: K.
    outer_objective: judges the adapted policy on the last stage.
    kind: how the inner updates are differentiated, see the module.
    clip_epsilon: ratios outside 1 ± this count as clipped in the diagnostics.
  """

  policy: types.Policy
  evaluator: adaptation.Evaluator
  reduction: reductions.Reduction
  num_inner_steps: int
  outer_objective: objectives.OuterObjective
  kind: str = 'full'
  clip_epsilon: float = 0.3

  def unroll(
    self, params: MetaParams, stages: types.Prepared
  ) -> tuple[types.PyTree, list[StageOutput]]:
    """Adapts K times, each on its own stage.

    Args:
      params: the meta-parameters.
      stages: prepared stages of one task, `[K+1, B, T, ...]`.

    Returns:
      Adapted policy parameters, and what the policy before each update said
      about the stage it was updated on.
    """
    adapted = params.policy
    outputs = []
    for index in range(self.num_inner_steps):
      adapted, output = self._adapt(
        adapted, take_stage(stages, index), params.step_sizes
      )
      outputs.append(output)
    return adapted, outputs

  def _adapt(self, params, prepared, step_sizes):
    weights = None
    if self.kind == 'linearised':
      output = self.evaluate(params, prepared)
      score = _rollout_log_prob(output.log_prob, prepared.mask)
      # Worth 1, with the score for a derivative.
      weights = jnp.exp(score - lax.stop_gradient(score))

    def objective(candidate):
      output = self.evaluate(candidate, prepared)
      value = adaptation.inner_objective(
        output.log_prob, prepared, self.evaluator, self.reduction, weights
      )
      return value, output

    gradient, output = jax.grad(objective, has_aux=True)(params)
    if self.kind == 'first_order':
      gradient = lax.stop_gradient(gradient)
    return adaptation.ascend(params, gradient, step_sizes), output

  def evaluate(
    self, policy_params: types.PyTree, prepared: types.Prepared
  ) -> StageOutput:
    """What the policy says about a prepared stage."""
    distribution = self.policy.apply(policy_params, prepared.observation)
    return StageOutput(distribution, distribution.log_prob(prepared.action))

  def outputs(
    self, params: MetaParams, stages: types.Prepared
  ) -> list[StageOutput]:
    """What the policy of each of the K+1 stages says about it."""
    adapted, outputs = self.unroll(params, stages)
    last = take_stage(stages, self.num_inner_steps)
    return [*outputs, self.evaluate(adapted, last)]

  def reference(self, params: MetaParams, stages: types.Prepared):
    """Distribution parameters `[K+1, B, T, ...]` of every stage's policy."""
    leaves = [
      policies.distribution_params(output.distribution)
      for output in self.outputs(params, stages)
    ]
    return jax.tree_util.tree_map(lambda *x: jnp.stack(x), *leaves)

  def task_loss(
    self, params: MetaParams, task: Task, kl_coefficient: chex.Array
  ) -> tuple[chex.Array, diagnostics.TaskDiagnostics]:
    """The loss of one task, to be minimised, and its diagnostics.

    Args:
      params: the meta-parameters.
      task: the task's data.
      kl_coefficient: `[K]` weight of each inner step's KL divergence from the
        reference; their mean is added.

    Returns:
      −(objective + score term) + mean_k kl_coefficient_k KL_k, and diagnostics.
    """
    outputs = self.outputs(params, task.stages)
    last = take_stage(task.stages, self.num_inner_steps)
    objective = self.outer_objective(outputs[-1].log_prob, last)
    inner_kl = [
      self._kl(output, task, index) for index, output in enumerate(outputs[:-1])
    ]
    loss = -objective + jnp.mean(kl_coefficient * jnp.stack(inner_kl))
    if self.kind in ('emaml', 'score_function'):
      loss -= task.score_weight * self._score(outputs[:-1], task.stages)
    outer_kl = self._kl(outputs[-1], task, self.num_inner_steps)
    return loss, diagnostics.task_diagnostics(
      objective=objective,
      inner_kl=jnp.stack(inner_kl),
      outer_kl=outer_kl,
      log_prob=jnp.stack([output.log_prob for output in outputs]),
      stages=task.stages,
      clip_epsilon=self.clip_epsilon,
    )

  def _kl(self, output: StageOutput, task: Task, index: int) -> chex.Array:
    """Mean KL(reference ‖ policy) over the steps of a stage."""
    reference = jax.tree_util.tree_map(lambda x: x[index], task.reference)
    old = policies.with_params(output.distribution, reference)
    return masked_kl(old, output.distribution, task.stages.mask[index])

  def _score(self, outputs, stages) -> chex.Array:
    """The score of all pre-update samples; its value means nothing."""
    total = 0.0
    for index, output in enumerate(outputs):
      mask = stages.mask[index]
      if self.kind == 'emaml':
        total += objectives.masked_mean(
          jnp.where(mask > 0, output.log_prob, 0.0), mask
        )
      else:
        total += jnp.sum(_rollout_log_prob(output.log_prob, mask))
    return total


def masked_kl(old: Any, new: Any, mask: chex.Array) -> chex.Array:
  """Mean KL(old ‖ new) over the steps that count."""
  divergence = old.kl_divergence(new)
  return objectives.masked_mean(jnp.where(mask > 0, divergence, 0.0), mask)


def score_weights(kind: str, stages: types.Prepared, reward: chex.Array):
  """Weights `[G]` of the pre-update scores, from all tasks together.

  Args:
    kind: kind of meta-gradient.
    stages: prepared `[G, K+1, B, T, ...]`.
    reward: `[G, K+1, B, T]` raw rewards.

  Returns:
    'emaml': mean post-update reward of each task, all of them normalised over
    all tasks. 'score_function': mean post-update reward of each task, on the
    scale of its normalised advantages, minus the mean of the other tasks, which
    is a control variate independent of the task's samples. Otherwise zeros.
  """
  mask = stages.mask[:, -1]
  steps = jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1.0)
  if kind == 'emaml':
    last = reward[:, -1]
    total = jnp.maximum(jnp.sum(mask), 1.0)
    mean = jnp.sum(last * mask) / total
    std = jnp.sqrt(jnp.sum((last - mean) ** 2 * mask) / total)
    normalized = (last - mean) / (std + 1e-8)
    return jnp.sum(normalized * mask, axis=(1, 2)) / steps
  if kind == 'score_function':
    means = jnp.sum(stages.r_t[:, -1] * mask, axis=(1, 2)) / steps
    others = jnp.maximum(means.shape[0] - 1, 1)
    return means - (jnp.sum(means) - means) / others
  return jnp.zeros(mask.shape[:1], mask.dtype)


def take_stage(stages: types.Prepared, index: int) -> types.Prepared:
  """One of the stages of a task."""
  return jax.tree_util.tree_map(lambda x: x[index], stages)


def _rollout_log_prob(log_prob: chex.Array, mask: chex.Array) -> chex.Array:
  """Log-probability `[B]` of each rollout's actions."""
  return jnp.sum(jnp.where(mask > 0, log_prob, 0.0), axis=1)
