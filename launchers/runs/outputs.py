"""Files that launchers write: whole or not at all.

A file is written beside its target and then renamed. A full disk, or an end in
the middle, leaves what was there before.
"""

from collections.abc import Sequence
import contextlib
import csv
import io
import itertools
import json
import math
import os
import pathlib
import sys
import tempfile
from typing import Any


class CannotWriteError(OSError):
  """A file of ours cannot be written; what was written before is intact."""


@contextlib.contextmanager
def writing():
  """Says of an `OSError` inside that it came from writing."""
  try:
    yield
  except OSError as error:
    raise CannotWriteError(*error.args) from error


def show(text: str) -> None:
  """Prints it all; a reader that has seen enough (`| head`) is no failure."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # Else Python flushes once more when it ends, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def writable_directory(path: str | os.PathLike[str]) -> pathlib.Path:
  """Makes the directory if need be, and proves that it can be written to.

  Args:
    path: of the directory; `~` is the home directory.

  Returns:
    The path.

  Raises:
    ValueError: with a sentence for the user, if nothing can be written there.
  """
  directory = pathlib.Path(path).expanduser()
  try:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
      file.write(b'?')
      file.flush()
  except OSError as error:
    raise ValueError(
      f'cannot write to the output directory {str(directory)!r} '
      f'({error.strerror}); choose another one.'
    ) from error
  return directory


def write(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes a file atomically; an `OSError` leaves the old one as it was."""
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    with open(temporary, 'wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Writes JSON atomically; numbers that are not finite become `null`."""
  text = json.dumps(_finite(value), indent=2, allow_nan=False)
  write(path, f'{text}\n'.encode())


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_csv(
  path: str | os.PathLike[str], rows: Sequence[dict[str, Any]]
) -> None:
  """Writes rows atomically, below a header of all the keys that they have.

  Numbers that are not finite, and keys that a row lacks, become empty cells.
  """
  buffer = io.StringIO()
  columns = dict.fromkeys(itertools.chain.from_iterable(rows))
  writer = csv.DictWriter(buffer, list(columns), lineterminator='\n')
  writer.writeheader()
  writer.writerows(_finite(list(rows)))
  write(path, buffer.getvalue().encode())


def write_figure(path: str | os.PathLike[str], figure: Any) -> None:
  """Writes a Matplotlib figure as PNG, atomically."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png')
  write(path, buffer.getvalue())
