"""The meta-update of a whole meta-batch: one pure function for every caller.

The agent's learner and actor, the on-device trainer and the studies all use
the `MetaLearner` that `make_meta_learner` builds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import (
  baselines,
  inner_loop,
  outer_loop,
  policies,
  preparation,
  task_batching,
)
from acme_metarl.meta import task_loss as task_loss_lib
from acme_metarl.meta.inner_loop import MetaParams as MetaParams
from acme_metarl.meta.outer_loop import MetaState as MetaState
from acme_metarl.meta.outer_loop import Metrics as Metrics


class MetaLearner(NamedTuple):
  """Pure functions; `jax.jit` them.

  Attributes:
    init: `(key, observation) -> MetaState`, for one unbatched observation.
    prepare: `(meta_params, stage) -> Prepared`, one stage of one task.
    init_inner: `meta_params -> (policy parameters, inner optimiser state)`.
    update_inner: `(meta_params, policy parameters, inner optimiser state,
      prepared) -> (policy parameters, inner optimiser state)`, one inner step
      for one task.
    update: `(state, trials) -> (state, metrics)` for trials `[G, K+1, ...]`;
      with evolution strategies `(state, trials, key)`.
    perturb: with evolution strategies `(meta_params, key, num_tasks) ->
      meta_params [G, ...]`, which trials must be played with; else None.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], MetaState]
  prepare: Callable[[types.PyTree, types.Stage], types.Prepared]
  init_inner: Callable[[types.PyTree], tuple[types.PyTree, Any]]
  update_inner: Callable[..., tuple[types.PyTree, Any]]
  update: Callable[..., tuple[MetaState, Metrics]]
  perturb: Callable[..., types.PyTree] | None = None


def make_meta_learner(
  config: config_lib.AlgorithmConfig,
  policy: types.Policy,
  devices: Sequence[jax.Device] | None = None,
  observation_spec: Any = None,
) -> MetaLearner:
  """Builds the functions of a meta-learner.

  Args:
    config: the algorithm.
    policy: the policy.
    devices: share out the tasks of a meta-batch; all local devices of the
      default backend if not given.
    observation_spec: of one observation; says which parts are discrete, which
      a baseline then sees one-hot.

  Returns:
    The meta-learner.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from acme_metarl import presets
    >>> config = presets.make('promp', hidden_sizes=(4,))
    >>> learner = make_meta_learner(config, policies.gaussian(2, (4,)))
    >>> state = learner.init(jax.random.PRNGKey(0), jnp.zeros(3))
    >>> params, opt_state = learner.init_inner(state.params)
    >>> params['~']['log_std'].shape
    (2,)
  """
  devices = tuple(devices or jax.local_devices())
  baseline = config.make_baseline()
  if observation_spec is not None:
    baseline = baselines.for_observations(baseline, observation_spec)
  task_loss = make_task_loss(config, policy)
  inner = task_loss.inner
  outer = outer_loop.OuterLoop(config, task_loss, devices)

  def init(key: chex.PRNGKey, observation: chex.ArrayTree) -> MetaState:
    params = inner.init_meta_params(key, observation)
    if hasattr(baseline, 'init'):
      params = params._replace(
        baseline=baseline.init(jax.random.fold_in(key, 1), observation)
      )
    return outer.init(params)

  def prepare(params: types.PyTree, stage: types.Stage) -> types.Prepared:
    return preparation.prepare(
      stage,
      discount=config.discount,
      gae_lambda=config.gae_lambda,
      baseline=baseline,
      normalize=config.normalize_advantages,
      baseline_state=getattr(params, 'baseline', ()),
    )

  def update(
    state: MetaState, trials: types.Stage, key: chex.PRNGKey | None = None
  ) -> tuple[MetaState, Metrics]:
    _check_trials(trials, config)
    if config.meta_gradient == 'evolution_strategies':
      if key is None:
        raise ValueError(
          'key is None; evolution strategies need the key that the trials were'
          ' perturbed with.'
        )
      new_state, metrics = outer.evolution_step(state, trials, key)
    else:
      prepared = task_batching.map_tasks(
        lambda params, tasks: jax.vmap(jax.vmap(prepare, (None, 0)), (None, 0))(
          params, tasks
        ),
        state.params,
        trials,
        devices,
      )
      new_state, metrics = outer.update(state, prepared, trials.reward)
    if hasattr(baseline, 'update'):
      trained = baseline.update(
        state.params.baseline, trials, config.discount, config.gae_lambda
      )
      new_state = new_state._replace(
        params=new_state.params._replace(baseline=trained)
      )
    return new_state, metrics

  is_perturbed = config.meta_gradient == 'evolution_strategies'
  return MetaLearner(
    init=init,
    prepare=prepare,
    init_inner=inner.init,
    update_inner=inner.update,
    update=update,
    perturb=outer.perturbed if is_perturbed else None,
  )


def make_inner_loop(
  config: config_lib.AlgorithmConfig, policy: types.Policy
) -> inner_loop.InnerLoop:
  """Returns the inner loop of a configuration.

  >>> from acme_metarl import presets
  >>> loop = make_inner_loop(presets.make('meta_sgd'), policies.gaussian(2))
  >>> loop.step_sizes
  'per_parameter'
  """
  if config.inner_loop is not None:
    return config.inner_loop(config, policy)
  learned = dict(config.learned_evaluator_options)
  init_learned = transform = options = None
  if learned:
    init_learned, transform, options = inner_loop.learned_options(
      learned, config.discount
    )
  return inner_loop.GradientAscent(
    log_prob=policies.log_prob_fn(policy),
    evaluator=config.make_evaluator(),
    reduction=config.make_reduction(),
    optimizer=config.make_inner_optimizer(),
    step_size=config.initial_step_size,
    step_sizes=config.inner_step_sizes,
    kind=config.meta_gradient,
    differentiation=config.inner_differentiation,
    init_policy=policy.init,
    init_learned=init_learned,
    transform=transform,
    options=options,
  )


def make_task_loss(
  config: config_lib.AlgorithmConfig, policy: types.Policy
) -> task_loss_lib.TaskLoss:
  """Returns the outer loss of one task.

  >>> from acme_metarl import presets
  >>> loss = make_task_loss(presets.make('promp'), policies.gaussian(2))
  >>> loss.outer_objective
  ClippedSurrogate(clip_epsilon=0.3)
  """
  coefficient = config.inner_kl_coefficient
  return task_loss_lib.TaskLoss(
    policy=policy,
    inner=make_inner_loop(config, policy),
    num_inner_steps=config.num_inner_steps,
    outer_objective=config.make_outer_objective(),
    kind=config.meta_gradient,
    clip_epsilon=config.clip_epsilon,
    needs_kl=config.uses_trust_region
    or config.max_epoch_kl is not None
    or not isinstance(coefficient, int | float)
    or coefficient != 0,
    stage_weights=config.stage_weights,
  )


def _check_trials(trials: types.Stage, config) -> None:
  shape = trials.reward.shape
  if len(shape) != 4 or shape[1] != config.num_inner_steps + 1:
    raise ValueError(
      'trials must have rewards [G, K+1, B, T] with K + 1 ='
      f' {config.num_inner_steps + 1} stages (num_inner_steps is'
      f' {config.num_inner_steps}), but got {shape}.'
    )
