"""Recording of trials, and their insertion into replay, task by task."""

from collections.abc import Callable
import secrets
from typing import Any

from absl import logging
from acme.adders import base
import dm_env
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.agents.maml import items, replay

# Where these were before they had a module of their own.
Extras = items.Extras
Item = items.Item
item_spec = items.item_spec


class TrialRecorder:
  """Lays the steps of a trial out as `[G, K+1, B, T, ...]`.

  The arrays are used again for the next trial.
  """

  def __init__(self, item: Item, num_tasks: int):
    """Makes room for one trial.

    Args:
      item: what `item_spec` gives.
      num_tasks: G.
    """
    self._trial: types.Stage = jax.tree_util.tree_map(
      lambda x: np.zeros((num_tasks, *x.shape), x.dtype), item.stages
    )
    leaves = jax.tree_util.tree_leaves
    self._observations = leaves(self._trial.observation)
    self._step_arrays = leaves(self._trial._replace(observation=()))
    self._num_tasks = num_tasks
    shape = item.stages.reward.shape
    self._num_stages, self._num_rollouts, self._horizon = shape
    # `add_first` and `add` set them.
    self._stage: int
    self._step: int
    self._learner_step: int

  @property
  def num_tasks(self) -> int:
    """G."""
    return self._num_tasks

  @property
  def num_rollouts(self) -> int:
    """B."""
    return self._num_rollouts

  @property
  def num_stages(self) -> int:
    """K+1."""
    return self._num_stages

  @property
  def horizon(self) -> int:
    """T."""
    return self._horizon

  @property
  def trial(self) -> types.Stage:
    """Views of everything recorded, `[G, K+1, B, T, ...]`."""
    return self._trial

  def stage(self, index: int) -> types.Stage:
    """Views of one stage, `[G, B, T, ...]`."""
    return jax.tree_util.tree_map(lambda x: x[:, index], self._trial)

  @property
  def is_stage_over(self) -> bool:
    """Whether all steps of the current stage are recorded."""
    return self._step == self._horizon

  def add_first(self, timestep: dm_env.TimeStep) -> None:
    """Starts a trial; one that was not finished is forgotten."""
    self._start_stage(0, timestep)

  def add(
    self,
    action: types.PyTree,
    next_timestep: dm_env.TimeStep,
    extras: Extras,
  ) -> None:
    """Records one loop step.

    Raises:
      ValueError: if the environment's trials have other stages or another
        horizon than the recorder.
    """
    observation = next_timestep.observation
    if observation.is_first:
      self._check(self.is_stage_over, 'a stage ended early')
      self._check(self._stage + 1 < self._num_stages, 'a trial has more stages')
      self._start_stage(self._stage + 1, next_timestep)
      return
    self._check(not self.is_stage_over, 'a stage is longer')
    step_values = types.Stage(
      observation=(),
      action=action,
      reward=next_timestep.reward,
      discount=next_timestep.discount,
      mask=observation.mask,
      behaviour_log_prob=extras.log_prob,
      behaviour_params=extras.params,
    )
    self._write(self._step_arrays, _without_nonfinite(step_values), self._step)
    self._step += 1
    self._write(self._observations, observation.observation, self._step)
    self._learner_step = extras.learner_step
    if next_timestep.last():
      self._check(
        self.is_stage_over and self._stage + 1 == self._num_stages,
        'a trial ended early',
      )

  def _start_stage(self, stage: int, timestep: dm_env.TimeStep) -> None:
    self._stage = stage
    self._step = 0
    self._write(self._observations, timestep.observation.observation, 0)

  def _write(
    self, arrays: list[np.ndarray], values: types.PyTree, step: int
  ) -> None:
    leaves = jax.tree_util.tree_leaves(values)
    for array, value in zip(arrays, leaves, strict=True):
      array[:, self._stage, :, step] = value

  def _check(self, fits: bool, what: str) -> None:
    if not fits:
      raise ValueError(
        f'next_timestep: {what} than the {self._num_stages} stages of '
        f'{self._horizon} steps that the configuration says. Give '
        'num_inner_steps and horizon to TrialEnvironment and AlgorithmConfig '
        'alike.'
      )


def _without_nonfinite(step_values: types.Stage) -> types.Stage:
  """Zeros where a step was not real, and a number of its is not finite.

  A rollout that acts non-finitely ends there. What it did is masked, but a mask
  hides no NaN from a derivative.
  """
  is_real = np.asarray(step_values.mask) > 0
  if is_real.all():
    return step_values

  def clean(x):
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.inexact):
      return x
    is_real_x = is_real.reshape(is_real.shape + (1,) * (x.ndim - is_real.ndim))
    return np.where(is_real_x | np.isfinite(x), x, 0).astype(x.dtype)

  return jax.tree_util.tree_map(clean, step_values)


class TrialAdder(TrialRecorder, base.Adder):
  """Inserts one item per task when a trial ends.

  An item is one cell per array, so that inserting costs next to nothing per
  step, and so that the learner's batch of tasks does not depend on how many
  tasks each actor has.
  """

  def __init__(
    self,
    item: Item,
    num_tasks: int,
    client: Any,
    table: str,
    should_stop: Callable[[], bool] = replay.never,
  ):
    """Makes an adder.

    Args:
      item: what `item_spec` gives.
      num_tasks: G, of the actor.
      client: of the replay server.
      table: the name of its table.
      should_stop: asked now and then while replay is full; once it says yes
        the trial is given up.
    """
    super().__init__(item, num_tasks)
    self._queue = replay.connect(client, table)
    self._should_stop = should_stop
    self._number = secrets.randbits(31)
    self._num_items = 0

  def reset(self) -> None:
    """Does nothing: `add_first` forgets an unfinished trial."""

  def add(
    self,
    action: types.PyTree,
    next_timestep: dm_env.TimeStep,
    extras: Any = (),
  ) -> None:
    """Records one loop step; the last one of a trial inserts it."""
    super().add(action, next_timestep, extras)
    if next_timestep.last():
      self._insert()

  def _insert(self) -> None:
    tasks = []
    for task in range(self.num_tasks):
      tasks.append(
        Item(
          stages=jax.tree_util.tree_map(lambda x, g=task: x[g], self._trial),
          learner_step=np.int32(self._learner_step),
          identity=np.array([self._number, self._num_items], np.int32),
        )
      )
      self._num_items += 1
    if not self._queue.insert(tasks, self._should_stop):
      logging.info('Stopped while replay was full; a trial is given up.')
