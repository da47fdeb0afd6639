"""The outer loop: from a prepared meta-batch to new meta-parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import (
  causal_dial,
  diagnostics,
  epochs,
  evolution,
  inner_loop,
  task_batching,
  trust_region,
)
from acme_metarl.meta import task_loss as task_loss_lib

Metrics = dict[str, chex.Array]


class MetaState(NamedTuple):
  """Everything the outer loop carries on; a pytree of arrays.

  Attributes:
    params: meta-parameters.
    opt_state: state of the outer optimiser.
    kl_coefficient: `[K]` weight of each inner step's KL penalty.
    num_updates: calls of `update` so far.
    num_skipped: outer steps left out because a gradient was not finite, or the
      trust region's curvature could not be used.
    dial: `causal_dial.DialState` where causal λ sets itself.
  """

  params: types.PyTree
  opt_state: types.PyTree
  kl_coefficient: chex.Array
  num_updates: chex.Array
  num_skipped: chex.Array
  dial: types.PyTree = ()


class _Dials(NamedTuple):
  """What the outer loss depends on besides meta-parameters and data."""

  kl_coefficient: chex.Array
  causal_lambda: chex.Array | None

  @classmethod
  def of(cls, state: MetaState) -> '_Dials':
    return cls(state.kl_coefficient, getattr(state.dial, 'causal_lambda', None))


class OuterLoop:
  """The outer loop on a prepared meta-batch, as methods of its settings."""

  def __init__(
    self,
    config: config_lib.AlgorithmConfig,
    loss: task_loss_lib.TaskLoss,
    devices: Sequence[jax.Device],
  ):
    self._config = config
    self._loss = loss
    self._devices = devices
    self._chunk_size = config.chunk_size or task_batching.default_chunk_size(
      devices
    )
    self._optimizer = config.make_outer_optimizer()

  def init(self, params: types.PyTree) -> MetaState:
    """The state before the first update."""
    dtype = jnp.result_type(*jax.tree_util.tree_leaves(self._trainable(params)))
    return MetaState(
      params=params,
      opt_state=self._optimizer.init(self._trainable(params)),
      kl_coefficient=jnp.full(
        (self._config.num_inner_steps,),
        self._config.inner_kl_coefficient,
        dtype,
      ),
      num_updates=jnp.zeros((), jnp.int32),
      num_skipped=jnp.zeros((), jnp.int32),
      dial=causal_dial.init(dtype) if self._config.sets_causal_lambda else (),
    )

  def _trainable(self, params: types.PyTree) -> types.PyTree:
    """The part of the meta-parameters that the optimiser steps."""
    return inner_loop.trainable_part(self._loss.inner, params)

  def _merge(
    self, params: types.PyTree, trainable: types.PyTree
  ) -> types.PyTree:
    return inner_loop.merge_trainable(self._loss.inner, params, trainable)

  def update(
    self, state: MetaState, prepared: types.Prepared, reward: chex.Array
  ) -> tuple[MetaState, Metrics]:
    """All epochs on one meta-batch.

    Args:
      state: before.
      prepared: stages `[G, K+1, B, T, ...]`.
      reward: `[G, K+1, B, T]` raw rewards.

    Returns:
      The state after, and metrics by name.
    """
    num_tasks = reward.shape[0]
    batches = self._batch(state, prepared, reward)
    run = (
      self._trust_region_step
      if self._config.uses_trust_region
      else self._epochs
    )
    new_state, metrics = run(state, batches, num_tasks)
    metrics['num_skipped'] = new_state.num_skipped
    if state.dial:
      metrics['causal_lambda'] = state.dial.causal_lambda
      dial = causal_dial.update(state.dial, metrics['meta_gradient_cosine'])
      new_state = new_state._replace(dial=dial)
    return new_state._replace(num_updates=state.num_updates + 1), metrics

  def _batch(self, state, prepared, reward) -> task_batching.TaskBatches:
    """Tasks in chunks, with the number of the half each belongs to."""
    params, causal_lambda = state.params, _Dials.of(state).causal_lambda
    num_tasks = reward.shape[0]
    weight = jnp.zeros((num_tasks,), reward.dtype)
    if self._loss.kind == 'emaml':
      weight = task_loss_lib.emaml_weights(prepared, reward)
    stages = prepared._replace(behaviour_params=())
    task = task_loss_lib.Task(stages, prepared.behaviour_params, weight)
    half = jnp.arange(num_tasks) % 2
    batches = self._chunks(task, half)

    def of_tasks(name):
      def of_task(replicated, inputs):
        params, causal_lambda = replicated
        loss = self._loss.with_causal_lambda(causal_lambda)
        return getattr(loss, name)(params, inputs[0].stages)

      return task_batching.map_over_tasks(
        of_task, (params, causal_lambda), batches, self._devices
      )

    if self._loss.kind == 'score_function':
      values = of_tasks('value').reshape((-1,))[:num_tasks]
      weight = task_loss_lib.score_function_weights(values)
      batches = self._chunks(task._replace(score_weight=weight), half)
    has_reference = bool(jax.tree_util.tree_leaves(prepared.behaviour_params))
    if has_reference and not self._config.uses_trust_region:
      return batches
    # KL divergences are measured from the policy before this update.
    task, half = batches.tasks
    task = task._replace(reference=of_tasks('reference'))
    return batches._replace(tasks=(task, half))

  def _chunks(self, task, half) -> task_batching.TaskBatches:
    return task_batching.batch_tasks(
      (task, half), self._chunk_size, len(self._devices)
    )

  def _sum(self, function, replicated, batches):
    return task_batching.sum_over_tasks(
      function, replicated, batches, self._devices
    )

  def _mean_gradient(self, params: types.PyTree, dials: _Dials, batches, size):
    """Mean loss, meta-gradient, its statistics and the mean diagnostics."""

    def task_sums(replicated, inputs):
      params, dials = replicated
      task, half = inputs
      task_loss = self._loss.with_causal_lambda(dials.causal_lambda)

      def loss_fn(trainable):
        merged = self._merge(params, trainable)
        return task_loss.task_loss(merged, task, dials.kl_coefficient)

      trainable = self._trainable(params)
      if self._loss.kind == 'reptile':
        loss, aux = loss_fn(trainable)
        gradient = jax.tree_util.tree_map(
          jnp.negative, task_loss.displacement(params, task.stages)
        )
      else:
        (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
          trainable
        )
      return loss, aux, diagnostics.gradient_sums(gradient, half)

    loss, aux, sums = self._sum(task_sums, (params, dials), batches)
    return (
      loss / size,
      diagnostics.mean_gradient(sums, size),
      diagnostics.gradient_statistics(sums, size),
      _divide(aux, size),
    )

  def _evaluate(self, params: types.PyTree, dials: _Dials, batches, size):
    """Mean loss and diagnostics, without a gradient."""

    def task_loss(replicated, inputs):
      params, dials = replicated
      loss = self._loss.with_causal_lambda(dials.causal_lambda)
      return loss.task_loss(params, inputs[0], dials.kl_coefficient)

    return _divide(self._sum(task_loss, (params, dials), batches), size)

  def _epochs(self, state: MetaState, batches, size):
    """Several steps of an optax optimiser on the same meta-batch."""
    dials, config = _Dials.of(state), self._config

    def evaluation(loss, aux):
      is_bounded = config.max_epoch_kl is not None
      kl = jnp.append(aux.inner_kl, aux.outer_kl) if is_bounded else ()
      return loss, kl, aux

    def merge(trainable):
      return self._merge(state.params, trainable)

    def evaluate(trainable):
      params = merge(trainable)
      return evaluation(*self._evaluate(params, dials, batches, size))

    def epoch(progress):
      trainable, (opt_state, num_skipped) = progress
      loss, gradient, statistics, aux = self._mean_gradient(
        merge(trainable), dials, batches, size
      )
      updates, new_opt_state = self._optimizer.update(
        gradient, opt_state, trainable
      )
      is_finite = _is_finite((loss, gradient))
      trainable, opt_state = _select(
        is_finite,
        (optax.apply_updates(trainable, updates), new_opt_state),
        (trainable, opt_state),
      )
      return (
        epochs.Progress(trainable, (opt_state, num_skipped + ~is_finite)),
        (evaluation(loss, aux), statistics),
      )

    start = epochs.Progress(
      self._trainable(state.params), (state.opt_state, state.num_skipped)
    )
    metrics = {}
    if config.max_epoch_kl is None:
      end, first, (last, _) = epochs.repeat(
        epoch, start, config.num_outer_epochs
      )
      if config.adaptive_inner_kl or config.num_outer_epochs == 1:
        # The last epoch's diagnostics are those before its own step.
        last = evaluate(end.params)
    else:
      end, first, last, num_epochs = epochs.repeat_within(
        epoch, evaluate, start, config.num_outer_epochs, config.max_epoch_kl
      )
      metrics['num_epochs'] = num_epochs.astype(last[0].dtype)
    (loss_before, _, aux_before), statistics = first
    loss, _, aux = last
    opt_state, num_skipped = end.rest
    state = state._replace(
      params=merge(end.params),
      opt_state=opt_state,
      num_skipped=num_skipped,
      kl_coefficient=self._next_kl_coefficient(state.kl_coefficient, aux),
    )
    return state, {
      **diagnostics.metrics(
        loss_before, loss, statistics, aux_before.objective, aux
      ),
      **metrics,
      **diagnostics.kl_coefficients(state.kl_coefficient),
    }

  def perturbed(
    self, params: types.PyTree, key: chex.PRNGKey, num_tasks: int
  ) -> types.PyTree:
    """Meta-parameters `[G, ...]` that evolution strategies play with."""
    candidates = evolution.perturb(
      self._trainable(params),
      self._noise(params, key, num_tasks),
      self._config.es_noise_std,
    )
    return jax.vmap(lambda trainable: self._merge(params, trainable))(
      candidates
    )

  def _noise(self, params, key, num_tasks) -> types.PyTree:
    return evolution.noise(key, self._trainable(params), num_tasks // 2)

  def evolution_step(
    self, state: MetaState, trials: types.Stage, key: chex.PRNGKey
  ) -> tuple[MetaState, Metrics]:
    """One step of evolution strategies.

    Args:
      state: before.
      trials: `[G, K+1, B, T, ...]`, played with `perturbed` of the same key.
      key: random key.

    Returns:
      The state after, and metrics by name.
    """
    last = jnp.sum(trials.reward[:, -1] * trials.mask[:, -1], axis=-1)
    returns = jnp.mean(last, axis=-1)
    ascent = evolution.gradient(
      returns,
      self._noise(state.params, key, returns.shape[0]),
      self._config.es_noise_std,
    )
    gradient = jax.tree_util.tree_map(jnp.negative, ascent)
    trainable = self._trainable(state.params)
    updates, opt_state = self._optimizer.update(
      gradient, state.opt_state, trainable
    )
    params = self._merge(state.params, optax.apply_updates(trainable, updates))
    is_finite = _is_finite(gradient)
    params, opt_state = _select(
      is_finite, (params, opt_state), (state.params, state.opt_state)
    )
    state = state._replace(
      params=params,
      opt_state=opt_state,
      num_updates=state.num_updates + 1,
      num_skipped=state.num_skipped + ~is_finite,
    )
    return state, {
      'objective': jnp.mean(returns),
      'meta_gradient_norm': jnp.sqrt(
        optax.tree_utils.tree_vdot(gradient, gradient)
      ),
      'num_skipped': state.num_skipped,
    }

  def _trust_region_step(self, state: MetaState, batches, size):
    """One trust-region step."""
    params, dials = state.params, _Dials.of(state)
    loss, gradient, statistics, aux = self._mean_gradient(
      params, dials, batches, size
    )

    def loss_and_kl(trainable):
      candidate = self._merge(params, trainable)
      new_loss, new_aux = self._evaluate(candidate, dials, batches, size)
      return new_loss, new_aux.outer_kl

    trainable = self._trainable(params)
    updates, opt_state = self._optimizer.update(
      gradient,
      state.opt_state,
      trainable,
      loss=loss,
      loss_and_kl_fn=loss_and_kl,
      curvature_fn=lambda v: self._gauss_newton(
        params, v, dials.causal_lambda, batches, size
      ),
    )
    new_params = self._merge(params, optax.apply_updates(trainable, updates))
    is_usable = _is_finite((loss, gradient)) & (
      opt_state.num_backtracks <= self._config.max_backtracks
    )
    new_params = _select(is_usable, new_params, params)
    new_loss, new_aux = self._evaluate(new_params, dials, batches, size)
    state = state._replace(
      params=new_params,
      opt_state=opt_state,
      num_skipped=state.num_skipped + ~is_usable,
      kl_coefficient=self._next_kl_coefficient(dials.kl_coefficient, new_aux),
    )
    metrics = diagnostics.metrics(
      loss, new_loss, statistics, aux.objective, new_aux
    )
    return state, {
      **metrics,
      **diagnostics.kl_coefficients(state.kl_coefficient),
      'step_accepted': opt_state.accepted.astype(loss.dtype),
      'num_backtracks': opt_state.num_backtracks.astype(loss.dtype),
    }

  def _gauss_newton(
    self, params: types.PyTree, vector, causal_lambda, batches, size
  ):
    """Mean over tasks of JᵀFJv through the adaptation."""

    def product(replicated, inputs):
      params, vector, causal_lambda = replicated
      loss = self._loss.with_causal_lambda(causal_lambda)
      stages = inputs[0].stages

      def adapted_distribution(trainable):
        merged = self._merge(params, trainable)
        return loss.outputs(merged, stages)[-1].distribution

      return trust_region.gauss_newton_product(
        adapted_distribution,
        self._trainable(params),
        vector,
        stages.mask[-1],
      )

    replicated = params, vector, causal_lambda
    return _divide(self._sum(product, replicated, batches), size)

  def _next_kl_coefficient(self, coefficient, aux) -> chex.Array:
    """Halves it below the target's range, doubles it above."""
    if not self._config.adaptive_inner_kl:
      return coefficient
    target = self._config.inner_kl_target
    factor = jnp.where(
      aux.inner_kl < target / 1.5,
      0.5,
      jnp.where(aux.inner_kl > target * 1.5, 2.0, 1.0),
    )
    return coefficient * factor.astype(coefficient.dtype)


def _divide(tree: types.PyTree, size: int) -> types.PyTree:
  return jax.tree_util.tree_map(lambda x: x / size, tree)


def _is_finite(tree: types.PyTree) -> chex.Array:
  leaves = jax.tree_util.tree_leaves(tree)
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def _select(condition: chex.Array, new, old):
  return jax.tree_util.tree_map(
    lambda x, y: jnp.where(condition, x, y), new, old
  )
