# %% [markdown]
# # An environment of your own
#
# A *task distribution* is five functions. We write one in pure JAX, meta-train
# a policy on it, load what was trained, and adapt it to a task that it has
# never seen: the whole way from an idea to a policy in use.
#
# ## 1. The environment
#
# A boat on a line looks for a harbour that lies to the left or to the right. It
# sees where it is, and not where the harbour is: only the reward tells. So a
# policy that does well must find out, which is what adaptation is for.

# %%
import os
import pathlib
import tempfile
from typing import NamedTuple

from dm_env import specs
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import acme_metarl
from acme_metarl import environments, types
from acme_metarl.launchers import train_on_device


class State(NamedTuple):
  position: jax.Array
  harbour: jax.Array  # The task.


class Boat:
  """Progress towards a harbour at -1 or +1 is the reward."""

  def sample_task(self, key):
    return jax.random.choice(key, jnp.array([-1.0, 1.0]))

  def reset(self, key, task):
    position = jax.random.uniform(key, (1,), minval=-0.1, maxval=0.1)
    state = State(position, task)
    return state, types.TimeStep(position, jnp.float32(0), jnp.float32(1))

  def step(self, state, action):
    move = jnp.clip(action, -1, 1) * 0.1
    position = jnp.clip(state.position + move, -1.5, 1.5)
    before, after = (
      jnp.abs(x - state.harbour)[0] for x in (state.position, position)
    )
    state = State(position, state.harbour)
    return state, types.TimeStep(position, before - after, jnp.float32(1))

  def observation_spec(self):
    return specs.Array((1,), np.float32, 'position')

  def action_spec(self):
    return specs.Array((1,), np.float32, 'move')


# %% [markdown]
# `sample_task` draws a task, which `reset` puts into the state; the observation
# must not show it. There is no batch axis, and no time limit: both belong to
# whoever samples. [Another page](../your_environment.md) says what else can be
# had: environments of Gymnasium and dm_env, early ends, memory.
#
# A name makes it known to every command of this process.

# %%
environments.register('boat', Boat)

# %% [markdown]
# ## 2. Training
#
# The command line would be
#
# ```bash
# python -m acme_metarl.launchers.train_on_device \
#   --environment=my_package.boats:Boat
# ```
#
# and this is the same from Python, with few and short rollouts. The log
# directory gets curves, tables and checkpoints.

# %%
os.chdir(tempfile.mkdtemp())  # A folder that nobody needs later.
train_on_device.main(
  [
    '--environment=boat',
    '--logdir=boat',
    '--num_tasks=8',
    '--num_rollouts=8',
    '--horizon=15',
    '--num_iterations=40',
    '--eval_every=10',
    '--inner_learning_rate=0.2',
    '--config.hidden_sizes=(16,)',
    '--config.outer_learning_rate=0.01',
  ]
)
print(sorted(x.name for x in pathlib.Path('boat').iterdir()))

# %% [markdown]
# ## 3. The trained policy
#
# `acme_metarl.load` brings it back: the parameters before adaptation, how to
# act, and how to adapt. The loop that plays is our own, as it would be on a
# real boat.

# %%
run = acme_metarl.load('boat')
reset, step = jax.jit(run.environment.reset), jax.jit(run.environment.step)


def play(params, task, key, length=15):
  """One rollout: observations, actions and rewards."""
  state, timestep = reset(key, task)
  observations, actions, rewards = [timestep.observation], [], []
  for i in range(length):
    action = run.act(params, observations[-1], jax.random.fold_in(key, i))
    state, timestep = step(state, action)
    observations.append(timestep.observation)
    actions.append(action)
    rewards.append(timestep.reward)
  return observations, actions, rewards


keys = jax.random.split(jax.random.PRNGKey(7), 8)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharex=True, sharey=True)
for axis, harbour in zip(axes, (-1.0, 1.0), strict=True):
  before = [play(run.params, jnp.float32(harbour), key) for key in keys]
  adapted = run.adapt(before)
  after = [play(adapted, jnp.float32(harbour), key) for key in keys]
  for name, rollouts in (('before', before), ('after', after)):
    mean = np.mean([sum(rewards) for _, _, rewards in rollouts])
    print(f'harbour at {harbour:+.0f}, {name} adaptation: return {mean:.2f}')
    colour = {'before': 'grey', 'after': 'tab:blue'}[name]
    for i, (observations, _, _) in enumerate(rollouts):
      label = f'{name} adaptation' if i == 0 else None
      axis.plot(np.ravel(observations), color=colour, alpha=0.7, label=label)
  axis.axhline(harbour, color='tab:orange', linestyle='--', label='harbour')
  axis.set(xlabel='step', title=f'harbour at {harbour:+.0f}')
axes[0].set_ylabel('position')
axes[0].legend(fontsize='small')
figure.tight_layout()
plt.show()

# %% [markdown]
# Before adaptation the boat does not know where to go. Eight rollouts of
# fifteen steps, one gradient step, and it does. `run.save_npz('adapted.npz',
# adapted)` writes the adapted parameters for programs without JAX. Next: [an
# estimator in a loop of your own](own_loop).
