"""Trials of pure-JAX environments, drawn on the device.

They follow `TrialEnvironment` to the letter: stage 0 under the policy, stage
k + 1 under the policy adapted on stage k; a rollout that terminates, diverges
or acts non-finitely is frozen and masked, memory included; the time limit has
discount 0.
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.evaluators import input_checks
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import observations, policies, reports, task_batching


def stage_returns(trials: types.Stage) -> chex.Array:
  """Undiscounted return `[G, K+1]`, the mean over the rollouts of a stage."""
  returns = jnp.sum(trials.reward * trials.mask, axis=-1)
  return jnp.mean(returns, axis=-1)


def num_diverged(trials: types.Stage) -> chex.Array:
  """How many rollouts diverged or acted non-finitely, each counted once.

  Their first masked step follows no end, which is how they are told from
  rollouts that terminated.

  Args:
    trials: `[..., T]`, whose time limit is the end of the row.

  Returns:
    An integer scalar.
  """
  is_real = trials.mask > 0
  goes_on = jnp.concatenate(
    [
      jnp.ones_like(is_real[..., :1]),
      is_real[..., :-1] & (trials.discount[..., :-1] > 0),
    ],
    axis=-1,
  )
  return jnp.sum(goes_on & ~is_real)


class Trials(NamedTuple):
  """What was played on G tasks.

  Attributes:
    stages: `[G, K+1, B, T, ...]`.
    scalars: what the environment reported besides, such as `success_ever`, by
      name: `[G, K+1]`, see `meta.reports`.
    tasks: as `sample_task` drew them, `[G, ...]`.
  """

  stages: types.Stage
  scalars: dict[str, chex.Array]
  tasks: types.PyTree


@dataclasses.dataclass(frozen=True)
class TrialSampler:
  """Draws trials: pure functions of its settings.

  Attributes:
    config: sizes of a trial.
    environment: in pure JAX.
    policy: acts.
    learner: its `prepare` and `adapt` are the ones the meta-update uses.
    bootstrap_on_timeout: whether the time limit keeps the discount.
    devices: share the tasks.
  """

  config: config_lib.AlgorithmConfig
  environment: types.Environment
  policy: types.Policy
  learner: learner_lib.MetaLearner
  bootstrap_on_timeout: bool
  devices: tuple[jax.Device, ...]

  def __post_init__(self):
    _check_parts(self.environment, self.policy)
    discount = self.config.discount
    if self.bootstrap_on_timeout and not input_checks.is_traced(discount):
      has_values = hasattr(self.config.make_baseline(), 'bootstrapped')
      if has_values and discount == 1:
        raise ValueError(
          'discount: got 1 with bootstrap_on_timeout, but what goes on for ever'
          ' has no finite value then; set a discount below 1.'
        )

  def sample(
    self,
    params: types.PyTree,
    key: chex.PRNGKey,
    num_tasks: int,
  ) -> Trials:
    """Trials of `num_tasks` tasks.

    Args:
      params: meta-parameters.
      key: random key.
      num_tasks: G.
    """
    keys = jax.random.split(key, num_tasks)
    return task_batching.map_tasks(
      lambda params, keys: self._sample_trials(params, None, keys),
      params,
      keys,
      self.devices,
    )

  def sample_perturbed(
    self, params: types.PyTree, key: chex.PRNGKey, num_tasks: int
  ) -> Trials:
    """The same for evolution strategies, which `MetaLearner.perturb` explains.

    Two tasks each are the same one and have the same random numbers, played
    with opposite perturbations.
    """
    keys = jnp.repeat(jax.random.split(key, num_tasks // 2), 2, axis=0)
    assert self.learner.perturb is not None
    perturbed = self.learner.perturb(params, key, num_tasks)
    return task_batching.map_tasks(
      lambda _, inputs: self._sample_trials(inputs[0], 0, inputs[1]),
      (),
      (perturbed, keys),
      self.devices,
    )

  def _sample_trials(self, params, axis, keys) -> Trials:
    """Trials of one device's tasks; `axis` is the tasks' in `params`."""
    split = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
    tasks = jax.vmap(self.environment.sample_task)(split[:, 0])
    stages, scalars = [], []
    init = self.learner.init_inner
    # If all tasks share the parameters of stage 0, no batched products there.
    adapted = init(params) if axis is None else jax.vmap(init)(params)
    adapted_axis = axis
    for stage in range(self.config.num_inner_steps + 1):
      stage_keys = jax.vmap(jax.random.fold_in, (0, None))(split[:, 1], stage)
      data, reported = jax.vmap(self._sample_stage, (adapted_axis, 0, 0))(
        adapted[0], tasks, stage_keys
      )
      stages.append(data)
      scalars.append(reports.summaries(reported))
      if stage < self.config.num_inner_steps:
        adapted = self._adapt(params, axis, adapted, adapted_axis, data)
        adapted_axis = 0

    def stack(parts):
      return jax.tree_util.tree_map(lambda *x: jnp.stack(x, axis=1), *parts)

    return Trials(stack(stages), stack(scalars), tasks)

  def _adapt(self, params, axis, adapted, adapted_axis, data) -> types.PyTree:
    """Adapts to each task, from what tasks share (axis None) or have (0)."""
    prepared = jax.vmap(self.learner.prepare, (axis, 0))(params, data)
    values, axes = (params, adapted, prepared), (axis, adapted_axis, 0)

    def adapt(own):
      params, adapted, prepared = (
        value if axis is None else mine
        for value, axis, mine in zip(values, axes, own, strict=True)
      )
      return self.learner.update_inner(params, *adapted, prepared)

    chunk_size = self.config.chunk_size or task_batching.default_chunk_size(
      self.devices
    )
    own = tuple(
      () if axis is None else value
      for value, axis in zip(values, axes, strict=True)
    )
    return task_batching.map_chunks(adapt, own, chunk_size)

  def _sample_stage(self, params, task, key):
    """One stage of one task: B rollouts of T steps, and what they reported."""
    reset_key, act_key = jax.random.split(key)
    reset_keys = jax.random.split(reset_key, self.config.num_rollouts)
    state, first = jax.vmap(self.environment.reset, (0, None))(reset_keys, task)
    batch_shape = (self.config.num_rollouts,)
    is_alive = jnp.ones(batch_shape, bool)
    memory = policies.initial_state(self.policy, batch_shape)

    def step(carry, key):
      state, memory, observation, is_alive = carry
      distribution, new_memory = policies.act(
        self.policy, params, observation, memory
      )
      action = distribution.sample(seed=key)
      # An action that is not finite never reaches the environment.
      taken = jnp.where(jnp.isfinite(action), action, jnp.zeros_like(action))
      new_state, new = jax.vmap(self.environment.step)(state, taken)
      is_real = is_alive & _is_finite(action) & _is_finite(new)
      new_observation = _where(is_real, new.observation, observation)
      reward, discount = (
        jnp.where(is_real, x, 0.0).astype(jnp.float32)
        for x in (new.reward, new.discount)
      )
      data = types.Stage(
        observation=observation,
        action=action,
        reward=reward,
        discount=discount,
        mask=is_real.astype(jnp.float32),
        behaviour_log_prob=distribution.log_prob(action),
        behaviour_params=policies.distribution_params(distribution),
      )
      new_memory = _where(is_real, new_memory, memory)
      is_alive = is_real & (discount > 0)
      reported = {
        name: jnp.where(is_real, jnp.asarray(x, jnp.float32), jnp.nan)
        for name, x in self._info(new_state).items()
      }
      carry = (new_state, new_memory, new_observation, is_alive)
      return carry, (data, reported)

    (_, _, last, _), (data, reported) = lax.scan(
      step,
      (state, memory, first.observation, is_alive),
      jax.random.split(act_key, self.config.horizon),
    )
    data, reported = jax.tree_util.tree_map(
      lambda x: jnp.swapaxes(x, 0, 1), (data, reported)
    )
    discount = data.discount
    if not self.bootstrap_on_timeout:
      discount = discount.at[:, -1].set(0.0)
    data = data._replace(
      discount=discount,
      observation=jax.tree_util.tree_map(
        lambda x, x_last: jnp.concatenate([x, x_last[:, jnp.newaxis]], axis=1),
        data.observation,
        last,
      ),
    )
    return data, reported

  def _info(self, states) -> Mapping[str, chex.Array]:
    """What the environment reports of states `[B, ...]`."""
    if not hasattr(self.environment, 'info'):
      return {}
    return jax.vmap(self.environment.info)(states)


def check_specs(environment: types.Environment) -> None:
  """Refuses specs that do not say what a policy would see and do.

  Raises:
    ValueError: naming the environment.
  """
  for what in ('observation_spec', 'action_spec'):
    leaves = jax.tree_util.tree_leaves(getattr(environment, what)())
    for spec in leaves or [None]:
      if not (hasattr(spec, 'shape') and hasattr(spec, 'dtype')):
        raise ValueError(
          f'environment {environment!r}: its {what} has {spec!r}, need a'
          ' dm_env.specs.Array.'
        )


def _check_parts(environment: types.Environment, policy: types.Policy) -> None:
  """Refuses what cannot be scanned or stored, before anything is computed."""
  key = jax.random.PRNGKey(0)

  name = f'environment {environment!r}'
  spec = environment.observation_spec()

  def reset(key):
    state, first = environment.reset(key, environment.sample_task(key))
    return state, _checked(first, f'{name}: its reset', spec)

  def step(key, state, observation):
    params = policy.init(key, observation)
    memory = policies.initial_state(policy)
    distribution, memory = policies.act(policy, params, observation, memory)
    state, new = environment.step(state, distribution.sample(seed=key))
    return memory, (state, _checked(new, f'{name}: its step', spec))

  state, first = jax.eval_shape(reset, key)
  policies.check_storable(policy, first.observation, environment.action_spec())
  memory, (new_state, new) = jax.eval_shape(step, key, state, first.observation)
  _check_same(f'{name}: the state', state, new_state, 'reset')
  _check_same(
    f'{name}: the observation', first.observation, new.observation, 'reset'
  )
  initial = jax.eval_shape(lambda: policies.initial_state(policy))
  _check_same('policy: the memory', initial, memory, 'initial_state')
  if hasattr(environment, 'info'):
    _check_info(jax.eval_shape(environment.info, state), name)


def _checked(time_step, name, spec) -> types.TimeStep:
  """Returns it, if it is one, and as the specs say."""
  if not all(hasattr(time_step, x) for x in types.TimeStep._fields):
    raise ValueError(
      f'{name} returned a {type(time_step).__name__} beside the state, need an'
      ' acme_metarl.types.TimeStep of observation, reward and discount.'
    )
  shown, declared = (
    [
      tuple(getattr(x, 'shape', ()))
      for x in jax.tree_util.tree_leaves(observations.plain(tree))
    ]
    for tree in (time_step.observation, spec)
  )
  if shown != declared:
    raise ValueError(
      f'{name} shows observations of shapes {shown}, but the observation_spec'
      f' says {declared}.'
    )
  for what in ('reward', 'discount'):
    if jnp.ndim(getattr(time_step, what)):
      raise ValueError(
        f'{name} gave a {what} of shape {jnp.shape(getattr(time_step, what))},'
        ' need one number.'
      )
  return time_step


def _check_info(info, name) -> None:
  """Numbers of one rollout, by name."""

  def told(value):
    if isinstance(value, jax.ShapeDtypeStruct):
      return f'{value.dtype}{list(value.shape)}'
    return f'a {type(value).__name__}'

  if not isinstance(info, Mapping):
    raise ValueError(
      f'{name}: its info is {told(info)}, need a dict of numbers, by name.'
    )
  for key, value in info.items():
    if getattr(value, 'shape', None) != () or jnp.issubdtype(
      value.dtype, jnp.complexfloating
    ):
      raise ValueError(
        f'{name}: its info[{key!r}] is {told(value)}, need one real number of'
        ' the rollout.'
      )


def _check_same(name, old, new, start) -> None:
  """Types, shapes and structure, so that a scan can carry it."""
  structures = [jax.tree_util.tree_structure(x) for x in (old, new)]
  if structures[0] != structures[1]:
    raise ValueError(
      f'{name} is {structures[0]} after {start} but {structures[1]} after a'
      ' step; the two must be of one structure.'
    )
  for (path, x), y in zip(
    jax.tree_util.tree_leaves_with_path(old),
    jax.tree_util.tree_leaves(new),
    strict=True,
  ):
    if (x.dtype, x.shape) != (y.dtype, y.shape):
      raise ValueError(
        f'{name}{jax.tree_util.keystr(path)} is {x.dtype}{list(x.shape)} after'
        f' {start} but {y.dtype}{list(y.shape)} after a step; the two must be'
        ' of one type and shape.'
      )


def _is_finite(tree: chex.ArrayTree) -> chex.Array:
  """Which rollouts `[B]` show finite numbers only."""
  finite = [
    jnp.all(jnp.isfinite(x).reshape(x.shape[0], -1), axis=1)
    for x in jax.tree_util.tree_leaves(tree)
  ]
  return jnp.all(jnp.stack(finite), axis=0)


def _where(condition: chex.Array, new, old):
  return jax.tree_util.tree_map(
    lambda x, y: jnp.where(
      condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y
    ),
    new,
    old,
  )
