"""Recording of trials, and their insertion into replay, task by task."""

from collections.abc import Callable
import secrets
from typing import Any, NamedTuple

from absl import logging
from acme import specs
from acme.adders import base
import dm_env
import jax
import numpy as np
import reverb
import tensorflow as tf
import tree

from acme_metarl import types
from acme_metarl.agents.maml import networks as networks_lib

# How often an adder that waits for room in replay asks whether to stop.
_FLUSH_TIMEOUT_MS = 1000


class Extras(NamedTuple):
  """What an actor hands to its adder with each action.

  Attributes:
    log_prob: `[G, B]`, see `networks.Selection`.
    params: pytree `[G, B, ...]`, likewise.
    learner_step: learner steps that made the parameters the trial runs on.
  """

  log_prob: Any
  params: Any
  learner_step: Any


class Item(NamedTuple):
  """One task of one trial, as it is in replay; a batch stacks tasks in front.

  Attributes:
    stages: a `types.Stage` with leaves `[K+1, B, ...]`.
    learner_step: int32, learner steps that made the trial's parameters.
    identity: int32 `[2]`, a random number that is the adder's own, and how many
      items it made before; no two items share it.
  """

  stages: types.Stage
  learner_step: Any
  identity: Any


def item_spec(
  environment_spec: specs.EnvironmentSpec,
  selection: networks_lib.Selection,
  num_stages: int,
  horizon: int,
) -> Item:
  """Shapes and types of one task.

  Args:
    environment_spec: of a trial environment.
    selection: arrays, or their shapes, `[G, B, ...]`.
    num_stages: K+1.
    horizon: T.

  Returns:
    An item with `jax.ShapeDtypeStruct`s as leaves.
  """

  def block(num_steps):
    def make(x):
      shape = (num_stages, x.shape[1], num_steps, *x.shape[2:])
      return jax.ShapeDtypeStruct(shape, np.dtype(x.dtype))

    return make

  per_step = jax.ShapeDtypeStruct(selection.log_prob.shape, np.float32)
  stages = jax.tree_util.tree_map(
    block(horizon),
    types.Stage(
      observation=(),
      action=environment_spec.actions,
      reward=per_step,
      discount=per_step,
      mask=per_step,
      behaviour_log_prob=per_step,
      behaviour_params=selection.params,
    ),
  )
  observation = jax.tree_util.tree_map(
    block(horizon + 1), environment_spec.observations.observation
  )
  return Item(
    stages=stages._replace(observation=observation),
    learner_step=jax.ShapeDtypeStruct((), np.dtype(np.int32)),
    identity=jax.ShapeDtypeStruct((2,), np.dtype(np.int32)),
  )


def signature(item: Item) -> Any:
  """The Reverb signature of an item's spec."""
  return jax.tree_util.tree_map(
    lambda x: tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)), item
  )


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
    self._num_stages, _, self._horizon = item.stages.reward.shape
    self._stage = 0
    self._step = 0
    self._learner_step = 0

  @property
  def num_tasks(self) -> int:
    """G."""
    return self._num_tasks

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
    self._write(self._step_arrays, step_values, self._step)
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


class TrialAdder(TrialRecorder, base.Adder):
  """Writes one Reverb item per task when a trial ends.

  An item is one cell per array, so that inserting costs next to nothing per
  step, and so that the learner's batch of tasks does not depend on how many
  tasks each actor has.
  """

  def __init__(
    self,
    item: Item,
    num_tasks: int,
    client: reverb.Client,
    table: str,
    should_stop: Callable[[], bool] = lambda: False,
  ):
    """Makes an adder.

    Args:
      item: what `item_spec` gives.
      num_tasks: G, of the actor.
      client: of the replay server.
      table: the name of its table.
      should_stop: asked every second while replay is full; once it says yes
        the trial is given up.
    """
    super().__init__(item, num_tasks)
    self._table = table
    self._should_stop = should_stop
    self._client = client
    self._number = secrets.randbits(31)
    self._num_items = 0

  def reset(self) -> None:
    """Forgets an unfinished trial."""
    self._stage = 0
    self._step = 0

  def add(
    self,
    action: types.PyTree,
    next_timestep: dm_env.TimeStep,
    extras: Extras = (),
  ) -> None:
    """Records one loop step; the last one of a trial inserts it."""
    super().add(action, next_timestep, extras)
    if next_timestep.last():
      self._insert()

  def _insert(self) -> None:
    # A writer for each trial: an open one delays the end of its server.
    writer = self._client.trajectory_writer(num_keep_alive_refs=1)
    for task in range(self.num_tasks):
      writer.append(
        Item(
          stages=jax.tree_util.tree_map(lambda x, g=task: x[g], self._trial),
          learner_step=np.int32(self._learner_step),
          identity=np.array([self._number, self._num_items], np.int32),
        )
      )
      self._num_items += 1
      writer.create_item(
        self._table,
        priority=1.0,
        trajectory=tree.map_structure(
          lambda column: column[-1], writer.history
        ),
      )
    self._flush(writer)
    writer.close()

  def _flush(self, writer: reverb.TrajectoryWriter) -> None:
    """Waits until everything is in replay, which may be full."""
    while True:
      try:
        return writer.flush(timeout_ms=_FLUSH_TIMEOUT_MS)
      except reverb.DeadlineExceededError:
        if self._should_stop():
          logging.info('Stopped while replay was full; a trial is given up.')
          return
