r"""Trains the MAML agent on one machine, in one process.

    python -m acme_metarl.launchers.train
    python -m acme_metarl.launchers.train --algorithm=trpo_maml --seed=1 \
      --environment=half_cheetah_direction --config.max_kl=0.02
    python -m acme_metarl.launchers.train --resume --logdir=DIRECTORY

Each iteration plays a trial, inserts it into Reverb, samples it and learns. The
log directory gets `config.json`, `learner.csv` (a row per iteration),
`evaluation.csv` (returns on freshly drawn tasks after 0, 1, ... adaptation
steps), checkpoints and `curves.png`. Ctrl-C saves and stops; --resume continues
as if nothing had happened.

Every other field of the algorithm's and the agent's configuration is set by
--config.FIELD=VALUE, for example --config.evaluator_options.order=3,
--config.hidden_sizes=128,128 or --config.evaluator=my_module:my_evaluator. A
wrong FIELD gets the list of the right ones.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import logging as py_logging
import pathlib
import sys
from typing import Any

from absl import app, flags, logging

from acme_metarl import config as config_lib
from acme_metarl import environments, presets
from acme_metarl.agents import maml
from acme_metarl.agents.maml import checkpointing
from acme_metarl.launchers import (
  config_flags,
  host_devices,
  outputs,
  run_config,
  training,
)

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
  _DEFAULTS.inner_learning_rate,
  'Step size of adaptation; its initial value where it is learned.',
)
flags.DEFINE_float('discount', _DEFAULTS.discount, 'Discount factor.')
flags.DEFINE_integer(
  'reuse', 1, 'Learner steps that each trial is used for; 1 is on-policy.'
)
flags.DEFINE_string(
  'logdir',
  None,
  'Where results go; by default '
  'results/train/ENVIRONMENT-ALGORITHM-SEED below the working directory, with '
  'a number behind it where that one is taken.',
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
  if 'evaluator' not in fields:  # Else the preset's are another one's.
    options = {**preset.evaluator_options, **options}
  try:
    return presets.make(
      FLAGS.algorithm,
      evaluator_options=options,
      **{name: FLAGS[name].value for name in _ALGORITHM_FLAGS},
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


def _default_directory(resume: bool) -> pathlib.Path:
  """The next free directory, or the last one taken."""
  base = pathlib.Path('results', 'train')
  name = f'{FLAGS.environment}-{FLAGS.algorithm}-{FLAGS.seed}'
  candidate, following, number = base / name, base / name, 1
  while (following / run_config.CONFIG_JSON).exists():
    number += 1
    candidate, following = following, base / f'{name}-{number}'
  return candidate if resume else following


def _resumed_config(
  config: run_config.RunConfig,
  checkpoint: checkpointing.Checkpoint,
  overrides: Mapping[str, str],
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


def run(overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  config = config_from_flags(overrides)
  directory = outputs.writable_directory(
    FLAGS.logdir or _default_directory(FLAGS.resume)
  )
  checkpoint = None
  if FLAGS.resume:
    checkpoint = checkpointing.Checkpointer(
      directory / run_config.CHECKPOINTS
    ).load_latest()
    if checkpoint is None:
      logging.warning('There is no checkpoint in %s; starting anew.', directory)
    else:
      config = _resumed_config(config, checkpoint, overrides)
      logging.info('Resuming from %s.', checkpoint.path)
  elif (directory / run_config.CONFIG_JSON).exists():
    raise ValueError(
      f'logdir: there is a run in {str(directory)!r} already; choose another '
      'directory, or --resume it.'
    )
  # Else JAX tells about every kind of device that is not there.
  py_logging.getLogger('jax').setLevel(py_logging.WARNING)
  host_devices.set_up(FLAGS.num_devices, config.agent.algorithm.num_tasks)
  print(f'Training in {directory}.', file=sys.stderr)
  is_done = training.run(config, directory, checkpoint, FLAGS.tensorboard)
  if is_done:
    print(f'Done: {directory / "curves.png"} shows the returns.')
  return is_done


def main(argv: Sequence[str], overrides: Mapping[str, str]) -> None:
  """Runs, and tells mistakes without a traceback."""
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    run(overrides)
  except ValueError as error:
    logging.debug('Where it came from:', exc_info=True)
    sys.exit(f'train: {error}')
  except KeyboardInterrupt:
    print('train: interrupted; --resume goes on from the last checkpoint.')
    sys.exit(130)
  except OSError as error:
    sys.exit(f'train: cannot write ({error}); the last checkpoint is intact.')


if __name__ == '__main__':
  try:
    _ARGV, _OVERRIDES = config_flags.split(sys.argv)
  except ValueError as _error:
    sys.exit(f'train: {_error}')
  app.run(lambda argv: main(argv, _OVERRIDES), argv=_ARGV)
