"""Data that the parts of the library hand to one another."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import chex

# Anything that jax.tree_util can flatten.
PyTree = Any


class Stage(NamedTuple):
  """One stage of one task: B rollouts of T steps under one behaviour policy.

  A trial stacks its stages in front, `[K+1, B, T, ...]`; a meta-batch stacks
  tasks before that, `[G, K+1, B, T, ...]`.

  Attributes:
    observation: `[B, T+1, ...]`; the last one is what the last step led to.
    action: `[B, T, ...]` as the policy drew it, before any scaling.
    reward: `[B, T]`.
    discount: `[B, T]` the environment's discount, 0 where the episode ended.
      The agent's discount factor is not part of it.
    mask: `[B, T]` 1 for real steps, 0 for those after an early termination.
    behaviour_log_prob: `[B, T]` log-probability of the action under the policy
      that drew it, summed over the action's dimensions.
    behaviour_params: pytree `[B, T, ...]`, the behaviour distribution's
      parameters; `()` where nobody needs them.
  """

  observation: chex.ArrayTree
  action: chex.Array
  reward: chex.Array
  discount: chex.Array
  mask: chex.Array
  behaviour_log_prob: chex.Array
  behaviour_params: chex.ArrayTree = ()


class Prepared(NamedTuple):
  """A stage made ready for adaptation: everything that knows no policy.

  Attributes:
    observation: `[B, T, ...]`.
    action: `[B, T, ...]`.
    v_tm1: `[B, T]` critic at x_k, k = 0 … T-1.
    v_t: `[B, T]` critic at x_{k+1}.
    r_t: `[B, T]` reward after the action at x_k.
    discount_t: `[B, T]` discount factor times the environment's discount.
    advantage: `[B, T]` advantage estimates, 0 where masked.
    mask: `[B, T]`.
    behaviour_log_prob: `[B, T]`.
    behaviour_params: pytree `[B, T, ...]` or `()`.
  """

  observation: chex.ArrayTree
  action: chex.Array
  v_tm1: chex.Array
  v_t: chex.Array
  r_t: chex.Array
  discount_t: chex.Array
  advantage: chex.Array
  mask: chex.Array
  behaviour_log_prob: chex.Array
  behaviour_params: chex.ArrayTree = ()


class Policy(NamedTuple):
  """A policy network as a pair of functions; four if it has a memory.

  A recurrent policy carries a state along its rollout. All rollouts of a task
  start from the same initial state, which no parameter changes.

  A distribution needs `sample`, `log_prob` and the leaves that are its
  parameters. Its `kl_divergence` is asked for by trust regions, KL penalties
  and diagnostics: where the first two are off, a distribution without one (a
  mixture) trains, and the divergences are left out of the log.

  Attributes:
    init: `(key, observation) -> params`, for one unbatched observation.
    apply: `(params, observation) -> distribution` (distrax's interface), for
      any leading batch axes of the observation; log-probabilities are summed
      over the action's dimensions. With a memory it is `(params, observation,
      state) -> (distribution, state)`, one step of acting.
    initial_state: only with a memory: `() -> state`, a pytree of arrays, of one
      rollout; the batch axes of observations are put in front of it.
    unroll: only with a memory: `(params, observation [..., T, n]) ->
      distribution [..., T]`, whole rollouts from their initial states, as
      learning needs them.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], PyTree]
  apply: Callable[..., Any]
  initial_state: Callable[[], PyTree] | None = None
  unroll: Callable[[PyTree, chex.ArrayTree], Any] | None = None


class TimeStep(NamedTuple):
  """What an environment shows after a reset or a step.

  Attributes:
    observation: what the policy sees; never shows the task.
    reward: scalar, for the action that led here; 0 after a reset.
    discount: scalar, 0 where the episode ended here, 1 otherwise.
  """

  observation: chex.ArrayTree
  reward: chex.Numeric
  discount: chex.Numeric


class Environment(Protocol):
  """A distribution over tasks, as pure functions of one rollout.

  Batches are made by `jax.vmap`. The task is a pytree given at reset, so that
  one compiled function serves every task. There is no time limit in here: the
  horizon, and what happens at it, belong to whoever samples.

  Some attributes are optional: `info(state)`, a dict of further numbers about
  the step that led to the state, such as a `success` (pure, too);
  `has_finite_tasks`, False if every draw is a new task; `task_classes(tasks)`,
  the names of the classes of tasks `[G, ...]`; and `render(state)`, a picture,
  uint8 `[H, W, 3]`. The latter two are called on the host.
  """

  def sample_task(self, key: chex.PRNGKey) -> PyTree:
    """Draws one task."""

  def reset(self, key: chex.PRNGKey, task: PyTree) -> tuple[PyTree, TimeStep]:
    """Starts an episode of `task`; the returned state carries the task."""

  def step(self, state: PyTree, action: chex.Array) -> tuple[PyTree, TimeStep]:
    """Takes a raw action, as the policy drew it."""

  def observation_spec(self) -> Any:
    """A `dm_env.specs.Array` for one observation."""

  def action_spec(self) -> Any:
    """A `dm_env.specs` array or discrete array for one action."""


def check_environment(environment: Any, instead: str) -> None:
  """Refuses what is no environment of pure functions.

  >>> check_environment(object(), 'launchers.train')  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ValueError: environment <object ...> cannot run on a device: it has no ...

  Args:
    environment: what somebody gave for an `Environment`.
    instead: what takes other environments.

  Raises:
    ValueError: naming what is missing.
  """
  missing = [
    name
    for name in (
      *('sample_task', 'reset', 'step'),
      *('observation_spec', 'action_spec'),
    )
    if not callable(getattr(environment, name, None))
  ]
  if missing:
    raise ValueError(
      f'environment {environment!r} cannot run on a device: it has no'
      f' {", ".join(missing)}. A pure-JAX acme_metarl.types.Environment is'
      f' needed; for others there is {instead}.'
    )
