"""What benchmarks share: rows, one table of them, and their mains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import json
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from acme_metarl import config as config_lib
from acme_metarl.launchers.benchmarks import timing
from acme_metarl.launchers.runs import dataclass_flags, entry, outputs

_WIDTHS = {'case': 42, 'name': 44}


class Row(NamedTuple):
  """One measured number.

  Attributes:
    case: what was measured: sizes, environment.
    name: of the program or the quantity.
    value: the number; None where there is none.
    unit: of the number, or why there is none.
    ratio: to what the case is compared with, the median over turns: what else
      the machine does comes and goes, but one turn mostly shares it.
    target: what the ratio, or else the value, should be, such as `'<= 1.6'`;
      empty where nothing is asked.
    is_met: whether it is; None where nothing is asked.
    compilation: seconds of tracing and compiling.
  """

  case: str
  name: str
  value: float | None
  unit: str = 's'
  ratio: float | None = None
  target: str = ''
  is_met: bool | None = None
  compilation: float | None = None

  @property
  def _judged(self) -> float | None:
    return self.value if self.ratio is None else self.ratio

  def at_most(self, limit: float) -> 'Row':
    """The same row, whose number should be at most `limit`."""
    return self._replace(target=f'<= {limit:g}', is_met=self._judged <= limit)

  def at_least(self, limit: float) -> 'Row':
    """The same row, whose number should be at least `limit`."""
    return self._replace(target=f'>= {limit:g}', is_met=self._judged >= limit)


def check_positive(config: Any, *names: str) -> None:
  """Raises `ValueError` where a field, or one of its numbers, is below 1."""
  for name in names:
    value = getattr(config, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers or min(numbers) < 1:
      raise ValueError(f'{name}: got {value}, need at least 1.')


def check_names(name: str, given: Sequence[str], known: Sequence[str]) -> None:
  """Raises `ValueError` for no names, or others than the known ones."""
  unknown = [x for x in given if x not in known]
  if unknown or not given:
    raise ValueError(
      f'--{name} names {", ".join(unknown) or "nothing"}; it needs some of '
      f'{", ".join(known)}.'
    )


def case_name(name: str, config: config_lib.AlgorithmConfig) -> str:
  """An environment, and tasks x rollouts x steps x stages."""
  sizes = (
    config.num_tasks,
    config.num_rollouts,
    config.horizon,
    config.num_inner_steps + 1,
  )
  return f'{name} {"x".join(map(str, sizes))}'


def rows_of_turns(
  case: str,
  seconds: Mapping[str, np.ndarray],
  baseline: str | None = None,
  compilation: Mapping[str, float] | None = None,
) -> list[Row]:
  """Rows of what `timing.take_turns` gave, a program each.

  Args:
    case: what the programs have in common.
    seconds: `[num_turns]`, by program.
    baseline: program that the others' ratios are to.
    compilation: seconds, by program.

  Returns:
    Rows of the median seconds.
  """
  return [
    Row(
      case,
      name,
      float(np.median(own)),
      ratio=None
      if baseline is None
      else float(np.median(own / seconds[baseline])),
      compilation=(compilation or {}).get(name),
    )
    for name, own in seconds.items()
  ]


def compare(
  case: str,
  programs: Mapping[str, timing.Compiled],
  num_turns: int,
  baseline: str | None = None,
) -> list[Row]:
  """Times compiled programs in turns; rows as `rows_of_turns` makes them."""
  return rows_of_turns(
    case,
    timing.take_turns({k: x.call for k, x in programs.items()}, num_turns),
    baseline,
    {name: program.seconds for name, program in programs.items()},
  )


def table(rows: Iterable[Row], with_header: bool = True) -> str:
  """The rows for people, below a header."""
  lines = [_line(Row._fields[:-2] + ('', 'compile s'))] if with_header else []
  for row in rows:
    mark = 'missed' if row.is_met is False else ''
    numbers = (_number(x) for x in (row.value, row.ratio, row.compilation))
    value, ratio, compilation = numbers
    lines.append(
      _line(
        (row.case, row.name, value, row.unit, ratio, row.target, mark)
        + (compilation,)
      )
    )
  return '\n'.join(lines)


def _line(cells: Sequence[str]) -> str:
  case, name, value, unit, ratio, target, mark, compilation = cells
  return (
    f'{case:<{_WIDTHS["case"]}}{name:<{_WIDTHS["name"]}}{value:>13} {unit:<9}'
    f'{ratio:>9}  {target:<10}{mark:<7}{compilation:>10}'
  ).rstrip()


def _number(value: float | None) -> str:
  if value is None:
    return ''
  return f'{value:,.0f}' if abs(value) >= 1e4 else f'{value:,.4g}'


@dataclasses.dataclass(frozen=True)
class _Output:
  """Where rows go.

  Attributes:
    logdir: directory for results.json and results.csv; none if empty.
    json: whether to print JSON instead of a table.
  """

  logdir: str = ''
  json: bool = False


def main(
  name: str,
  doc: str,
  config: Any,
  measure: Callable[[Any], Iterable[Row]],
  argv: Sequence[str] | None = None,
) -> None:
  """Measures as flags say, and prints rows as they come.

  Args:
    name: of the main.
    doc: what `--help` says first.
    config: default settings, a dataclass.
    measure: given settings, yields rows.
    argv: flags; those of this process by default.
  """
  defaults = config, _Output()

  def define(values):
    for one in defaults:
      dataclass_flags.define(one, values, name)

  def run(values, overrides):
    for field in overrides:
      raise ValueError(f'--config.{field}: a benchmark has no such flags.')
    settings, output = (dataclass_flags.read(x, values) for x in defaults)
    directory = None
    if output.logdir:
      directory = outputs.writable_directory(output.logdir)
    rows = []
    for row in measure(settings):
      if not output.json:
        print(table([row], with_header=not rows), flush=True)
      rows.append(row)
    results = {
      'config': dataclasses.asdict(settings),
      'device': jax.devices()[0].device_kind,
      'rows': [row._asdict() for row in rows],
    }
    if output.json:
      print(json.dumps(results, indent=2))
    if directory is not None:
      try:
        outputs.write_json(directory / 'results.json', results)
        outputs.write_csv(directory / 'results.csv', results['rows'])
      except OSError as error:
        sys.exit(
          f'{name}: cannot write to {str(directory)!r} ({error.strerror}).'
        )

  entry.main(name, doc, define, run, argv)
