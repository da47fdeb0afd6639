"""What is compared in the studies of self-tuning: games and arms.

Every game has published settings. Its arms differ from its base in nothing but
what their names say.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import distrax
import haiku as hk
import jax
from jax import lax
import jax.numpy as jnp
import optax

from acme_metarl import self_tuning, types
from acme_metarl.environments import gymnax_games, jumanji_games
from acme_metarl.meta import torsos


@dataclasses.dataclass(frozen=True)
class Game:
  """A game and the settings that it is played with.

  Attributes:
    make: makes the environment.
    base: settings that the arms change.
    arms: changes by name.
    num_steps: environment steps of a published run.
    time_limit: steps of an episode at most.
    networks: makes other networks than the default ones, of a configuration.
    evaluates: whether the score is that of whole episodes by the mode of the
      policy at the end, and not that of the last tenth of training.
  """

  make: Callable[[], types.Environment]
  base: self_tuning.SelfTuningConfig
  arms: Mapping[str, Mapping[str, Any]]
  num_steps: int
  time_limit: int | None = None
  networks: (
    Callable[[self_tuning.SelfTuningConfig], self_tuning.ActorCritic] | None
  ) = None
  evaluates: bool = False

  def config(self, arm: str) -> self_tuning.SelfTuningConfig:
    """The settings of an arm."""
    return dataclasses.replace(self.base, **self.arms[arm])

  def trainer(self, arm: str) -> self_tuning.Trainer:
    """The parts of a run of an arm."""
    config = self.config(arm)
    networks = self.networks(config) if self.networks else None
    return self_tuning.make_trainer(
      config, self.make(), networks=networks, time_limit=self.time_limit
    )


def _bonnet(**tuned: self_tuning.Range) -> dict[str, dict[str, Any]]:
  """A2C, and (bootstrapped) meta-gradients with and without outer critic."""
  bootstrapped = {'tuned': tuned, 'bootstrap_steps': 1}
  return {
    'a2c': {'tuned': ()},
    'mg': {'tuned': tuned},
    'mg_outer': {'tuned': tuned, 'critic': 'outer'},
    'bmg': bootstrapped,
    'bmg_outer': {**bootstrapped, 'critic': 'outer'},
  }


# What gymnax's chain is: steps to the reward of each action, and its size.
_CHAIN_STEPS = (1.0, 3.0, 10.0, 30.0, 100.0)
_CHAIN_REWARDS = (1.0, 1.0, 1.0, 1.1, 1.0)


def chain_networks(
  config: self_tuning.SelfTuningConfig,
) -> self_tuning.ActorCritic:
  """A linear policy, and for critics the true values of that policy.

  As in Bonnet et al. (2022): so nothing but the discount of the critic is wrong
  in the outer loss. The values are constant, in γ too.

  Args:
    config: whose outer discount the outer critic has.
  """

  def forward(observation):
    w_init = hk.initializers.VarianceScaling(1e-4)
    logits = hk.Linear(len(_CHAIN_STEPS), w_init=w_init)(observation)
    return distrax.Categorical(logits=logits)

  network = hk.without_apply_rng(hk.transform(forward))

  def apply(params, observation, numbers):
    distribution = network.apply(params, observation)
    probs = lax.stop_gradient(distribution.probs)

    def value(discount):
      return _chain_value(observation, probs, lax.stop_gradient(discount))

    return self_tuning.Evaluation(
      distribution, value(numbers.discount), value(config.outer_discount)
    )

  return self_tuning.ActorCritic(network.init, apply)


def _chain_value(observation, probs, discount) -> jax.Array:
  """The value `[...]` of observations (first action or -1, time / 100)."""
  steps, rewards = jnp.array(_CHAIN_STEPS), jnp.array(_CHAIN_REWARDS)
  first = jnp.sum(probs * discount ** (steps - 1) * rewards, axis=-1)
  action = jnp.maximum(observation[..., 0], 0).astype(jnp.int32)
  left = steps[action] - jnp.round(
    observation[..., 1] * gymnax_games.CHAIN_LENGTH
  )
  later = discount ** jnp.maximum(left - 1, 0) * rewards[action]
  later = jnp.where(left > 0, later, 0.0)
  return jnp.where(observation[..., 0] < 0, first, later)


_CHAIN = Game(
  make=gymnax_games.discounting_chain,
  base=self_tuning.SelfTuningConfig(
    hyperparameters=self_tuning.Hyperparameters(
      discount=0.95, lambda_=0.0, value_cost=0.0, entropy_cost=0.005
    ),
    tuned=(),
    num_rollouts=128,
    horizon=gymnax_games.CHAIN_LENGTH,
    optimizer=optax.sgd(0.5),
    outer_discount=1.0,
    outer_lambda=0.0,
    outer_entropy_cost=0.005,
    outer_value_cost=0.0,
    meta_optimizer=optax.adam(0.1),
  ),
  arms=_bonnet(discount=self_tuning.Range(0.9, 1.0)),
  num_steps=640_000_000,
  time_limit=gymnax_games.CHAIN_LENGTH,
  networks=chain_networks,
)
# A twentieth of the updates, each a quarter as dear and of ten times the size:
# one step in a hundred decides, so published ones are small.
_QUICK_CHAIN = dataclasses.replace(
  _CHAIN,
  base=dataclasses.replace(
    _CHAIN.base, num_rollouts=32, optimizer=optax.sgd(5.0)
  ),
  num_steps=8_000_000,
)

# Published: a network each for policy and critics.
_SNAKE_LAYERS = (32, 2, 2), (32, 2, 1)
_SNAKE = Game(
  make=jumanji_games.snake,
  base=self_tuning.SelfTuningConfig(
    hyperparameters=self_tuning.Hyperparameters(discount=0.8, lambda_=0.95),
    tuned=(),
    num_rollouts=512,
    optimizer=optax.rmsprop(5e-4),
    outer_discount=1.0,
    outer_lambda=1.0,
    meta_optimizer=optax.chain(
      optax.clip_by_global_norm(0.1), optax.adam(3e-3)
    ),
    torso=torsos.convolutional(_SNAKE_LAYERS, (64, 64), 'SAME'),
    critic_torso=torsos.convolutional(_SNAKE_LAYERS, (128, 128), 'SAME'),
  ),
  arms={
    name: {
      **changes,
      # Twice the step size with bootstrapping, as published.
      **(
        {
          'meta_optimizer': optax.chain(
            optax.clip_by_global_norm(0.1), optax.adam(6e-3)
          )
        }
        if 'bmg' in name
        else {}
      ),
    }
    for name, changes in _bonnet(discount=self_tuning.Range()).items()
  },
  num_steps=75_000_000,
  evaluates=True,
)

# The default torso, which all heads share.
_SHARED_SNAKE = dataclasses.replace(
  _SNAKE,
  base=dataclasses.replace(_SNAKE.base, torso=None, critic_torso=None),
)

_THREE = {'num_inner_steps': 3}
_MINATAR_ARMS = {
  # Three updates an iteration, for the sake of equal curves.
  'a2c': {**_THREE, 'tuned': ()},
  'mgrl_k1': {},
  'mgrl_k3': _THREE,
  'lvc_k3': {
    **_THREE,
    'evaluator': 'taylor_expansion',
    'evaluator_options': {'order': 1},
  },
  'order_2_k3': {
    **_THREE,
    'evaluator': 'taylor_expansion',
    'evaluator_options': {'order': 2},
  },
  'causal_k3': {
    **_THREE,
    'evaluator': 'loaded_dice',
    'evaluator_options': {'causal_lambda': 0.5},
  },
}
_MINATAR_ARMS |= {
  f'{name}_outer': {**changes, 'critic': 'outer'}
  for name, changes in _MINATAR_ARMS.items()
  if name.endswith('_k3')
}

GAMES: Mapping[str, Game] = {
  'discounting_chain': _CHAIN,
  'discounting_chain_quick': _QUICK_CHAIN,
  'snake': _SNAKE,
  'snake_shared_torso': _SHARED_SNAKE,
  **{
    name: Game(
      make=lambda name=name: gymnax_games.minatar(name),
      base=self_tuning.SelfTuningConfig(),
      arms=_MINATAR_ARMS,
      num_steps=5_000_000,
      time_limit=1000,
    )
    for name in gymnax_games.MINATAR
  },
}
