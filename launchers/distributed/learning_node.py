"""The learner of the program, which also keeps the records of the run."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import pathlib
import threading
import time
from typing import Any

from absl import logging
import numpy as np
import reverb

from acme_metarl.launchers.distributed import (
  agent_parts,
  evaluations,
  nodes,
  remote,
  serving,
)
from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.runs import (
  agent_trainer,
  checkpointing,
  host_devices,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import records as run_records


def run(shared: nodes.Shared, stop: threading.Event) -> None:
  """Learns until the end of the run, or until asked to stop, and saves.

  Raises:
    ValueError: if settings do not fit together or to the checkpoint.
    OSError: if something cannot be written; checkpoints are as they were.
  """
  options = shared.options
  if shared.in_own_process:
    host_devices.set_up(
      options.num_devices, shared.config['agent']['algorithm']['num_tasks']
    )
  checkpoint = None
  if shared.checkpoint is not None:
    checkpoint = checkpointing.load(shared.checkpoint)
  parts = agent_parts.make(
    shared,
    'train',
    stop.is_set,
    options.learner_device.jax_devices(not shared.in_own_process),
  )
  records = run_records.RunRecords(
    parts.config,
    pathlib.Path(shared.directory),
    checkpoint,
    options.use_tensorboard,
  )
  with contextlib.closing(records):
    learner = _Learner(
      parts,
      reverb.Client(shared.address('replay')),
      remote.Remote(shared.address('counter'), stop.is_set),
      shared.counts,
      records,
      checkpoint,
    )
    functions = {
      'get_variables': learner.get_variables,
      'take_evaluation': learner.evaluations.take,
      'report_evaluation': learner.evaluations.report,
    }
    with serving.serve(functions, shared.port('learner'), options.local_only):
      learner.run(
        stop,
        tables.iterations(shared.directory, tables.EVALUATION_CSV),
      )
  is_done = learner.iteration >= parts.config.num_iterations
  shared.session.report(
    session_lib.DONE if is_done else session_lib.STOPPED,
    f'after iteration {learner.iteration}',
  )


class _WatchedBatches:
  """Passes meta-batches on; tells what was in them, and how long they took."""

  def __init__(self, batches: Iterator[reverb.ReplaySample], reuse: int):
    self._batches = batches
    self._reuse = reuse
    self._data = []
    self._seconds = 0.0

  def __iter__(self) -> Iterator[reverb.ReplaySample]:
    return self

  def __next__(self) -> reverb.ReplaySample:
    start = time.perf_counter()
    batch = next(self._batches)
    self._seconds += time.perf_counter() - start
    self._data.append(batch.data)
    return batch

  def take(self) -> tuple[int, dict[str, float], float]:
    """Of what came since the last call.

    Returns:
      Environment steps, mean returns by stage, and seconds of waiting.
    """
    fresh = [data.stages for data in self._data[:: self._reuse]]
    masks = np.concatenate([stages.mask for stages in fresh])
    rewards = np.concatenate([stages.reward for stages in fresh])
    # [G, K+1, B, T] -> [K+1]
    returns = (rewards * masks).sum(axis=3).mean(axis=(0, 2))
    seconds, self._seconds, self._data = self._seconds, 0.0, []
    return (
      int(masks.sum()),
      {f'return_{stage}': float(x) for stage, x in enumerate(returns)},
      seconds,
    )


class _Learner:
  """The loop around the agent's learner.

  Attributes:
    evaluations: that it asks for.
    iteration: how many iterations are done.
  """

  def __init__(
    self,
    parts: agent_parts.Parts,
    client: reverb.Client,
    counter: remote.Remote,
    counts: Mapping[str, int],
    records: run_records.RunRecords,
    checkpoint: checkpointing.Checkpoint | None,
  ):
    self._config: run_config.RunConfig = parts.config
    self._counter = counter
    self._last_counts = dict(counts)
    self._records = records
    self._batches = _WatchedBatches(
      parts.builder.make_dataset_iterator(client), parts.config.agent.reuse
    )
    self._rows = tables.RowCollector()
    self._learner = parts.builder.make_learner(
      agent_trainer.Keys(parts.config.seed).learner,
      parts.networks,
      self._batches,
      lambda label: self._rows,
      parts.spec,
      client,
    )
    self.get_variables = self._learner.get_variables
    self.evaluations = evaluations.Evaluations(
      lambda request, returns: records.write_evaluation(
        returns,
        request.iteration,
        request.environment_steps,
        request.wall_seconds,
      )
    )
    self.iteration = 0
    self._environment_steps = 0
    if checkpoint is not None:
      self._learner.restore(
        checkpointing.restore_tree(self._learner.save(), checkpoint.arrays)
      )
      self.iteration = checkpoint.metadata['iteration']
      self._environment_steps = checkpoint.metadata['environment_steps']

  def run(self, stop: threading.Event, evaluated: Sequence[int]) -> None:
    """Iterates to the end, or until asked to stop; then saves.

    Args:
      stop: asks to stop.
      evaluated: iterations that need no evaluation any more.
    """
    config, records = self._config, self._records
    if self.iteration not in evaluated:
      self._evaluate_if_due()
    while self.iteration < config.num_iterations and not stop.is_set():
      try:
        row = self._iterate()
      except (StopIteration, remote.StoppedError):
        break  # Asked to stop while waiting for others.
      records.write(row)
      self._evaluate_if_due()
      if records.is_due(config.checkpoint_every, self.iteration):
        self._save()
    if self.iteration != records.saved_at:
      self._save()
    if config.eval_every:
      self.evaluations.wait(stop.is_set)
      records.draw()

  def _iterate(self) -> dict[str, Any]:
    """Learns from a meta-batch; returns a row of `learner.csv`."""
    start = time.perf_counter()
    # A step whose tasks are too old for an update writes no row.
    while len(self._rows.rows) < self._config.agent.reuse:
      self._learner.step()
    seconds = time.perf_counter() - start
    steps, returns, waited = self._batches.take()
    counts = self._counter.call('increment', iterations=1)
    self.iteration += 1
    self._environment_steps += steps
    learner_row = self._rows.take_mean()
    for name in ('steps', 'walltime'):
      learner_row.pop(name)
    return {
      'iteration': self.iteration,
      'environment_steps': self._environment_steps,
      **returns,
      'waiting_seconds': round(waited, 4),
      'learning_seconds': round(seconds - waited, 4),
      'num_diverged': counts.get('num_diverged', 0),
      **learner_row,
    }

  def _evaluate_if_due(self) -> None:
    if not self._records.is_due(self._config.eval_every, self.iteration):
      return
    (params,) = self.get_variables(['params'])
    self.evaluations.request(
      evaluations.Request(
        self.iteration,
        self._environment_steps,
        self._records.wall_seconds,
        params,
      )
    )

  def _save(self) -> None:
    counts = self._counts()
    trials = counts.get('trials', 0)
    (task_counts,) = self.get_variables(['task_counts'])
    metadata = {
      'iteration': self.iteration,
      'environment_steps': self._environment_steps,
      # What training on one machine goes on from.
      'environment': {
        'trial_index': trials,
        'num_diverged': counts.get('num_diverged', 0),
      },
      'actor': {'num_trials': trials},
      'counts': counts,
      'task_counts': {k: int(v) for k, v in task_counts._asdict().items()},
      'config': self._config.to_dict(),
    }
    self._records.save(self.iteration, self._learner.save(), metadata)

  def _counts(self) -> dict[str, int]:
    """Counts of all nodes; the last ones known once nobody answers."""
    try:
      self._last_counts = self._counter.call('get_counts')
    except remote.StoppedError:
      logging.warning('The counter does not answer any more.')
    return self._last_counts
