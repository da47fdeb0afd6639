"""Adapts a trained policy to a new task, in a loop of one's own.

python -m acme_metarl.launchers.examples.adapting LOGDIR
"""

import sys

import jax

import acme_metarl


def play(run, params, task, key):
  """One rollout: its observations, actions and rewards."""
  reset, step = jax.jit(run.environment.reset), jax.jit(run.environment.step)
  state, timestep = reset(key, task)
  observations, actions, rewards = [timestep.observation], [], []
  for i in range(run.config.algorithm.horizon):
    action = run.act(params, observations[-1], jax.random.fold_in(key, i))
    state, timestep = step(state, action)
    observations.append(timestep.observation)
    actions.append(action)
    rewards.append(timestep.reward)
  return observations, actions, rewards


def main(logdir, num_rollouts=20):
  """Returns mean returns on one task, before and after adaptation."""
  run = acme_metarl.load(logdir)
  key, *keys = jax.random.split(jax.random.PRNGKey(0), 1 + num_rollouts)
  task = run.environment.sample_task(key)
  before = [play(run, run.params, task, key) for key in keys]
  adapted = run.adapt(before)
  after = [play(run, adapted, task, key) for key in keys]
  run.save_npz('adapted.npz', adapted)
  return [
    float(sum(sum(rewards) for _, _, rewards in rollouts)) / num_rollouts
    for rollouts in (before, after)
  ]


if __name__ == '__main__':
  returns = main(*sys.argv[1:])
  print('Return before {:.3g}, after adaptation {:.3g}.'.format(*returns))
