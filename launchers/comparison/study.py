"""The runs that a comparison's flags ask for."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any

from absl import flags

from acme_metarl import config as config_lib
from acme_metarl.agents import maml
from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags

FLAGS = flags.FLAGS

# Flags of a single run that a comparison sets itself.
PER_RUN = ('environment', 'algorithm', 'seed', 'logdir', 'resume')


def plan(
  output: pathlib.Path,
  environments: Sequence[str],
  algorithms: Sequence[str],
  seeds: Sequence[int],
  overrides: Mapping[str, str],
) -> list[stored_runs.Run]:
  """The runs that are asked for, by the flags of a single one besides.

  Args:
    output: directory of the comparison.
    environments: names.
    algorithms: presets and variants of them, see `parse_variant`.
    seeds: of every algorithm in every environment.
    overrides: values of `--config.FIELD`, for all runs.

  Returns:
    Runs in the order that they are best made in.

  Raises:
    ValueError: if there can be no such run, or another one is stored already.
  """
  for name, values in (
    ('environments', environments),
    ('algorithms', algorithms),
    ('seeds', seeds),
  ):
    _check_list(name, values)
  variants = [stored_runs.parse_variant(text) for text in algorithms]
  _check_list('algorithms', [variant.label for variant in variants])
  runs = []
  for environment in environments:
    for text, variant in zip(algorithms, variants, strict=True):
      config, arguments = _configure(environment, text, variant, overrides)
      for seed in seeds:
        run = stored_runs.Run(
          label=variant.label,
          config=dataclasses.replace(config, seed=seed),
          directory=output
          / stored_runs.RUNS
          / environment
          / variant.label
          / f'seed_{seed}',
          arguments=arguments,
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


def _configure(
  environment: str,
  text: str,
  variant: stored_runs.Variant,
  overrides: Mapping[str, str],
) -> tuple[run_config.RunConfig, tuple[str, ...]]:
  """The configuration of a variant, and a launcher's arguments for it."""
  own_flags = _algorithm_flags()
  values = {'environment': environment, 'algorithm': variant.preset}
  fields = {**overrides}
  try:
    for name, value in variant.fields.items():
      if name in own_flags:
        values[name] = _parse(name, value)
      else:
        fields[name] = value
    with _set_flags(values):
      config = run_flags.config_from_flags(fields)
      arguments = [
        flag.serialize()
        for flag in FLAGS.get_flags_for_module(run_flags)
        if flag.value is not None
        and flag.name not in ('seed', 'logdir', 'resume')
      ]
  except ValueError as error:
    raise ValueError(f'{environment}, {text}: {error}') from error
  arguments += [f'--config.{name}={value}' for name, value in fields.items()]
  return config, tuple(arguments)


def _algorithm_flags() -> set[str]:
  """Fields of the algorithm or the agent that have a flag of their own."""
  fields = {
    field.name
    for kind in (config_lib.AlgorithmConfig, maml.MAMLConfig)
    for field in dataclasses.fields(kind)
  }
  return fields & {
    flag.name for flag in FLAGS.get_flags_for_module(run_flags)
  } - {'algorithm'}


def _parse(name: str, text: str) -> Any:
  try:
    return FLAGS[name].parser.parse(text)
  except ValueError as error:
    kind = FLAGS[name].parser.syntactic_help
    raise ValueError(f'{name}: got {text!r}, need {kind}.') from error


@contextlib.contextmanager
def _set_flags(values: Mapping[str, Any]) -> Iterator[None]:
  before = {name: FLAGS[name].value for name in values}
  try:
    for name, value in values.items():
      FLAGS[name].value = value
    yield
  finally:
    for name, value in before.items():
      FLAGS[name].value = value
