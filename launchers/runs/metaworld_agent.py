"""A checkpoint as the agent that Meta-World's own evaluation asks for."""

from typing import Any

import jax
import numpy as np

from acme_metarl.launchers.runs import loading
from acme_metarl.meta import policies


class MetaWorldAgent:
  """`metaworld.evaluation.MetaLearningAgent`, without a base class.

  `init`, `adapt_action`, `step` and `adapt` adapt to the task of each of N
  environments on its own episodes; `eval_action` takes the mode of the adapted
  policy, and `reset` makes a recurrent one forget.

  Meta-World resets environments by itself and does not tell the last
  observation of an episode: the one before stands in for it. It matters to runs
  with `bootstrap_on_timeout` alone.
  """

  def __init__(self, trained: loading.Trained, num_envs: int, seed: int = 0):
    """Makes an agent that has adapted to nothing.

    Args:
      trained: acts and adapts.
      num_envs: N.
      seed: of the actions while it adapts.
    """
    self._trained = trained
    self._num_envs = num_envs
    self._key = jax.random.PRNGKey(seed)
    self._num_actions = 0

    def act(params, observation, memory, key):
      distribution, memory = policies.act(
        trained.policy, params, observation, memory
      )
      return distribution.sample(seed=key), distribution.mode(), memory

    self._act = jax.jit(jax.vmap(act))
    self.init()

  @property
  def params(self) -> Any:
    """Of the policy adapted to each environment, `[N, ...]`."""
    return self._params

  def init(self) -> None:
    """Forgets all tasks."""
    self._stages = [[] for _ in range(self._num_envs)]
    self._params = self._stack([self._trained.params] * self._num_envs)
    self._start_stage()

  def adapt_action(
    self, observations: np.ndarray
  ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws actions `[N, D]`; those before clipping go with them."""
    action, _ = self._actions(observations)
    return np.clip(action, -1, 1), {'raw_action': action}

  def step(self, timestep: Any) -> None:
    """Keeps what the actions led to; a `metaworld.evaluation.Timestep`."""
    ended = np.logical_or(timestep.terminated, timestep.truncated)
    for i, steps in enumerate(self._steps):
      steps.append(
        (
          np.asarray(timestep.observation[i], np.float32),
          timestep.aux_policy_outputs['raw_action'][i],
          float(timestep.reward[i]),
        )
      )
      if ended[i]:
        observation, action, reward = map(list, zip(*steps, strict=True))
        self._episodes[i].append(
          loading.Rollout(
            [*observation, observation[-1]],
            action,
            reward,
            bool(timestep.terminated[i]),
          )
        )
        steps.clear()
    self.reset(ended)

  def adapt(self) -> None:
    """Takes an inner step on whole episodes of each environment."""
    for stages, episodes in zip(self._stages, self._episodes, strict=True):
      stages.append(episodes)
    self._params = self._stack(
      [self._trained.adapt(*stages) for stages in self._stages]
    )
    self._start_stage()

  def eval_action(self, observations: np.ndarray) -> np.ndarray:
    """The modes of the adapted policies, `[N, D]`."""
    _, mode = self._actions(observations)
    return np.clip(mode, -1, 1)

  def reset(self, env_mask: np.ndarray) -> None:
    """Forgets the episodes of some environments, `[N]` bool."""
    self._memory = jax.tree_util.tree_map(
      lambda now, first: np.where(
        np.reshape(env_mask, (-1,) + (1,) * (np.ndim(now) - 1)), first, now
      ),
      self._memory,
      self._trained.initial_state(self._num_envs),
    )

  def _start_stage(self) -> None:
    self._episodes = [[] for _ in range(self._num_envs)]
    self._steps = [[] for _ in range(self._num_envs)]
    self._memory = self._trained.initial_state(self._num_envs)

  def _actions(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = jax.random.split(
      jax.random.fold_in(self._key, self._num_actions), self._num_envs
    )
    self._num_actions += 1
    action, mode, self._memory = self._act(
      self._params, np.asarray(observations, np.float32), self._memory, keys
    )
    return np.asarray(action), np.asarray(mode)

  @staticmethod
  def _stack(params: list[Any]) -> Any:
    return jax.tree_util.tree_map(lambda *x: np.stack(x), *params)
