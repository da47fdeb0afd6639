"""Networks of the MAML agent, and the policy that actors run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from acme import specs
import chex
import jax
import jax.numpy as jnp

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, task_batching


class MAMLNetworks(NamedTuple):
  """Networks of the agent.

  Attributes:
    policy: an init/apply pair from one rollout's observations to action
      distributions; a Flax module `m` is `types.Policy(m.init, m.apply)`.
  """

  policy: types.Policy


class Selection(NamedTuple):
  """Actions of all rollouts, and what is stored with them.

  Attributes:
    action: `[G, B, ...]`.
    log_prob: `[G, B]` of these actions.
    params: pytree `[G, B, ...]`, parameters of the distributions they were
      drawn from, or `()` where nobody needs them.
  """

  action: chex.Array
  log_prob: chex.Array
  params: chex.ArrayTree


class MAMLPolicy(NamedTuple):
  """How to act and adapt: pure functions over a batch of tasks.

  Attributes:
    init: `(key, observation) -> meta_params`, for one unbatched observation.
    start: `(meta_params, num_tasks) -> params`, unadapted, `[G, ...]`.
    select_action: `(params, observation [G, B, ...], key, trial, step) ->
      Selection`; all randomness derives from the last three.
    adapt: `(meta_params, params, stage [G, B, ...]) -> params`, one inner step
      of each task on its own data.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], learner_lib.MetaParams]
  start: Callable[[learner_lib.MetaParams, int], types.PyTree]
  select_action: Callable[..., Selection]
  adapt: Callable[..., types.PyTree]


def rollout_spec(spec: Any) -> Any:
  """Specs of one rollout, from those of a trial (`[G, B, ...]`)."""

  def strip(batched):
    shape = batched.shape[2:]
    num_values = getattr(batched, 'num_values', None)
    if num_values is not None:
      return specs.DiscreteArray(num_values, batched.dtype, batched.name)
    return specs.Array(shape, batched.dtype, batched.name)

  return jax.tree_util.tree_map(strip, spec)


def example_observation(
  environment_spec: specs.EnvironmentSpec,
) -> chex.ArrayTree:
  """An observation of one rollout, all zeros."""
  return jax.tree_util.tree_map(
    lambda spec: jnp.zeros(spec.shape, spec.dtype),
    rollout_spec(environment_spec.observations.observation),
  )


def make_networks(
  environment_spec: specs.EnvironmentSpec,
  config: config_lib.AlgorithmConfig,
) -> MAMLNetworks:
  """Tanh networks: Gaussian for continuous, softmax for discrete actions.

  Args:
    environment_spec: of a trial environment.
    config: holds the network's sizes.

  Returns:
    The networks.

  Raises:
    ValueError: if actions are neither discrete nor vectors.
  """
  action_spec = rollout_spec(environment_spec.actions)
  return MAMLNetworks(config.make_policy(action_spec))


def make_policy(
  networks: MAMLNetworks,
  learner: learner_lib.MetaLearner,
  with_distribution: bool = True,
  chunk_size: int | None = None,
) -> MAMLPolicy:
  """Makes what actors run of what the learner differentiates.

  Args:
    networks: the networks.
    learner: its `prepare` and `adapt` are the ones that actors run.
    with_distribution: whether selections hold the distributions' parameters.
    chunk_size: tasks that adapt at once, see `task_batching`; None for all.

  Returns:
    Pure functions, not compiled yet. `select_action` raises a `ValueError` if
    distributions cannot be stored.
  """

  def init(key, observation):
    return learner.init(key, observation).params

  def start(params, num_tasks):
    return jax.tree_util.tree_map(
      lambda x: jnp.broadcast_to(x, (num_tasks, *jnp.shape(x))), params.policy
    )

  def select_one(params, observation, key):
    distribution = networks.policy.apply(params, observation)
    action = distribution.sample(seed=key)
    log_prob = distribution.log_prob(action)
    if not with_distribution:
      return Selection(action, log_prob, ())
    params = policies.distribution_params(distribution)
    for x in params:
      if x.shape[:1] != log_prob.shape:
        raise ValueError(
          f'networks: a {type(distribution).__name__} has a parameter of shape '
          f'{x.shape}, without the batch axis {log_prob.shape} of its '
          'observations, and cannot be stored with the actions. For a Gaussian '
          'use distrax.Independent(distrax.Normal(mean, std), 1), with a std '
          'of the shape of the mean.'
        )
    return Selection(action, log_prob, params)

  def select_action(params, observation, key, trial, step):
    key = jax.random.fold_in(jax.random.fold_in(key, trial), step)
    num_tasks = jax.tree_util.tree_leaves(observation)[0].shape[0]
    keys = jax.random.split(key, num_tasks)
    return jax.vmap(select_one)(params, observation, keys)

  def adapt(meta_params, params, stage):
    def adapt_one(task):
      params, stage = task
      current = learner_lib.MetaParams(params, meta_params.step_sizes)
      return learner.adapt(current, learner.prepare(stage))

    return task_batching.map_chunks(adapt_one, (params, stage), chunk_size)

  return MAMLPolicy(init, start, select_action, adapt)


def selection_spec(
  policy: MAMLPolicy, environment_spec: specs.EnvironmentSpec
) -> Selection:
  """Shapes and types `[G, B, ...]` of what the policy selects in a trial."""
  observation = environment_spec.observations.observation
  num_tasks = environment_spec.rewards.shape[0]

  def select(key, observation):
    example = jax.tree_util.tree_map(lambda x: x[0, 0], observation)
    params = policy.start(policy.init(key, example), num_tasks)
    return policy.select_action(params, observation, key, 0, 0)

  return jax.eval_shape(
    select,
    jax.random.PRNGKey(0),
    jax.tree_util.tree_map(
      lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), observation
    ),
  )
