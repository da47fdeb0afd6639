r"""Trains the MAML agent in many processes, with Launchpad or Ray.

    python -m acme_metarl.launchers.train_distributed --num_actors=4
    python -m acme_metarl.launchers.train_distributed --num_actors=8 \
      --tasks_per_actor=5 --learner_device=gpu --max_lag=2 \
      --environment=half_cheetah_direction
    python -m acme_metarl.launchers.train_distributed --resume --logdir=RUN

Replay, a counter, the learner, actors and an evaluator are nodes of a program,
which Launchpad runs, or Ray where there is no Launchpad. It has the
configuration, the log directory and the checkpoints of `train`, and each goes
on from the other's. Ctrl-C saves and stops. Actors and evaluator are brought
back when they die; when another node dies the program is launched anew from the
last checkpoint.

Further fields are set by --config.FIELD=VALUE, as in `train`.
"""

from collections.abc import Mapping, Sequence
import importlib.util
import sys

from absl import flags

from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.distributed import supervising
from acme_metarl.launchers.runs import (
  compilation_cache,
  entry,
  local_servers,
  tables,
  versions,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags

# The first one that is installed is the default.
_ENGINES = ('launchpad', 'ray')
_INSTALL = {
  'launchpad': "pip install 'acme-metarl[agent]' on Python 3.10",
  'ray': "pip install 'acme-metarl[agent,ray]'",
}
_LOCAL_LAUNCHES = ('local_mt', 'local_mp', 'test_mt', 'test_mp')


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  run_flags.define(values)
  if _has('launchpad'):
    import launchpad as lp  # Whose flags this main takes too.

    flags.set_default(
      lp.LAUNCH_TYPE, lp.LaunchType.LOCAL_MULTI_PROCESSING.value
    )
  here = dict(flag_values=values, module_name=__name__)
  flags.DEFINE_enum(
    'engine',
    None,
    _ENGINES,
    'What runs the program; by default Launchpad where it is installed, else '
    'Ray.',
    **here,
  )
  flags.DEFINE_string(
    'address',
    None,
    'Of a running cluster of Ray, such as HOST:6379; by default Ray is started '
    'on this machine.',
    **here,
  )
  flags.DEFINE_integer('num_actors', 2, 'Actor nodes.', **here)
  flags.DEFINE_integer(
    'tasks_per_actor',
    None,
    'Tasks of each trial of an actor; by default num_tasks shared out.',
    **here,
  )
  flags.DEFINE_string(
    'learner_device',
    None,
    'cpu, gpu, tpu, or GPUs by number such as gpu:0,1; by default what JAX '
    'finds best.',
    **here,
  )
  flags.DEFINE_string(
    'actor_device',
    'cpu',
    'Device of actors and evaluator: cpu, gpu, tpu, or GPUs by number.',
    **here,
  )
  flags.DEFINE_integer(
    'max_lag',
    None,
    'How many updates old a sampled trial may be, see MAMLConfig; by default '
    'there is no bound.',
    **here,
  )
  flags.DEFINE_integer(
    'max_restarts',
    3,
    'How often the program is launched anew after a node died.',
    **here,
  )
  flags.DEFINE_bool(
    'local_only',
    True,
    'Whether only this machine can connect to replay, counter and learner.',
    **here,
  )
  flags.DEFINE_enum(
    'terminal',
    'current_terminal',
    ['current_terminal', 'output_to_files'],
    'Where the output of the nodes of local_mp goes; files are in '
    'LOGDIR/nodes. With Launchpad only.',
    **here,
  )


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  engine = _engine(values)
  max_restarts = values['max_restarts'].value
  if max_restarts < 0:
    raise ValueError(f'max_restarts: got {max_restarts}, need 0 or more.')
  actor_device = options_lib.Device.parse(
    'actor_device', values['actor_device'].value
  )
  overrides = {'actor_backend': actor_device.kind, **overrides}
  if values['max_lag'].value is not None:
    overrides['max_lag'] = str(values['max_lag'].value)
  local_servers.spare_proxies()
  cache = compilation_cache.set_up(values['compilation_cache'].value)
  config = run_flags.config_from_flags(overrides, values)

  def check(config):
    options = _options(values, config.algorithm.num_tasks, actor_device)
    config.agent_config.queue_size(options.tasks_per_actor)
    for stream in ('train', 'evaluation'):
      config.make_environment(stream)

  with run_flags.planned(
    'train_distributed', config, overrides, values, check=check
  ) as plans:
    (plan,) = plans
    curves = plan.directory / 'curves.png'
    if _is_over(plan):
      print(f'Done already: {curves} shows the returns.')
      return True
    print(f'Training in {plan.directory}.\n{cache}', file=sys.stderr)
    try:
      with versions.handed_on():
        is_done = _train(engine, values, plan, overrides, actor_device)
    except supervising.FailedError as error:
      sys.exit(f'train_distributed: {error}')
  if is_done:
    print(f'Done: {curves} shows the returns.')
  return is_done


def _has(module: str) -> bool:
  return importlib.util.find_spec(module) is not None


def _engine(values: flags.FlagValues) -> str:
  """The engine that is asked for, or that is installed."""
  engine = values['engine'].value
  if engine is None:
    engine = next(filter(_has, _ENGINES), None)
  if engine is None or not _has(engine):
    names = _ENGINES if engine is None else [engine]
    raise ValueError(
      f'engine: there is no {" and no ".join(names)} here; '
      f'{", or ".join(_INSTALL[name] for name in names)}.'
    )
  address = values['address'].value
  if engine == 'ray':
    from acme_metarl.launchers.distributed import ray_engine

    if address is not None:
      ray_engine.check_address(address)
    return engine
  if address is not None:
    raise ValueError('address: is of a cluster of Ray; use --engine=ray.')
  launch_type = values['lp_launch_type'].value
  if launch_type not in _LOCAL_LAUNCHES:
    raise ValueError(
      f'lp_launch_type: got {launch_type}, which this launcher does '
      f'not start; it knows {", ".join(_LOCAL_LAUNCHES)}. For others call '
      'distributed.program.make_program, see docs/distributed.md.'
    )
  return engine


def _train(
  engine: str,
  values: flags.FlagValues,
  plan: run_config.Plan,
  overrides: Mapping[str, str],
  actor_device: options_lib.Device,
) -> bool:
  given = run_flags.imported(overrides, values)
  options = _options(values, plan.config.algorithm.num_tasks, actor_device)
  max_restarts = values['max_restarts'].value
  if engine == 'ray':
    from acme_metarl.launchers.distributed import ray_engine

    return ray_engine.train(
      plan, given, options, values['address'].value, max_restarts
    )
  import launchpad as lp

  from acme_metarl.launchers.distributed import launching

  return launching.train(
    plan,
    given,
    options,
    lp.LaunchType(values['lp_launch_type'].value),
    values['terminal'].value,
    max_restarts,
  )


def _is_over(plan: run_config.Plan) -> bool:
  """Whether nothing is left to do, tables included."""
  config, directory, checkpoint = plan
  if checkpoint is None or checkpoint.step < config.num_iterations:
    return False
  evaluated = tables.iterations(directory, tables.EVALUATION_CSV)
  return tables.iterations(directory)[-1:] == [checkpoint.step] and (
    not config.eval_every
    or checkpoint.step > config.num_iterations
    or checkpoint.step in evaluated
  )


def _options(
  values: flags.FlagValues, num_tasks: int, actor_device: options_lib.Device
) -> options_lib.ProgramOptions:
  num_actors = values['num_actors'].value
  tasks_per_actor = values['tasks_per_actor'].value
  if tasks_per_actor is None:
    tasks_per_actor = -(-num_tasks // max(num_actors, 1))
  return options_lib.ProgramOptions(
    num_actors=num_actors,
    tasks_per_actor=tasks_per_actor,
    learner_device=options_lib.Device.parse(
      'learner_device', values['learner_device'].value
    ),
    actor_device=actor_device,
    num_devices=values['num_devices'].value,
    local_only=values['local_only'].value,
    use_tensorboard=values['tensorboard'].value,
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Trains as a command line says, this process's by default."""
  entry.main('train_distributed', __doc__, define, run, argv)


if __name__ == '__main__':
  main()
