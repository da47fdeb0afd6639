"""Log directories: whose they are, and how they are called by default."""

from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import socket

from absl import logging

from acme_metarl.launchers.runs import checkpointing, outputs, tables
from acme_metarl.launchers.runs import config as run_config

LOCK = '.lock'
_LONGEST_NAME = 120


class TakenError(ValueError):
  """Another run is, or was, in a directory."""


@contextlib.contextmanager
def claimed(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """Keeps a directory from all other runs; makes it if need be.

  The kernel gives it free as soon as this process, and every one that it
  forked, has ended, however that came.

  Args:
    directory: to write to.

  Yields:
    The directory.

  Raises:
    TakenError: if another process has it.
    ValueError: if it cannot be written to.
  """
  directory = outputs.writable_directory(directory)
  path = directory / LOCK
  with open(path, 'a+', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise TakenError(
        f'logdir: {_owner(path)} is writing to {str(directory)!r} at this '
        'moment; choose another directory, or wait for its end.'
      ) from None
    except OSError as error:  # Some network file systems.
      logging.warning('%s cannot be locked (%s).', directory, error)
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    try:
      yield directory
    finally:
      # The file stays: removing it would race with who opens it.
      file.truncate(0)


def _owner(path: pathlib.Path) -> str:
  with contextlib.suppress(OSError, UnicodeDecodeError):
    return path.read_text(encoding='utf-8') or 'another process'
  return 'another process'


def has_begun(directory: pathlib.Path) -> bool:
  """Whether a run left more there than its settings."""
  if checkpointing.Checkpointer(directory / run_config.CHECKPOINTS).paths():
    return True
  try:
    return bool(tables.read_csv(directory / tables.LEARNER_CSV))
  except ValueError:  # Damaged, which is more than nothing.
    return True
  except OSError:
    return False


def has_run(directory: pathlib.Path) -> bool:
  """Whether a run can go on there, if only from its beginning."""
  return (directory / run_config.CONFIG_JSON).exists() or has_begun(directory)


def default_name(environment: str, preset: str, seed: int, differences) -> str:
  """A name that says what a run is.

  Args:
    environment: its name.
    preset: its name.
    seed: of the run.
    differences: values by name, that differ from the preset's in the
      environment.
  """
  parts = [environment, preset, str(seed)]
  for difference, value in sorted(differences.items()):
    if isinstance(value, (list, tuple)):
      value = ','.join(map(str, value))
    parts.append(f'{difference}={value}')
  name = '-'.join(re.sub(r'[^\w.=,+]+', '.', part).strip('.') for part in parts)
  if len(name) > _LONGEST_NAME:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    name = f'{name[:_LONGEST_NAME]}-{digest}'
  return name


def numbered(base: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
  """Yields `name`, `name-2`, `name-3`, ... below a directory, for ever."""
  yield base / name
  number = 2
  while True:
    yield base / f'{name}-{number}'
    number += 1


def to_resume(base: pathlib.Path, name: str) -> pathlib.Path:
  """Finds the run that is meant where no directory was given.

  That is the last one of this name; or else the only one whose name begins so.

  Raises:
    ValueError: if there is none, or more than one.
  """
  found = None
  for candidate in numbered(base, name):
    if not _holds(candidate):
      break
    found = candidate
  if found is not None:
    return found
  others = sorted(path for path in base.glob(f'{name}-*') if _holds(path))
  if len(others) == 1:
    return others[0]
  if others:
    raise ValueError(
      'resume: there are several runs, '
      f'{", ".join(map(str, others))}; say which with --logdir.'
    )
  raise ValueError(
    f'resume: there is no run in {str(base / name)!r}; say where it is with '
    '--logdir, or leave --resume out to start one.'
  )


def _holds(directory: pathlib.Path) -> bool:
  """Whether there is a run, or a group of seeds."""
  return directory.is_dir() and (
    has_run(directory) or any(map(has_run, directory.glob('seed_*')))
  )
