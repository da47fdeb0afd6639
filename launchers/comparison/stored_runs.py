"""The runs of a comparison, and what is stored of them.

A run's directory is the log directory of `train` and `train_on_device`, at
OUTPUT/runs/ENVIRONMENT/LABEL/seed_N; whoever wrote it, it counts.
"""

import collections
from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import math
import pathlib
import re
from typing import Any, NamedTuple

from acme_metarl.launchers.runs import checkpointing, tables
from acme_metarl.launchers.runs import config as run_config

RUNS = 'runs'
TRAIN, TRAIN_ON_DEVICE = 'train', 'train_on_device'
# Which run a row of a comparison's tables is of.
KEY_COLUMNS = ('environment', 'algorithm', 'seed')
# How often a run writes, and how far it goes, is not what it is.
_MAY_DIFFER = ('num_iterations', 'eval_every', 'checkpoint_every')


def file_name(text: str) -> str:
  """The name of a directory for something that a user wrote."""
  return re.sub(r'[^\w.=-]', '_', text)


class Variant(NamedTuple):
  """A preset, some of whose fields are set differently.

  Attributes:
    preset: its name.
    fields: values by field of `AlgorithmConfig` or `MAMLConfig`, as text.
  """

  preset: str
  fields: Mapping[str, str]

  @property
  def label(self) -> str:
    """The name of its directory, and in tables."""
    parts = [self.preset, *(f'{k}={v}' for k, v in self.fields.items())]
    return '+'.join(map(file_name, parts))


def parse_variant(text: str) -> Variant:
  """Reads `PRESET` or `PRESET:FIELD=VALUE:FIELD=VALUE`.

  Raises:
    ValueError: if that is not what it is.
  """
  preset, *assignments = re.split(r':(?=[A-Za-z_][\w.]*=)', text.strip())
  fields = {}
  for assignment in assignments:
    name, _, value = assignment.partition('=')
    if name in fields:
      raise ValueError(f'--algorithms: {text!r} sets {name} twice.')
    if name == 'num_iterations':
      raise ValueError(
        f'--algorithms: {text!r} sets num_iterations, which all runs share; '
        'use --num_iterations.'
      )
    fields[name] = value
  if ':' in preset:
    raise ValueError(
      f'--algorithms: cannot read {text!r}; write PRESET:FIELD=VALUE.'
    )
  return Variant(preset, fields)


@dataclasses.dataclass(frozen=True)
class Run:
  """One run of a comparison.

  Attributes:
    environment: what files call it.
    label: of its algorithm.
    config: everything that it is.
    output: directory of the comparison.
    arguments: flags of a launcher that its configuration file needs beside it.
    given: what the user asked to import, by 'module:name'.
  """

  environment: str
  label: str
  config: run_config.RunConfig
  output: pathlib.Path
  arguments: tuple[str, ...] = ()
  given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def seed(self) -> int:
    return self.config.seed

  @property
  def name(self) -> str:
    return f'{self.environment}/{self.label}/seed_{self.seed}'

  @property
  def directory(self) -> pathlib.Path:
    """Where it is stored."""
    return self.output / RUNS / self.name

  @property
  def key(self) -> tuple[str, str, int]:
    return self.environment, self.label, self.seed

  @property
  def is_finished(self) -> bool:
    return last_evaluation(self.directory) >= self.config.num_iterations


def stored(
  output: pathlib.Path,
  environments: Sequence[str] | None = None,
  algorithms: Sequence[str] | None = None,
  seeds: Sequence[int] | None = None,
  num_iterations: int | None = None,
  given: Mapping[str, Any] | None = None,
) -> list[Run]:
  """The runs that are stored, those that are asked for.

  Args:
    output: directory of the comparison.
    environments: names, or 'module:name'; None for all.
    algorithms: presets and variants, None for all.
    seeds: None for all.
    num_iterations: how many of a run are asked for, None for as many as it was
      meant to have.
    given: what the user asked to import, by 'module:name'.

  Returns:
    Runs.

  Raises:
    ValueError: if there are none, or seeds of one algorithm differ in more
      than the seed.
  """
  labels = (
    None
    if algorithms is None
    else {parse_variant(text).label for text in algorithms}
  )
  if environments is not None:
    environments = [file_name(text) for text in environments]
  runs = []
  for path in sorted((output / RUNS).glob(f'*/*/*/{run_config.CONFIG_JSON}')):
    environment, label, _ = path.parent.relative_to(output / RUNS).parts
    config = stored_config(path.parent, given)
    if num_iterations is not None:
      config = config.replace_algorithm(num_iterations=num_iterations)
    run = Run(environment, label, config, output)
    if (
      (environments is None or run.environment in environments)
      and (labels is None or run.label in labels)
      and (seeds is None or run.seed in seeds)
    ):
      runs.append(run)
  if not runs:
    raise ValueError(
      f'--only_report: there is no such run in {str(output / RUNS)!r}.'
    )
  firsts: dict[tuple[str, str], Run] = {}
  for run in runs:
    first = firsts.setdefault((run.environment, run.label), run)
    different = differences(
      dataclasses.replace(run.config, seed=first.seed), first.config
    )
    if different:
      raise ValueError(
        f'{run.name} and {first.name} are not runs of one algorithm: '
        f'{different}.'
      )
  return sorted(runs, key=lambda run: run.key)


