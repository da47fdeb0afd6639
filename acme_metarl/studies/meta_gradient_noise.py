"""How noisy an agent's meta-gradient is with any causal lambda.

The inner evaluator is the Taylor expansion of order 2 whatever it was trained
with: on the policy's own data all of them adapt alike, and causal lambda says
what the outer loop learns from that. Penalties on distances are left out.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

import chex
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import (
  diagnostics,
  inner_loop,
  task_batching,
)
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import task_loss as task_loss_lib


class Batch(NamedTuple):
  """Of a meta-batch, by causal lambda.

  Attributes:
    gradient: `[M, P]` the meta-gradient, the mean over tasks.
    variance: `[M]` trace of the covariance of single tasks' meta-gradients.
    half_cosine: `[M]` cosine of the means of the two halves of the tasks.
  """

  gradient: chex.Array
  variance: chex.Array
  half_cosine: chex.Array


def make_measure(
  config: config_lib.AlgorithmConfig,
  policy: types.Policy,
  prepare: Callable[[types.PyTree, types.Stage], types.Prepared],
  causal_lambdas: Sequence[float],
) -> Callable[[types.PyTree, types.Stage], Batch]:
  """Returns what measures a meta-batch.

  Args:
    config: the algorithm.
    policy: the policy.
    prepare: of the `MetaLearner`.
    causal_lambdas: M numbers in [0, 1].

  Returns:
    `(meta_params, trials [G, K+1, B, T, ...]) -> Batch`, compiled.

  Raises:
    ValueError: if the algorithm has no evaluator, or no task loss.
  """
  if config.inner_loop is not None:
    raise ValueError(
      'inner_loop: the algorithm has one of its own; causal lambda is the '
      "evaluator's of the library's."
    )
  options = {}
  if config.evaluator == 'taylor_expansion':
    options = dict(config.evaluator_options)
    options.pop('causal_lambda', None)
  loss = learner_lib.make_task_loss(
    dataclasses.replace(
      config,
      evaluator='taylor_expansion',
      evaluator_options={**options, 'order': 2},
      learned_evaluator_options={},
      meta_gradient='full',
    ),
    policy,
  )
  loss = dataclasses.replace(loss, needs_kl=False)
  grid = jnp.asarray(causal_lambdas, jnp.result_type(float))
  devices = tuple(jax.local_devices()[:1])
  chunk_size = config.chunk_size or task_batching.default_chunk_size(devices)

  def task_sums(params, inputs):
    stages, half = inputs
    trainable = inner_loop.trainable_part(loss.inner, params)
    prepared = jax.vmap(prepare, (None, 0))(params, stages)
    task = task_loss_lib.Task(
      prepared, loss.reference(params, prepared), jnp.zeros(())
    )

    def gradient(causal_lambda):
      own = loss.with_causal_lambda(causal_lambda)

      def objective(trainable):
        merged = inner_loop.merge_trainable(loss.inner, params, trainable)
        coefficient = jnp.zeros((config.num_inner_steps,))
        return own.task_loss(merged, task, coefficient)[0]

      return jax.grad(objective)(trainable)

    return jax.vmap(diagnostics.gradient_sums, (0, None))(
      jax.vmap(gradient)(grid), half
    )

  @jax.jit
  def measure(params: types.PyTree, trials: types.Stage) -> Batch:
    num_tasks = trials.reward.shape[0]
    batches = task_batching.batch_tasks(
      (trials, jnp.arange(num_tasks) % 2), chunk_size, 1
    )
    sums = task_batching.sum_over_tasks(task_sums, params, batches, devices)

    def summarise(sums):
      mean = diagnostics.mean_gradient(sums, num_tasks)
      found = diagnostics.gradient_statistics(sums, num_tasks)
      return Batch(
        flatten_util.ravel_pytree(mean)[0],
        found['meta_gradient_variance'],
        found['meta_gradient_cosine'],
      )

    return jax.vmap(summarise)(sums)

  return measure


class Agreement(NamedTuple):
  """How well meta-gradients agree with a reference of many rollouts.

  Attributes:
    of_batches: `[R, M]` cosine of each batch with it.
    of_means: `[M]` cosine of the mean over all batches with it, where noise is
      small and what is missing is bias.
    of_halves: cosine of the two halves of the reference, its own noise.
  """

  of_batches: np.ndarray
  of_means: np.ndarray
  of_halves: float


def agreement(gradients: chex.Array, references: chex.Array) -> Agreement:
  """Compares meta-gradients with a reference.

  Args:
    gradients: `[R, M, P]` of R batches by causal lambda.
    references: `[2, P]`, the two halves of the reference.

  Returns:
    The cosines.
  """
  x, halves = (np.asarray(z, np.float64) for z in (gradients, references))
  reference = halves.mean(0)
  return Agreement(
    _cosine(x, reference),
    _cosine(x.mean(0), reference),
    float(_cosine(*halves)),
  )


def _cosine(x: Any, y: Any) -> np.ndarray:
  """Cosine along the last axis; 0 of vectors that are zero."""
  norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
  return np.sum(x * y, -1) / np.where(norms > 0, norms, 1.0)
