"""Trials of pure-JAX environments, drawn on the device.

They follow `TrialEnvironment` to the letter: stage 0 under the policy, stage
k + 1 under the policy adapted on stage k; a rollout that terminates or diverges
is frozen and masked; the time limit has discount 0.
"""

import dataclasses
import functools

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, task_batching


def stage_returns(trials: types.Stage) -> chex.Array:
  """Undiscounted return `[G, K+1]`, the mean over the rollouts of a stage."""
  returns = jnp.sum(trials.reward * trials.mask, axis=-1)
  return jnp.mean(returns, axis=-1)


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

  def sample(
    self,
    params: learner_lib.MetaParams,
    key: chex.PRNGKey,
    num_tasks: int,
  ) -> types.Stage:
    """Trials of `num_tasks` tasks, `[G, K+1, B, T, ...]`."""
    keys = jax.random.split(key, num_tasks)
    return task_batching.map_tasks(
      self._sample_trials, params, keys, self.devices
    )

  def _sample_trials(self, params, keys) -> types.Stage:
    """Trials of one device's tasks."""
    split = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
    tasks = jax.vmap(self.environment.sample_task)(split[:, 0])
    stages = []
    # All tasks share the parameters of stage 0: no batched products there.
    adapted, axis = params.policy, None
    for stage in range(self.config.num_inner_steps + 1):
      stage_keys = jax.vmap(jax.random.fold_in, (0, None))(split[:, 1], stage)
      data = jax.vmap(self._sample_stage, (axis, 0, 0))(
        adapted, tasks, stage_keys
      )
      stages.append(data)
      if stage < self.config.num_inner_steps:
        prepared = jax.vmap(self.learner.prepare)(data)
        adapted, axis = self._adapt(params, adapted, prepared, axis), 0
    return jax.tree_util.tree_map(lambda *x: jnp.stack(x, axis=1), *stages)

  def _adapt(self, params, adapted, prepared, axis) -> types.PyTree:
    """Adapts to each task, from parameters that tasks share or have."""

    def adapt(adapted, prepared):
      return self.learner.adapt(params._replace(policy=adapted), prepared)

    chunk_size = self.config.chunk_size or task_batching.default_chunk_size(
      self.devices
    )
    if axis is None:
      function, tasks = functools.partial(adapt, adapted), prepared
    else:
      function, tasks = lambda task: adapt(*task), (adapted, prepared)
    return task_batching.map_chunks(function, tasks, chunk_size)

  def _sample_stage(self, params, task, key) -> types.Stage:
    """One stage of one task: B rollouts of T steps."""
    reset_key, act_key = jax.random.split(key)
    reset_keys = jax.random.split(reset_key, self.config.num_rollouts)
    state, first = jax.vmap(self.environment.reset, (0, None))(reset_keys, task)
    is_alive = jnp.ones((self.config.num_rollouts,), bool)

    def step(carry, key):
      state, observation, is_alive = carry
      distribution = self.policy.apply(params, observation)
      action = distribution.sample(seed=key)
      new_state, new = jax.vmap(self.environment.step)(state, action)
      is_real = is_alive & _is_finite(new)
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
      return (new_state, new_observation, is_real & (discount > 0)), data

    (_, last, _), data = lax.scan(
      step,
      (state, first.observation, is_alive),
      jax.random.split(act_key, self.config.horizon),
    )
    data = jax.tree_util.tree_map(lambda x: jnp.swapaxes(x, 0, 1), data)
    discount = data.discount
    if not self.bootstrap_on_timeout:
      discount = discount.at[:, -1].set(0.0)
    return data._replace(
      discount=discount,
      observation=jax.tree_util.tree_map(
        lambda x, x_last: jnp.concatenate([x, x_last[:, jnp.newaxis]], axis=1),
        data.observation,
        last,
      ),
    )


def _is_finite(time_step: types.TimeStep) -> chex.Array:
  """Which rollouts `[B]` show finite numbers only."""
  finite = [
    jnp.all(jnp.isfinite(x).reshape(x.shape[0], -1), axis=1)
    for x in jax.tree_util.tree_leaves(time_step)
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
