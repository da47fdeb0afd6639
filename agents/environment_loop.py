"""Acme's environment loop, with observers wherever Acme has none.

Acme's loop got observers after release 0.2.4, which is the last one that
current Pythons can install.
"""

import abc
from collections.abc import Sequence
import operator
import time
from typing import Any

from acme import core
from acme.utils import counting, loggers
import dm_env
import numpy as np
import tree

try:
  from acme.utils.observers import EnvLoopObserver
except ImportError:

  class EnvLoopObserver(abc.ABC):  # type: ignore[no-redef]
    """Collects metrics of an episode, see Acme's class of this name."""

    @abc.abstractmethod
    def observe_first(
      self, env: dm_env.Environment, timestep: dm_env.TimeStep
    ) -> None:
      """Sees the first time step of an episode."""

    @abc.abstractmethod
    def observe(
      self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: Any
    ) -> None:
      """Sees a step."""

    @abc.abstractmethod
    def get_metrics(self) -> dict[str, float]:
      """Returns metrics of the episode."""


class EnvironmentLoop(core.Worker):
  """Plays episodes; the interface of `acme.EnvironmentLoop`.

  Where rewards are arrays, say those of all rollouts of a trial, the episode's
  return is the mean of theirs, which is what loggers take.
  """

  def __init__(
    self,
    environment: dm_env.Environment,
    actor: core.Actor,
    counter: counting.Counter | None = None,
    logger: loggers.Logger | None = None,
    should_update: bool = True,
    label: str = 'environment_loop',
    observers: Sequence[EnvLoopObserver] = (),
  ):
    """Makes a loop; the arguments are those of Acme's."""
    self._environment = environment
    self._actor = actor
    self._counter = counter or counting.Counter()
    self._logger = logger or loggers.make_default_logger(label)
    self._should_update = should_update
    self._observers = observers

  def run_episode(self) -> dict[str, Any]:
    """Plays an episode; returns what a logger writes."""
    start = time.time()
    num_steps = 0
    total = tree.map_structure(
      lambda spec: np.zeros(spec.shape, spec.dtype),
      self._environment.reward_spec(),
    )
    timestep = self._environment.reset()
    self._actor.observe_first(timestep)
    for observer in self._observers:
      observer.observe_first(self._environment, timestep)
    while not timestep.last():
      action = self._actor.select_action(timestep.observation)
      timestep = self._environment.step(action)
      self._actor.observe(action, next_timestep=timestep)
      for observer in self._observers:
        observer.observe(self._environment, timestep, action)
      if self._should_update:
        self._actor.update()
      num_steps += 1
      total = tree.map_structure(operator.iadd, total, timestep.reward)
    result = {
      'episode_length': num_steps,
      'episode_return': tree.map_structure(lambda x: float(np.mean(x)), total),
      'steps_per_second': num_steps / (time.time() - start),
      **self._counter.increment(episodes=1, steps=num_steps),
    }
    for observer in self._observers:
      result.update(observer.get_metrics())
    return result

  def run(
    self, num_episodes: int | None = None, num_steps: int | None = None
  ) -> None:
    """Plays so many episodes, or until so many steps are done, or for ever.

    Raises:
      ValueError: if both are given.
    """
    if num_episodes is not None and num_steps is not None:
      raise ValueError('num_episodes, num_steps: got both, need one of them.')
    episodes = steps = 0
    while (num_episodes is None or episodes < num_episodes) and (
      num_steps is None or steps < num_steps
    ):
      result = self.run_episode()
      episodes += 1
      steps += result['episode_length']
      self._logger.write(result)
