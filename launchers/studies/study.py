"""What the mains of studies share: their flags, files and endings."""

from collections.abc import Callable, Sequence
import logging
import pathlib
import sys
from typing import Any, TypeVar

from absl import flags

from acme_metarl.launchers.runs import outputs

# Rows or conditions so far, in the directory of results while it is made.
PARTIAL = 'results.partial.json'

_Number = TypeVar('_Number', int, float)
_Plan = TypeVar('_Plan')


def numbers(
  flag: flags.FlagHolder[list[str]], convert: Callable[[str], _Number]
) -> tuple[_Number, ...]:
  """Returns the numbers of a list flag, each once.

  Raises:
    ValueError: with a sentence for the user, if something is no number.
  """
  kind = {int: 'whole numbers', float: 'numbers'}[convert]
  try:
    return tuple(dict.fromkeys(convert(x) for x in flag.value))
  except ValueError as error:
    raise ValueError(
      f'--{flag.name} is {",".join(flag.value)!r}; it needs {kind} with commas '
      'between them.'
    ) from error


def write(
  directory: pathlib.Path, results: Any, rows: Sequence[dict[str, Any]]
) -> list[str]:
  """Writes results as JSON and their table as CSV; returns the names."""
  outputs.write_json(directory / 'results.json', results)
  outputs.write_csv(directory / 'results.csv', rows)
  return ['results.json', 'results.csv']


def main(
  name: str,
  argv: Sequence[str],
  output: flags.FlagHolder[str],
  plan_from_flags: Callable[[], _Plan],
  make: Callable[[_Plan, pathlib.Path], list[str]],
) -> None:
  """Makes a study, or ends with one sentence.

  Args:
    name: of the launcher.
    argv: what is left of the command line.
    output: flag of the directory of results.
    plan_from_flags: returns what is to be done, or raises `ValueError` with
      what to say instead.
    make: does it, writes into the directory and returns the names of files.
  """
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    plan = plan_from_flags()
    directory = outputs.writable_directory(output.value)
  except ValueError as error:
    sys.exit(f'{name}: {error}')
  # Else JAX tells about every kind of device that is not there.
  logging.getLogger('jax').setLevel(logging.WARNING)
  try:
    *names, last = make(plan, directory)
    (directory / PARTIAL).unlink(missing_ok=True)
  except OSError as error:
    sys.exit(
      f'{name}: cannot write to {str(directory)!r} ({error.strerror}); what '
      'was saved before is still there.'
    )
  print(f'Wrote {", ".join(names)} and {last} to {directory}.')
