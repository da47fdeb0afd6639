r"""Trains the MAML agent in many processes, with Launchpad.

    python -m acme_metarl.launchers.train_distributed --num_actors=4
    python -m acme_metarl.launchers.train_distributed --num_actors=8 \
      --tasks_per_actor=5 --learner_device=gpu --max_lag=2 \
      --environment=half_cheetah_direction
    python -m acme_metarl.launchers.train_distributed --resume --logdir=RUN

Replay, a counter, the learner, actors and an evaluator are nodes of one
Launchpad program. It has the configuration, the log directory and the
checkpoints of `train`, and each goes on from the other's. Ctrl-C saves and
stops. Actors and evaluator are brought back when they die; when replay or the
learner die the program is launched anew from the last checkpoint.

Further fields are set by --config.FIELD=VALUE, as in `train`.
"""

from collections.abc import Mapping
import logging
import os
import pathlib
import sys

from absl import flags
import jax
import launchpad as lp

from acme_metarl.launchers.distributed import lean_imports

with lean_imports.tensorflow_hidden():
  from acme_metarl.launchers.runs import config as run_config
  from acme_metarl.launchers.runs import flags as run_flags
  from acme_metarl.launchers.runs import tables
from acme_metarl.launchers.distributed import launching
from acme_metarl.launchers.distributed import options as options_lib

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(run_flags)
flags.set_default(lp.LAUNCH_TYPE, lp.LaunchType.LOCAL_MULTI_PROCESSING.value)

_NUM_ACTORS = flags.DEFINE_integer('num_actors', 2, 'Actor nodes.')
_TASKS_PER_ACTOR = flags.DEFINE_integer(
  'tasks_per_actor',
  None,
  'Tasks of each trial of an actor; by default num_tasks shared out.',
)
_LEARNER_DEVICE = flags.DEFINE_string(
  'learner_device',
  None,
  'cpu, gpu, tpu, or GPUs by number such as gpu:0,1; by default what JAX '
  'finds best.',
)
_ACTOR_DEVICE = flags.DEFINE_string(
  'actor_device', 'cpu', 'The same for actors and evaluator.'
)
_MAX_LAG = flags.DEFINE_integer(
  'max_lag',
  None,
  'How many updates old a sampled trial may be, see MAMLConfig; by default '
  'there is no bound.',
)
_MAX_RESTARTS = flags.DEFINE_integer(
  'max_restarts',
  3,
  'How often the program is launched anew after a node died.',
)
_LOCAL_ONLY = flags.DEFINE_bool(
  'local_only',
  True,
  'Whether only this machine can connect to replay, counter and learner.',
)
_TERMINAL = flags.DEFINE_enum(
  'terminal',
  'current_terminal',
  ['current_terminal', 'output_to_files'],
  'Where the output of the nodes of local_mp goes; files are in LOGDIR/nodes.',
)
_LOCAL_LAUNCHES = ('local_mt', 'local_mp', 'test_mt', 'test_mp')


def run(overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  if FLAGS.lp_launch_type not in _LOCAL_LAUNCHES:
    raise ValueError(
      f'lp_launch_type: got {FLAGS.lp_launch_type}, which this launcher does '
      f'not start; it knows {", ".join(_LOCAL_LAUNCHES)}. For others call '
      'distributed.program.make_program, see docs/distributed.md.'
    )
  if _MAX_RESTARTS.value < 0:
    raise ValueError(f'max_restarts: got {_MAX_RESTARTS.value}, need 0 or more')
  actor_device = options_lib.Device.parse('actor_device', _ACTOR_DEVICE.value)
  overrides = {'actor_backend': actor_device.kind, **overrides}
  if _MAX_LAG.value is not None:
    overrides['max_lag'] = str(_MAX_LAG.value)
  config, directory, checkpoint = run_flags.plan('train_distributed', overrides)
  options = _options(config.agent.algorithm.num_tasks, actor_device)
  if checkpoint is not None and _is_over(config, directory, checkpoint.step):
    print(f'Done already: {directory / "curves.png"} shows the returns.')
    return True
  _share_compiled_programs()
  logging.getLogger('jax').setLevel(logging.WARNING)
  print(f'Training in {directory}.', file=sys.stderr)
  try:
    is_done = launching.train(
      config,
      options,
      directory,
      checkpoint,
      lp.LaunchType(FLAGS.lp_launch_type),
      _TERMINAL.value,
      _MAX_RESTARTS.value,
    )
  except launching.FailedError as error:
    sys.exit(f'train_distributed: {error}')
  if is_done:
    print(f'Done: {directory / "curves.png"} shows the returns.')
  return is_done


def _is_over(
  config: run_config.RunConfig, directory: pathlib.Path, iteration: int
) -> bool:
  """Whether nothing is left to do after an iteration, tables included."""
  if iteration < config.num_iterations:
    return False
  evaluated = tables.iterations(directory, tables.EVALUATION_CSV)
  return tables.iterations(directory)[-1:] == [iteration] and (
    not config.eval_every
    or iteration > config.num_iterations
    or iteration in evaluated
  )


def _options(
  num_tasks: int, actor_device: options_lib.Device
) -> options_lib.ProgramOptions:
  num_actors = _NUM_ACTORS.value
  return options_lib.ProgramOptions(
    num_actors=num_actors,
    tasks_per_actor=(
      -(-num_tasks // max(num_actors, 1))
      if _TASKS_PER_ACTOR.value is None
      else _TASKS_PER_ACTOR.value
    ),
    learner_device=options_lib.Device.parse(
      'learner_device', _LEARNER_DEVICE.value
    ),
    actor_device=actor_device,
    num_devices=FLAGS.num_devices,
    local_only=_LOCAL_ONLY.value,
    use_tensorboard=FLAGS.tensorboard,
  )


def _share_compiled_programs() -> None:
  """Lets nodes, and later runs, load what one of them has compiled.

  The user's own `JAX_COMPILATION_CACHE_DIR` wins.
  """
  cache = pathlib.Path(
    os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
  )
  folder = os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR', str(cache / 'acme_metarl/xla')
  )
  seconds = os.environ.setdefault(
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1'
  )
  # Processes to come read the environment; JAX here has read it already.
  jax.config.update('jax_compilation_cache_dir', folder)
  jax.config.update(
    'jax_persistent_cache_min_compile_time_secs', float(seconds)
  )


if __name__ == '__main__':
  run_flags.start('train_distributed', run)
