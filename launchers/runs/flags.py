"""Flags of training runs, and the run that they ask for.

Shared by `train` and `train_on_device`. Every other field of the algorithm's
and the agent's configuration is set by --config.FIELD=VALUE.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any, NamedTuple

from absl import app, flags, logging

from acme_metarl import config as config_lib
from acme_metarl import environments, presets
from acme_metarl.agents import maml
from acme_metarl.launchers.runs import checkpointing, config_flags, outputs
from acme_metarl.launchers.runs import config as run_config

FLAGS = flags.FLAGS

# Flags that are fields of the algorithm, of the agent, and of the run.
_ALGORITHM_FLAGS = (
  'num_iterations',
  'num_tasks',
  'num_rollouts',
  'horizon',
  'num_inner_steps',
  'inner_learning_rate',
  'discount',
)
_AGENT_FLAGS = ('reuse',)
_RUN_FLAGS = (
  'environment',
  'environment_options',
  'bootstrap_on_timeout',
  'algorithm',
  'seed',
  'eval_every',
  'checkpoint_every',
)
# A resumed run may change these, and nothing else.
_CHANGEABLE = ('num_iterations', 'eval_every', 'checkpoint_every')
_DEFAULTS = config_lib.AlgorithmConfig(num_iterations=200)
# Where the published inner step size is not the default. On navigation, one
# seed in two needs more than 200 iterations with it to leave the policy that
# always goes to one and the same corner.
_INNER_LEARNING_RATES = {'navigation_2d': 0.2}

flags.DEFINE_string(
  'environment',
  'navigation_2d',
  f'Task distribution: {", ".join(environments.names())}.',
)
flags.DEFINE_string(
  'environment_options',
  '{}',
  'Options of the environment as JSON, for example \'{"reward": "dense"}\'.',
)
flags.DEFINE_bool(
  'bootstrap_on_timeout',
  False,
  'Whether the end of the horizon is a time limit (bootstrapped) and not an '
  'end. Published results have it as an end.',
)
flags.DEFINE_string(
  'algorithm', 'promp_taypo2', f'Preset: {", ".join(presets.names())}.'
)
flags.DEFINE_integer('seed', 0, 'Seed of all randomness.')
flags.DEFINE_integer(
  'num_iterations',
  _DEFAULTS.num_iterations,
  'Meta-updates of the whole run; published curves have 1001.',
)
flags.DEFINE_integer('num_tasks', _DEFAULTS.num_tasks, 'Tasks in a meta-batch.')
flags.DEFINE_integer(
  'num_rollouts', _DEFAULTS.num_rollouts, 'Rollouts of each task and stage.'
)
flags.DEFINE_integer('horizon', _DEFAULTS.horizon, 'Steps of a rollout.')
flags.DEFINE_integer(
  'num_inner_steps', _DEFAULTS.num_inner_steps, 'Adaptation steps.'
)
flags.DEFINE_float(
  'inner_learning_rate',
  None,
  'Step size of adaptation; its initial value where it is learned. By default '
  f'that of published results, {_DEFAULTS.inner_learning_rate}; but '
  + ', '.join(f'{v} on {k}' for k, v in _INNER_LEARNING_RATES.items())
  + '.',
)
flags.DEFINE_float('discount', _DEFAULTS.discount, 'Discount factor.')
flags.DEFINE_integer(
  'reuse', 1, 'Learner steps that each trial is used for; 1 is on-policy.'
)
flags.DEFINE_string(
  'logdir',
  None,
  'Where results go; by default '
  'results/LAUNCHER/ENVIRONMENT-ALGORITHM-SEED below the working directory, '
  'with a number behind it where that one is taken.',
)
flags.DEFINE_integer(
  'eval_every',
  10,
  'Iterations between evaluations on freshly drawn tasks; 0 is never.',
)
flags.DEFINE_integer(
  'checkpoint_every', 50, 'Iterations between checkpoints and pictures.'
)
flags.DEFINE_bool(
  'resume',
  False,
  'Whether to continue the run in the log directory from its newest whole '
  'checkpoint. Its configuration is taken from there; only '
  f'{", ".join("--" + name for name in _CHANGEABLE)} can be changed.',
)
flags.DEFINE_bool('tensorboard', False, 'Whether to write TensorBoard files.')
flags.DEFINE_integer(
  'num_devices',
  None,
  "CPU devices that JAX shows, to share the learner's work out; by default as "
  'many as there are cores and tasks for them.',
)


def config_from_flags(overrides: Mapping[str, str]) -> run_config.RunConfig:
  """Puts the configuration together.

  Args:
    overrides: values of `--config.FIELD`.

  Returns:
    The configuration.

  Raises:
    ValueError: naming what is wrong.
  """
  agent_fields = {
    field.name for field in dataclasses.fields(maml.MAMLConfig)
  } - {'algorithm', *_AGENT_FLAGS}
  for_agent = {k: v for k, v in overrides.items() if k in agent_fields}
  for_algorithm = {k: v for k, v in overrides.items() if k not in agent_fields}
  try:
    fields = config_flags.parse(
      for_algorithm, config_lib.AlgorithmConfig, taken=_ALGORITHM_FLAGS
    )
  except ValueError as error:
    raise ValueError(
      f'{error} And of the agent: {", ".join(sorted(agent_fields))}.'
      if 'no such field' in str(error)
      else str(error)
    ) from error
  agent = maml.MAMLConfig(
    algorithm=_algorithm(fields),
    **{name: FLAGS[name].value for name in _AGENT_FLAGS},
    **config_flags.parse(for_agent, maml.MAMLConfig),
  )
  run_values = {name: FLAGS[name].value for name in _RUN_FLAGS}
  run_values['environment_options'] = _environment_options()
  return run_config.RunConfig(agent=agent, **run_values)


def _algorithm(fields: dict[str, Any]) -> config_lib.AlgorithmConfig:
  """The preset, with flags and other fields set."""
  preset = presets.make(FLAGS.algorithm)
  options = fields.pop('evaluator_options', {})
  values = {name: FLAGS[name].value for name in _ALGORITHM_FLAGS}
  if values['inner_learning_rate'] is None:
    values['inner_learning_rate'] = _INNER_LEARNING_RATES.get(
      FLAGS.environment, _DEFAULTS.inner_learning_rate
    )
  if 'evaluator' not in fields:  # Else the preset's are another one's.
    options = {**preset.evaluator_options, **options}
  try:
    return presets.make(
      FLAGS.algorithm,
      evaluator_options=options,
      **values,
      **fields,
    )
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f'--config: {", ".join(f"{k}={v}" for k, v in fields.items())} names a '
      f'function that cannot be imported ({error}).'
    ) from error


def _environment_options() -> dict[str, Any]:
  text = FLAGS.environment_options
  try:
    options = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(
      f'environment_options: {text!r} is no JSON ({error}).'
    ) from error
  if not isinstance(options, dict):
    raise ValueError(f'environment_options: got {text!r}, need a JSON object.')
  return options


def _default_directory(
  launcher: str, resume: bool, member: int | None
) -> pathlib.Path:
  """The next free directory, or the last one taken.

  Members of a group of runs go to one directory: the first one finds it.
  """
  base = pathlib.Path('results', launcher)
  name = f'{FLAGS.environment}-{FLAGS.algorithm}-{FLAGS.seed}'
  inner = '' if member is None else f'seed_{FLAGS.seed + member}'
  candidate, following, number = base / name, base / name, 1
  while (following / inner / run_config.CONFIG_JSON).exists():
    number += 1
    candidate, following = following, base / f'{name}-{number}'
  return candidate if resume else following


def _resumed_config(
  config: run_config.RunConfig,
  checkpoint: checkpointing.Checkpoint,
  overrides: Mapping[str, str],
  member: int | None,
) -> run_config.RunConfig:
  """The configuration of the run to resume, with changes that it allows.

  Raises:
    ValueError: if flags ask for another one.
  """
  old = run_config.RunConfig.from_dict(checkpoint.metadata['config'])
  given = [
    name
    for name in (*_RUN_FLAGS, *_AGENT_FLAGS, *_ALGORITHM_FLAGS)
    if FLAGS[name].present
  ]
  new_values, old_values = (_flat(x) for x in (config, old))
  fields = {key.split('.')[0] for key in overrides}
  different = [
    f'{name} is {old_values[name]!r} there, not {new_values[name]!r}'
    for name in (*given, *sorted(fields))
    if name not in _CHANGEABLE and old_values[name] != new_values[name]
  ]
  if different:
    raise ValueError(
      f'resume: the run has another configuration: {"; ".join(different)}. '
      'Leave these flags out, or start a new run in another --logdir.'
    )
  changes = {name: new_values[name] for name in _CHANGEABLE if name in given}
  if 'num_iterations' in changes:
    num_iterations = changes.pop('num_iterations')
    algorithm = dataclasses.replace(
      old.agent.algorithm, num_iterations=num_iterations
    )
    old = dataclasses.replace(
      old, agent=dataclasses.replace(old.agent, algorithm=algorithm)
    )
  return dataclasses.replace(old, **changes)


def _flat(config: run_config.RunConfig) -> dict[str, Any]:
  values = config.to_dict()
  agent = values.pop('agent')
  algorithm = agent.pop('algorithm')
  return {**algorithm, **agent, **values}


class Plan(NamedTuple):
  """A run that can start.

  Attributes:
    config: everything that it is.
    directory: can be written to.
    checkpoint: to go on from, or None.
  """

  config: run_config.RunConfig
  directory: pathlib.Path
  checkpoint: checkpointing.Checkpoint | None


def plan(
  launcher: str, overrides: Mapping[str, str], member: int | None = None
) -> Plan:
  """Finds out what the flags ask for, before anything long starts.

  Args:
    launcher: names the folder that results go to by default.
    overrides: values of `--config.FIELD`.
    member: number of one of several runs, whose seed is that much larger and
      whose directory is `seed_N` in the log directory; None for a single run.

  Returns:
    The run.

  Raises:
    ValueError: if it cannot be done.
  """
  config = config_from_flags(overrides)
  directory = pathlib.Path(
    FLAGS.logdir or _default_directory(launcher, FLAGS.resume, member)
  )
  if member is not None:
    config = dataclasses.replace(config, seed=config.seed + member)
    directory /= f'seed_{config.seed}'
  directory = outputs.writable_directory(directory)
  checkpoint = None
  if FLAGS.resume:
    checkpoint = checkpointing.Checkpointer(
      directory / run_config.CHECKPOINTS
    ).load_latest()
    if checkpoint is None:
      logging.warning('There is no checkpoint in %s; starting anew.', directory)
    else:
      config = _resumed_config(config, checkpoint, overrides, member)
      logging.info('Resuming from %s.', checkpoint.path)
  elif (directory / run_config.CONFIG_JSON).exists():
    raise ValueError(
      f'logdir: there is a run in {str(directory)!r} already; choose another '
      'directory, or --resume it.'
    )
  return Plan(config, directory, checkpoint)


def main(
  launcher: str,
  run: Callable[[Mapping[str, str]], Any],
  argv: Sequence[str],
  overrides: Mapping[str, str],
) -> None:
  """Runs, and tells mistakes without a traceback.

  Args:
    launcher: its name, in front of messages.
    run: given the values of `--config.FIELD`.
    argv: what absl left of the command line.
    overrides: values of `--config.FIELD`.
  """
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    run(overrides)
  except ValueError as error:
    logging.debug('Where it came from:', exc_info=True)
    sys.exit(f'{launcher}: {error}')
  except KeyboardInterrupt:
    print(
      f'{launcher}: interrupted; --resume goes on from the last checkpoint.'
    )
    sys.exit(130)
  except OSError as error:
    sys.exit(
      f'{launcher}: cannot write ({error}); the last checkpoint is intact.'
    )


def start(launcher: str, run: Callable[[Mapping[str, str]], Any]) -> None:
  """Splits the command line, then `main`."""
  try:
    argv, overrides = config_flags.split(sys.argv)
  except ValueError as error:
    sys.exit(f'{launcher}: {error}')
  app.run(lambda rest: main(launcher, run, rest, overrides), argv=argv)
