"""Training on one machine: act, insert, sample, learn, in turn."""

import contextlib
import pathlib
import time
from typing import Any

import acme
from acme import specs
from acme.utils import loggers
import jax
import numpy as np

from acme_metarl.agents import maml
from acme_metarl.agents.maml import replay
from acme_metarl.launchers.runs import (
  checkpointing,
  evaluation,
  stopping,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import records as run_records


class Keys:
  """Random keys of a run, by purpose; all from its seed."""

  def __init__(self, seed: int):
    self.learner, self.actor, self.evaluation = jax.random.split(
      jax.random.PRNGKey(seed), 3
    )


class Trainer:
  """All parts of a run in one process.

  Between two calls of `iterate` replay is empty, and `save` holds everything
  that the next one depends on.

  Attributes:
    environment: of training.
    actor: acts in it.
    learner: learns.
    iteration: how many iterations are done.
    environment_steps: how many steps they took, frozen rollouts not counted.
  """

  def __init__(self, config: run_config.RunConfig):
    """Makes the parts; `close` them."""
    self._config = config
    keys = Keys(config.seed)
    builder = maml.MAMLBuilder(config.agent)
    self.environment = config.trial_environment('train')
    spec = specs.make_environment_spec(self.environment)
    networks = maml.make_networks(spec, config.agent.algorithm)
    policy = builder.make_policy(networks, spec)
    self._resources = contextlib.ExitStack()
    self._resources.callback(self.environment.close)
    client = self._resources.enter_context(
      replay.serve(builder.make_replay_tables(spec, policy))
    )
    self._learner_rows = tables.RowCollector()
    self.learner = builder.make_learner(
      keys.learner,
      networks,
      builder.make_dataset_iterator(client),
      lambda label: self._learner_rows,
      spec,
      client,
    )
    self.actor = builder.make_actor(
      keys.actor,
      policy,
      spec,
      self.learner,
      builder.make_adder(client, spec, policy),
    )
    self._returns = maml.TrialReturns()
    self._loop = acme.EnvironmentLoop(
      self.environment,
      self.actor,
      logger=loggers.NoOpLogger(),
      observers=[self._returns],
    )
    evaluation_environment = config.trial_environment('evaluation')
    self._resources.callback(evaluation_environment.close)
    self._evaluator = evaluation.Evaluator(
      evaluation_environment,
      builder,
      policy,
      self.learner,
      keys.evaluation,
    )
    self.iteration = 0
    self.environment_steps = 0

  def iterate(self) -> dict[str, Any]:
    """Plays one trial and learns from it; returns a row of `learner.csv`."""
    start = time.perf_counter()
    self._loop.run_episode()
    acted = time.perf_counter()
    for _ in range(self._config.agent.reuse):
      self.learner.step()
    learned = time.perf_counter()
    self.iteration += 1
    metrics = self._returns.get_metrics()
    self.environment_steps += metrics.pop('environment_steps')
    learner_row = self._learner_rows.take_mean()
    for name in ('steps', 'walltime'):
      learner_row.pop(name)
    return {
      'iteration': self.iteration,
      'environment_steps': self.environment_steps,
      **metrics,
      'acting_seconds': round(acted - start, 4),
      'learning_seconds': round(learned - acted, 4),
      'num_diverged': self.environment.num_diverged,
      **learner_row,
    }

  def evaluate(self, trial_index: int | None = None) -> np.ndarray:
    """Plays a trial of the evaluation stream.

    Args:
      trial_index: says which tasks are drawn; new ones at every iteration if
        not given.

    Returns:
      `[G, K+1, B]` undiscounted returns.
    """
    return self._evaluator.play(
      self.iteration if trial_index is None else trial_index
    )

  def save(self) -> tuple[Any, dict[str, Any]]:
    """Returns arrays, and what JSON can hold."""
    return self.learner.save(), {
      'iteration': self.iteration,
      'environment_steps': self.environment_steps,
      'environment': self.environment.save(),
      'actor': self.actor.save(),
      'config': self._config.to_dict(),
    }

  def restore(self, checkpoint: checkpointing.Checkpoint) -> None:
    """Goes on where `save` was called.

    Raises:
      ValueError: if the checkpoint is of another configuration.
    """
    self.learner.restore(
      checkpointing.restore_tree(self.learner.save(), checkpoint.arrays)
    )
    metadata = checkpoint.metadata
    self.iteration = metadata['iteration']
    self.environment_steps = metadata['environment_steps']
    self.environment.restore(metadata['environment'])
    self.actor.restore(metadata['actor'])

  def close(self) -> None:
    self._resources.close()


def run(
  config: run_config.RunConfig,
  directory: pathlib.Path,
  checkpoint: checkpointing.Checkpoint | None = None,
  use_tensorboard: bool = False,
) -> bool:
  """Trains, and writes everything under the directory.

  Args:
    config: of the run.
    directory: that can be written to.
    checkpoint: goes on from there; tables lose rows that are newer.
    use_tensorboard: whether the tables go to TensorBoard as well.

  Returns:
    Whether the run came to its end, and was not stopped before.

  Raises:
    ValueError: if settings do not fit together or to the checkpoint.
    OSError: if something cannot be written; checkpoints are as they were.
  """
  with contextlib.closing(Trainer(config)) as trainer:
    if checkpoint is not None:
      trainer.restore(checkpoint)
    with contextlib.closing(
      run_records.RunRecords(config, directory, checkpoint, use_tensorboard)
    ) as records:
      return _train(config, trainer, records)


def _train(
  config: run_config.RunConfig,
  trainer: Trainer,
  records: run_records.RunRecords,
) -> bool:
  """Iterates until the end, or until asked to stop."""
  stop = stopping.StopRequest()

  def evaluate():
    if config.eval_every:
      records.write_evaluation(
        trainer.evaluate(),
        trainer.iteration,
        trainer.environment_steps,
        records.wall_seconds,
      )

  with stop.listening():
    # A new run begins with an evaluation of the untrained policy.
    if records.saved_at is None:
      evaluate()
    while trainer.iteration < config.num_iterations and not stop:
      records.write(trainer.iterate())
      if records.is_due(config.eval_every, trainer.iteration):
        evaluate()
      if records.is_due(config.checkpoint_every, trainer.iteration) or stop:
        records.save(trainer.iteration, *trainer.save())
    # Where there was nothing left to do, all is as it was.
    if trainer.iteration != records.saved_at:
      records.save(trainer.iteration, *trainer.save())
  if stop:
    records.say(
      f'Stopped by {stop.signal_name} after iteration {trainer.iteration}, '
      'and saved; --resume goes on from here.'
    )
  return trainer.iteration >= config.num_iterations
