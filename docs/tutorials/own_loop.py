# %% [markdown]
# # An estimator as the loss of your own loop
#
# You have a training loop and no use for an agent, and perhaps none for
# meta-learning. Take one function. An off-policy evaluator as a loss is an
# importance-corrected policy gradient: take several gradient steps on the same
# data, as PPO does, and let the evaluator account for the policy having moved.
#
# The example is whole: an environment, a network and a loop, of which the
# library's share is one call.

# %%
import functools

import haiku as hk
import jax
from jax.lax import stop_gradient
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from acme_metarl import evaluators

# %% [markdown]
# ## The environment: a pole on a cart
#
# The usual equations of motion, in JAX. The state is the observation, the
# reward is 1 for each step, and an episode ends when the pole falls or the cart
# leaves; it is then started anew.


# %%
def start(key):
  return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def step(state, action, key):
  """Returns (next state, reward, discount); starts anew where it ended."""
  position, velocity, angle, spin = state
  force = jnp.where(action == 1, 10.0, -10.0)
  sine, cosine = jnp.sin(angle), jnp.cos(angle)
  push = (force + 0.05 * spin**2 * sine) / 1.1
  turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
  move = push - 0.05 * turn * cosine / 1.1
  state = state + 0.02 * jnp.stack([velocity, move, spin, turn])
  over = (jnp.abs(state[0]) > 2.4) | (jnp.abs(state[2]) > 0.21)
  return jnp.where(over, start(key), state), 1.0, 1.0 - over


# %% [markdown]
# ## The loss
#
# `v_tm1` and `v_t` are the critic's values before and after each step, held
# constant; `rho_tm1` is the ratio of the policy that is being trained to the
# one that acted. The estimates are maximised, and they are also what the critic
# learns from.


# %%
@hk.without_apply_rng
@hk.transform
def network(x):
  logits = hk.nets.MLP([32, 2], activation=jnp.tanh)(x)
  value = hk.nets.MLP([32, 1], activation=jnp.tanh)(x)
  return logits, 10 * value[..., 0]


def loss(params, rollout, evaluator):
  """Of one rollout of T steps; T + 1 observations."""
  observation, action, reward, discount, behaviour_log_prob = rollout
  logits, value = network.apply(params, observation)
  log_prob = jnp.take_along_axis(
    jax.nn.log_softmax(logits[:-1]), action[:, None], axis=-1
  )[:, 0]
  v_tm1, v_t = stop_gradient((value[:-1], value[1:]))
  estimates = evaluator(
    v_tm1, v_t, reward, 0.97 * discount, jnp.exp(log_prob - behaviour_log_prob)
  )
  errors = stop_gradient(estimates) - value[:-1]
  return jnp.mean(0.5 * errors**2 - estimates)


# %% [markdown]
# ## The loop
#
# Sixteen rollouts of 32 steps, then eight gradient steps on them.

# %%
optimiser = optax.adam(2e-3)


@functools.partial(jax.jit, static_argnames='evaluator')
def iteration(params, opt_state, states, key, evaluator):
  def act(states, key):
    action_key, start_key = jax.random.split(key)
    log_prob = jax.nn.log_softmax(network.apply(params, states)[0])
    action = jax.random.categorical(action_key, log_prob)
    keys = jax.random.split(start_key, states.shape[0])
    later, reward, discount = jax.vmap(step)(states, action, keys)
    chosen = jnp.take_along_axis(log_prob, action[:, None], axis=-1)[:, 0]
    rewards = jnp.full_like(discount, reward[0])
    return later, (states, action, rewards, discount, chosen)

  last, (x, *rest) = jax.lax.scan(act, states, jax.random.split(key, 32))
  rollouts = (jnp.concatenate([x, last[None]]), *rest)  # Each [T, B, ...].

  def batch_loss(params):
    of_each = functools.partial(loss, evaluator=evaluator)
    return jnp.mean(jax.vmap(of_each, (None, 1))(params, rollouts))

  def gradient_step(carry, _):
    params, opt_state = carry
    updates, opt_state = optimiser.update(
      jax.grad(batch_loss)(params), opt_state
    )
    return (optax.apply_updates(params, updates), opt_state), None

  (params, opt_state), _ = jax.lax.scan(
    gradient_step, (params, opt_state), None, length=8
  )
  # Of all steps, those that ended no episode.
  return params, opt_state, last, jnp.mean(rest[2])


def train(evaluator, num_iterations=60):
  """Returns the mean number of steps between falls, by iteration."""
  key = jax.random.PRNGKey(0)
  states = jax.vmap(start)(jax.random.split(key, 16))
  params = network.init(key, states)
  opt_state, curve = optimiser.init(params), []
  for iteration_key in jax.random.split(key, num_iterations):
    params, opt_state, states, kept = iteration(
      params, opt_state, states, iteration_key, evaluator
    )
    curve.append(1 / (1 - min(float(kept), 1 - 1 / 512)))
  return curve


curves = {
  'second order': train(
    functools.partial(evaluators.taylor_expansion, order=2, lambda_=0.9)
  ),
  'log-likelihood, uncorrected': train(
    functools.partial(evaluators.log_likelihood, lambda_=0.9)
  ),
}
for name, curve in curves.items():
  print(f'{name:28} steps between falls: {curve[0]:.0f} -> {curve[-1]:.0f}')

# %%
plt.figure(figsize=(6, 3))
for name, curve in curves.items():
  plt.plot(curve, label=name)
plt.xlabel('iteration (512 steps each)')
plt.ylabel('steps between falls (512: none)')
plt.legend()
plt.show()

# %% [markdown]
# Any evaluator has the same five arguments, so the other ones are a change of
# one word. `python -m acme_metarl.launchers.taylor_actor_critic` is the same as
# an agent for Acme, in fewer than fifty lines.
