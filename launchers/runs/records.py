"""What the loop of a run keeps under its log directory as it goes."""

from collections.abc import Mapping
import gc
import pathlib
import time
from typing import Any

import numpy as np

from acme_metarl import types
from acme_metarl.launchers.runs import checkpointing, outputs, tables
from acme_metarl.launchers.runs import config as run_config


class RunRecords:
  """Configuration, tables, checkpoints, pictures and the progress bar.

  Attributes:
    saved_at: iteration of the newest checkpoint, or None.
  """

  def __init__(
    self,
    config: run_config.RunConfig,
    directory: pathlib.Path,
    checkpoint: checkpointing.Checkpoint | None = None,
    use_tensorboard: bool = False,
  ):
    """Opens the tables; `close` them.

    Args:
      config: of the run.
      directory: that can be written to.
      checkpoint: the run goes on from there; tables lose rows that are newer.
      use_tensorboard: whether the tables go to TensorBoard as well.

    Raises:
      OSError: if something cannot be written.
    """
    self._config = config
    self._directory = directory
    self.saved_at = None if checkpoint is None else checkpoint.step
    wall_seconds = 0.0
    if checkpoint is not None:
      wall_seconds = checkpoint.metadata['wall_seconds']
    self._start = time.monotonic() - wall_seconds
    outputs.write_json(directory / run_config.CONFIG_JSON, config.to_dict())
    self._checkpointer = checkpointing.Checkpointer(
      directory / run_config.CHECKPOINTS
    )
    self._learner_log = tables.learner_log(
      directory, self.saved_at, use_tensorboard
    )
    self._evaluation_log = tables.evaluation_log(
      directory, self.saved_at, use_tensorboard
    )
    self._progress = tables.Progress(config.num_iterations, self.saved_at or 0)

  @property
  def wall_seconds(self) -> float:
    """Seconds of the whole run, what came before a resumption included."""
    return time.monotonic() - self._start

  def is_due(self, every: int, iteration: int) -> bool:
    """Whether what happens every so often, and at the end, happens now."""
    is_last = iteration == self._config.num_iterations
    return every > 0 and (iteration % every == 0 or is_last)

  def write(self, row: Mapping[str, Any]) -> None:
    """Adds a row to `learner.csv`."""
    row = {**row, 'wall_seconds': round(self.wall_seconds, 3)}
    self._learner_log.write(row)
    self._progress.advance(row)

  def write_evaluation(
    self,
    returns: np.ndarray,
    iteration: int,
    environment_steps: int,
    wall_seconds: float,
  ) -> None:
    """Adds the returns `[G, K+1, B]` of an iteration to `evaluation.csv`."""
    rows = tables.evaluation_rows(
      returns, iteration, environment_steps, wall_seconds
    )
    for row in rows:
      self._evaluation_log.write(row)
    self._progress.say_evaluation(
      iteration, [row['return_mean'] for row in rows]
    )

  def save(
    self, iteration: int, arrays: types.PyTree, metadata: Mapping[str, Any]
  ) -> None:
    """Writes a checkpoint, and the curves up to there.

    Raises:
      OSError: if they cannot be written; earlier checkpoints are as they were.
    """
    metadata = {**metadata, 'wall_seconds': round(self.wall_seconds, 3)}
    self._checkpointer.save(iteration, arrays, metadata)
    self.saved_at = iteration
    self.draw()

  def draw(self) -> None:
    """Draws `curves.png` anew."""
    title = f'{self._config.algorithm}, {self._config.environment}'
    tables.write_curves(self._directory, title.replace('_', ' '))
    # Else parts of figures, which refer to each other in circles, pile up to
    # 100 MB before Python looks for them.
    gc.collect()

  def say(self, text: str) -> None:
    """Prints a line without tearing the progress bar."""
    self._progress.say(text)

  def close(self) -> None:
    self._progress.close()
    self._learner_log.close()
    self._evaluation_log.close()
