"""Everything that a run is, and what can be read back from its directory."""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import json
import pathlib
from typing import Any, NamedTuple

from absl import logging
import jax

from acme_metarl import algorithm_parts, environments, presets, types
from acme_metarl import config as config_lib
from acme_metarl.agents import maml
from acme_metarl.launchers.runs import checkpointing, seals, seeds

CONFIG_JSON = 'config.json'
CHECKPOINTS = 'checkpoints'
# In `config.json` beside the fields: commands and versions, the last one with a
# checksum of the fields.
MADE_BY = 'made_by'
SEAL = 'settings_crc32'

_AGENT_DEFAULTS = {
  field.name: field.default
  for field in dataclasses.fields(maml.MAMLConfig)
  if field.name != 'algorithm'
}
_HOST_PARTS = ('sample_tasks', 'reset', 'step')
_DEVICE_PARTS = ('sample_task', 'reset', 'step')


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Everything that a run is; `config.json` holds it.

  Attributes:
    environment: a name from `environments.names()`, or a function that makes an
      `acme_metarl.Environment` or a `BatchedEnvironment`.
    environment_options: keyword arguments for it.
    evaluation_environment: the same for evaluations; None for the environment
      of training, and of that the tasks that it holds out, if it does.
    evaluation_environment_options: keyword arguments for it; where it is that
      of training, besides the ones of training.
    bootstrap_on_timeout: whether the end of the horizon is a time limit
      (bootstrapped) and not an end. Published results have it as an end.
    preset: name of the preset that `algorithm` was made from.
    algorithm: the algorithm, the number of iterations included.
    network: a function of `observation_spec` and `action_spec`, those of one
      rollout, and if it likes of `config`, the algorithm, that returns a
      `types.Policy`; None for the default networks.
    agent: fields of `MAMLConfig` besides the algorithm; for runs with Acme and
      Reverb only.
    seed: seed of all randomness, in [0, 2**64).
    eval_every: iterations between evaluations on tasks drawn anew; the
      untrained policy and the last one are evaluated too. 0 is never.
    checkpoint_every: iterations between checkpoints and pictures; the end of
      the run has both too.
  """

  environment: str | Callable[..., Any] = 'navigation_2d'
  environment_options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )
  evaluation_environment: str | Callable[..., Any] | None = None
  evaluation_environment_options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )
  bootstrap_on_timeout: bool = False
  preset: str = 'promp_taypo2'
  algorithm: config_lib.AlgorithmConfig = dataclasses.field(
    default_factory=lambda: presets.make('promp_taypo2')
  )
  network: Callable[..., types.Policy] | None = None
  agent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  seed: int = 0
  eval_every: int = 10
  checkpoint_every: int = 50

  def __post_init__(self):
    self._check_environments()
    if not isinstance(self.algorithm, config_lib.AlgorithmConfig):
      raise ValueError(
        f'algorithm: got {self.algorithm!r}, need an AlgorithmConfig, such as '
        "presets.make('promp_taypo2')."
      )
    if not (self.network is None or callable(self.network)):
      raise ValueError(
        f'network: got {self.network!r}, need a function of observation_spec '
        'and action_spec that returns a types.Policy.'
      )
    object.__setattr__(self, 'agent', _agent_fields(self.agent))
    # Actors do not perturb parameters; a trainer on a device does.
    if self.algorithm.meta_gradient != 'evolution_strategies':
      _ = self.agent_config  # Refuses what does not fit together.
    if not isinstance(self.preset, str):
      raise ValueError(f'preset: got {self.preset!r}, need a name.')
    if not isinstance(self.bootstrap_on_timeout, bool):
      raise ValueError(
        f'bootstrap_on_timeout: got {self.bootstrap_on_timeout!r}, need True '
        'or False.'
      )
    object.__setattr__(self, 'seed', seeds.check('seed', self.seed))
    for name, least in (('eval_every', 0), ('checkpoint_every', 1)):
      value = seeds.whole_number(name, getattr(self, name))
      if value < least:
        raise ValueError(f'{name}: got {value}, need at least {least}.')
      object.__setattr__(self, name, value)

  def _check_environments(self) -> None:
    for name in ('environment', 'evaluation_environment'):
      value = getattr(self, name)
      if isinstance(value, str) and value not in environments.names():
        raise ValueError(
          f'{name}: there is no {value!r}; there are '
          f'{", ".join(environments.names())}, and your own as '
          'package.module:function.'
        )
      if value is None and name == 'evaluation_environment':
        continue
      if not (isinstance(value, str) or callable(value)):
        raise ValueError(
          f'{name}: got {value!r}, need a name, or a function that makes an '
          'environment.'
        )
    for name in ('environment_options', 'evaluation_environment_options'):
      value = getattr(self, name)
      if not isinstance(value, Mapping):
        raise ValueError(f'{name}: got {value!r}, need options by name.')
      object.__setattr__(self, name, dict(value))

  @property
  def num_iterations(self) -> int:
    """Iterations of the whole run."""
    return self.algorithm.num_iterations

  @property
  def agent_config(self) -> maml.MAMLConfig:
    """The agent's configuration, the algorithm included."""
    return maml.MAMLConfig(algorithm=self.algorithm, **self.agent)

  @property
  def title(self) -> str:
    """What pictures call the run."""
    return f'{self.preset}, {_name(self.environment)}'.replace('_', ' ')

  def replace_algorithm(self, **fields: Any) -> 'RunConfig':
    """Returns the configuration with fields of its algorithm changed."""
    return dataclasses.replace(
      self, algorithm=dataclasses.replace(self.algorithm, **fields)
    )

  def to_dict(self) -> dict[str, Any]:
    """Returns plain JSON types.

    Raises:
      ValueError: if something cannot be written.
    """
    values = {
      field.name: algorithm_parts.write(field.name, getattr(self, field.name))
      for field in dataclasses.fields(self)
      if field.name != 'algorithm'
    }
    return {**values, 'algorithm': self.algorithm.to_dict()}

  @classmethod
  def from_dict(
    cls, values: Mapping[str, Any], given: Mapping[str, Any] | None = None
  ) -> 'RunConfig':
    """Reads what `to_dict` wrote, now or in an earlier version.

    Args:
      values: of a file. It imports nothing.
      given: what the user asked to import, by 'module:name'; stands in where
        the values name it.

    Raises:
      ValueError: if that is no configuration, or names code that is not given.
    """
    if not isinstance(values, Mapping):
      raise ValueError(f'got {values!r}, need the fields of a run.')
    values = _insert(_modernised(values), given or {})
    fields = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - fields)
    if unknown or 'algorithm' not in values:
      what = f'unknown fields {unknown}' if unknown else 'no field algorithm'
      raise ValueError(
        f'it has {what}; a run has the fields {", ".join(sorted(fields))}.'
      )
    for name in ('environment', 'evaluation_environment', 'network'):
      if isinstance(values.get(name), str) and ':' in values[name]:
        raise ValueError(
          f'{name}: the run has {values[name]}, which is not imported because '
          f'a file says so; give --{name}={values[name]}, or in Python'
          f' given={{{values[name]!r}: ...}}.'
        )
    values['algorithm'] = _algorithm(values['algorithm'])
    for name in ('environment_options', 'evaluation_environment_options'):
      values[name] = _read_numbers(values.get(name, {}))
    return cls(**values)

  def make_environment(self, stream: str = 'train') -> Any:
    """Makes the environment of a stream, 'train' or 'evaluation'.

    Raises:
      ValueError: if what a function of the user's returns is none.
    """
    flag, made = 'environment', self.environment
    options: dict[str, Any] = {}
    if stream == 'evaluation' and self.evaluation_environment is not None:
      flag, made = 'evaluation_environment', self.evaluation_environment
    else:
      options |= self.environment_options
    if stream == 'evaluation':
      if isinstance(made, str):
        options |= environments.evaluation_options(made)
      options |= self.evaluation_environment_options
    if isinstance(made, str):
      environment = environments.make(made, **options)
    else:
      try:
        inspect.signature(made).bind(**options)
      except TypeError as error:
        raise ValueError(
          f'{flag}_options: {_name(made)} does not take {options} ({error}).'
        ) from error
      try:
        environment = made(**options)
      except ValueError as error:
        raise ValueError(
          f'{flag}: {_name(made)} refuses {options or "no options"}: {error}'
        ) from error
    for parts in (_HOST_PARTS, _DEVICE_PARTS):
      if all(callable(getattr(environment, part, None)) for part in parts):
        break
    else:
      raise ValueError(
        f'{flag}: {_name(made)} returned {environment!r}; it must return an '
        'acme_metarl Environment (sample_task, reset, step, observation_spec, '
        'action_spec) or a BatchedEnvironment (sample_tasks instead).'
      )
    if flag == 'evaluation_environment':
      self._check_specs(environment)
    return environment

  def _check_specs(self, evaluation: Any) -> None:
    """Refuses evaluations of what the policy was not trained on."""
    training = self.make_environment()
    for part in ('observation_spec', 'action_spec'):
      have, need = (_shapes(getattr(x, part)()) for x in (evaluation, training))
      if have != need:
        raise ValueError(
          f'evaluation_environment: its {part} is {have}, that of training '
          f'{need}; a policy needs the same.'
        )

  def make_policy(self, environment: Any) -> types.Policy | None:
    """Calls `network`, if there is one.

    Args:
      environment: whose specs are those of one rollout.

    Raises:
      ValueError: if it returns no policy.
    """
    if self.network is None:
      return None
    arguments = {
      'observation_spec': environment.observation_spec(),
      'action_spec': environment.action_spec(),
      'config': self.algorithm,
    }
    signature = inspect.signature(self.network)
    if 'config' not in signature.parameters:
      del arguments['config']
    try:
      signature.bind(**arguments)
    except TypeError as error:
      raise ValueError(
        f'network: {_name(self.network)} must take observation_spec and '
        f'action_spec, and if it likes config ({error}).'
      ) from error
    policy = self.network(**arguments)
    if not (
      callable(getattr(policy, 'init', None))
      and callable(getattr(policy, 'apply', None))
    ):
      raise ValueError(
        f'network: {_name(self.network)} returned {policy!r}; it must return a '
        'types.Policy, whose init is a function of (key, observation) and whose'
        ' apply is one of (params, observation) to a distrax distribution.'
      )
    return policy

  def trial_environment(
    self, stream: str, seed: Any = None, **sizes: int
  ) -> environments.TrialEnvironment:
    """Makes the trials of a stream, their sizes the algorithm's."""
    arguments = {
      name: sizes.get(name, getattr(self.algorithm, name))
      for name in ('num_tasks', 'num_rollouts', 'horizon', 'num_inner_steps')
    }
    return environments.TrialEnvironment(
      self.make_environment(stream),
      **arguments,
      seed=self.seed if seed is None else seed,
      stream=stream,
      bootstrap_on_timeout=self.bootstrap_on_timeout,
    )


