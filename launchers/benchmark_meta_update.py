r"""Times the meta-update of a meta-batch, and says where the time goes.

    python -m acme_metarl.launchers.benchmark_meta_update \
        --output=results/meta_update

Random trials, so no environment. Prints the seconds of a whole update and of
programs that do less and less of it, compilation apart; the split that follows;
and which share of the rate of a plain product of matrices, (80000 x 64) by (64
x 64) in float32, the update reaches. The operations are those of one epoch
without a scan, as the compiler counts them. Everything is timed in turns and
every ratio taken within a turn, so that they mean something on a busy machine.

On two Zen 5 cores: 0.22 to 0.24 s, 52 % to 57 % of the product's 350 Gflop/s
where 80 % were hoped for. One device with a core to itself reaches 62 %. There
the network takes

* 59 % of its time for the twelve products of a hidden layer, of which the four
  that sum over the steps run at 0.7 of the yardstick's rate;
* 20 % for products with its two inputs and outputs, at 15 Gflop/s: as much
  memory is read for two columns as for 64;
* 8 % for tanh and 13 % for the other functions of single numbers, which are not
  counted as operations.

The rest is lost because all devices of a process share one pool of threads, to
which XLA hands parts of every product: 120 instead of 75 microseconds for one
of 2000 steps. No flag prevents that. A process that may use one core only has
no such pool, so several runs are best given a process and a core each, as
`compare --num_parallel` does.
"""

from collections.abc import Sequence
import sys

from absl import app, flags

from acme_metarl import presets
from acme_metarl.launchers.benchmarks import meta_update_timing
from acme_metarl.launchers.runs import host_devices, outputs

_FLAGS = flags.FLAGS
flags.DEFINE_enum(
  'algorithm',
  'promp_taypo2',
  [name for name in presets.names() if name.startswith('promp')],
  'Preset whose update is timed.',
)
flags.DEFINE_integer('num_tasks', 40, 'Tasks, G.', lower_bound=1)
flags.DEFINE_integer('num_rollouts', 20, 'Rollouts, B.', lower_bound=1)
flags.DEFINE_integer('horizon', 100, 'Steps of a rollout, T.', lower_bound=1)
flags.DEFINE_integer('num_inner_steps', 1, 'K.', lower_bound=1)
flags.DEFINE_integer('num_epochs', 5, 'Outer epochs.', lower_bound=1)
flags.DEFINE_integer(
  'observation_size', 2, 'Elements of an observation.', lower_bound=1
)
flags.DEFINE_integer(
  'action_size', 2, 'Dimensions of an action.', lower_bound=1
)
flags.DEFINE_integer(
  'chunk_size',
  None,
  'Tasks at once on each device; by default what suits the backend.',
  lower_bound=1,
)
flags.DEFINE_integer(
  'num_devices',
  None,
  'CPU devices that share the tasks; by default one per core.',
)
flags.DEFINE_integer('num_turns', 10, 'Timed runs of each.', lower_bound=1)
flags.DEFINE_string('output', '', 'Directory for results.json; none if empty.')


def main(argv: Sequence[str]) -> None:
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    host_devices.set_up(_FLAGS.num_devices, _FLAGS.num_tasks)
    directory = None
    if _FLAGS.output:
      directory = outputs.writable_directory(_FLAGS.output)
  except ValueError as error:
    sys.exit(f'benchmark_meta_update: {error}')
  config = presets.make(
    _FLAGS.algorithm,
    num_tasks=_FLAGS.num_tasks,
    num_rollouts=_FLAGS.num_rollouts,
    horizon=_FLAGS.horizon,
    num_inner_steps=_FLAGS.num_inner_steps,
    num_outer_epochs=_FLAGS.num_epochs,
    chunk_size=_FLAGS.chunk_size,
  )
  problem = meta_update_timing.make_problem(
    config, _FLAGS.observation_size, _FLAGS.action_size
  )
  report = meta_update_timing.measure(problem, _FLAGS.num_turns)
  print(meta_update_timing.table(report, problem))
  if directory is not None:
    results = {'config': config.to_dict(), **report._asdict()}
    try:
      outputs.write_json(directory / 'results.json', results)
    except OSError as error:
      sys.exit(
        f'benchmark_meta_update: cannot write to {str(directory)!r} '
        f'({error.strerror}).'
      )


if __name__ == '__main__':
  app.run(main)
