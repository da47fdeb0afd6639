r"""Measures what an iteration costs through Acme and Reverb.

    python -m acme_metarl.launchers.benchmark_agent --output=results/agent
    python -m acme_metarl.launchers.benchmark_agent \
        --environment=half_cheetah_direction --algorithm=promp

An iteration of training (play a trial, insert, sample, learn) and the same work
by direct calls of the same compiled functions take turns in one run, and are
compared turn by turn. Prints where the time of an iteration goes; with
`--output` that also goes to `results.json` in the directory.
"""

from collections.abc import Sequence
import logging
import sys

from absl import app, flags

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import agent_overhead
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import host_devices, outputs

_TARGET = 1.5

_ENVIRONMENT = flags.DEFINE_string(
  'environment', 'navigation_2d', 'Task distribution.'
)
_ALGORITHM = flags.DEFINE_string('algorithm', 'promp_taypo2', 'Preset.')
_NUM_TASKS = flags.DEFINE_integer('num_tasks', 40, 'Tasks.')
_NUM_ROLLOUTS = flags.DEFINE_integer(
  'num_rollouts', 20, 'Rollouts of each task and stage.'
)
_HORIZON = flags.DEFINE_integer('horizon', 100, 'Steps of a rollout.')
_NUM_INNER_STEPS = flags.DEFINE_integer(
  'num_inner_steps', 1, 'Adaptation steps.'
)
_NUM_TURNS = flags.DEFINE_integer(
  'num_turns', 10, 'Iterations of either side to measure.', lower_bound=1
)
_NUM_DEVICES = flags.DEFINE_integer(
  'num_devices', None, 'CPU devices; by default one per core.'
)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Directory for results.json; none if empty.'
)


def _config() -> run_config.RunConfig:
  algorithm = presets.make(
    _ALGORITHM.value,
    num_tasks=_NUM_TASKS.value,
    num_rollouts=_NUM_ROLLOUTS.value,
    horizon=_HORIZON.value,
    num_inner_steps=_NUM_INNER_STEPS.value,
  )
  return run_config.RunConfig(
    environment=_ENVIRONMENT.value,
    preset=_ALGORITHM.value,
    algorithm=algorithm,
  )


def report(result: agent_overhead.Result) -> str:
  """The result as a table."""
  lines = [
    f'Through Acme and Reverb: {result.seconds:.3f} s an iteration',
    f'By direct calls:         {result.direct_seconds:.3f} s',
    f'Ratio:                   {result.ratio:.2f} (at most {_TARGET} wanted)',
    f'Physics or XLA:          {result.compute_share:.0%} of an iteration',
    '',
  ]
  total = sum(result.parts.values())
  for name, seconds in result.parts.items():
    lines.append(f'  {name:18}{seconds:8.4f} s  {seconds / total:6.1%}')
  return '\n'.join(lines)


def main(argv: Sequence[str]) -> None:
  """Measures, and tells mistakes without a traceback."""
  logging.getLogger('jax').setLevel(logging.WARNING)
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    config = _config()
    directory = _OUTPUT.value and outputs.writable_directory(_OUTPUT.value)
    host_devices.set_up(_NUM_DEVICES.value, _NUM_TASKS.value)
    result = agent_overhead.measure(config, _NUM_TURNS.value)
    print(report(result))
    if directory:
      outputs.write_json(
        directory / 'results.json',
        {'config': config.to_dict(), **result._asdict()},
      )
  except (OSError, ValueError) as error:
    sys.exit(f'benchmark_agent: {error}')


if __name__ == '__main__':
  app.run(main)