class Plan(NamedTuple):
  """A run that can start.

  Attributes:
    config: everything that it is.
    directory: can be written to.
    checkpoint: to go on from, or None.
  """

  config: RunConfig
  directory: pathlib.Path
  checkpoint: checkpointing.Checkpoint | None = None


def find_checkpoint(path: str) -> checkpointing.Checkpoint:
  """Loads a checkpoint, or the newest whole one of a run's directory.

  Raises:
    ValueError: if there is none.
  """
  where = pathlib.Path(path).expanduser()
  if where.is_file():
    return checkpointing.load(where)
  for directory in (where / CHECKPOINTS, where):
    checkpoint = checkpointing.Checkpointer(directory).load_latest()
    if checkpoint is not None:
      return checkpoint
  raise ValueError(
    f'checkpoint: there is none in {path!r}; give a file, or the log directory '
    'of a run.'
  )


def read(
  path: pathlib.Path, given: Mapping[str, Any] | None = None
) -> RunConfig:
  """Reads a `config.json`; imports only what is given.

  Says so where it is not as a run wrote it.

  Raises:
    ValueError: if it cannot be read, or is no configuration.
  """
  try:
    values = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f'{path} cannot be read as a configuration ({error}).'
    ) from error
  if not _is_as_written(values):
    logging.warning(
      '%s is not as a run wrote it: it was edited, or is damaged.', path
    )
  try:
    return RunConfig.from_dict(values, given)
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{path} is no configuration: {error}') from error


