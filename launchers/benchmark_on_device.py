r"""Measures meta-training on a device: speed, and what bounds it.

    python -m acme_metarl.launchers.benchmark_on_device --output=results/speed

Parts, chosen with `--parts`:

* `navigation`: 2-D navigation; seconds of sampling, learning and a whole
  iteration, and how much longer that takes than its floating-point operations
  would at the rate of a plain product of matrices, measured in the same run.
* `seeds`: several seeds by `jax.vmap` against as many single runs.
* `tabular`: meta-training on tabular MDPs, beside its bare random numbers.
* `environments`: environment steps per second end to end, and compilation, of
  2-D navigation and of half-cheetah and ant on MJX, against the target.

On two Zen 5 cores an iteration of 2-D navigation, 160 000 steps and five
epochs, takes 0.27 s, of which 0.03 s sampling: 2.0 to 2.1 times what its
operations would in the product. `benchmark_meta_update` says where the rest
goes. An iteration of `--algorithm=trpo_maml` takes 0.9 s, most of it ten
products with the curvature, of 1.6 gradients each. To keep what they have in
common, 10 MB a task, was slower than to compute it again.

Without an accelerator `environments` is left out unless it is asked for. All of
them on an accelerator are meant to end within `--time_limit`: what would
probably be late is left out, and the table says so.
"""

from collections.abc import Sequence
import sys
import time

from absl import app, flags
import jax

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import (
  on_device_iteration,
  on_device_throughput,
)
from acme_metarl.launchers.runs import host_devices, outputs

_PARTS = ('navigation', 'seeds', 'tabular', 'environments')
_NAMES = tuple(name for name, _ in on_device_throughput.ENVIRONMENTS)

_FLAGS = flags.FLAGS
flags.DEFINE_list(
  'parts',
  None,
  f'What to measure, some of {", ".join(_PARTS)}; by default everything, but '
  'environments only where there is an accelerator.',
)
flags.DEFINE_list(
  'environments', list(_NAMES), 'Those of the part environments.'
)
flags.DEFINE_list(
  'task_counts', ['40', '400'], 'Meta-batch sizes of the part environments.'
)
flags.DEFINE_enum(
  'algorithm', 'promp_taypo2', presets.names(), 'Preset that is trained.'
)
flags.DEFINE_integer('num_tasks', 40, 'Tasks, G.', lower_bound=1)
flags.DEFINE_integer('num_rollouts', 20, 'Rollouts, B.', lower_bound=1)
flags.DEFINE_integer(
  'horizon', 100, 'Steps of a rollout; tabular MDPs: 20.', lower_bound=2
)
flags.DEFINE_integer('num_seeds', 8, 'Of the part seeds.', lower_bound=1)
flags.DEFINE_integer('num_turns', 10, 'Timed runs of each.', lower_bound=1)
flags.DEFINE_integer(
  'num_devices',
  None,
  'CPU devices that share the tasks; by default one per core.',
)
flags.DEFINE_float(
  'time_limit', 450.0, 'Seconds for everything.', lower_bound=1.0
)
flags.DEFINE_integer('seed', 0, 'Of all randomness.', lower_bound=0)
flags.DEFINE_string(
  'output', '', 'Directory for results.json and results.csv; none if empty.'
)


def _measure(parts: Sequence[str], task_counts: Sequence[int], start: float):
  """Yields the rows of all parts, as they come."""
  config = on_device_throughput.make_config(
    _FLAGS.algorithm, _FLAGS.num_tasks, _FLAGS.num_rollouts, _FLAGS.horizon
  )
  turns, seed = _FLAGS.num_turns, _FLAGS.seed
  if 'navigation' in parts:
    yield from on_device_iteration.measure(config, turns, seed)
  if 'tabular' in parts:
    yield from on_device_throughput.measure_tabular(config, turns, seed)
  if 'seeds' in parts:
    yield from on_device_throughput.measure_seeds(
      config, _FLAGS.num_seeds, turns, seed
    )
  if 'environments' in parts:
    yield from on_device_throughput.measure_environments(
      config,
      _FLAGS.environments,
      task_counts,
      turns,
      seed,
      deadline=start + _FLAGS.time_limit,
    )


def _check_flags() -> list[int]:
  """Refuses mistakes; returns the meta-batch sizes, small ones first."""
  for flag, known in (('parts', _PARTS), ('environments', _NAMES)):
    given = _FLAGS[flag].value
    unknown = [name for name in given or [] if name not in known]
    if unknown or given == []:
      raise ValueError(
        f'--{flag} names {", ".join(unknown) or "nothing"}; it needs some of '
        f'{", ".join(known)}.'
      )
  counts = _FLAGS.task_counts
  if not counts or not all(x.isdecimal() and int(x) > 0 for x in counts):
    raise ValueError(
      f'--task_counts: got {",".join(counts)!r}, need integers from 1 on.'
    )
  return sorted(map(int, counts))


def main(argv: Sequence[str]) -> None:
  start = time.monotonic()
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    task_counts = _check_flags()
    host_devices.set_up(_FLAGS.num_devices, _FLAGS.num_tasks)
    directory = None
    if _FLAGS.output:
      directory = outputs.writable_directory(_FLAGS.output)
  except ValueError as error:
    sys.exit(f'benchmark_on_device: {error}')
  devices = jax.local_devices()
  print(f'{len(devices)} devices: {devices[0].device_kind}', flush=True)
  has_accelerator = devices[0].platform != 'cpu'
  parts = _FLAGS.parts or _PARTS[: len(_PARTS) if has_accelerator else -1]
  rows = []
  for row in _measure(parts, task_counts, start):
    print(on_device_throughput.table([row]), flush=True)
    rows.append(row)
  if 'environments' not in parts and not has_accelerator:
    print(
      'environments: not measured, as there is no accelerator here; '
      '--parts=environments measures them on the processor.'
    )
  print(f'{time.monotonic() - start:.0f} s in all')
  if directory is not None:
    rows = [row._asdict() for row in rows]
    try:
      outputs.write_json(directory / 'results.json', rows)
      outputs.write_csv(directory / 'results.csv', rows)
    except OSError as error:
      sys.exit(
        f'benchmark_on_device: cannot write to {str(directory)!r} '
        f'({error.strerror}).'
      )


if __name__ == '__main__':
  app.run(main)
