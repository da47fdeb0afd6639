"""Returns of trials, seen by Acme's environment loop."""

from typing import Any

from acme.utils import observers
import dm_env
import numpy as np


class TrialReturns(observers.EnvLoopObserver):
  """Undiscounted returns after 0 … K adaptation steps, and real steps.

  The loop's own counts are of loop steps, and its episode return sums over the
  stages.
  """

  def __init__(self):
    self._returns: list[np.ndarray] = []
    self._num_steps = 0

  @property
  def returns(self) -> np.ndarray:
    """`[G, K+1, B]` returns of the rollouts of the last trial."""
    return np.stack(self._returns, axis=1)

  @property
  def num_steps(self) -> int:
    """Environment steps of the last trial, frozen rollouts not counted."""
    return self._num_steps

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    self._returns = [np.zeros_like(timestep.observation.mask)]
    self._num_steps = 0

  def observe(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: Any
  ) -> None:
    observation = timestep.observation
    if observation.is_first:
      self._returns.append(np.zeros_like(observation.mask))
      return
    self._returns[-1] += timestep.reward * observation.mask
    self._num_steps += int(observation.mask.sum())

  def get_metrics(self) -> dict[str, float]:
    metrics = {'environment_steps': self._num_steps}
    for stage, returns in enumerate(self._returns):
      metrics[f'return_{stage}'] = float(returns.mean())
    return metrics
