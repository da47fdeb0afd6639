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
from acme_metarl.launchers import (
  checkpointing,
  evaluation,
  outputs,
  run_config,
  run_logging,
  stopping,
)


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
    self._learner_rows = run_logging.RowCollector()
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
    wall_seconds = 0.0
    if checkpoint is not None:
      trainer.restore(checkpoint)
      wall_seconds = checkpoint.metadata['wall_seconds']
    outputs.write_json(directory / run_config.CONFIG_JSON, config.to_dict())
    resume_at = None if checkpoint is None else trainer.iteration
    with contextlib.closing(
      _Run(config, directory, trainer, wall_seconds, resume_at, use_tensorboard)
    ) as loop:
      return loop.train()


class _Run:
  """The loop around a trainer: tables, evaluations, checkpoints, pictures."""

  def __init__(
    self, config, directory, trainer, wall_seconds, resume_at, use_tensorboard
  ):
    self._config = config
    self._directory = directory
    self._trainer = trainer
    self._start = time.monotonic() - wall_seconds
    self._checkpointer = checkpointing.Checkpointer(
      directory / run_config.CHECKPOINTS
    )
    self._saved_at = resume_at
    self._learner_log = run_logging.learner_log(
      directory, resume_at, use_tensorboard
    )
    self._evaluation_log = run_logging.evaluation_log(
      directory, resume_at, use_tensorboard
    )
    self._progress = run_logging.Progress(
      config.num_iterations, trainer.iteration
    )

  def train(self) -> bool:
    """Iterates until the end, or until asked to stop."""
    trainer, config = self._trainer, self._config
    stop = stopping.StopRequest()
    with stop.listening():
      if not trainer.iteration:
        self._evaluate()
      while trainer.iteration < config.num_iterations and not stop:
        row = trainer.iterate()
        row = {'iteration': row.pop('iteration'), **row}
        row['wall_seconds'] = round(self._wall_seconds, 3)
        self._learner_log.write(row)
        self._progress.advance(row)
        if self._is_due(config.eval_every):
          self._evaluate()
        if self._is_due(config.checkpoint_every) or stop:
          self._save()
      # Where there was nothing left to do, all is as it was.
      if trainer.iteration != self._saved_at:
        self._save()
    if stop:
      self._progress.say(
        f'Stopped by {stop.signal_name} after iteration {trainer.iteration}, '
        'and saved; --resume goes on from here.'
      )
    return trainer.iteration >= config.num_iterations

  def close(self) -> None:
    self._progress.close()
    self._learner_log.close()
    self._evaluation_log.close()

  @property
  def _wall_seconds(self) -> float:
    return time.monotonic() - self._start

  def _is_due(self, every: int) -> bool:
    iteration = self._trainer.iteration
    is_last = iteration == self._config.num_iterations
    return every > 0 and (iteration % every == 0 or is_last)

  def _evaluate(self) -> None:
    if not self._config.eval_every:
      return
    rows = run_logging.evaluation_rows(
      self._trainer.evaluate(),
      self._trainer.iteration,
      self._trainer.environment_steps,
      self._wall_seconds,
    )
    for row in rows:
      self._evaluation_log.write(row)
    self._progress.say_evaluation(
      self._trainer.iteration, [row['return_mean'] for row in rows]
    )

  def _save(self) -> None:
    arrays, metadata = self._trainer.save()
    metadata['wall_seconds'] = round(self._wall_seconds, 3)
    self._checkpointer.save(self._trainer.iteration, arrays, metadata)
    self._saved_at = self._trainer.iteration
    title = f'{self._config.algorithm}, {self._config.environment}'
    run_logging.write_curves(self._directory, title.replace('_', ' '))
