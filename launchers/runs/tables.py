"""The tables of a run: written row by row, resumed, read."""

from collections.abc import Collection, Mapping, Sequence
import contextlib
import csv
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from acme_metarl.launchers.runs import columns as columns_lib
from acme_metarl.launchers.runs import outputs
from acme_metarl.launchers.runs import played as played_lib

LEARNER_CSV = 'learner.csv'
EVALUATION_CSV = 'evaluation.csv'
# Where tasks fall into classes: `evaluation.csv` for each of them.
CLASSES_CSV = 'evaluation_classes.csv'
# A row for each task, from which runs on the same tasks are told apart.
TASKS_CSV = 'evaluation_tasks.csv'
# Of a run, each with a column `iteration`.
TABLES = (LEARNER_CSV, EVALUATION_CSV, CLASSES_CSV, TASKS_CSV)
_TASK_CLASS = 'task_class'
EVALUATION_COLUMNS = (
  'iteration',
  'environment_steps',
  'wall_seconds',
  'num_inner_steps_taken',
  'return_mean',
  'return_stderr',
)
# What a row of a class of tasks has besides.
CLASS_COLUMNS = {_TASK_CLASS: str, 'num_tasks': int}
# What a row of `evaluation_tasks.csv` has.
TASK_COLUMNS = {'task': int, 'return': float}
# Of a rollout that succeeded in any of its steps 1, as environments report it.
SUCCESS = 'success_ever'
TENSORBOARD = 'tensorboard'


class CSVLogger:
  """A table that survives its run: it is flushed row by row, and resumed.

  (Acme's own says of itself that it does not support pre-emption, and sorts
  its columns.) Columns are those of the first row; later rows may lack some.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    resume_at: int | None = None,
    only: Collection[int] | None = None,
  ):
    """Opens a table.

    Args:
      path: of the file.
      columns: of the table; those of the first row if not given.
      resume_at: keeps the rows that the file has up to this iteration; None
        starts it anew.
      only: and of these only those; None for all of them.
    """
    self._path = pathlib.Path(path)
    rows = []
    if resume_at is not None and self._path.exists():
      found = _rows_of_iterations(self._path)
      if not self._path.read_bytes().endswith(b'\n'):
        found = found[:-1]  # Its last number may be half of one.
      rows = [
        row
        for row in found
        if _is_whole(row)
        and int(row['iteration']) <= resume_at
        and (only is None or int(row['iteration']) in only)
      ]
    if rows:
      columns = list(rows[0])
      outputs.write_csv(self._path, rows)
    self._columns = list(columns) if columns else None
    self._file = open(
      self._path, 'a' if rows else 'w', newline='', encoding='utf-8'
    )
    self._writer = None
    self._left_out: set[str] = set()
    if rows:
      self._writer = self._make_writer()

  def write(self, data: Mapping[str, Any]) -> None:
    if self._writer is None:
      self._columns = self._columns or list(data)
      self._writer = self._make_writer()
      self._writer.writeheader()
      columns_lib.write(self._path.parent, self._path.name, self._columns)
    left_out = set(data) - set(self._columns or ()) - self._left_out
    if left_out:
      self._left_out |= left_out
      logging.warning(
        '%s has no columns for %s, which its first row had not.',
        self._path,
        ', '.join(sorted(left_out)),
      )
    self._writer.writerow(dict(data))
    self._file.flush()

  def close(self) -> None:
    self._file.close()

  def _make_writer(self) -> csv.DictWriter:
    return csv.DictWriter(
      self._file,
      self._columns,
      restval='',
      extrasaction='ignore',
      lineterminator='\n',
    )


class RowCollector:
  """Keeps what was written last, for who puts rows together."""

  def __init__(self):
    self.rows: list[dict[str, Any]] = []

  def write(self, data: Mapping[str, Any]) -> None:
    self.rows.append(dict(data))

  def take_mean(self) -> dict[str, Any]:
    """Returns the mean of the rows since the last call, and drops them."""
    rows, self.rows = self.rows, []
    if len(rows) == 1:
      return rows[0]
    return {name: np.mean([row[name] for row in rows]) for name in rows[0]}

  def close(self) -> None:
    pass


class _EventFiles:
  """Curves of a table's columns in the event files of TensorBoard."""

  def __init__(self, directory: pathlib.Path, resume_at: int | None):
    # Imported for who asks for it.
    import tensorboardX

    self._writer = tensorboardX.SummaryWriter(
      str(directory / TENSORBOARD),
      purge_step=None if resume_at is None else resume_at + 1,
    )

  def write(self, label: str, row: Mapping[str, Any]) -> None:
    """Adds a row, each number under `label/COLUMN`.

    Numbers of evaluations are told apart by the number of adaptation steps,
    `evaluation/return_mean_0`, and by the class of the tasks,
    `evaluation/push/return_mean_0`.
    """
    suffix = ''
    if 'num_inner_steps_taken' in row:
      suffix = f'_{row["num_inner_steps_taken"]}'
    if _TASK_CLASS in row:
      label = f'evaluation/{row[_TASK_CLASS]}'
    for name, value in row.items():
      if name in ('iteration', 'num_inner_steps_taken', _TASK_CLASS):
        continue
      is_shared = name in ('environment_steps', 'wall_seconds', 'num_tasks')
      self._writer.add_scalar(
        f'{label}/{name}{"" if is_shared else suffix}', value, row['iteration']
      )
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


