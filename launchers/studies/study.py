"""What studies share: sizes of random MDPs, files, and their mains."""

from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import sys
from typing import Any

from acme_metarl.launchers.runs import dataclass_flags, entry, outputs
from acme_metarl.studies import derivative_accuracy

# Rows or conditions so far, in the directory of results while it is made.
PARTIAL = 'results.partial.json'


@dataclasses.dataclass(frozen=True)
class Seeded:
  """What every study has.

  Attributes:
    seed: seed of all randomness.
  """

  seed: int = 0

  def __post_init__(self):
    if not 0 <= self.seed < 2**32:
      raise ValueError(f'seed is {self.seed}; it needs to be in [0, 2^32).')


@dataclasses.dataclass(frozen=True)
class RandomMDPs(Seeded):
  """What studies on random MDPs share.

  Attributes:
    num_states: states of an MDP.
    num_actions: actions of an MDP.
    horizon: steps of a trajectory.
    discount: discount factor in [0, 1).
  """

  num_states: int = 20
  num_actions: int = 5
  horizon: int = 20
  discount: float = 0.8

  def __post_init__(self):
    super().__post_init__()
    _ = self.setting  # Refuses what there is not.

  @property
  def setting(self) -> derivative_accuracy.Setting:
    return derivative_accuracy.Setting(
      num_states=self.num_states,
      num_actions=self.num_actions,
      horizon=self.horizon,
      discount=self.discount,
    )


@dataclasses.dataclass(frozen=True)
class _Output:
  """Where results go.

  Attributes:
    logdir: directory for results and figures.
  """

  logdir: str


def at_least(config: Any, least: int, *names: str) -> None:
  """Raises `ValueError` where a field is less than it may be."""
  for name in names:
    value = getattr(config, name)
    if value < least:
      raise ValueError(f'{name} is {value}; it needs to be at least {least}.')


def choice(name: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
  """Returns the given names, each once.

  Raises:
    ValueError: if there are none, or others than the known ones.
  """
  if not given:
    raise ValueError(f'{name} is empty; choose from {", ".join(known)}.')
  for one in given:
    if one not in known:
      raise ValueError(f'{name} has {one!r}; choose from {", ".join(known)}.')
  return list(dict.fromkeys(given))


def write(
  directory: pathlib.Path, results: Any, rows: Sequence[dict[str, Any]]
) -> list[str]:
  """Writes results as JSON and their table as CSV; returns the names."""
  outputs.write_json(directory / 'results.json', results)
  outputs.write_csv(directory / 'results.csv', rows)
  (directory / PARTIAL).unlink(missing_ok=True)
  return ['results.json', 'results.csv']


def markdown(lines: Sequence[Sequence[str]]) -> str:
  """Returns a table whose first line is the head."""
  head, *body = lines
  return ''.join(
    f'| {" | ".join(line)} |\n' for line in (head, ['---'] * len(head), *body)
  )


def main(
  name: str,
  doc: str,
  config: Any,
  run: Callable[[Any, str | os.PathLike[str]], list[str]],
  argv: Sequence[str] | None = None,
  logdir: str = '',
) -> None:
  """Makes a study as flags ask for it, or ends with one sentence.

  Args:
    name: of the main.
    doc: what `--help` says first.
    config: default settings of the study, a dataclass.
    run: given settings and a directory, makes the study there and returns the
      names of the files.
    argv: flags; those of this process by default.
    logdir: the directory by default, `results/NAME` if not given.
  """
  defaults = config, _Output(logdir or f'results/{name}')

  def define(values):
    for one in defaults:
      dataclass_flags.define(one, values, name)

  def make(values, overrides):
    for field in overrides:
      raise ValueError(f'--config.{field}: a study has no such flags.')
    settings, where = (dataclass_flags.read(x, values) for x in defaults)
    directory = outputs.writable_directory(where.logdir)
    try:
      *names, last = run(settings, directory)
    except OSError as error:
      sys.exit(
        f'{name}: cannot write to {str(directory)!r} ({error.strerror}); what '
        'was saved before is still there.'
      )
    written = f'{", ".join(names)} and {last}' if names else last
    print(f'Wrote {written} to {directory}.')

  entry.main(name, doc, define, make, argv)
