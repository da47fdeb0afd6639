"""What a run keeps under its log directory as it goes."""

from collections.abc import Mapping
import gc
import json
import time
from typing import Any

from acme_metarl import types
from acme_metarl.launchers.runs import (
  checkpointing,
  curves,
  outputs,
  played,
  run_report,
  seals,
  seeds,
  tables,
  versions,
)
from acme_metarl.launchers.runs import config as run_config


class RunRecords:
  """Configuration, tables, checkpoints and pictures.

  Whatever cannot be written is an `outputs.CannotWriteError`, and leaves
  earlier checkpoints as they were.

  Attributes:
    config: of the run.
    saved_at: iteration of the newest checkpoint, or None.
    evaluated: iterations with rows in `evaluation.csv`.
    environment_steps: until the last row of `learner.csv`.
  """

  def __init__(self, plan: run_config.Plan, use_tensorboard: bool = False):
    """Opens the tables; `close` them.

    Args:
      plan: the run; tables lose rows that are newer than its checkpoint.
      use_tensorboard: whether the tables go to TensorBoard as well.

    Raises:
      ValueError: if the checkpoint lacks something, or a table is none.
    """
    self.config, self._directory, checkpoint = plan
    self.saved_at = None
    self.environment_steps = 0
    wall_seconds = 0.0
    if checkpoint is not None:
      self.saved_at = checkpoint.step
      self.environment_steps = int(checkpoint.number('environment_steps'))
      wall_seconds = float(checkpoint.number('wall_seconds'))
      _check_keys(checkpoint)
      for name, seal in checkpoint.metadata.get('tables', {}).items():
        seals.check_table(self._directory / name, seal)
      # Before anything is written, lest one be changed and the other refused.
      for name in tables.TABLES:
        tables.iterations(self._directory, name)
    self._start = time.monotonic() - wall_seconds
    self._checkpointer = checkpointing.Checkpointer(
      self._directory / run_config.CHECKPOINTS
    )
    with outputs.writing():
      self._directory.mkdir(parents=True, exist_ok=True)
      self._write_config()
      self._log = tables.RunLog(self._directory, self.saved_at, use_tensorboard)
    self.evaluated = set(
      tables.iterations(self._directory, tables.EVALUATION_CSV)
    )

  @property
  def wall_seconds(self) -> float:
    """Seconds of the whole run, what came before a resumption included."""
    return time.monotonic() - self._start

  def _write_config(self) -> None:
    """Writes `config.json`: settings, and the commands that made the run."""
    path = self._directory / run_config.CONFIG_JSON
    made_by = []
    if self.saved_at is not None and path.exists():
      try:
        old = json.loads(path.read_text(encoding='utf-8'))
        made_by = [dict(one) for one in old.get(run_config.MADE_BY, [])]
      except (AttributeError, TypeError, ValueError):
        pass  # The checkpoint has the settings.
    settings = self.config.to_dict()
    seal = {run_config.SEAL: seals.of_values(settings)}
    entry = {**versions.entry(), **seal}
    # The last one's checksum is that of the settings.
    made_by = [old for old in made_by if {**old, **seal} != entry]
    outputs.write_json(
      path, {**settings, run_config.MADE_BY: [*made_by, entry]}
    )

  def write(self, row: Mapping[str, Any]) -> None:
    """Adds a row to `learner.csv`."""
    row = {**row, 'wall_seconds': round(self.wall_seconds, 3)}
    self.environment_steps = row['environment_steps']
    with outputs.writing():
      self._log.write('learner', row)

  def write_evaluation(
    self,
    evaluation: played.Played,
    iteration: int,
    environment_steps: int,
    wall_seconds: float,
  ) -> None:
    """Adds what came of an evaluation to `evaluation.csv`.

    Its tasks one by one go to `evaluation_tasks.csv`, and, where they fall into
    classes, those to `evaluation_classes.csv`.
    """
    when = (iteration, environment_steps, wall_seconds)
    with outputs.writing():
      for row in tables.task_rows(evaluation, iteration):
        self._log.write('tasks', row)
      for row in tables.class_rows(evaluation, *when):
        self._log.write('classes', row)
      for row in tables.evaluation_rows(evaluation, *when):
        self._log.write('evaluation', row)
    self.evaluated.add(iteration)

  def save(
    self, iteration: int, arrays: types.PyTree, metadata: Mapping[str, Any]
  ) -> None:
    """Writes a checkpoint, and the curves up to there."""
    metadata = {
      **metadata,
      'iteration': iteration,
      'wall_seconds': round(self.wall_seconds, 3),
      'key_kind': seeds.key_kind(),
      'tables': {
        name: seals.of_table(self._directory / name)
        for name in tables.TABLES
        if (self._directory / name).exists()
      },
      'config': self.config.to_dict(),
    }
    with outputs.writing():
      self._checkpointer.save(iteration, arrays, metadata)
    self.saved_at = iteration
    self.draw()

  def draw(self) -> None:
    """Draws `curves.png`, and writes `report.html`, anew."""
    with outputs.writing():
      curves.draw(self._directory, self.config)
      run_report.write(self._directory, self.config)
    # Else parts of figures, which refer to each other in circles, pile up to
    # 100 MB before Python looks for them.
    gc.collect()

  def close(self) -> None:
    # A row that did not fit on a full disk is tried once more here.
    with outputs.writing():
      self._log.close()


def _check_keys(checkpoint: checkpointing.Checkpoint) -> None:
  """Refuses to go on with random keys of another kind.

  Raises:
    ValueError: if JAX makes others now.
  """
  kind = checkpoint.metadata.get('key_kind', 'threefry2x32')
  if kind != seeds.key_kind():
    raise ValueError(
      f'resume: the run has random keys of kind {kind}, and JAX makes those of '
      f'{seeds.key_kind()} now; set JAX_DEFAULT_PRNG_IMPL={kind}.'
    )