def stored_config(
  directory: pathlib.Path, given: Mapping[str, Any] | None = None
) -> run_config.RunConfig:
  """Reads the `config.json` of a run; imports only what is given.

  Raises:
    ValueError: if it is damaged.
  """
  try:
    return run_config.read(directory / run_config.CONFIG_JSON, given)
  except ValueError as error:
    raise ValueError(f'{error} Move its directory away.') from error


def differences(one: run_config.RunConfig, other: run_config.RunConfig) -> str:
  """Says what differs between two runs, '' if nothing that matters."""
  flat, other_flat = _flat(one.to_dict()), _flat(other.to_dict())
  return '; '.join(
    f'{name} is {flat.get(name)!r} there, not {other_flat.get(name)!r}'
    for name in sorted({*flat, *other_flat})
    if name.rpartition('.')[2] not in _MAY_DIFFER
    and flat.get(name) != other_flat.get(name)
  )


def _flat(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  flat = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      flat.update(_flat(value, f'{prefix}{name}.'))
    else:
      flat[prefix + name] = value
  return flat


def check_stored(run: Run) -> None:
  """Refuses to mix a run with another one in its directory."""
  if not (run.directory / run_config.CONFIG_JSON).exists():
    return
  config = stored_config(run.directory, run.given)
  different = differences(config, run.config)
  if different:
    raise ValueError(
      f'another run is stored in {str(run.directory)!r}: {different}. Ask for '
      'that one, move it away, or use another --logdir.'
    )
  if run.is_finished or checkpoint_of(run.directory) is not None:
    return
  if last_evaluation(run.directory) >= config.num_iterations:
    raise ValueError(
      f'the run in {str(run.directory)!r} came to its end at iteration '
      f'{config.num_iterations} and has no checkpoint to go on from. Move it '
      'away, or ask for no more --num_iterations.'
    )


def checkpoint_of(directory: pathlib.Path) -> checkpointing.Checkpoint | None:
  """The newest checkpoint of a run, None if there is none."""
  return checkpointing.Checkpointer(
    directory / run_config.CHECKPOINTS
  ).load_latest()


def launcher_of(checkpoint: checkpointing.Checkpoint) -> str:
  """The launcher that wrote a checkpoint, and can go on from it."""
  # The agent's holds the state of its environment, the device's a random key.
  return TRAIN if 'environment' in checkpoint.metadata else TRAIN_ON_DEVICE


def is_scalar(column: str) -> bool:
  """Whether a column is a number that environments report: successes, say."""
  return column not in (
    *KEY_COLUMNS,
    *tables.EVALUATION_COLUMNS,
    *tables.CLASS_COLUMNS,
    *tables.TASK_COLUMNS,
  )


def scalars(row: Mapping[str, str]) -> dict[str, float]:
  """What environments reported, of a row of text; what is blank is left out."""
  numbers = {
    name: _number(row[name]) for name in row if name and is_scalar(name)
  }
  return {name: x for name, x in numbers.items() if not math.isnan(x)}


def _number(cell: str) -> float:
  return float('nan' if cell == '' else cell)


def evaluation_rows(
  directory: pathlib.Path, table: str = tables.EVALUATION_CSV
) -> list[dict[str, Any]]:
  """Rows of a run's evaluations.

  One that was cut short is left out whole, one that was repeated counts once.

  Args:
    directory: of the run, which may lack the table.
    table: `evaluation.csv`, or that of the classes of tasks.

  Returns:
    Rows with their numbers; scalars that are blank are left out.
  """
  path = directory / table
  rows = {}
  for text in tables.read_csv(path) if path.exists() else []:
    with contextlib.suppress(TypeError, ValueError):
      row = {
        **{
          name: kind(text[name])
          for name, kind in tables.CLASS_COLUMNS.items()
          if name in text
        },
        'iteration': int(text['iteration']),
        'environment_steps': int(text['environment_steps']),
        'num_inner_steps_taken': int(text['num_inner_steps_taken']),
        'return_mean': float(text['return_mean']),
        # Empty where there was one task only.
        'return_stderr': _number(text['return_stderr']),
        **scalars(text),
      }
      evaluation = row['iteration'], row.get('task_class')
      rows[evaluation, row['num_inner_steps_taken']] = row
  # As many for each evaluation: it is after 0, 1, ... inner steps.
  counts = collections.Counter(evaluation for evaluation, _ in rows)
  whole = max(counts.values(), default=0)
  return [row for key, row in rows.items() if counts[key[0]] == whole]


def last_evaluation(directory: pathlib.Path) -> int:
  """The iteration of a run's newest evaluation, -1 if there is none."""
  rows = evaluation_rows(directory)
  return rows[-1]['iteration'] if rows else -1