class RunLog:
  """The tables of a run and, if asked for, event files."""

  def __init__(
    self,
    directory: pathlib.Path,
    resume_at: int | None,
    use_tensorboard: bool,
  ):
    """Opens them.

    Args:
      directory: of the run.
      resume_at: keeps the rows up to this iteration; None starts anew.
      use_tensorboard: whether event files are written.
    """
    # An evaluation that was interrupted is made again.
    whole = set(iterations(directory, EVALUATION_CSV))
    self._tables = {
      'learner': CSVLogger(directory / LEARNER_CSV, None, resume_at),
      'evaluation': CSVLogger(directory / EVALUATION_CSV, None, resume_at),
      'tasks': CSVLogger(directory / TASKS_CSV, None, resume_at, whole),
    }
    self._open_classes = lambda: CSVLogger(
      directory / CLASSES_CSV, None, resume_at, whole
    )
    if resume_at is not None and (directory / CLASSES_CSV).exists():
      self._tables['classes'] = self._open_classes()
    self._events = None
    if use_tensorboard:
      self._events = _EventFiles(directory, resume_at)

  def write(self, label: str, row: Mapping[str, Any]) -> None:
    """Adds a row to the table `label`: learner, evaluation, classes, tasks."""
    if label == 'classes' and label not in self._tables:
      self._tables[label] = self._open_classes()
    self._tables[label].write(row)
    if self._events is not None and label != 'tasks':
      self._events.write(label, row)

  def close(self) -> None:
    with contextlib.ExitStack() as stack:
      for part in (*self._tables.values(), self._events):
        if part is not None:
          stack.callback(part.close)


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
  """Reads a table as text, with or without a byte-order mark.

  Raises:
    ValueError: if that is no table.
    OSError: if it cannot be read.
  """
  try:
    with open(path, newline='', encoding='utf-8-sig') as file:
      return list(csv.DictReader(file))
  except (csv.Error, UnicodeDecodeError) as error:
    raise ValueError(f'{path} is no table ({error}); move it away.') from error


def iterations(
  directory: str | os.PathLike[str], table: str = LEARNER_CSV
) -> list[int]:
  """Iterations that a table of a run has rows of, in their order."""
  path = pathlib.Path(directory) / table
  rows = _rows_of_iterations(path) if path.exists() else []
  found = [_as_int(row['iteration']) for row in rows]
  return [iteration for iteration in found if iteration is not None]


def _rows_of_iterations(path: pathlib.Path) -> list[dict[str, str]]:
  rows = read_csv(path)
  if rows and 'iteration' not in rows[0]:
    raise ValueError(f'{path} has no column iteration; move it away.')
  return rows


def evaluation_rows(
  played: played_lib.Played,
  iteration: int,
  environment_steps: int,
  wall_seconds: float,
) -> list[dict[str, Any]]:
  """Rows of `evaluation.csv`: its columns, then what else was reported."""
  when = {
    'iteration': iteration,
    'environment_steps': environment_steps,
    'wall_seconds': round(wall_seconds, 3),
  }
  return [{**when, **stage} for stage in played.stages()]


def class_rows(
  played: played_lib.Played,
  iteration: int,
  environment_steps: int,
  wall_seconds: float,
) -> list[dict[str, Any]]:
  """The same for each class of tasks, rows of `evaluation_classes.csv`."""
  parts = {name: played.of_class(name) for name in played.class_names}
  return [
    {**row, _TASK_CLASS: name, 'num_tasks': len(part.returns)}
    for name, part in parts.items()
    for row in evaluation_rows(part, iteration, environment_steps, wall_seconds)
  ]


def task_rows(
  played: played_lib.Played, iteration: int
) -> list[dict[str, Any]]:
  """A row for each task and stage, rows of `evaluation_tasks.csv`."""
  return [{'iteration': iteration, **row} for row in played.tasks()]


def columns(path: pathlib.Path) -> dict[str, np.ndarray]:
  """A table's columns of numbers; none where there is none yet."""
  rows = read_csv(path) if path.exists() else []
  if not rows:
    return {}
  return {
    name: np.array([float(row[name] or 'nan') for row in rows])
    for name in rows[0]
  }


def _is_whole(row: Mapping[str | None, str | None]) -> bool:
  """Whether a row has as many cells as columns, all of them numbers."""
  if (
    None in row or None in row.values() or _as_int(row.get('iteration')) is None
  ):
    return False
  try:
    return all(
      float(cell or 'nan') is not None
      for name, cell in row.items()
      if name != _TASK_CLASS
    )
  except ValueError:
    return False


def _as_int(text: str | None) -> int | None:
  try:
    return int(text)
  except (TypeError, ValueError):
    return None
