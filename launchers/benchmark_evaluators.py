r"""Times derivatives of evaluators against length, order and batch.

    python -m acme_metarl.launchers.benchmark_evaluators \
        --output=results/evaluators

Prints two tables. The first has the time of gradient, Hessian-vector product
and dense Hessian for every evaluator, trajectory length T and number of
trajectories N, in milliseconds and as a ratio to the Taylor expansion of
order 1 (LVC); compilation apart. The second compares the recurrence by which
the library expands with the other way to do it, triangular matrix products,
and says up to which length those would pay.

Everything compared is timed in turns and the median taken, so that ratios
mean something on a busy machine too. With `--output` the rows also go to
`results.json` and `results.csv` in that directory.
"""

from collections.abc import Sequence
import sys

from absl import app, flags
import jax
import tqdm

from acme_metarl.launchers.benchmarks import evaluator_timing
from acme_metarl.launchers.runs import outputs

_LENGTHS = flags.DEFINE_list(
  'lengths', ['5', '20', '100', '400'], 'Trajectory lengths T.'
)
_ORDERS = flags.DEFINE_list(
  'orders', ['1', '2', '3', '4'], 'Orders K of the Taylor expansion.'
)
_NUM_TRAJECTORIES = flags.DEFINE_list(
  'num_trajectories', ['20', '1000'], 'Numbers of trajectories N.'
)
_NUM_FEATURES = flags.DEFINE_integer(
  'num_features',
  16,
  'Features of an observation; the policy has 4 times as many parameters.',
  lower_bound=1,
)
_MAX_STEPS = flags.DEFINE_integer(
  'max_steps',
  100_000,
  'Leave out combinations with more steps N T than this.',
  lower_bound=1,
)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 15, 'How often everything is timed.', lower_bound=1
)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Directory for results.json and results.csv; none if empty.'
)


def _positive_integers(flag: flags.FlagHolder) -> list[int]:
  needs = f'--{flag.name} needs integers of at least 1 with commas between'
  try:
    numbers = sorted({int(text) for text in flag.value})
  except ValueError as error:
    raise ValueError(f'{needs}, but got {flag.value}.') from error
  if not numbers or numbers[0] < 1:
    raise ValueError(f'{needs}, but got {flag.value}.')
  return numbers


def _grid() -> list[tuple[int, int]]:
  grid = [
    (length, size)
    for size in _positive_integers(_NUM_TRAJECTORIES)
    for length in _positive_integers(_LENGTHS)
    if length * size <= _MAX_STEPS.value
  ]
  if not grid:
    raise ValueError(
      'no combination of --lengths and --num_trajectories has at most'
      f' --max_steps={_MAX_STEPS.value} steps; raise it or ask for less.'
    )
  return grid


def main(argv: Sequence[str]) -> None:
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    grid = _grid()
    orders = _positive_integers(_ORDERS)
    directory = None
    if _OUTPUT.value:
      directory = outputs.writable_directory(_OUTPUT.value)
  except ValueError as error:
    sys.exit(f'benchmark_evaluators: {error}')

  rounds = _ROUNDS.value
  expansion_order = max(2, orders[0])
  rows, expansions = [], []
  for length, size in tqdm.tqdm(grid):
    rows += evaluator_timing.compare_evaluators(
      length, size, orders, _NUM_FEATURES.value, rounds
    )
    expansions += evaluator_timing.compare_expansions(
      length, size, expansion_order, rounds
    )
  print(f'Evaluators; ratio to taylor_1; on {jax.devices()[0].device_kind}.')
  print(evaluator_timing.table(rows))
  print(f'\nThe expansion of order {expansion_order}; ratio to the recurrence.')
  print(evaluator_timing.table(expansions))
  print('\n'.join(['', *evaluator_timing.switch_sentences(expansions)]))

  if directory is not None:
    results = [row._asdict() for row in rows + expansions]
    try:
      outputs.write_json(directory / 'results.json', results)
      outputs.write_csv(directory / 'results.csv', results)
    except OSError as error:
      sys.exit(
        f'benchmark_evaluators: cannot write to {str(directory)!r} '
        f'({error.strerror}).'
      )


if __name__ == '__main__':
  app.run(main)