def _is_as_written(values: Any) -> bool:
  """Whether settings have the checksum that a run wrote, or have none."""
  try:
    seal = values[MADE_BY][-1][SEAL]
  except (LookupError, TypeError):
    return True
  fields = {name: value for name, value in values.items() if name != MADE_BY}
  return seal == seals.of_values(fields)


def config_of(
  checkpoint: checkpointing.Checkpoint, given: Mapping[str, Any] | None = None
) -> RunConfig:
  """The configuration that a checkpoint is of, see `RunConfig.from_dict`.

  Raises:
    ValueError: if that is none.
  """
  try:
    return RunConfig.from_dict(checkpoint.get('config'), given)
  except ValueError as error:
    raise ValueError(f'Configuration in {checkpoint.path}: {error}') from error


def _agent_fields(fields: Any) -> dict[str, Any]:
  if not isinstance(fields, Mapping):
    raise ValueError(f'agent: got {fields!r}, need fields of MAMLConfig.')
  unknown = sorted(set(map(str, fields)) - set(_AGENT_DEFAULTS))
  if unknown:
    raise ValueError(
      f'agent: there is no {", ".join(unknown)}; there are '
      f'{", ".join(_AGENT_DEFAULTS)}.'
    )
  return {**_AGENT_DEFAULTS, **fields}


