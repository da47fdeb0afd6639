"""A self-tuning run as one compiled function of a random key.

    train = make_train(SelfTuningConfig(), environment, num_iterations=1000)
    state, log = train(jax.random.PRNGKey(0))
    states, logs = jax.vmap(train)(jax.random.split(key, 8))

`make_trainer` gives the parts, for runs that stop at checkpoints.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import input_checks
from acme_metarl.meta import observations
from acme_metarl.self_tuning import config as config_lib
from acme_metarl.self_tuning import networks as networks_lib
from acme_metarl.self_tuning import playing, tuning


class TrainState(NamedTuple):
  """All that a run carries on; a pytree of arrays, so easily saved.

  Attributes:
    tuner: networks, tuned numbers, optimisers and counters.
    players: the environments.
    stage: rollouts of the networks' parameters, for the next update; `()`
      where they are played anew.
    num_steps: environment steps, of all environments together, that were
      played and learned from. The first rollouts of a run count when they are.
  """

  tuner: tuning.TunerState
  players: playing.Players
  stage: types.Stage | tuple[()]
  num_steps: chex.Array


class Trainer(NamedTuple):
  """The parts of a run, pure functions.

  Attributes:
    init: `key -> TrainState`.
    iterate: `TrainState -> (TrainState, metrics)`, one meta-update. Metrics are
      scalars: those of `Tuner.step`, and `num_episodes` and `total_return` of
      the episodes that ended.
    advance: `(TrainState, n) -> (TrainState, metrics)`: n iterations, which is
      a Python integer, and their metrics `[n]`.
    returns: `(TrainState, key, num_episodes, time_limit, takes_mode) ->
      [num_episodes]` returns of whole episodes.
    tuner: the meta-update.
  """

  init: Callable[[chex.PRNGKey], TrainState]
  iterate: Callable[[TrainState], tuple[TrainState, dict[str, chex.Array]]]
  advance: Callable[..., tuple[TrainState, dict[str, chex.Array]]]
  returns: Callable[..., chex.Array]
  tuner: tuning.Tuner


def make_train(
  config: config_lib.SelfTuningConfig,
  environment: types.Environment,
  *,
  num_iterations: int,
  networks: networks_lib.ActorCritic | None = None,
  time_limit: int | None = None,
) -> Callable[[chex.PRNGKey], tuple[TrainState, dict[str, chex.Array]]]:
  """Makes a whole run one compiled function of a random key.

  Args:
    config: the agent.
    environment: in pure JAX.
    num_iterations: meta-updates, of K updates each.
    networks: see `make_trainer`.
    time_limit: see `make_trainer`.

  Returns:
    `train(key) -> (TrainState, metrics [num_iterations])`; `jax.vmap` trains
    several seeds at once.

  Raises:
    ValueError: if there are no iterations, or the environment cannot run on a
      device, or has observations or actions that there are no networks for.
  """
  input_checks.positive_integer('num_iterations', num_iterations)
  trainer = make_trainer(
    config, environment, networks=networks, time_limit=time_limit
  )
  return jax.jit(lambda key: trainer.advance(trainer.init(key), num_iterations))


def make_trainer(
  config: config_lib.SelfTuningConfig,
  environment: types.Environment,
  *,
  networks: networks_lib.ActorCritic | None = None,
  time_limit: int | None = None,
) -> Trainer:
  """Makes the parts of a run.

  Args:
    config: the agent.
    environment: in pure JAX.
    networks: the actor-critic; by default what the specs ask for.
    time_limit: steps of an episode at most; None for no limit but the
      environment's own.

  Returns:
    The trainer.

  Raises:
    ValueError: if the environment cannot run on a device, or has observations
      or actions that there are no networks for.
  """
  arena = playing.Arena(
    environment, config.num_rollouts, config.horizon, time_limit
  )
  if networks is None:
    networks = config.make_networks(
      environment.action_spec(), environment.observation_spec()
    )
  tuner = tuning.Tuner(config, networks)
  steps_per_iteration = (
    config.rollouts_per_iteration * config.num_rollouts * config.horizon
  )

  def act(params, observation):
    # No network of an actor looks at the hyper-parameters.
    return networks.apply(params, observation, config.hyperparameters)[0]

  def play(params, carry):
    players, ended = carry
    stage, players, more = arena.play(act, params, players)
    return stage, (players, jax.tree_util.tree_map(jnp.add, ended, more))

  def init(key: chex.PRNGKey) -> TrainState:
    net_key, play_key = jax.random.split(key)
    observation = observations.example(environment.observation_spec())
    tuner_state = tuner.init(net_key, observation)
    players = arena.init(play_key)
    stage: types.Stage | tuple[()] = ()
    if config.reuses_validation:
      stage, players, _ = arena.play(
        act, tuner_state.meta_params.params, players
      )
    return TrainState(tuner_state, players, stage, jnp.zeros((), jnp.int32))

  def iterate(state: TrainState):
    zero = jnp.zeros((), jnp.float32)
    carry = state.players, playing.Episodes(zero, zero)
    first: Any = state.stage
    if not config.reuses_validation:
      first, carry = play(state.tuner.meta_params.params, carry)
    tuner_state, validation, carry, metrics = tuner.step(
      state.tuner, first, play, carry
    )
    players, ended = carry
    state = TrainState(
      tuner_state,
      players,
      validation if config.reuses_validation else (),
      state.num_steps + steps_per_iteration,
    )
    metrics = {
      **metrics,
      'num_episodes': ended.number,
      'total_return': ended.total_return,
    }
    return state, metrics

  def advance(state: TrainState, num_iterations: int):
    return lax.scan(lambda s, _: iterate(s), state, None, num_iterations)

  def returns(state, key, num_episodes, time_limit, takes_mode=False):
    return playing.episode_returns(
      environment,
      act,
      state.tuner.meta_params.params,
      key,
      num_episodes=num_episodes,
      time_limit=time_limit,
      takes_mode=takes_mode,
    )

  return Trainer(init, iterate, advance, returns, tuner)
