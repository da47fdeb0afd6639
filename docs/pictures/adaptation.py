r"""Draws what adaptation changes: `adaptation.png` beside this file.

python -m acme_metarl.launchers.train_on_device --logdir=results/picture \
      --algorithm=promp_taypo2 --seed=1 --num_iterations=100 \
      --config.evaluator_options='{"order": 2, "causal_lambda": 0.9}'
python docs/pictures/adaptation.py results/picture
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import acme_metarl

_CORNERS = ((2, 2), (-2, 2), (-2, -2), (2, -2))


def play(run, params, task, keys):
  """Rollouts of one task: observations, actions, rewards, `[T, B, ...]`."""
  reset = jax.vmap(run.environment.reset, in_axes=(0, None))
  step = jax.jit(jax.vmap(run.environment.step))
  state, timestep = reset(keys, task)
  observations, actions, rewards = [timestep.observation], [], []
  for i in range(run.config.algorithm.horizon):
    action = run.act(params, observations[-1], jax.random.fold_in(keys[0], i))
    state, timestep = step(state, action)
    observations.append(timestep.observation)
    actions.append(action)
    rewards.append(timestep.reward)
  return np.stack(observations), np.stack(actions), np.stack(rewards)


def rows(rollouts):
  """The same as B rollouts, one by one."""
  x, action, reward = rollouts
  return [(x[:, i], action[:, i], reward[:, i]) for i in range(x.shape[1])]


def draw(run, path):
  """Draws the rollouts of four tasks, before and after one adaptation."""
  figure, axes = plt.subplots(1, 4, figsize=(11, 3.5), sharex=True, sharey=True)
  keys = jax.random.split(jax.random.PRNGKey(0), 20)
  for axis, corner in zip(axes, _CORNERS, strict=True):
    task = jnp.array(corner, jnp.float32)
    before = play(run, run.params, task, keys)
    after = play(run, run.adapt(rows(before)), task, keys)
    for (x, _, _), colour in ((before, '0.6'), (after, 'tab:blue')):
      for i in range(8):
        axis.plot(*x[:, i].T, color=colour, linewidth=0.9)
    earned = [rewards.sum(0).mean() for _, _, rewards in (before, after)]
    axis.plot(*corner, '*', color='tab:orange', markersize=15)
    axis.set_title('return {:.2f} → {:.2f}'.format(*earned), fontsize=10)
    axis.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect='equal', xlabel='x')
  axes[0].set_ylabel('y')
  figure.legend(
    handles=[
      plt.Line2D([], [], color='0.6', label='before adaptation'),
      plt.Line2D([], [], color='tab:blue', label='after one gradient step'),
      plt.Line2D(
        [], [], color='tab:orange', marker='*', linestyle='', label='the task'
      ),
    ],
    loc='lower center',
    ncols=3,
    frameon=False,
  )
  figure.tight_layout(rect=(0, 0.08, 1, 1))
  figure.savefig(path, dpi=110)


if __name__ == '__main__':
  draw(
    acme_metarl.load(sys.argv[1]),
    pathlib.Path(__file__).with_name('adaptation.png'),
  )
