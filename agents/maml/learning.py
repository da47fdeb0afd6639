"""The learner: one meta-update per step."""

from collections.abc import Iterator, Sequence
import time
from typing import Any

from acme import core
from acme.utils import counting, loggers
import chex
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.agents.maml import replay
from acme_metarl.agents.maml import task_filter as task_filter_lib
from acme_metarl.meta import learner as learner_lib

_AXIS = 'tasks'


class MAMLLearner(core.Learner):
  """Takes a meta-batch, updates the meta-parameters, counts and logs.

  The update is `meta_learning`'s: it adapts anew from the current parameters
  on the stored stages. A meta-gradient that is not finite is not applied there;
  `num_skipped` in the log counts them.

  The log's `lag` is how many updates lie, on average, between the parameters
  that the batch was played with and those that it updates; `older_share` is the
  share of its tasks beyond the bound on that. `num_dropped`, `num_lost` and
  `num_duplicated` are those of `task_filter.TaskCounts`.
  """

  def __init__(
    self,
    learner: learner_lib.MetaLearner,
    key: chex.PRNGKey,
    observation: chex.ArrayTree,
    iterator: Iterator[replay.Batch],
    counter: counting.Counter | None = None,
    logger: loggers.Logger | None = None,
    task_filter: task_filter_lib.TaskFilter | None = None,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Makes a learner.

    Args:
      learner: the pure functions.
      key: initialises the networks.
      observation: an example, unbatched.
      iterator: of meta-batches.
      counter: of learner steps.
      logger: of what each update says about itself.
      task_filter: bounds the lag of what is learned from; no bound by default.
      devices: that the update runs on; all local ones if not given. With those
        of several hosts every host's learner takes its share of a meta-batch.
    """
    self._iterator = iterator
    self._counter = counter or counting.Counter()
    self._logger = logger
    self._task_filter = task_filter or task_filter_lib.TaskFilter()
    devices = np.asarray(devices or jax.local_devices())
    self._mesh = jax.sharding.Mesh(devices, (_AXIS,))
    # Every state is on every device, so that the update is compiled once.
    self._everywhere = jax.sharding.NamedSharding(
      self._mesh, jax.sharding.PartitionSpec()
    )
    self._update = jax.jit(learner.update, out_shardings=self._everywhere)
    self._state = self._replicate(learner.init(key, observation))
    self._observation_structure = jax.tree_util.tree_structure(observation)
    self._last_time: float | None = None

  @property
  def state(self) -> learner_lib.MetaState:
    """Everything that learning carries on."""
    return self._state

  def step(self) -> None:
    """Takes one meta-batch; updates once enough tasks are young enough."""
    num_updates = int(self._state.num_updates)
    sample = next(self._iterator)
    batch = self._task_filter.take(
      sample.data, num_updates, getattr(sample, 'num_elsewhere', 0)
    )
    if batch is None:
      return
    # Reverb gives anonymous tuples for the named ones of an observation.
    stages = batch.stages._replace(
      observation=jax.tree_util.tree_unflatten(
        self._observation_structure,
        jax.tree_util.tree_leaves(batch.stages.observation),
      )
    )
    state, metrics = self._update(self._state, self._shard(stages))
    metrics = jax.device_get(metrics)
    self._state = state

    now = time.time()
    seconds = 0.0 if self._last_time is None else now - self._last_time
    self._last_time = now
    counts = self._counter.increment(steps=1, walltime=seconds)
    if self._logger is not None:
      lag = task_filter_lib.lag(batch, num_updates)
      self._logger.write(
        {
          **counts,
          'lag': float(np.mean(lag)),
          'lag_max': int(np.max(lag)),
          'older_share': self._task_filter.older_share(batch, num_updates),
          'num_dropped': self._task_filter.counts.dropped,
          'num_lost': self._task_filter.counts.lost,
          'num_duplicated': self._task_filter.counts.duplicated,
          **{name: value.item() for name, value in metrics.items()},
        }
      )

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    state = self._state  # Once: another thread may be stepping.
    variables = {
      'params': lambda: state.params,
      'policy': lambda: state.params.policy,
      'learner_step': lambda: state.num_updates,
      'task_counts': lambda: self._task_filter.counts,
    }
    unknown = sorted(set(names) - set(variables))
    if unknown:
      raise ValueError(
        f'names: got {", ".join(unknown)}; the learner has '
        f'{", ".join(variables)}.'
      )
    return jax.device_get([variables[name]() for name in names])

  def save(self) -> learner_lib.MetaState:
    """Returns the whole state, as numpy arrays."""
    return jax.device_get(self._state)

  def restore(self, state: learner_lib.MetaState) -> None:
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
    return _put(jax.device_get(tree), self._everywhere)

  def _shard(self, tree: types.PyTree) -> types.PyTree:
    """Shares tasks out to the devices, where they can be evenly.

    Otherwise every device gets them all, and the update shares them out.
    """
    num_tasks = jax.tree_util.tree_leaves(tree)[0].shape[0]
    is_even = num_tasks % len(self._mesh.local_devices) == 0
    sharding = jax.sharding.NamedSharding(
      self._mesh, jax.sharding.PartitionSpec(*[_AXIS] * is_even)
    )
    return _put(tree, sharding)


def _put(tree: types.PyTree, sharding: jax.sharding.Sharding) -> types.PyTree:
  """Puts on devices what this host has of arrays."""
  return jax.tree_util.tree_map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), tree
  )


def _shapes(tree: types.PyTree) -> Any:
  return jax.tree_util.tree_map(
    lambda x: (np.shape(x), np.asarray(x).dtype), tree
  )
