r"""An evaluator as the loss of an ordinary Acme agent: no meta-learning here.

    python -m acme_metarl.launchers.taylor_actor_critic --num_episodes=400

An actor-critic for CartPole. It takes several gradient steps on each chunk of
experience; all but the first are off-policy, which the second-order Taylor
expansion of the value corrects for.
"""

from absl import app, flags
import acme
from acme import core, specs, wrappers
from acme.utils import loggers
import distrax
import gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from acme_metarl import evaluators, reductions

_NUM_EPISODES = flags.DEFINE_integer('num_episodes', 400, 'Episodes to play.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of environment and agent.')
_DISCOUNT = 0.99


class TaylorActorCritic(core.Actor):
  """Plays, and learns from every chunk of steps."""

  def __init__(self, spec, seed, chunk_size=512, num_epochs=8):
    def forward(x):
      logits = hk.nets.MLP([64, spec.actions.num_values], activation=jnp.tanh)
      value = hk.nets.MLP([64, 1], activation=jnp.tanh)
      return distrax.Categorical(logits(x)), value(x)[..., 0]

    network = hk.without_apply_rng(hk.transform(forward))
    optimizer = optax.adam(1e-3)

    def loss(params, x, action, r_t, discount_t, behaviour_log_prob):
      policy, value = network.apply(params, x)  # Of T + 1 observations.
      v_tm1, v_t = jax.lax.stop_gradient((value[:-1], value[1:]))
      rho_tm1 = jnp.exp(policy[:-1].log_prob(action) - behaviour_log_prob)
      estimates = evaluators.taylor_expansion(
        v_tm1, v_t, r_t, discount_t, rho_tm1, order=2, lambda_=0.95
      )
      mask = jnp.ones_like(r_t)
      objective = reductions.per_step(estimates, v_t, discount_t, mask)
      errors = jax.lax.stop_gradient(estimates) - value[:-1]
      return -objective + 0.01 * jnp.mean(errors**2)

    def learn(params, opt_state, chunk):
      for _ in range(num_epochs):
        gradient = jax.grad(loss)(params, *chunk)
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(params, updates)
      return params, opt_state

    self._act = jax.jit(
      lambda params, x, key: network.apply(params, x)[0].sample_and_log_prob(
        seed=key
      )
    )
    self._learn = jax.jit(learn)
    self._keys = hk.PRNGSequence(seed)
    x = jnp.zeros(spec.observations.shape)
    self._params = network.init(next(self._keys), x)
    self._opt_state = optimizer.init(self._params)
    self._chunk, self._chunk_size = [], chunk_size

  def select_action(self, observation):
    action, self._log_prob = self._act(
      self._params, observation, next(self._keys)
    )
    return np.int32(action)

  def observe_first(self, timestep):
    self._x = timestep.observation

  def observe(self, action, next_timestep):
    discount_t = np.float32(0 if next_timestep.last() else _DISCOUNT)
    reward = np.float32(next_timestep.reward)
    self._chunk.append((self._x, action, reward, discount_t, self._log_prob))
    self._x = next_timestep.observation

  def update(self, wait=False):
    if len(self._chunk) == self._chunk_size:
      x, *rest = (np.stack(column) for column in zip(*self._chunk, strict=True))
      chunk = (np.concatenate([x, self._x[np.newaxis]]), *rest)
      self._params, self._opt_state = self._learn(
        self._params, self._opt_state, chunk
      )
      self._chunk = []


class _OldInterface(gym.Wrapper):
  """The gym interface that Acme 0.4.0's wrapper knows."""

  def reset(self):
    return self.env.reset()[0]

  def step(self, action):
    x, reward, terminated, truncated, info = self.env.step(int(action))
    return x, reward, terminated or truncated, info


def train(num_episodes: int, seed: int) -> list[float]:
  """Trains, and returns the return of every episode."""
  cart_pole = gym.make('CartPole-v1', disable_env_checker=True)
  cart_pole.reset(seed=seed)
  environment = wrappers.GymWrapper(_OldInterface(cart_pole))
  agent = TaylorActorCritic(specs.make_environment_spec(environment), seed)
  loop = acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger())
  returns = []
  for episode in range(1, num_episodes + 1):
    returns.append(float(loop.run_episode()['episode_return']))
    if episode % 25 == 0:
      print(f'Episodes up to {episode}: return {np.mean(returns[-25:]):.1f}')
  return returns


def main(argv) -> None:
  """Trains as the flags say."""
  del argv
  train(_NUM_EPISODES.value, _SEED.value)


if __name__ == '__main__':
  app.run(main)
