"""All trajectories of a small MDP, so that expectations are exact sums."""

import chex
import jax.numpy as jnp
import numpy as np

from acme_metarl.tabular import mdp as mdp_lib
from acme_metarl.tabular import sampling


def enumerate_trajectories(
  mdp: mdp_lib.TabularMDP,
  policy: chex.Array,
  horizon: int,
  max_trajectories: int = 1_000_000,
) -> tuple[chex.Array, sampling.Trajectories]:
  """Lists every trajectory that a behaviour policy can produce.

  The expectation of any f of a trajectory is then
  `jnp.dot(probabilities, jax.vmap(f)(...))`, to rounding. Trajectories of
  probability zero are left out; episodes that end early appear once, padded
  as in `sampling.Trajectories`. Needs concrete arrays (not under `jit`).

  Args:
    mdp: the process.
    policy: `[X, A]` action probabilities of the behaviour policy.
    horizon: T >= 1.
    max_trajectories: largest number M that is accepted.

  Returns:
    Probabilities `[M]`, which sum to one, and the M trajectories.

  Raises:
    ValueError: if there are more than `max_trajectories`, the horizon is not
      positive, or the policy's shape is wrong.
  """
  if horizon < 1:
    raise ValueError(f'horizon is {horizon}; it needs to be at least 1.')
  policy = np.asarray(policy)
  if policy.shape != mdp.reward.shape:
    raise ValueError(
      f'policy has shape {policy.shape}; it needs {mdp.reward.shape}.'
    )
  # [X, A, X] probability of an action and the state it leads to.
  joint = policy[..., None] * np.asarray(mdp.transition)
  terminal = np.zeros(mdp.num_states, bool)
  if mdp.terminal is not None:
    terminal = np.asarray(mdp.terminal)
  start_state = int(mdp.start_state)
  _check_number(joint, terminal, start_state, horizon, max_trajectories)

  next_action, next_state = np.meshgrid(
    np.arange(mdp.num_actions), np.arange(mdp.num_states), indexing='ij'
  )
  probabilities = np.ones(1, joint.dtype)
  states = np.full((1, 1), start_state, np.int32)
  actions = np.zeros((1, 0), np.int32)
  for _ in range(horizon):
    # [M, A, X]: what can follow each trajectory so far.
    last = states[:, -1]
    following = joint[last]
    padding = (next_action == 0) & (next_state == last[:, None, None])
    ended = terminal[last][:, None, None]
    following = np.where(ended, padding, following)
    index, action, state = np.nonzero(following)
    probabilities = probabilities[index] * following[index, action, state]
    states = np.column_stack([states[index], state.astype(np.int32)])
    actions = np.column_stack([actions[index], action.astype(np.int32)])

  mask = ~terminal[states[:, :-1]]
  rewards = np.asarray(mdp.reward)[states[:, :-1], actions] * mask
  dtype = mdp.reward.dtype
  return jnp.asarray(probabilities), sampling.Trajectories(
    states=jnp.asarray(states),
    actions=jnp.asarray(actions),
    rewards=jnp.asarray(rewards, dtype),
    discounts=jnp.asarray(~terminal[states[:, 1:]], dtype),
    mask=jnp.asarray(mask, dtype),
  )


def _check_number(
  joint: np.ndarray,
  terminal: np.ndarray,
  start_state: int,
  horizon: int,
  max_trajectories: int,
) -> None:
  """Counts the trajectories without listing them."""
  branches = np.where(terminal[:, None], np.eye(len(terminal)), 0.0)
  branches += np.where(terminal[:, None], 0.0, (joint > 0).sum(1))
  count = np.ones(len(terminal))
  for _ in range(horizon):
    count = branches @ count
  if count[start_state] > max_trajectories:
    raise ValueError(
      f'There are {count[start_state]:.3g} trajectories of horizon {horizon}, '
      f'more than max_trajectories={max_trajectories}; use fewer states, '
      'actions or steps, or transitions with more zeros.'
    )