def _modernised(values: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of a run, also where the agent held the algorithm."""
  values = {name: x for name, x in values.items() if name != MADE_BY}
  agent = values.get('agent')
  if isinstance(agent, Mapping) and 'algorithm' in agent:
    agent = dict(agent)
    values['preset'] = values.get('algorithm')
    values['algorithm'] = agent.pop('algorithm')
    values['agent'] = agent
  return values


def _insert(value: Any, given: Mapping[str, Any]) -> Any:
  """Puts objects where texts name them."""
  if isinstance(value, Mapping):
    return {key: _insert(item, given) for key, item in value.items()}
  if isinstance(value, str):
    return given.get(value, value)
  return value


def _algorithm(values: Any) -> config_lib.AlgorithmConfig:
  if not isinstance(values, Mapping):
    raise ValueError(f'algorithm: got {values!r}, need its fields.')
  try:
    return config_lib.AlgorithmConfig.from_dict(values)
  except TypeError as error:
    raise ValueError(f'algorithm: {error}.') from error


def _read_numbers(value: Any) -> Any:
  """Gives numbers back that JSON does not have."""
  if isinstance(value, Mapping):
    return {key: _read_numbers(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_read_numbers(item) for item in value]
  return algorithm_parts.read_number(value)


def _shapes(spec: Any) -> Any:
  return jax.tree_util.tree_map(
    lambda x: (tuple(x.shape), str(x.dtype), getattr(x, 'num_values', None)),
    spec,
  )


def _name(made: str | Callable[..., Any]) -> str:
  return (
    made if isinstance(made, str) else getattr(made, '__name__', repr(made))
  )
