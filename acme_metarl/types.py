"""Data that the parts of the library hand to one another."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
  """A policy network as an init/apply pair.

  Attributes:
    init: `(key, observation) -> params`, for one unbatched observation.
    apply: `(params, observation) -> distribution` (distrax's interface), for
      any leading batch axes of the observation; log-probabilities are summed
      over the action's dimensions.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], PyTree]
  apply: Callable[[PyTree, chex.ArrayTree], Any]
