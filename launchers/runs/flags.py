"""Flags of training runs, and the run that they ask for.

Shared by `train`, `train_on_device` and `train_distributed`. Every other field
of the algorithm's and the agent's configuration is set by --config.FIELD=VALUE.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import json
import pathlib
from typing import Any

from absl import flags, logging

from acme_metarl import config as config_lib
from acme_metarl import environments, presets
from acme_metarl.agents import maml
from acme_metarl.launchers.runs import (
  checkpointing,
  config_flags,
  dataclass_flags,
  directories,
  recommended,
  references,
)
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
_PLAIN_RUN_FLAGS = (
  'bootstrap_on_timeout',
  'seed',
  'eval_every',
  'checkpoint_every',
)
_REFERENCE_FLAGS = ('environment', 'evaluation_environment', 'network')
_OPTION_FLAGS = ('environment_options', 'evaluation_environment_options')
_RUN_FLAGS = (
  *_REFERENCE_FLAGS,
  *_OPTION_FLAGS,
  *_PLAIN_RUN_FLAGS,
  'algorithm',
)
# A resumed run may change these, and nothing else.
_CHANGEABLE = ('num_iterations', 'eval_every', 'checkpoint_every')
_DEFAULTS = config_lib.AlgorithmConfig(num_iterations=200)


def _field_names(config_type: type[Any]) -> set[str]:
  return {field.name for field in dataclasses.fields(config_type)}


def define(values: flags.FlagValues = FLAGS) -> None:
  """Defines the flags."""
  texts = dataclass_flags.descriptions(run_config.RunConfig)

  def text(name, default, description):
    flags.DEFINE_string(
      name, default, description, values, module_name=__name__
    )

  text(
    'environment',
    'navigation_2d',
    f'Task distribution: {", ".join(environments.names())}; or '
    'package.module:function, which makes one.',
  )
  text(
    'environment_options',
    '{}',
    'Options of the environment as JSON, for example \'{"reward": "dense"}\'.',
  )
  text(
    'evaluation_environment',
    None,
    'Task distribution of evaluations; by default that of training.',
  )
  text(
    'evaluation_environment_options',
    '{}',
    'Options of the environment of evaluations, as JSON. Where that is the one '
    'of training, they are added to its own.',
  )
  text(
    'network',
    None,
    'package.module:function, which makes the policy: ' + texts['network'],
  )
  text('algorithm', 'promp_taypo2', f'Preset: {", ".join(presets.names())}.')
  for defaults, names in (
    (_DEFAULTS, set(_ALGORITHM_FLAGS) - {'inner_learning_rate'}),
    (run_config.RunConfig(), set(_PLAIN_RUN_FLAGS)),
    (maml.MAMLConfig(), set(_AGENT_FLAGS)),
  ):
    dataclass_flags.define(
      defaults, values, __name__, _field_names(type(defaults)) - names
    )
  own = ', '.join(
    f'{v} on {k}' for k, v in recommended.INNER_LEARNING_RATES.items()
  )
  flags.DEFINE_float(
    'inner_learning_rate',
    None,
    'Step size of adaptation; its initial value where it is learned. By default'
    f' the published one, {recommended.PUBLISHED_INNER_LEARNING_RATE}; but '
    f'{own} (compare uses the published one there too).',
    flag_values=values,
    module_name=__name__,
  )
  text(
    'logdir',
    None,
    'Where results go; by default results/LAUNCHER/ENVIRONMENT-ALGORITHM-SEED '
    'below the working directory, followed by what differs from the defaults, '
    'and by a number where that one is taken.',
  )
  text(
    'config_file',
    None,
    'Configuration to run: the config.json of a run, with another --seed if '
    'you like. Of its settings only '
    f'{", ".join("--" + name for name in _CHANGEABLE)} can be changed.',
  )
  for name, description in (
    (
      'resume',
      'Whether to continue the run in the log directory from its newest whole '
      'checkpoint. Its configuration is taken from there; only '
      f'{", ".join("--" + name for name in _CHANGEABLE)} can be changed.',
    ),
    (
      'tensorboard',
      'Whether to write event files for TensorBoard, to LOGDIR/tensorboard.',
    ),
  ):
    flags.DEFINE_bool(name, False, description, values, module_name=__name__)
  flags.DEFINE_integer(
    'num_devices',
    None,
    "CPU devices that JAX shows, to share the learner's work out; by default "
    'as many as there are cores and tasks for them.',
    flag_values=values,
    module_name=__name__,
  )
  text(
    'compilation_cache',
    None,
    'Directory for what JAX compiles, so that later runs load it, or off; by '
    'default JAX_COMPILATION_CACHE_DIR, or acme_metarl/xla in the cache of the '
    'user (XDG_CACHE_HOME, or ~/.cache).',
  )


def imported(
  overrides: Mapping[str, str], values: flags.FlagValues = FLAGS
) -> dict[str, Any]:
  """Imports what flags name, and returns it by what they say.

  Raises:
    ValueError: if something cannot be imported.
  """
  texts = {name: values[name].value for name in _REFERENCE_FLAGS}
  return {
    text: references.load(name, text)
    for name, text in texts.items()
    if references.is_one(text)
  } | {
    text: references.load(f'config.{name}', text)
    for name, text in overrides.items()
    if '.' not in name and references.is_one(text)
  }


def config_from_flags(
  overrides: Mapping[str, str], values: flags.FlagValues = FLAGS
) -> run_config.RunConfig:
  """Puts the configuration together.

  Args:
    overrides: values of `--config.FIELD`.
    values: of the flags.

  Returns:
    The configuration.

  Raises:
    ValueError: naming what is wrong.
  """
  given = imported(overrides, values)
  agent_fields = _field_names(maml.MAMLConfig) - {'algorithm', *_AGENT_FLAGS}
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
  fields |= {name: values[name].value for name in _ALGORITHM_FLAGS}
  environment = values['environment'].value
  return run_config.RunConfig(
    preset=values['algorithm'].value,
    algorithm=_algorithm(values['algorithm'].value, environment, fields),
    agent={name: values[name].value for name in _AGENT_FLAGS}
    | config_flags.parse(for_agent, maml.MAMLConfig),
    **{name: values[name].value for name in _PLAIN_RUN_FLAGS},
    **{name: options(name, values[name].value) for name in _OPTION_FLAGS},
    **{
      name: given.get(values[name].value, values[name].value)
      for name in _REFERENCE_FLAGS
    },
  )


def _algorithm(
  preset: str, environment: str, fields: Mapping[str, Any]
) -> config_lib.AlgorithmConfig:
  """The preset, with flags and other fields set."""
  settings = recommended.settings(preset, environment)
  recommended_options = settings.pop('evaluator_options', {})
  fields = {**settings, **fields}
  if fields.get('inner_learning_rate') is None:
    fields['inner_learning_rate'] = recommended.inner_learning_rate(environment)
  if 'evaluator' not in fields:  # Else the preset's are another one's.
    fields['evaluator_options'] = {
      **presets.make(preset).evaluator_options,
      **recommended_options,
      **fields.get('evaluator_options', {}),
    }
  else:
    fields.setdefault('evaluator_options', {})
  return presets.make(preset, **fields)


def options(name: str, text: str) -> dict[str, Any]:
  """What a flag's JSON says.

  Raises:
    ValueError: if it is none, or no object.
  """
  try:
    found = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(f'{name}: {text!r} is no JSON ({error}).') from error
  if not isinstance(found, dict):
    raise ValueError(f'{name}: got {text!r}, need a JSON object.')
  return found


def _changed(
  config: run_config.RunConfig,
  stored: run_config.RunConfig,
  overrides: Mapping[str, str],
  values: flags.FlagValues,
  may_change: tuple[str, ...],
  why: str,
) -> run_config.RunConfig:
  """A stored configuration, with the changes that it allows.

  Raises:
    ValueError: if flags ask for others.
  """
  given = [
    name
    for name in (*_RUN_FLAGS, *_AGENT_FLAGS, *_ALGORITHM_FLAGS)
    if values[name].present
  ]
  new, old = _flat(config), _flat(stored)
  fields = {key.split('.')[0] for key in overrides}
  different = [
    f'{name} is {old[name]!r} there, not {new[name]!r}'
    for name in (*given, *sorted(fields))
    if name not in may_change and old[name] != new[name]
  ]
  if different:
    raise ValueError(
      f'{why} has another configuration: {"; ".join(different)}. Leave these '
      'flags out, or start a new run in another --logdir.'
    )
  changes = {name: new[name] for name in may_change if name in given}
  if 'num_iterations' in changes:
    stored = stored.replace_algorithm(
      num_iterations=changes.pop('num_iterations')
    )
  return dataclasses.replace(stored, **changes)


def _flat(config: run_config.RunConfig) -> dict[str, Any]:
  """Fields of the algorithm, the agent and the run, `algorithm` the preset."""
  fields = config.to_dict()
  algorithm, agent = fields.pop('algorithm'), fields.pop('agent')
  return {**algorithm, **agent, **fields, 'algorithm': fields['preset']}


def _default_name(config: run_config.RunConfig) -> str:
  """Environment, preset, seed, and what differs from their defaults."""
  text = config.to_dict()['environment']
  plain = run_config.RunConfig(
    environment=config.environment,
    preset=config.preset,
    algorithm=_algorithm(config.preset, config.environment, {}),
  )
  ours, defaults = _leaves(_flat(config)), _leaves(_flat(plain))
  return directories.default_name(
    text,
    config.preset,
    config.seed,
    {
      name: value
      for name, value in ours.items()
      if name not in (*_CHANGEABLE, 'seed') and value != defaults.get(name)
    },
  )


def _leaves(values: Mapping[str, Any]) -> dict[str, Any]:
  """Values by name, options by their own."""
  found = {}
  for name, value in values.items():
    found |= _leaves(value) if isinstance(value, Mapping) else {name: value}
  return found


@contextlib.contextmanager
def planned(
  launcher: str,
  config: run_config.RunConfig,
  overrides: Mapping[str, str],
  values: flags.FlagValues = FLAGS,
  num_seeds: int = 1,
  check: Callable[[run_config.RunConfig], Any] = lambda config: None,
) -> Iterator[list[run_config.Plan]]:
  """Finds out what the flags ask for, and keeps its directory from others.

  Nothing is written, and no directory made, before all settings are checked.

  Args:
    launcher: names the folder that results go to by default.
    config: what flags ask for, see `config_from_flags`.
    overrides: values of `--config.FIELD`.
    values: of the flags.
    num_seeds: runs; if several, their seeds follow one another, and their
      directories are `seed_N` in the log directory.
    check: raises a `ValueError` for a configuration that cannot be run here.

  Yields:
    The runs.

  Raises:
    ValueError: if it cannot be done.
  """
  given = imported(overrides, values)
  if values['config_file'].value:
    stored = run_config.read(pathlib.Path(values['config_file'].value), given)
    config = _changed(
      config,
      stored,
      overrides,
      values,
      (*_CHANGEABLE, 'seed'),
      'config_file: the file',
    )
  name = _default_name(config)  # Refuses, too, what cannot be written.
  configs = [
    dataclasses.replace(config, seed=config.seed + i) for i in range(num_seeds)
  ]
  inner = [f'seed_{c.seed}' if num_seeds > 1 else '' for c in configs]
  base = pathlib.Path('results', launcher)
  logdir = values['logdir'].value
  with contextlib.ExitStack() as stack:
    if values['resume'].value:
      outer = pathlib.Path(logdir or directories.to_resume(base, name))
      outer = outer.expanduser()
      # Of a group of seeds, some may not have got as far as their settings.
      if not any(directories.has_run(outer / x) for x in inner):
        raise ValueError(
          f'resume: there is no run in {str(outer / inner[0])!r}; leave '
          '--resume out to start one.'
        )
      plans = []
      for one, x in zip(configs, inner, strict=True):
        directory = stack.enter_context(directories.claimed(outer / x))
        one, checkpoint = _resumed(one, directory, overrides, values, given)
        check(one)
        plans.append(run_config.Plan(one, directory, checkpoint))
      yield plans
      return
    for one in configs:
      check(one)
    if logdir:
      outer = pathlib.Path(logdir).expanduser()
      _claim(outer, inner, stack)
    else:
      for outer in directories.numbered(base, name):
        with contextlib.suppress(directories.TakenError):
          _claim(outer, inner, stack)
          break
    yield [
      run_config.Plan(one, outer / x)
      for one, x in zip(configs, inner, strict=True)
    ]


def _claim(outer, inner, stack) -> None:
  """Claims directories for new runs, all or none.

  Raises:
    TakenError: if a run is, or was, in one of them.
  """
  with contextlib.ExitStack() as ours:
    for x in inner:
      directory = outer / x
      if not directories.has_begun(directory):
        ours.enter_context(directories.claimed(directory))
      # Another one may have come and gone just now.
      if directories.has_begun(directory):
        raise directories.TakenError(
          f'logdir: there is a run in {str(directory)!r} already; choose '
          'another directory, or --resume it.'
        )
    stack.push(ours.pop_all())


def _resumed(config, directory, overrides, values, given):
  """The configuration and the checkpoint of a run to go on with."""
  checkpointer = checkpointing.Checkpointer(directory / run_config.CHECKPOINTS)
  checkpoint = checkpointer.load_latest()
  if checkpoint is None and checkpointer.paths():
    raise ValueError(
      f'resume: every checkpoint in {str(directory)!r} is damaged; bring one '
      'back, or start a new run in another --logdir.'
    )
  if checkpoint is not None:
    logging.info('Resuming from %s.', checkpoint.path)
    stored = run_config.config_of(checkpoint, given)
  elif (directory / run_config.CONFIG_JSON).exists():
    logging.warning('There is no checkpoint in %s; starting anew.', directory)
    stored = run_config.read(directory / run_config.CONFIG_JSON, given)
  else:
    return config, None
  config = _changed(
    config, stored, overrides, values, _CHANGEABLE, 'resume: the run'
  )
  return config, checkpoint
