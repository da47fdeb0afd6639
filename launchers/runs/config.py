"""Everything that a run is, and what can be read back from its directory."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from acme_metarl import config as config_lib
from acme_metarl import environments
from acme_metarl.agents import maml
from acme_metarl.launchers.runs import checkpointing

CONFIG_JSON = 'config.json'
CHECKPOINTS = 'checkpoints'


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Everything that a run is; `config.json` holds it.

  Attributes:
    environment: a name from `environments.names()`.
    environment_options: keyword arguments for it.
    bootstrap_on_timeout: see `TrialEnvironment`.
    algorithm: name of the preset that `agent` was made from.
    agent: the agent, the number of iterations included.
    seed: of all randomness.
    eval_every: iterations between evaluations; the untrained policy and the
      last one are evaluated too. 0 is never.
    checkpoint_every: iterations between checkpoints and pictures; the end of
      the run has both too.
  """

  environment: str = 'navigation_2d'
  environment_options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )
  bootstrap_on_timeout: bool = False
  algorithm: str = 'promp_taypo2'
  agent: maml.MAMLConfig = dataclasses.field(default_factory=maml.MAMLConfig)
  seed: int = 0
  eval_every: int = 10
  checkpoint_every: int = 50

  def __post_init__(self):
    if self.environment not in environments.names():
      raise ValueError(
        f'environment: there is no {self.environment!r}; there are '
        f'{", ".join(environments.names())}.'
      )
    if self.seed < 0:
      raise ValueError(f'seed: got {self.seed}, need no negative number.')
    if self.eval_every < 0:
      raise ValueError(f'eval_every: got {self.eval_every}, need at least 0.')
    if self.checkpoint_every < 1:
      raise ValueError(
        f'checkpoint_every: got {self.checkpoint_every}, need at least 1.'
      )

  @property
  def num_iterations(self) -> int:
    """Iterations of the whole run."""
    return self.agent.algorithm.num_iterations

  def to_dict(self) -> dict[str, Any]:
    """Returns plain JSON types."""
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    agent = {
      f.name: getattr(self.agent, f.name)
      for f in dataclasses.fields(self.agent)
    }
    agent['algorithm'] = self.agent.algorithm.to_dict()
    return {
      **values,
      'environment_options': dict(self.environment_options),
      'agent': agent,
    }

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> 'RunConfig':
    """Reads what `to_dict` wrote."""
    agent = dict(values['agent'])
    agent['algorithm'] = config_lib.AlgorithmConfig.from_dict(
      agent['algorithm']
    )
    return cls(**{**values, 'agent': maml.MAMLConfig(**agent)})

  def trial_environment(
    self, stream: str, seed: Any = None, **sizes: int
  ) -> environments.TrialEnvironment:
    """Makes the environment of a stream, its sizes the algorithm's."""
    algorithm = self.agent.algorithm
    arguments = {
      name: sizes.get(name, getattr(algorithm, name))
      for name in ('num_tasks', 'num_rollouts', 'horizon', 'num_inner_steps')
    }
    return environments.TrialEnvironment(
      environments.make(self.environment, **self.environment_options),
      **arguments,
      seed=self.seed if seed is None else seed,
      stream=stream,
      bootstrap_on_timeout=self.bootstrap_on_timeout,
    )


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
