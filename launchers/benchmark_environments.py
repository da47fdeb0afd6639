r"""Measures how many environment steps per second all rollouts take together.

    python -m acme_metarl.launchers.benchmark_environments \
        --output=results/environments

MuJoCo: one call of `step` for all G × B rollouts against MuJoCo's own batch
call on the same models, states and controls, with everything prepared
beforehand. 2-D navigation: a compiled loop of steps under random actions
against drawing those random numbers only. Both sides take turns in one run and
are compared turn by turn, by the median, so that a busy machine slows both.

Prints a table, a row per environment: steps per second, those of the bare
computation, their ratio, and the ratio that we want where we want one. With
`--output` it also goes to `results.json` and `results.csv` in that directory.
"""

from collections.abc import Sequence
import sys

from absl import app, flags
import tqdm

from acme_metarl.launchers.benchmarks import environment_throughput
from acme_metarl.launchers.runs import outputs

_ENVIRONMENTS = flags.DEFINE_list(
  'environments',
  [
    'navigation_2d',
    'half_cheetah_direction',
    'half_cheetah_velocity',
    'ant_direction',
    'ant_goal',
    f'ant_goal{environment_throughput.CONTACT}',
    'walker2d_direction',
    'hopper_params',
    'humanoid_direction',
  ],
  'Environments to measure: navigation_2d, or names of MuJoCo environments; '
  f'{environment_throughput.CONTACT} behind an ant turns them on.',
)
_NUM_TASKS = flags.DEFINE_integer('num_tasks', 40, 'Tasks, G.', lower_bound=1)
_NUM_ROLLOUTS = flags.DEFINE_integer(
  'num_rollouts', 20, 'Rollouts of each task, B.', lower_bound=1
)
_NUM_STEPS = flags.DEFINE_integer(
  'num_steps',
  100,
  'MuJoCo: timed steps of all rollouts. 2-D navigation: timed loops of 100 '
  'steps.',
  lower_bound=1,
)
_NUM_THREADS = flags.DEFINE_integer(
  'num_threads',
  None,
  'Threads that step MuJoCo; by default one per processor.',
  lower_bound=1,
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all randomness.', lower_bound=0)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Directory for results.json and results.csv; none if empty.'
)


def _measure(name: str) -> environment_throughput.Result:
  """Measures one environment as the flags say."""
  if name == 'navigation_2d':
    return environment_throughput.measure_navigation(
      _NUM_TASKS.value, _NUM_ROLLOUTS.value, _NUM_STEPS.value, _SEED.value
    )
  return environment_throughput.measure_locomotion(
    name,
    _NUM_TASKS.value,
    _NUM_ROLLOUTS.value,
    _NUM_STEPS.value,
    _SEED.value,
    _NUM_THREADS.value,
  )


def _check_names(names: Sequence[str]) -> None:
  known = ['navigation_2d']
  if set(names) != set(known):  # Otherwise MuJoCo may be missing.
    from acme_metarl.environments.mujoco import locomotion

    known += locomotion.TASKS
    known += [
      f'{name}{environment_throughput.CONTACT}'
      for name, task in locomotion.TASKS.items()
      if task.contact_is_optional
    ]
  unknown = [name for name in names if name not in known]
  if unknown or not names:
    raise ValueError(
      f'--environments names {", ".join(unknown) or "nothing"}; it needs some '
      f'of {", ".join(known)}.'
    )


def main(argv: Sequence[str]) -> None:
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    _check_names(_ENVIRONMENTS.value)
    directory = None
    if _OUTPUT.value:
      directory = outputs.writable_directory(_OUTPUT.value)
  except ValueError as error:
    sys.exit(f'benchmark_environments: {error}')
  results = [_measure(name) for name in tqdm.tqdm(_ENVIRONMENTS.value)]
  print(environment_throughput.table(results))
  if directory is not None:
    rows = [row._asdict() for row in results]
    try:
      outputs.write_json(directory / 'results.json', rows)
      outputs.write_csv(directory / 'results.csv', rows)
    except OSError as error:
      sys.exit(
        f'benchmark_environments: cannot write to {str(directory)!r} '
        f'({error.strerror}).'
      )


if __name__ == '__main__':
  app.run(main)
