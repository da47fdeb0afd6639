"""What is compared: settings, and the runs that they ask for."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, Literal, NamedTuple

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import config as run_config

_NUM_SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Config:
  """What is compared, and how.

  Attributes:
    logdir: directory of runs, tables and figures.
    environments: task distributions, those of --environment of a single run.
    algorithms: presets, or variants of them, PRESET:FIELD=VALUE:FIELD=VALUE.
    seeds: seeds of each algorithm.
    num_seeds: seeds of each algorithm, 0, 1, ...; instead of --seeds. By
      default 5.
    runner: what makes the runs: the agent with Acme and Reverb (train), one
      compiled function (train_on_device), or auto: the latter where an
      environment is pure JAX and the data is used once.
    num_parallel: processes at once, each with its share of the cores. One per
      core is the fastest; a single process shares its tasks or its seeds out to
      all cores.
    only_report: whether to make tables and figures of what is stored, and run
      nothing. --environments, --algorithms, --seeds and --num_iterations choose
      from it; by default it is all there is.
    reference: algorithm that the table compares the others with, seed by seed;
      promp by default, or else the first one.
    num_final_evaluations: how many of a run's last evaluations its final return
      is the mean of.
    confidence: how likely an interval over seeds holds the mean, in (0, 1).
  """

  logdir: str = 'results/compare'
  environments: tuple[str, ...] = ('navigation_2d',)
  algorithms: tuple[str, ...] = (
    'trpo_maml',
    'trpo_fmaml',
    'trpo_emaml',
    'trpo_dice',
    'promp',
    'promp_taypo2',
    'promp_taypo3',
  )
  seeds: tuple[int, ...] | None = None
  num_seeds: int | None = None
  runner: Literal['auto', 'train', 'train_on_device'] = 'auto'
  num_parallel: int = 1
  only_report: bool = False
  reference: str | None = None
  num_final_evaluations: int = 5
  confidence: float = 0.95

  def __post_init__(self):
    for name in ('num_parallel', 'num_final_evaluations', 'num_seeds'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f'--{name}: got {value}, need at least 1.')
    if not 0 < self.confidence < 1:
      raise ValueError(
        f'--confidence: got {self.confidence}, need a number in (0, 1).'
      )
    if self.seeds is not None and self.num_seeds is not None:
      raise ValueError('--seeds and --num_seeds: give one of them.')

  @property
  def all_seeds(self) -> tuple[int, ...]:
    if self.seeds is not None:
      return self.seeds
    return tuple(range(self.num_seeds or _NUM_SEEDS))


class Configured(NamedTuple):
  """How an algorithm is run in an environment.

  Attributes:
    config: of its runs.
    arguments: flags of a launcher that a configuration file needs beside it.
    given: what the user asked to import, by 'module:name'.
  """

  config: run_config.RunConfig
  arguments: tuple[str, ...]
  given: Mapping[str, Any]


def plan(
  output: pathlib.Path,
  config: Config,
  configure: Callable[[str, stored_runs.Variant], Configured],
) -> list[stored_runs.Run]:
  """The runs that are asked for.

  Args:
    output: directory of the comparison.
    config: what is compared.
    configure: given an environment and an algorithm, says how to run it.

  Returns:
    Runs in the order that they are best made in.

  Raises:
    ValueError: if there can be no such run, or another one is stored already.
  """
  variants = [stored_runs.parse_variant(text) for text in config.algorithms]
  for name, values in (
    ('environments', config.environments),
    ('algorithms', config.algorithms),
    ('algorithms', [variant.label for variant in variants]),
    ('seeds', config.all_seeds),
  ):
    _check_list(name, values)
  runs = []
  for environment in config.environments:
    for text, variant in zip(config.algorithms, variants, strict=True):
      try:
        own = configure(environment, variant)
      except ValueError as error:
        raise ValueError(f'{environment}, {text}: {error}') from error
      for seed in config.all_seeds:
        run = stored_runs.Run(
          environment=stored_runs.file_name(environment),
          label=variant.label,
          config=dataclasses.replace(own.config, seed=seed),
          output=output,
          arguments=own.arguments,
          given=own.given,
        )
        stored_runs.check_stored(run)
        runs.append(run)
  return runs


def _check_list(name: str, values: Sequence[Any]) -> None:
  if not values:
    raise ValueError(f'--{name}: got none, need at least one.')
  twice = sorted({str(x) for x in values if list(values).count(x) > 1})
  if twice:
    raise ValueError(f'--{name}: {", ".join(twice)} is there twice.')
