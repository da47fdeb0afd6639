"""What is in replay, and how it gets there: rollouts of a fixed length."""

from collections.abc import Callable
import secrets
from typing import Any, NamedTuple

from absl import logging
from acme import specs
from acme.adders import base
import dm_env
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.agents.maml import items, replay


class Extras(NamedTuple):
  """What an actor hands to its adder with each action.

  Attributes:
    log_prob: of the action.
    learner_step: batches learned from before the parameters it acts with.
  """

  log_prob: Any
  learner_step: Any


def item_spec(
  environment_spec: specs.EnvironmentSpec, horizon: int
) -> items.Item:
  """Shapes and types of one rollout, of which an item of replay is made.

  The agent shares the MAML agent's replay and its items: here `stages` is one
  rollout, with leaves `[T, ...]` and observations `[T+1, ...]`.

  Args:
    environment_spec: of an unbatched environment.
    horizon: T.

  Returns:
    An item with `jax.ShapeDtypeStruct`s as leaves.
  """

  def block(num_steps):
    return lambda x: jax.ShapeDtypeStruct(
      (num_steps, *x.shape), np.dtype(x.dtype)
    )

  number: Any = jax.ShapeDtypeStruct((horizon,), np.dtype(np.float32))
  return items.Item(
    types.Stage(
      observation=jax.tree_util.tree_map(
        block(horizon + 1), environment_spec.observations
      ),
      action=jax.tree_util.tree_map(block(horizon), environment_spec.actions),
      reward=number,
      discount=number,
      mask=number,
      behaviour_log_prob=number,
    ),
    learner_step=jax.ShapeDtypeStruct((), np.dtype(np.int32)),
    identity=jax.ShapeDtypeStruct((2,), np.dtype(np.int32)),
  )


class RolloutAdder(base.Adder):
  """Cuts the stream of steps into items of T, whatever episodes do.

  The last step of an episode, at a time limit too, has discount 0; what is
  shown after it is the first observation of the next episode.
  """

  def __init__(
    self,
    item: items.Item,
    client: Any,
    table: str,
    should_stop: Callable[[], bool] = replay.never,
  ):
    """Makes an adder.

    Args:
      item: what `item_spec` gives.
      client: of the replay server.
      table: the name of its table.
      should_stop: asked now and then while replay is full; once it says yes
        the rollout is given up.
    """
    self._queue = replay.connect(client, table)
    self._should_stop = should_stop
    self._stage: types.Stage = jax.tree_util.tree_map(
      lambda x: np.zeros(x.shape, x.dtype), item.stages
    )
    self._stage.mask[...] = 1.0
    self._horizon = item.stages.reward.shape[0]
    self._step = 0
    self._learner_step = np.int32(0)
    self._number = secrets.randbits(31)
    self._num_items = 0

  @property
  def is_empty(self) -> bool:
    """Whether the next step is the first of an item."""
    return self._step == 0

  def reset(self) -> None:
    """Forgets an unfinished item."""
    self._step = 0

  def add_first(self, timestep: dm_env.TimeStep) -> None:
    """Shows the first observation of an episode."""
    self._write_observation(timestep.observation)

  def add(
    self,
    action: types.PyTree,
    next_timestep: dm_env.TimeStep,
    extras: Any = (),
  ) -> None:
    """Records one step; the last one of an item inserts it."""
    step, stage = self._step, self._stage
    if not step:
      self._learner_step = np.int32(extras.learner_step)
    stage.action[step] = action
    stage.reward[step] = next_timestep.reward
    is_last = next_timestep.last()
    stage.discount[step] = 0.0 if is_last else next_timestep.discount
    stage.behaviour_log_prob[step] = extras.log_prob
    self._step += 1
    self._write_observation(next_timestep.observation)
    if self._step == self._horizon:
      identity = np.array([self._number, self._num_items], np.int32)
      item = items.Item(stage, self._learner_step, identity)
      self._num_items += 1
      if not self._queue.insert([item], self._should_stop):
        logging.info('Stopped while replay was full; a rollout is given up.')
      self._step = 0
      self._write_observation(next_timestep.observation)

  def _write_observation(self, observation: Any) -> None:
    for array, value in zip(
      jax.tree_util.tree_leaves(self._stage.observation),
      jax.tree_util.tree_leaves(observation),
      strict=True,
    ):
      array[self._step] = value
