"""What is in replay: one task of one trial an item."""

from typing import Any, NamedTuple

from acme import specs
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.agents.maml import networks as networks_lib


class Extras(NamedTuple):
  """What an actor hands to its adder with each action.

  Attributes:
    log_prob: `[G, B]`, see `networks.SampledActions`.
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
  sampled: networks_lib.SampledActions,
  num_stages: int,
  horizon: int,
) -> Item:
  """Shapes and types of one task.

  Args:
    environment_spec: of a trial environment.
    sampled: actions, or their shapes, `[G, B, ...]`.
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

  per_step: Any = jax.ShapeDtypeStruct(sampled.log_prob.shape, np.float32)
  stages = jax.tree_util.tree_map(
    block(horizon),
    types.Stage(
      observation=(),
      action=environment_spec.actions,
      reward=per_step,
      discount=per_step,
      mask=per_step,
      behaviour_log_prob=per_step,
      behaviour_params=sampled.params,
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
