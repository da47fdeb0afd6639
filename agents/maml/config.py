"""Configuration of the MAML agent."""

import dataclasses
import numbers
import warnings

from acme_metarl import config as config_lib
from acme_metarl import presets


@dataclasses.dataclass
class MAMLConfig:
  """An algorithm, and what replay and actors need besides.

  Attributes:
    algorithm: everything the algorithm is, batch sizes included; a preset by
      name is `presets.make(name)`.
    reuse: learner steps that each trial is used for. 1 is on-policy; more
      leaves it to the stored log-probabilities to correct for staleness.
    max_lag: how many updates old the parameters of a sampled trial may be; None
      is no bound. Tasks of older trials are used with their importance ratios
      if the algorithm is off-policy (`AlgorithmConfig.is_off_policy`), and
      dropped and counted if it is not.
    max_queue_size: most tasks waiting in replay; inserting blocks beyond.
      None is two meta-batches plus what an actor inserts at once.
    replay_table_name: name of the replay table.
    actor_backend: JAX backend that actors act on; None is JAX's default one.
      Observations come from the host at every step, and the network is small,
      so the CPU is the better one as a rule.
    mode_in_last_stage: whether evaluation takes the mode of the distribution
      after the last adaptation step instead of a draw, as Meta-World's protocol
      does. Published returns are otherwise those of the stochastic policy.
  """

  algorithm: config_lib.AlgorithmConfig = dataclasses.field(
    default_factory=lambda: presets.make('promp_taypo2')
  )
  reuse: int = 1
  max_lag: int | None = None
  max_queue_size: int | None = None
  replay_table_name: str = 'trials'
  actor_backend: str | None = 'cpu'
  mode_in_last_stage: bool = False

  def __post_init__(self):
    algorithm = self.algorithm
    if not isinstance(algorithm, config_lib.AlgorithmConfig):
      raise ValueError(
        f'algorithm: got {algorithm!r}, need an AlgorithmConfig, for example '
        "presets.make('promp_taypo2')."
      )
    if algorithm.meta_gradient == 'evolution_strategies':
      raise ValueError(
        "meta_gradient: got 'evolution_strategies', which plays each task with "
        'parameters perturbed by the learner, and actors have their own. Train '
        'on device (launchers.train_on_device), or take another meta-gradient.'
      )
    _check_integer('reuse', self.reuse, at_least=1)
    if self.max_lag is not None:
      _check_integer('max_lag', self.max_lag, at_least=0)
    if self.max_queue_size is not None:
      _check_integer('max_queue_size', self.max_queue_size, at_least=1)
    if self.reuse > 1 and not algorithm.is_off_policy:
      self._check_reuse()
    if (
      self.max_queue_size is not None
      and self.max_queue_size < algorithm.num_tasks
    ):
      raise ValueError(
        f'max_queue_size: got {self.max_queue_size}, but a meta-batch has '
        f'{algorithm.num_tasks} tasks and would never fill. Raise '
        'max_queue_size, or leave it None.'
      )

  @property
  def drops_older(self) -> bool:
    """Whether tasks of trials older than `max_lag` are dropped."""
    return self.max_lag is not None and not self.algorithm.is_off_policy

  def _check_reuse(self) -> None:
    why = (
      f'reuse: got {self.reuse}, but importance ratios do not correct this '
      f'algorithm (evaluator={self.algorithm.evaluator!r}, meta_gradient='
      f'{self.algorithm.meta_gradient!r}, outer_objective='
      f'{self.algorithm.outer_objective!r}) for data of older parameters'
    )
    if self.max_lag is not None:
      raise ValueError(
        f'{why}, and max_lag={self.max_lag} asks for them to be dropped. Use '
        'reuse=1, or an off-policy algorithm such as "promp_taypo2".'
      )
    warnings.warn(f'{why}: its gradients are biased.', stacklevel=4)

  def queue_size(self, num_tasks_per_insert: int) -> int:
    """Size of the queue for actors with so many tasks.

    Raises:
      ValueError: if an actor and a learner that take turns would deadlock.
    """
    num_tasks = self.algorithm.num_tasks
    if self.max_queue_size is None:
      return 2 * num_tasks + num_tasks_per_insert
    # One task short of a meta-batch, the actor must still get its tasks in.
    needed = num_tasks - 1 + num_tasks_per_insert
    if self.max_queue_size < needed:
      raise ValueError(
        f'max_queue_size: got {self.max_queue_size}; actors insert '
        f'{num_tasks_per_insert} tasks at once and a meta-batch has '
        f'{num_tasks}, so less than {needed} can block for ever.'
      )
    return self.max_queue_size


def _check_integer(name: str, value: object, at_least: int) -> None:
  if not isinstance(value, numbers.Integral) or value < at_least:
    raise ValueError(
      f'{name}: got {value!r}, need an integer of at least {at_least}.'
    )
