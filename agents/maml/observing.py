"""Returns of trials, seen by an environment loop."""

import threading
from typing import Any

import dm_env
import numpy as np

from acme_metarl.agents import environment_loop

_LOCK = threading.Lock()


class TrialReturns(environment_loop.EnvLoopObserver):
  """Undiscounted returns after 0 … K adaptation steps, and real steps.

  The loop's own counts are of loop steps. Its episode return is an array that
  no logger takes; `episode_return` in the metrics stands in its place, the mean
  over rollouts of the sum over stages.

  Loops in several threads may share one: each thread sees its own trials.
  """

  def __init__(self):
    # Made in the thread that plays; one cannot be pickled.
    self._local: Any = None

  def __getstate__(self) -> dict[str, Any]:
    return {'_local': None}

  @property
  def returns(self) -> np.ndarray:
    """`[G, K+1, B]` returns of the rollouts of the last trial.

    Raises:
      ValueError: if this thread has played none.
    """
    if not self._stage_returns:
      raise ValueError('returns: no trial has been played in this thread.')
    return np.stack(self._stage_returns, axis=1)

  @property
  def num_steps(self) -> int:
    """Environment steps of the last trial, frozen rollouts not counted."""
    return getattr(self._local, 'num_steps', 0)

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    with _LOCK:
      if self._local is None:
        self._local = threading.local()
    self._local.returns = [np.zeros_like(timestep.observation.mask)]
    self._local.num_steps = 0

  def observe(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: Any
  ) -> None:
    observation = timestep.observation
    if observation.is_first:
      self._local.returns.append(np.zeros_like(observation.mask))
      return
    self._local.returns[-1] += timestep.reward * observation.mask
    self._local.num_steps += int(observation.mask.sum())

  def get_metrics(self) -> dict[str, float]:
    means = [float(returns.mean()) for returns in self._stage_returns]
    return {
      'environment_steps': self.num_steps,
      'episode_return': sum(means),
      **{f'return_{stage}': mean for stage, mean in enumerate(means)},
    }

  @property
  def _stage_returns(self) -> list[np.ndarray]:
    return getattr(self._local, 'returns', [])
