"""The meta-update: K updates, a validation rollout, and the way back.

Whoever has rollouts calls it: on a device they are played while the function
runs, in the Acme agent they are played before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from acme_metarl import types
from acme_metarl.self_tuning import config as config_lib
from acme_metarl.self_tuning import networks as networks_lib
from acme_metarl.self_tuning import updating

# (parameters, carry) -> (rollouts of them `[B, T]`, carry).
Play = Callable[[types.PyTree, Any], tuple[types.Stage, Any]]


class TunerState(NamedTuple):
  """All that learning carries on.

  Attributes:
    meta_params: tuned numbers, networks, and the optimiser's state.
    meta_opt_state: of the meta-optimiser.
    num_updates: meta-updates done.
    num_skipped: meta-gradients that were not finite, and not applied.
    target_opt_state: of the step that ends a bootstrapped target.
  """

  meta_params: updating.MetaParams
  meta_opt_state: Any
  num_updates: chex.Array
  num_skipped: chex.Array
  target_opt_state: Any = ()


class _Result(NamedTuple):
  """What K updates and the outer loss leave."""

  params: types.PyTree
  opt_state: Any
  target_opt_state: Any
  validation: types.Stage
  carry: Any


class Tuner:
  """The pure functions of a self-tuning agent.

  See "Meta-Gradient Reinforcement Learning" by Xu et al. (2018),
  https://arxiv.org/abs/1805.09801; with several numbers "A Self-Tuning
  Actor-Critic Algorithm" by Zahavy et al. (2020),
  https://arxiv.org/abs/2002.12928.

  Attributes:
    config: the agent.
    update: the inner loop.
  """

  def __init__(
    self,
    config: config_lib.SelfTuningConfig,
    networks: networks_lib.ActorCritic,
  ):
    """Makes the functions.

    Args:
      config: the agent.
      networks: the actor-critic, `config.make_networks`' or your own.
    """
    self.config = config
    self.update = config.make_update(networks)
    self._target_optimizer = config.target_optimizer or config.optimizer

  def init(self, key: chex.PRNGKey, observation: chex.ArrayTree) -> TunerState:
    """Returns the state at the start, for one unbatched observation.

    Raises:
      ValueError: if the meta-gradient would not be finite, whatever happens.
    """
    meta_params = self.update.init_meta_params(key, observation)
    if self.config.tuned:
      _check_optimizer(self.config.optimizer, meta_params.params)
    meta_opt_state = self.config.meta_optimizer.init(meta_params.tuned)
    zero = jnp.zeros((), jnp.int32)
    state = TunerState(meta_params, meta_opt_state, zero, zero)
    if self.config.bootstrap_steps:
      target_opt_state = self._target_optimizer.init(meta_params.params)
      state = state._replace(target_opt_state=target_opt_state)
    return state

  def step(
    self, state: TunerState, first: types.Stage, play: Play, carry: Any
  ) -> tuple[TunerState, types.Stage, Any, dict[str, chex.Array]]:
    """K updates, and, where anything is tuned, one meta-update.

    Args:
      state: the state.
      first: rollouts of the parameters in it, for the first update.
      play: gives rollouts of other parameters; a carry goes through.
      carry: of `play`.

    Returns:
      The new state; the validation rollouts, which are of its parameters (what
      was `first` where nothing is tuned and nothing follows); the carry;
      metrics, scalars.
    """
    if not self.config.tuned:
      return self._plain_step(state, first, play, carry)
    gradient, (result, loss) = jax.grad(self.meta_loss, has_aux=True)(
      state.meta_params.tuned,
      state.meta_params,
      first,
      play,
      carry,
      state.target_opt_state,
    )
    norm = optax.global_norm(gradient)
    is_finite = jnp.isfinite(norm)
    updates, meta_opt_state = self.config.meta_optimizer.update(
      gradient, state.meta_opt_state, state.meta_params.tuned
    )
    tuned = optax.apply_updates(state.meta_params.tuned, updates)
    tuned, meta_opt_state, target_opt_state = jax.tree_util.tree_map(
      lambda new, old: jnp.where(is_finite, new, old),
      (tuned, meta_opt_state, result.target_opt_state),
      (state.meta_params.tuned, state.meta_opt_state, state.target_opt_state),
    )
    state = TunerState(
      updating.MetaParams(tuned, result.params, result.opt_state),
      meta_opt_state,
      state.num_updates + 1,
      state.num_skipped + 1 - is_finite.astype(jnp.int32),
      target_opt_state,
    )
    metrics = {
      'meta_loss': loss,
      'meta_gradient_norm': norm,
      'num_skipped': state.num_skipped,
      **self.numbers(state),
    }
    return state, result.validation, result.carry, metrics

  def numbers(self, state: TunerState) -> dict[str, chex.Array]:
    """The hyper-parameters now, by name."""
    numbers = self.update.hyperparameters(state.meta_params)
    return {name: jnp.asarray(x) for name, x in numbers._asdict().items()}

  def meta_loss(
    self,
    tuned: dict[str, chex.Array],
    meta_params: updating.MetaParams,
    first: types.Stage,
    play: Play,
    carry: Any,
    target_opt_state: Any = None,
  ) -> tuple[chex.Array, tuple[_Result, chex.Array]]:
    """The outer loss after K updates, as a function of the tuned scalars.

    Rollouts are data: they are constant.

    Args:
      tuned: unbounded scalars by name.
      meta_params: the life that the updates go on from.
      first: rollouts of its parameters.
      play: see `step`.
      carry: see `step`.
      target_opt_state: of the step that ends a bootstrapped target; None for
        a new one.

    Returns:
      The loss, and what is left to carry on.
    """
    life = self.update.merge(meta_params, tuned)
    params, opt_state = self.update.init(life)
    stage = first
    for k in range(self.config.num_inner_steps):
      if k:
        stage, carry = _play(play, params, carry)
      params, opt_state = self.update.update(life, params, opt_state, stage)
    validation, carry = _play(play, params, carry)
    if self.config.bootstrap_steps:
      if target_opt_state is None:
        target_opt_state = self._target_optimizer.init(meta_params.params)
      loss, target_opt_state, carry = self._distance_from_target(
        life, params, opt_state, target_opt_state, validation, play, carry
      )
    else:
      loss = self.update.outer_loss(
        params, validation, life, self.config.outer_entropy_cost
      )
    result = _Result(params, opt_state, target_opt_state, validation, carry)
    return loss, lax.stop_gradient((result, loss))

  def _distance_from_target(
    self, life, params, opt_state, target_opt_state, stage, play, carry
  ) -> tuple[chex.Array, Any, Any]:
    """KL divergence from the policy that bootstrapping leads to."""
    life, target, opt_state = lax.stop_gradient((life, params, opt_state))
    for _ in range(self.config.bootstrap_steps - 1):
      target, opt_state = self.update.update(life, target, opt_state, stage)
      stage, carry = _play(play, target, carry)
    gradient = jax.grad(self.update.outer_loss)(
      target, stage, life, self.config.outer_entropy_cost
    )
    updates, target_opt_state = self._target_optimizer.update(
      gradient, target_opt_state, target
    )
    target = optax.apply_updates(target, updates)
    ours, theirs = (
      self.update.policies(x, stage, life)
      for x in (params, lax.stop_gradient(target))
    )
    divergence = theirs.kl_divergence(ours)
    distance = jnp.sum(divergence * stage.mask) / jnp.sum(stage.mask)
    return distance, target_opt_state, carry

  def _plain_step(self, state, first, play, carry):
    life, stage = state.meta_params, first
    params, opt_state = self.update.init(life)
    for _ in range(self.config.num_inner_steps):
      params, opt_state = self.update.update(life, params, opt_state, stage)
      stage, carry = _play(play, params, carry)
    state = state._replace(
      meta_params=life._replace(params=params, opt_state=opt_state),
      num_updates=state.num_updates + 1,
    )
    return state, stage, carry, self.numbers(state)


def _check_optimizer(
  optimizer: optax.GradientTransformation, params: types.PyTree
) -> None:
  """Refuses an optimiser that has no derivative at a gradient of zero.

  The gradient of a dead unit is zero, and that of what sees a pixel that is
  never lit.
  """
  like = jax.tree_util.tree_map(lambda x: np.zeros(2, x.dtype), params)

  def total(size):
    gradient = jax.tree_util.tree_map(
      lambda x: size * np.arange(2, dtype=x.dtype), like
    )
    updates, _ = optimizer.update(gradient, optimizer.init(like), like)
    return sum(map(jnp.sum, jax.tree_util.tree_leaves(updates)))

  with jax.ensure_compile_time_eval():
    slope = jax.jit(jax.grad(total))(1.0)
  if not np.isfinite(slope):
    raise ValueError(
      'optimizer: the derivative of its update is not finite where a gradient'
      ' is zero, and nor would the meta-gradient be. Give Adam an eps_root'
      ' above 0, as self_tuning.adam has.'
    )


def _play(play, params, carry) -> tuple[types.Stage, Any]:
  return lax.stop_gradient(play(lax.stop_gradient(params), carry))
