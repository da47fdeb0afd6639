"""The loop of every run: iterate, evaluate, save, log, stop."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from typing import Any, Protocol

from absl import logging

from acme_metarl import types
from acme_metarl.launchers.runs import (
  checkpointing,
  outputs,
  played,
  progress,
  records,
  stopping,
)
from acme_metarl.launchers.runs import config as run_config


class Trainer(Protocol):
  """What is trained: one run, or several that go in step.

  Lists have an entry for each of the runs.

  Attributes:
    iteration: how many iterations are done.
  """

  iteration: int

  def advance(self, most: int) -> list[list[Mapping[str, Any]]]:
    """Iterates, at most so often and at least once.

    Returns:
      For each run its new rows of `learner.csv`; none if asked to stop while
      waiting for others.
    """

  def evaluate(self) -> list[played.Played] | None:
    """Plays on tasks drawn anew.

    Returns:
      For each run what came of it; None if somebody else plays, and writes it.
    """

  def save(self) -> list[tuple[types.PyTree, Mapping[str, Any]]]:
    """What `restore` needs: arrays, and what JSON can hold.

    It is that of the last iteration that was done, whatever was begun since.
    """

  def restore(self, checkpoints: Sequence[checkpointing.Checkpoint]) -> None:
    """Goes on where `save` was called.

    Raises:
      ValueError: if the checkpoints are not of this configuration.
    """

  def close(self) -> None:
    """Frees what it holds."""


def train(
  make_trainer: Callable[[], Trainer],
  plans: Sequence[run_config.Plan],
  use_tensorboard: bool = False,
) -> bool:
  """Trains in this process, and writes everything under the directories.

  Args:
    make_trainer: makes what is trained.
    plans: the runs, all at the same iteration.
    use_tensorboard: whether the tables go to TensorBoard as well.

  Returns:
    Whether the runs came to their end, and were not stopped before.

  Raises:
    ValueError: if settings do not fit together or to the checkpoints.
    OSError: if something cannot be written; checkpoints are as they were.
  """
  with contextlib.ExitStack() as stack:
    trainer = stack.enter_context(contextlib.closing(make_trainer()))
    if plans[0].checkpoint is not None:
      trainer.restore([plan.checkpoint for plan in plans])
    members = [
      stack.enter_context(
        contextlib.closing(records.RunRecords(plan, use_tensorboard))
      )
      for plan in plans
    ]
    num_iterations = plans[0].config.num_iterations
    shown = stack.enter_context(
      contextlib.closing(progress.Progress(num_iterations, trainer.iteration))
    )
    # While it compiles there is nothing to save, and Python hears no signals.
    stop = stack.enter_context(
      stopping.StopRequest(lambda: shown.is_compiling).listening()
    )
    run(trainer, members, shown, lambda: bool(stop))
    if stop:
      shown.say(
        f'Stopped by {stop.signal_name} after iteration {trainer.iteration}, '
        'and saved; --resume goes on from here.'
      )
    return trainer.iteration >= num_iterations


def run(
  trainer: Trainer,
  members: Sequence[records.RunRecords],
  shown: progress.Progress,
  should_stop: Callable[[], bool],
) -> None:
  """Iterates until the end, or until asked to stop; then saves.

  A run is evaluated, and saved, at multiples of its intervals and at its end,
  and evaluated before its first iteration. One that ended and is extended goes
  on at those multiples. When something fails that was not writing, what was
  done is saved before it is raised.

  Args:
    trainer: what is trained.
    members: what each of the runs keeps.
    shown: says how far they are.
    should_stop: asked between iterations.
  """
  config, first = members[0].config, members[0]

  def save():
    for member, state in zip(members, trainer.save(), strict=True):
      if member.saved_at != trainer.iteration:
        member.save(trainer.iteration, *state)

  def evaluate_if_due():
    every, iteration = config.eval_every, trainer.iteration
    # One that went lost is made up for.
    lacking = [iteration not in member.evaluated for member in members]
    if not _is_due(every, config, iteration) or not any(lacking):
      return
    evaluations = trainer.evaluate()
    if evaluations is None:
      return
    for member, of_member, is_lacking in zip(
      members, evaluations, lacking, strict=True
    ):
      if is_lacking:
        member.write_evaluation(
          of_member, iteration, member.environment_steps, member.wall_seconds
        )
    shown.say_evaluation(iteration, evaluations)

  def iterate():
    evaluate_if_due()
    while trainer.iteration < config.num_iterations and not should_stop():
      rows = trainer.advance(_until_due(config, trainer.iteration))
      if not rows[0]:
        break
      for member, of_member in zip(members, rows, strict=True):
        for row in of_member:
          member.write(row)
      shown.advance(rows[0][-1], len(rows[0]))
      evaluate_if_due()
      if _is_due(config.checkpoint_every, config, trainer.iteration):
        save()

  try:
    iterate()
  except outputs.CannotWriteError:
    raise
  except Exception:
    if trainer.iteration > (first.saved_at or 0):
      _try(save)
    raise
  # Where there was nothing left to do, all is as it was.
  save()


def _is_due(every: int, config: run_config.RunConfig, iteration: int) -> bool:
  """Whether what happens every so often, and at the end, happens now."""
  is_last = iteration == config.num_iterations
  return every > 0 and (iteration % every == 0 or is_last)


def _until_due(config: run_config.RunConfig, iteration: int) -> int:
  """Iterations until something has to be done besides."""
  gaps = [config.num_iterations - iteration]
  for every in (config.eval_every, config.checkpoint_every):
    if every:
      gaps.append(every - iteration % every)
  return min(gaps)


def _try(save: Callable[[], None]) -> None:
  """Saves what can be saved; what is being raised matters more."""
  try:
    save()
  except Exception:
    logging.exception('And what was done since the last checkpoint is lost:')
