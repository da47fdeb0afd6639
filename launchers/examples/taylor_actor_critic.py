"""An evaluator as the loss of an ordinary Acme agent: no meta-learning here.

An actor-critic for CartPole. It takes several gradient steps on each chunk of
experience; all but the first are off-policy, which the second-order Taylor
expansion of the value corrects for.
"""

import dataclasses

import acme
from acme import core, specs
from acme.utils import loggers
import distrax
import dm_env
import gymnasium
import haiku as hk
import jax
from jax.lax import stop_gradient
import jax.numpy as jnp
import numpy as np
import optax

from acme_metarl import evaluators

_OPTIMIZER = optax.adam(1e-3)


@hk.transform
def _network(x):
  logits = hk.nets.MLP([64, 2], activation=jnp.tanh)(x)
  value = hk.nets.MLP([64, 1], activation=jnp.tanh)(x)
  return distrax.Categorical(logits), value[..., 0]


def _loss(params, x, action, r_t, discount_t, behaviour_log_prob):
  policy, value = _network.apply(params, None, x)  # Of T + 1 observations.
  v_tm1, v_t = stop_gradient((value[:-1], value[1:]))
  rho_tm1 = jnp.exp(policy[:-1].log_prob(action) - behaviour_log_prob)
  estimates = evaluators.taylor_expansion(
    v_tm1, v_t, r_t, discount_t, rho_tm1, order=2, lambda_=0.95
  )
  errors = stop_gradient(estimates) - value[:-1]  # The critic's.
  return jnp.mean(errors**2 - estimates)


@jax.jit
def _learn(params, opt_state, chunk):
  for _ in range(8):
    gradient = jax.grad(_loss)(params, *chunk)
    updates, opt_state = _OPTIMIZER.update(gradient, opt_state)
    params = optax.apply_updates(params, updates)
  return params, opt_state


@jax.jit
def _act(params, x, key):
  return _network.apply(params, None, x)[0].sample_and_log_prob(seed=key)


class TaylorActorCritic(core.Actor):
  """Plays, and learns from every 512 steps."""

  def __init__(self, spec, seed):
    self._keys = hk.PRNGSequence(seed)
    self._params = _network.init(next(self._keys), spec.generate_value())
    self._opt_state = _OPTIMIZER.init(self._params)
    self._chunk = []

  def select_action(self, observation):
    action, self._log_prob = _act(self._params, observation, next(self._keys))
    return int(action)

  def observe_first(self, timestep):
    self._x = timestep.observation

  def observe(self, action, next_timestep):
    r_t, discount_t = next_timestep.reward, 0.99 * next_timestep.discount
    self._chunk.append((self._x, action, r_t, discount_t, self._log_prob))
    self._x = next_timestep.observation

  def update(self, wait=False):
    if len(self._chunk) < 512:
      return
    x, *rest = map(np.stack, zip(*self._chunk, strict=True))
    chunk = (np.stack([*x, self._x]), *rest)
    self._params, self._opt_state = _learn(self._params, self._opt_state, chunk)
    self._chunk = []


class _CartPole(dm_env.Environment):
  """Gymnasium's, with the interface that Acme's loop knows."""

  def __init__(self, seed: int):
    self._environment = gymnasium.make('CartPole-v1')
    self._seed: int | None = seed

  def reset(self) -> dm_env.TimeStep:
    x, _ = self._environment.reset(seed=self._seed)
    self._seed = None  # Later episodes go on with the same random numbers.
    return dm_env.restart(x)

  def step(self, action) -> dm_env.TimeStep:
    x, reward, terminated, truncated, _ = self._environment.step(int(action))
    if terminated:
      return dm_env.termination(reward, x)
    if truncated:
      return dm_env.truncation(reward, x)
    return dm_env.transition(reward, x)

  def observation_spec(self) -> specs.Array:
    return specs.Array((4,), np.float32)

  def action_spec(self) -> specs.DiscreteArray:
    return specs.DiscreteArray(2)


@dataclasses.dataclass(frozen=True)
class Config:
  """How long it plays.

  Attributes:
    num_episodes: episodes to play.
    seed: seed of environment and agent.
  """

  num_episodes: int = 400
  seed: int = 0


def run(config: Config) -> list[float]:
  """Trains; returns the returns of all episodes."""
  environment = _CartPole(config.seed)
  agent = TaylorActorCritic(environment.observation_spec(), config.seed)
  loop = acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger())
  returns = []
  for episode in range(1, config.num_episodes + 1):
    returns.append(float(loop.run_episode()['episode_return']))
    if episode % 25 == 0:
      print(f'Episodes up to {episode}: return {np.mean(returns[-25:]):.1f}')
  return returns
