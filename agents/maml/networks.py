"""Networks of the MAML agent, and the policy that actors run."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple
import warnings

from acme import specs
import chex
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl import types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import observations, policies, task_batching


class MAMLNetworks(NamedTuple):
  """Networks of the agent.

  Attributes:
    policy: an init/apply pair from one rollout's observations to action
      distributions; a Flax module `m` is `types.Policy(m.init, m.apply)`.
      Recurrent ones have an initial state besides.
  """

  policy: types.Policy


class SampledActions(NamedTuple):
  """Actions of all rollouts, and what goes with them.

  Attributes:
    action: `[G, B, ...]`.
    log_prob: `[G, B]` of these actions.
    params: pytree `[G, B, ...]`, parameters of the distributions they were
      drawn from, or `()` where nobody needs them.
    state: pytree `[G, B, ...]`, what a recurrent policy remembers now; `()` of
      another one.
  """

  action: chex.Array
  log_prob: chex.Array
  params: chex.ArrayTree
  state: chex.ArrayTree = ()


def _no_state(num_tasks: int, num_rollouts: int) -> types.PyTree:
  del num_tasks, num_rollouts
  return ()


class TaskParams(NamedTuple):
  """What is adapted to a task; with an axis of tasks in front.

  Attributes:
    policy: the policy's parameters.
    opt_state: the inner optimiser's state.
  """

  policy: types.PyTree
  opt_state: types.PyTree


class MAMLPolicy(NamedTuple):
  """How to act and adapt: pure functions over a batch of tasks.

  Attributes:
    init: `(key, observation) -> meta_params`, for one unbatched observation.
    start: `(meta_params, num_tasks) -> TaskParams`, unadapted, `[G, ...]`.
    select_action: `(task_params, observation [G, B, ...], key, trial, step,
      state=()) -> SampledActions`; all randomness derives from key, trial and
      step.
    adapt: `(meta_params, task_params, stage [G, B, ...]) -> TaskParams`, one
      inner step of each task on its own data.
    initial_state: `(num_tasks, num_rollouts) -> state [G, B, ...]` at the start
      of each stage; `()` without a memory.
    select_last: what acts in `select_action`'s place in the last stage, if
      anything does.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], types.PyTree]
  start: Callable[[types.PyTree, int], TaskParams]
  select_action: Callable[..., SampledActions]
  adapt: Callable[..., TaskParams]
  initial_state: Callable[[int, int], types.PyTree] = _no_state
  select_last: Callable[..., SampledActions] | None = None


def rollout_spec(spec: Any) -> Any:
  """Specs of one rollout, from those of a trial (`[G, B, ...]`)."""

  def strip(batched):
    shape = batched.shape[2:]
    num_values = getattr(batched, 'num_values', None)
    if num_values is not None:
      return specs.DiscreteArray(num_values, batched.dtype, batched.name)
    if isinstance(batched, specs.BoundedArray):
      minimum, maximum = (
        np.broadcast_to(bound, batched.shape)[0, 0]
        for bound in (batched.minimum, batched.maximum)
      )
      return specs.BoundedArray(
        shape, batched.dtype, minimum, maximum, batched.name
      )
    return specs.Array(shape, batched.dtype, batched.name)

  return jax.tree_util.tree_map(strip, spec)


