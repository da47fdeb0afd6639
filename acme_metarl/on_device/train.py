"""Meta-training as one compiled function of a random key.

For pure-JAX environments sampling, adaptation, evaluation and meta-update need
no host: `make_train(config, environment)` returns `train(key)`, which runs all
iterations in one program. `jax.vmap` trains several seeds, or several values of
the numeric hyper-parameters, at once:

    train = make_train(presets.make('promp_taypo2'), environment)
    state, log = train(jax.random.PRNGKey(0))
    states, logs = jax.vmap(train)(jax.random.split(key, 8))
    states, logs = jax.vmap(lambda rate: train(
        key, {'inner_learning_rate': rate}))(jnp.array([.05, .1, .2]))

`make_trainer` gives the parts, for runs that stop at checkpoints.
`trial_sampling` says how trials are drawn.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax import custom_batching, lax
from jax.experimental import io_callback
import jax.numpy as jnp

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import observations, reports, task_batching
from acme_metarl.on_device import sampling as trial_sampling

# Evaluator options that are no numbers, or belong to the data.
_STATIC_OPTIONS = {'order', 'stop_target_gradients', 'q_tm1', 'v_mu_tm1'}
# Streams of random keys that never meet.
_INIT, _TRAIN, _EVALUATE = range(3)


class TrainState(NamedTuple):
  """All that a run carries on; a pytree of arrays, so easily saved.

  Attributes:
    meta: parameters, optimiser and counters.
    key: the run's random key; an iteration's key derives from it and from the
      number of iterations done.
    iteration: how many iterations are done.
  """

  meta: learner_lib.MetaState
  key: chex.PRNGKey
  iteration: chex.Array


class Log(NamedTuple):
  """What a run of N iterations reports.

  Attributes:
    metrics: by name, `[N]`: those of `MetaLearner.update`; `return_k`, the
      mean return of the training tasks at stage k, and `success_ever_k` and
      the like where the environment reports numbers; `num_steps`, environment
      steps; `num_diverged`, rollouts that diverged or acted non-finitely.
    evaluation: `[M, G, K+1]` returns on M sets of tasks drawn anew, before
      iterations 0, `eval_every`, 2 `eval_every`, … and after the last; the
      mean over rollouts, per task and number of inner steps taken.
    evaluation_scalars: what the environment reported then, by name, `[M, G,
      K+1]`.
  """

  metrics: dict[str, chex.Array]
  evaluation: chex.Array
  evaluation_scalars: dict[str, chex.Array] = {}


class Evaluation(NamedTuple):
  """What came of playing tasks drawn anew.

  Attributes:
    returns: `[G, K+1]`, the mean over rollouts.
    scalars: what the environment reported besides, such as `success_ever`, by
      name: `[G, K+1]`, see `meta.reports`.
    tasks: as `sample_task` drew them, `[G, ...]`.
  """

  returns: chex.Array
  scalars: dict[str, chex.Array]
  tasks: types.PyTree


class Trainer(NamedTuple):
  """The parts of a run, pure functions.

  Attributes:
    init: `key -> TrainState`.
    sample: `(params, key, num_tasks) -> trials [G, K+1, B, T, ...]`.
    iterate: `TrainState -> (TrainState, metrics)`, one iteration.
    evaluate: `TrainState -> Evaluation` on tasks drawn anew.
    advance: `(TrainState, n) -> (TrainState, metrics, Evaluation)`: n ≤
      `eval_every` iterations, then an evaluation. n may be traced; of the
      metrics `[eval_every]` the first n mean something.
    run: `TrainState -> (TrainState, Log)`, all iterations, compiled.
  """

  init: Callable[[chex.PRNGKey], TrainState]
  sample: Callable[..., types.Stage]
  iterate: Callable[[TrainState], tuple[TrainState, dict[str, chex.Array]]]
  evaluate: Callable[[TrainState], Evaluation]
  advance: Callable[..., tuple[TrainState, dict[str, chex.Array], Evaluation]]
  run: Callable[[TrainState], tuple[TrainState, Log]]


def make_train(
  config: config_lib.AlgorithmConfig,
  environment: types.Environment,
  **options: Any,
) -> Callable[..., tuple[TrainState, Log]]:
  """Makes a whole run one compiled function of a random key.

  Args:
    config: the algorithm; `num_iterations` is the length of the run.
    environment: a pure-JAX environment.
    **options: see `make_trainer`.

  Returns:
    `train(key, hyperparameters=None) -> (TrainState, Log)`. Hyper-parameters
    are numbers or scalar arrays by the names of fields of the configuration
    (`inner_learning_rate`, `clip_epsilon`, …) or of evaluator options that are
    arrays (`clip_rho_threshold`, `lambda_`); they may be traced, so `jax.vmap`
    sweeps them. Traced values are not checked.

  Raises:
    ValueError: on an environment that cannot run on a device.
  """
  make_trainer(config, environment, **options)  # Refuse mistakes now.
  example = jax.tree_util.tree_leaves(
    observations.example(environment.observation_spec())
  )
  floats = [x.dtype for x in example if jnp.issubdtype(x.dtype, jnp.floating)]
  dtype = jnp.result_type(*floats) if floats else jnp.float32
  devices = tuple(options.pop('devices', None) or jax.local_devices())

  def train_on(devices, key, hyperparameters):
    trainer = make_trainer(
      override(config, hyperparameters or {}),
      environment,
      devices=devices,
      **options,
    )
    return trainer.run(trainer.init(key))

  @custom_batching.custom_vmap
  def train_one(key, hyperparameters):
    return train_on(devices, key, hyperparameters)

  @train_one.def_vmap
  def _(axis_size, is_batched, *arguments):
    arguments = jax.tree_util.tree_map(
      lambda x, batched: (
        x if batched else jnp.broadcast_to(x, (axis_size, *jnp.shape(x)))
      ),
      arguments,
      tuple(is_batched),
    )
    results = map_seeds(
      lambda _, arguments: train_on(devices[:1], *arguments),
      (),
      arguments,
      devices,
    )
    return results, jax.tree_util.tree_map(lambda _: True, results)

  on_cpu = devices[0].platform == 'cpu'

  @jax.jit
  def train(
    key: chex.PRNGKey, hyperparameters: Mapping[str, Any] | None = None
  ) -> tuple[TrainState, Log]:
    # In the precision of the environment, whatever an array of them has.
    hyperparameters = {
      name: jnp.asarray(value, dtype)
      for name, value in (hyperparameters or {}).items()
    }
    if on_cpu:
      return train_one(key, hyperparameters)
    return train_on(devices, key, hyperparameters)

  return train


def map_seeds(
  function: Callable[[types.PyTree, types.PyTree], types.PyTree],
  replicated: types.PyTree,
  seeds: types.PyTree,
  devices: Sequence[jax.Device],
) -> types.PyTree:
  """Returns function(replicated, seed) for seeds `[S, ...]`.

  Devices share the seeds out. An accelerator takes its own all at once; a CPU
  one after the other, whose activations then stay in its cache.

  Args:
    function: of what all seeds share and what one has of its own.
    replicated: what all seeds share.
    seeds: pytree `[S, ...]`.
    devices: to share the seeds out to.

  Returns:
    Pytree `[S, ...]`.
  """

  def on_one_device(replicated, seeds):
    one = functools.partial(function, replicated)
    if devices[0].platform == 'cpu':
      return lax.map(one, seeds)
    return jax.vmap(one)(seeds)

  num_seeds = jax.tree_util.tree_leaves(seeds)[0].shape[0]
  return task_batching.map_tasks(
    on_one_device, replicated, seeds, devices[:num_seeds]
  )


def override(
  config: config_lib.AlgorithmConfig, hyperparameters: Mapping[str, Any]
) -> config_lib.AlgorithmConfig:
  """Sets numeric fields, or evaluator options, which may be traced.

  Args:
    config: the configuration.
    hyperparameters: values by name.

  Returns:
    A changed configuration.

  Raises:
    ValueError: if a name is neither a numeric field nor an evaluator option.
  """
  numeric = {
    field.name
    for field in dataclasses.fields(config)
    if isinstance(field.default, float)
  }
  fields = {k: v for k, v in hyperparameters.items() if k in numeric}
  options = {k: v for k, v in hyperparameters.items() if k not in numeric}
  taken = config.evaluator_option_names() - _STATIC_OPTIONS
  unknown = sorted(set(options) - taken)
  if unknown:
    raise ValueError(
      f'hyperparameters has {unknown}; known are the fields {sorted(numeric)}'
      f' and the evaluator options {sorted(taken)}.'
    )
  return dataclasses.replace(
    config, evaluator_options={**config.evaluator_options, **options}, **fields
  )


def make_trainer(
  config: config_lib.AlgorithmConfig,
  environment: types.Environment,
  *,
  policy: types.Policy | None = None,
  eval_every: int | None = None,
  num_eval_tasks: int = 40,
  bootstrap_on_timeout: bool = False,
  on_iteration: Callable[[Any, Any], None] | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> Trainer:
  """Makes the parts of a run.

  Args:
    config: the algorithm.
    environment: a pure-JAX environment.
    policy: by default a tanh network of the configuration's sizes with the
      distribution that the action spec asks for.
    eval_every: iterations between evaluations; None for the first and the last
      only.
    num_eval_tasks: tasks of an evaluation.
    bootstrap_on_timeout: whether the time limit keeps the discount.
    on_iteration: called on the host as `(iteration, metrics)` while the
      program runs, possibly out of order; under `jax.vmap` once for each
      element.
    devices: share the tasks of a trial; all local devices by default. To give
      each device a seed of its own instead, pass one device here.

  Returns:
    The trainer.

  Raises:
    ValueError: if the environment cannot run on a device, devices are not of
      one kind, or the settings do not fit together.
  """
  types.check_environment(environment, 'launchers.train')
  trial_sampling.check_specs(environment)
  if eval_every is None:
    eval_every = config.num_iterations
  if eval_every < 1 or config.num_iterations % eval_every:
    raise ValueError(
      f'eval_every: got {eval_every}, need a divisor of num_iterations'
      f' ({config.num_iterations}): every part of a run is the same program.'
    )
  if num_eval_tasks < 1:
    raise ValueError(f'num_eval_tasks: got {num_eval_tasks}, need at least 1.')
  if policy is None:
    policy = config.make_policy(
      environment.action_spec(), environment.observation_spec()
    )
  devices = tuple(devices or jax.local_devices())
  _check_devices(devices)
  learner = learner_lib.make_meta_learner(
    config, policy, devices, environment.observation_spec()
  )
  sampler = trial_sampling.TrialSampler(
    config, environment, policy, learner, bootstrap_on_timeout, devices
  )

  def init(key: chex.PRNGKey) -> TrainState:
    init_key = jax.random.fold_in(key, _INIT)
    observation = observations.example(environment.observation_spec())
    return TrainState(
      meta=learner.init(init_key, observation),
      key=key,
      iteration=jnp.zeros((), jnp.int32),
    )

  def iterate(state: TrainState):
    key = _key(state, _TRAIN)
    play = sampler.sample
    if learner.perturb is not None:
      play = sampler.sample_perturbed
    trials, scalars, _ = play(state.meta.params, key, config.num_tasks)
    meta, metrics = learner.update(state.meta, trials, key)
    returns = jnp.mean(trial_sampling.stage_returns(trials), axis=0)
    metrics = {
      **metrics,
      'num_steps': jnp.sum(trials.mask),
      'num_diverged': trial_sampling.num_diverged(trials),
      **reports.stage_means(scalars),
    }
    for stage in range(config.num_inner_steps + 1):
      metrics[f'return_{stage}'] = returns[stage]
    if on_iteration is not None:
      io_callback(on_iteration, None, state.iteration, metrics)
    return TrainState(meta, state.key, state.iteration + 1), metrics

  def evaluate(state: TrainState) -> Evaluation:
    trials, scalars, tasks = sampler.sample(
      state.meta.params, _key(state, _EVALUATE), num_eval_tasks
    )
    return Evaluation(trial_sampling.stage_returns(trials), scalars, tasks)

  def advance(state: TrainState, length: chex.Numeric):
    def step(i, carry):
      state, history = carry
      state, metrics = iterate(state)
      return state, {k: history[k].at[i].set(x) for k, x in metrics.items()}

    history = {
      k: jnp.zeros((eval_every,) + x.shape, x.dtype)
      for k, x in jax.eval_shape(iterate, state)[1].items()
    }
    state, history = lax.fori_loop(0, length, step, (state, history))
    return state, history, evaluate(state)

  @jax.jit
  def run(state: TrainState) -> tuple[TrainState, Log]:
    def segment(state, length):
      state, history, (returns, scalars, _) = advance(state, length)
      return state, (history, returns, scalars)

    # The first segment only evaluates; so the sampler is compiled once for
    # every evaluation.
    num_segments = config.num_iterations // eval_every
    lengths = jnp.full((num_segments + 1,), eval_every).at[0].set(0)
    state, (history, *evaluations) = lax.scan(segment, state, lengths)
    metrics = {
      k: x[1:].reshape((-1,) + x.shape[2:]) for k, x in history.items()
    }
    return state, Log(metrics, *evaluations)

  def sample(params: types.PyTree, key: chex.PRNGKey, num_tasks: int):
    return sampler.sample(params, key, num_tasks).stages

  return Trainer(init, sample, iterate, evaluate, advance, run)


def _key(state: TrainState, stream: int) -> chex.PRNGKey:
  return jax.random.fold_in(
    jax.random.fold_in(state.key, stream), state.iteration
  )


def _check_devices(devices: Sequence[Any]) -> None:
  kinds = {getattr(device, 'platform', repr(device)) for device in devices}
  if len(kinds) > 1 or not all(isinstance(x, jax.Device) for x in devices):
    raise ValueError(
      f'devices: got {", ".join(sorted(kinds))}, need devices of one kind, such'
      " as jax.local_devices() or jax.devices('cpu')."
    )
