"""The learner of the program, which also keeps the records of the run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import pathlib
import threading
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from acme_metarl.agents.maml import replay
from acme_metarl.launchers.distributed import agent_parts, evaluations
from acme_metarl.launchers.distributed import peers as peers_lib
from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import (
  agent_trainer,
  checkpointing,
  host_devices,
  loop,
  progress,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import records as run_records


def run(
  shared: shared_lib.Shared, peers: peers_lib.Peers, stop: threading.Event
) -> None:
  """Learns until the end of the run, or until asked to stop, and saves.

  Raises:
    ValueError: if settings do not fit together or to the checkpoint.
    OSError: if something cannot be written; checkpoints are as they were.
  """
  options = shared.options
  if shared.in_own_process:
    host_devices.set_up(
      options.num_devices, shared.config['algorithm']['num_tasks']
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
  config = parts.config
  with contextlib.ExitStack() as stack:
    trainer = stack.enter_context(
      contextlib.closing(Trainer(parts, peers.replay(), peers, shared.counts))
    )
    if checkpoint is not None:
      trainer.restore([checkpoint])
    plan = run_config.Plan(config, pathlib.Path(shared.directory), checkpoint)
    records = stack.enter_context(
      contextlib.closing(run_records.RunRecords(plan, options.use_tensorboard))
    )
    shown = stack.enter_context(
      contextlib.closing(
        progress.Progress(config.num_iterations, trainer.iteration)
      )
    )

    def write_evaluation(request, played):
      records.write_evaluation(
        played,
        request.iteration,
        request.environment_steps,
        request.wall_seconds,
      )
      shown.say_evaluation(request.iteration, [played])

    desk = evaluations.Evaluations(write_evaluation)
    trainer.ask_for_evaluation = lambda params: desk.request(
      evaluations.Request(
        trainer.iteration,
        records.environment_steps,
        records.wall_seconds,
        params,
      )
    )
    functions = {
      'get_variables': trainer.get_variables,
      'take_evaluation': desk.take,
      'report_evaluation': desk.report,
    }
    with peers.serve(functions):
      loop.run(trainer, [records], shown, stop.is_set)
      if config.eval_every:
        desk.wait(stop.is_set)
        records.draw()
  is_done = trainer.iteration >= config.num_iterations
  shared.session.report(
    session_lib.DONE if is_done else session_lib.STOPPED,
    f'after iteration {trainer.iteration}',
  )


class _WatchedBatches:
  """Passes meta-batches on; tells what was in them, and how long they took."""

  def __init__(self, batches: Iterator[replay.Batch], reuse: int):
    self._batches = batches
    self._reuse = reuse
    self._data = []
    self._seconds = 0.0

  def __iter__(self) -> Iterator[replay.Batch]:
    return self

  def __next__(self) -> replay.Batch:
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


class Trainer:
  """The agent's learner, fed by other nodes: a `loop.Trainer`.

  Attributes:
    ask_for_evaluation: called with parameters that are to be evaluated.
    iteration: how many iterations are done.
  """

  def __init__(
    self,
    parts: agent_parts.Parts,
    client: Any,
    peers: peers_lib.Peers,
    counts: Mapping[str, int],
  ):
    """Makes a trainer.

    Args:
      parts: of the agent.
      client: of replay.
      peers: among them the counter of all nodes.
      counts: the last ones known.
    """
    self._reuse = parts.config.agent['reuse']
    self._peers = peers
    self._last_counts = dict(counts)
    self._batches = _WatchedBatches(
      parts.builder.make_dataset_iterator(client), self._reuse
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
    self.ask_for_evaluation: Callable[[Any], None] = lambda params: None
    self.iteration = 0
    self._environment_steps = 0
    self._done = self._learner.state

  def advance(self, most: int = 1) -> list[list[Mapping[str, Any]]]:
    """Learns from a meta-batch, see `loop.Trainer`."""
    del most
    start = time.perf_counter()
    try:
      # A step whose tasks are too old for an update writes no row.
      while len(self._rows.rows) < self._reuse:
        self._learner.step()
      seconds = time.perf_counter() - start
      steps, returns, waited = self._batches.take()
      counts = self._peers.call('counter', 'increment', iterations=1)
    except (StopIteration, peers_lib.StoppedError):
      return [[]]  # Asked to stop while waiting for others.
    self.iteration += 1
    self._environment_steps += steps
    self._done = self._learner.state
    learner_row = self._rows.take_mean()
    for name in ('steps', 'walltime'):
      learner_row.pop(name)
    row = {
      'iteration': self.iteration,
      'environment_steps': self._environment_steps,
      **returns,
      'waiting_seconds': round(waited, 4),
      'learning_seconds': round(seconds - waited, 4),
      'num_diverged': counts.get('num_diverged', 0),
      **learner_row,
    }
    return [[row]]

  def evaluate(self) -> None:
    """Asks the evaluator, which writes what comes of it."""
    (params,) = self.get_variables(['params'])
    self.ask_for_evaluation(params)

  def save(self) -> list[tuple[Any, dict[str, Any]]]:
    """The state after the last iteration, see `loop.Trainer`."""
    counts = self._counts()
    trials = counts.get('trials', 0)
    (task_counts,) = self.get_variables(['task_counts'])
    metadata = {
      'environment_steps': self._environment_steps,
      # What training on one machine goes on from.
      'environment': {
        'trial_index': trials,
        'num_diverged': counts.get('num_diverged', 0),
      },
      'actor': {'num_trials': trials},
      'counts': counts,
      'task_counts': {k: int(v) for k, v in task_counts._asdict().items()},
    }
    return [(jax.device_get(self._done), metadata)]

  def restore(self, checkpoints: Sequence[checkpointing.Checkpoint]) -> None:
    """Goes on where `save` was called, here or on one machine.

    Raises:
      ValueError: if the checkpoint is of another configuration.
    """
    (checkpoint,) = checkpoints
    self._learner.restore(
      checkpointing.restore_tree(self._learner.save(), checkpoint.arrays)
    )
    self.iteration = checkpoint.get('iteration')
    self._environment_steps = checkpoint.get('environment_steps')
    self._done = self._learner.state

  def _counts(self) -> dict[str, int]:
    """Counts of all nodes; the last ones known once nobody answers."""
    try:
      self._last_counts = self._peers.call('counter', 'get_counts')
    except peers_lib.StoppedError:
      logging.warning('The counter does not answer any more.')
    return self._last_counts

  def close(self) -> None:
    """Holds nothing but memory."""
