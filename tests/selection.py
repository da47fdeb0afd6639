"""Which tests a run takes; `slow.txt` says what they cost.

`make test` runs everything that is quick on both stacks, and each slow test on
one of them: with Reverb where an agent takes part, else on the newest JAX. Of
a slow function with many cases it runs as many as cost `_SECONDS`, spread over
all of them, and none that costs more than `_LONGEST`. What it leaves, `make
check-thorough` runs; so does continuous integration.
"""

from collections.abc import Iterable, Sequence
import pathlib
from typing import TypeVar

_SLOW = pathlib.Path(__file__).with_name('slow.txt')
_SECONDS = 1.0  # Of one function.
_LONGEST = 4.0  # Of one case.
_AGENTS = (
  'tests/agents/',
  'tests/launchers/distributed/',
  'tests/launchers/runs/agent_',
  'tests/launchers/runs/loading_test',
  'tests/launchers/runs/loop_test',
  'tests/launchers/benchmark_agent_test',
  'tests/launchers/benchmark_distributed_test',
  'tests/launchers/causal_lambda_test',
  'tests/launchers/evaluate_test',
  'tests/launchers/mains_test',
  'tests/launchers/same_curves_test',
  'tests/launchers/train_test',
)
STACKS = ('reverb', 'current')
PARTS = ('usual', 'rest')

T = TypeVar('T')


def seconds() -> dict[str, float]:
  """Processor time of a case of every slow function, by its node."""
  lines = _SLOW.read_text(encoding='utf-8').splitlines()
  return {node: float(cost) for cost, node in map(str.split, lines)}


def write(costs: dict[str, float]) -> None:
  """Writes `slow.txt`, to tenths of a second and none as nothing."""
  lines = [
    f'{max(cost, 0.1):.1f} {node}\n' for node, cost in sorted(costs.items())
  ]
  _SLOW.write_text(''.join(lines), encoding='utf-8')


def function(node: str) -> str:
  """The node of a test without its parameters."""
  return node.partition('[')[0]


def stack(node: str) -> str:
  """The stack that a slow test is for."""
  at_top = node.partition('::')[0].count('/') == 1
  return 'reverb' if at_top or node.startswith(_AGENTS) else 'current'


def usual(cases: Sequence[T], cost: float) -> list[T]:
  """Those cases of a slow function that `make test` runs.

  Args:
    cases: all of them.
    cost: processor seconds of one.
  """
  if cost > _LONGEST:
    return []
  count = min(len(cases), max(1, int(_SECONDS / cost)))
  return [cases[index * len(cases) // count] for index in range(count)]


def selected(
  nodes: Iterable[str],
  costs: dict[str, float],
  *,
  on: str | None = None,
  part: str | None = None,
) -> set[str]:
  """The tests that a run takes.

  Args:
    nodes: all there are.
    costs: of `seconds`.
    on: the stack of this run; None for the only one.
    part: 'usual' for what `make test` runs, 'rest' for what it leaves, None
      for both.
  """
  quick, slow = [], {}
  for node in nodes:
    name = function(node)
    if name not in costs:
      quick.append(node)
    elif on is None or stack(node) == on:
      slow.setdefault(name, []).append(node)
  usual_ones = {x for name in slow for x in usual(slow[name], costs[name])}
  if part == 'usual':
    return usual_ones.union(quick)
  every = {x for nodes in slow.values() for x in nodes}
  return every - usual_ones if part == 'rest' else every.union(quick)