def example_observation(
  environment_spec: specs.EnvironmentSpec,
) -> chex.ArrayTree:
  """An observation of one rollout, all zeros."""
  return observations.example(
    rollout_spec(environment_spec.observations.observation)
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
  return MAMLNetworks(
    config.make_policy(
      rollout_spec(environment_spec.actions),
      rollout_spec(environment_spec.observations.observation),
    )
  )


def make_policy(
  networks: MAMLNetworks,
  learner: learner_lib.MetaLearner,
  with_distribution: bool = True,
  chunk_size: int | None = None,
  mode_in_last_stage: bool = False,
) -> MAMLPolicy:
  """Makes what actors run of what the learner differentiates.

  Args:
    networks: the networks.
    learner: its `prepare`, `init_inner` and `update_inner` are what actors run.
    with_distribution: whether sampled actions hold the distributions'
      parameters.
    chunk_size: tasks that adapt at once, see `task_batching`; None for all.
    mode_in_last_stage: whether the last stage takes the mode of the
      distribution instead of a draw.

  Returns:
    Pure functions, not compiled yet.
  """
  network = networks.policy
  is_recurrent = network.initial_state is not None

  def init(key, observation):
    return learner.init(key, observation).params

  def start(meta_params, num_tasks):
    return jax.tree_util.tree_map(
      lambda x: jnp.broadcast_to(x, (num_tasks, *jnp.shape(x))),
      TaskParams(*learner.init_inner(meta_params)),
    )

  def initial_state(num_tasks, num_rollouts):
    if not is_recurrent:
      return ()
    return jax.tree_util.tree_map(
      lambda x: jnp.broadcast_to(x, (num_tasks, num_rollouts, *jnp.shape(x))),
      network.initial_state(),
    )

  def select(draw, task_params, observation, key, trial, step, state=()):
    if is_recurrent and not jax.tree_util.tree_leaves(state):
      raise ValueError(
        'state: got (), but the policy is recurrent. Pass '
        'policy.initial_state(num_tasks, num_rollouts) at the start of a '
        'stage, and after it the state that came with the last actions.'
      )
    key = jax.random.fold_in(jax.random.fold_in(key, trial), step)
    num_tasks = jax.tree_util.tree_leaves(observation)[0].shape[0]
    keys = jax.random.split(key, num_tasks)

    def select_one(params, observation, key, state):
      if is_recurrent:
        distribution, state = network.apply(params, observation, state)
      else:
        distribution = network.apply(params, observation)
      action = draw(distribution, key)
      log_prob = distribution.log_prob(action)
      stored = ()
      if with_distribution:
        stored = policies.distribution_params(distribution)
      return SampledActions(action, log_prob, stored, state)

    return jax.vmap(select_one)(task_params.policy, observation, keys, state)

  def adapt(meta_params, task_params, stage):
    def adapt_one(task):
      task_params, stage = task
      prepared = learner.prepare(meta_params, stage)
      return TaskParams(
        *learner.update_inner(meta_params, *task_params, prepared)
      )

    return task_batching.map_chunks(adapt_one, (task_params, stage), chunk_size)

  return MAMLPolicy(
    init,
    start,
    functools.partial(select, _sample),
    adapt,
    initial_state,
    functools.partial(select, _mode) if mode_in_last_stage else None,
  )


def _sample(distribution: Any, key: chex.PRNGKey) -> chex.Array:
  return distribution.sample(seed=key)


def _mode(distribution: Any, key: chex.PRNGKey) -> chex.Array:
  del key
  return distribution.mode()


def check_distribution(
  networks: MAMLNetworks,
  environment_spec: specs.EnvironmentSpec,
  is_stored: bool = True,
) -> None:
  """Refuses policies whose distributions do not fit their observations.

  Looks at two sizes of batches, so that no other axis passes for theirs.

  Args:
    networks: the networks.
    environment_spec: of a trial environment.
    is_stored: whether the distribution's parameters are needed too.

  Raises:
    ValueError: says what the policy lacks.
  """
  network = networks.policy
  example = example_observation(environment_spec)

  def describe(size):
    def act(key):
      params = network.init(key, example)
      batch = jax.tree_util.tree_map(
        lambda x: jnp.broadcast_to(x, (size, *x.shape)), example
      )
      if network.initial_state is None:
        distribution = network.apply(params, batch)
      else:
        state = jax.tree_util.tree_map(
          lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x))),
          network.initial_state(),
        )
        distribution, _ = network.apply(params, batch, state)
      names.append(type(distribution).__name__)
      action = distribution.sample(seed=key)
      stored = policies.distribution_params(distribution) if is_stored else ()
      return distribution.log_prob(action), stored

    return jax.eval_shape(act, jax.random.PRNGKey(0))

  names: list[str] = []
  advice = (
    'For a Gaussian use distrax.Independent(distrax.Normal(mean, std), 1), '
    'with a std of the shape of the mean.'
  )
  for size in (2, 3):
    log_prob, stored = describe(size)
    if log_prob.shape != (size,):
      raise ValueError(
        f'networks: a {names[-1]} of {size} observations has log-probabilities '
        f'of shape {log_prob.shape}, need ({size},), summed over the '
        f'dimensions of an action. {advice}'
      )
    for x in jax.tree_util.tree_leaves(stored):
      if x.shape[:1] != (size,):
        raise ValueError(
          f'networks: a {names[-1]} of {size} observations has a parameter of '
          f'shape {x.shape}, without the batch axis ({size},) of its '
          f'observations. {advice}'
        )


def sampled_actions_spec(
  policy: MAMLPolicy, environment_spec: specs.EnvironmentSpec
) -> SampledActions:
  """Shapes and types `[G, B, ...]` of what the policy selects in a trial."""
  observation = environment_spec.observations.observation
  num_tasks, num_rollouts = environment_spec.rewards.shape

  def select(key, observation):
    example = jax.tree_util.tree_map(lambda x: x[0, 0], observation)
    params = policy.start(policy.init(key, example), num_tasks)
    state = policy.initial_state(num_tasks, num_rollouts)
    return policy.select_action(params, observation, key, 0, 0, state)

  return jax.eval_shape(
    select,
    jax.random.PRNGKey(0),
    jax.tree_util.tree_map(
      lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), observation
    ),
  )


_OLD_NAMES = {
  'Selection': 'SampledActions',
  'selection_spec': 'sampled_actions_spec',
}


def __getattr__(name: str) -> Any:
  if name not in _OLD_NAMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  new = _OLD_NAMES[name]
  warnings.warn(
    f'{name} is {new} now; the old name goes with the next release.',
    DeprecationWarning,
    stacklevel=2,
  )
  return globals()[new]
