"""The meta-update of a whole meta-batch: one pure function for every caller.

The agent's learner and actor, the on-device trainer and the studies all use
the `MetaLearner` that `make_meta_learner` builds.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import adaptation, outer_loop, policies, task_batching
from acme_metarl.meta import task_loss as task_loss_lib
from acme_metarl.meta.outer_loop import MetaState, Metrics
from acme_metarl.meta.task_loss import MetaParams


class MetaLearner(NamedTuple):
  """Pure functions; `jax.jit` them.

  Attributes:
    init: `(key, observation) -> MetaState`, for one unbatched observation.
    prepare: `(stage) -> Prepared`, one stage of one task.
    adapt: `(meta_params, prepared) -> policy parameters`, one inner step from
      `meta_params.policy` for one task.
    update: `(state, trials) -> (state, metrics)` for trials `[G, K+1, ...]`.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], MetaState]
  prepare: Callable[[types.Stage], types.Prepared]
  adapt: Callable[[MetaParams, types.Prepared], types.PyTree]
  update: Callable[[MetaState, types.Stage], tuple[MetaState, Metrics]]


def make_meta_learner(
  config: config_lib.AlgorithmConfig,
  policy: types.Policy,
  devices: Sequence[jax.Device] | None = None,
) -> MetaLearner:
  """Builds the functions of a meta-learner.

  Args:
    config: the algorithm.
    policy: the policy.
    devices: share out the tasks of a meta-batch; all local devices of the
      default backend if not given.

  Returns:
    The meta-learner.
  """
  evaluator = config.make_evaluator()
  reduction = config.make_reduction()
  log_prob = policies.log_prob_fn(policy)
  prepare = functools.partial(
    adaptation.prepare,
    discount=config.discount,
    gae_lambda=config.gae_lambda,
    baseline=config.make_baseline(),
    normalize=config.normalize_advantages,
  )

  def adapt(params: MetaParams, prepared: types.Prepared) -> types.PyTree:
    return adaptation.adapt(
      params.policy,
      prepared,
      log_prob,
      evaluator,
      reduction,
      params.step_sizes,
    )

  devices = tuple(devices or jax.local_devices())
  outer = outer_loop.OuterLoop(config, make_task_loss(config, policy), devices)

  def init(key: chex.PRNGKey, observation: chex.ArrayTree) -> MetaState:
    params = policy.init(key, observation)
    return outer.init(MetaParams(params, _initial_step_sizes(config, params)))

  def update(
    state: MetaState, trials: types.Stage
  ) -> tuple[MetaState, Metrics]:
    _check_trials(trials, config)
    prepared = task_batching.map_tasks(
      lambda _, tasks: jax.vmap(jax.vmap(prepare))(tasks), (), trials, devices
    )
    return outer.update(state, prepared, trials.reward)

  return MetaLearner(init, prepare, adapt, update)


def make_task_loss(
  config: config_lib.AlgorithmConfig, policy: types.Policy
) -> task_loss_lib.MetaGradient:
  """Returns the outer loss of one task."""
  return task_loss_lib.MetaGradient(
    policy=policy,
    evaluator=config.make_evaluator(),
    reduction=config.make_reduction(),
    num_inner_steps=config.num_inner_steps,
    outer_objective=config.make_outer_objective(),
    kind=config.meta_gradient,
    clip_epsilon=config.clip_epsilon,
  )


def _initial_step_sizes(config: config_lib.AlgorithmConfig, params):
  dtype = jnp.result_type(*jax.tree_util.tree_leaves(params))
  if config.inner_step_sizes == 'per_parameter':
    return jax.tree_util.tree_map(
      lambda p: jnp.full_like(p, config.inner_learning_rate), params
    )
  return jnp.asarray(config.inner_learning_rate, dtype)


def _check_trials(trials: types.Stage, config) -> None:
  shape = trials.reward.shape
  if len(shape) != 4 or shape[1] != config.num_inner_steps + 1:
    raise ValueError(
      'trials must have rewards [G, K+1, B, T] with K + 1 ='
      f' {config.num_inner_steps + 1} stages (num_inner_steps is'
      f' {config.num_inner_steps}), but got {shape}.'
    )
