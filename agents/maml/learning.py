"""The learner: one meta-update per step."""

from collections.abc import Iterator, Sequence
import time
from typing import Any

from acme import core
from acme.utils import counting, loggers
import chex
import jax
import numpy as np
import reverb

from acme_metarl import meta_learning, types
from acme_metarl.agents.maml import adding

_AXIS = 'tasks'


class MAMLLearner(core.Learner):
  """Takes a meta-batch, updates the meta-parameters, counts and logs.

  The update is `meta_learning`'s: it adapts anew from the current parameters
  on the stored stages. A meta-gradient that is not finite is not applied there;
  `num_skipped` in the log counts them.

  The log's `lag` is how many learner steps ago, on average, the parameters
  were current that the batch was collected with.
  """

  def __init__(
    self,
    learner: meta_learning.MetaLearner,
    key: chex.PRNGKey,
    observation: chex.ArrayTree,
    iterator: Iterator[reverb.ReplaySample],
    counter: counting.Counter | None = None,
    logger: loggers.Logger | None = None,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Makes a learner.

    Args:
      learner: the pure functions.
      key: initialises the networks.
      observation: an example, unbatched.
      iterator: of meta-batches; their data are `adding.Item`s.
      counter: of learner steps.
      logger: of what each step says about itself.
      devices: that the update runs on; all local ones if not given.
    """
    self._iterator = iterator
    self._counter = counter or counting.Counter()
    self._logger = logger
    self._update = jax.jit(learner.update)
    self._mesh = jax.sharding.Mesh(
      np.asarray(devices or jax.local_devices()), (_AXIS,)
    )
    # Where every later state is, so that the update is compiled once.
    self._state = self._replicate(learner.init(key, observation))
    self._last_time = None

  @property
  def state(self) -> meta_learning.MetaState:
    """Everything that learning carries on."""
    return self._state

  def step(self) -> None:
    item: adding.Item = next(self._iterator).data
    num_updates = int(self._state.num_updates)
    state, metrics = self._update(self._state, self._shard(item.stages))
    metrics = jax.device_get(metrics)
    self._state = state

    now = time.time()
    seconds = 0.0 if self._last_time is None else now - self._last_time
    self._last_time = now
    counts = self._counter.increment(steps=1, walltime=seconds)
    if self._logger is not None:
      lag = num_updates - item.learner_step
      self._logger.write(
        {
          **counts,
          'lag': float(np.mean(lag)),
          'lag_max': int(np.max(lag)),
          **{name: value.item() for name, value in metrics.items()},
        }
      )

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    state = self._state  # Once: another thread may be stepping.
    variables = {
      'params': lambda: state.params,
      'policy': lambda: state.params.policy,
      'learner_step': lambda: state.num_updates,
    }
    unknown = sorted(set(names) - set(variables))
    if unknown:
      raise ValueError(
        f'names: got {", ".join(unknown)}; the learner has '
        f'{", ".join(variables)}.'
      )
    return jax.device_get([variables[name]() for name in names])

  def save(self) -> meta_learning.MetaState:
    """Returns the whole state, as numpy arrays."""
    return jax.device_get(self._state)

  def restore(self, state: meta_learning.MetaState) -> None:
    """Goes on from `save`.

    Raises:
      ValueError: if the state is that of another network or optimiser.
    """
    if _shapes(self._state) != _shapes(state):
      raise ValueError(
        'state: its arrays are not those of this network and optimiser. Make '
        'the learner with the configuration of the run that saved it.'
      )
    self._state = self._replicate(state)

  def _replicate(self, tree: types.PyTree) -> types.PyTree:
    sharding = jax.sharding.NamedSharding(
      self._mesh, jax.sharding.PartitionSpec()
    )
    return jax.device_put(tree, sharding)

  def _shard(self, tree: types.PyTree) -> types.PyTree:
    """Shares tasks out to the devices, where they can be evenly."""
    num_tasks = jax.tree_util.tree_leaves(tree)[0].shape[0]
    is_even = num_tasks % self._mesh.size == 0
    sharding = jax.sharding.NamedSharding(
      self._mesh, jax.sharding.PartitionSpec(*[_AXIS] * is_even)
    )
    return jax.device_put(tree, sharding)


def _shapes(tree: types.PyTree) -> Any:
  return jax.tree_util.tree_map(
    lambda x: (np.shape(x), np.asarray(x).dtype), tree
  )
