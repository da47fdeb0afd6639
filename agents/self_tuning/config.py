"""Configuration of the self-tuning agent."""

import dataclasses

from acme_metarl import self_tuning
from acme_metarl.evaluators import input_checks


@dataclasses.dataclass
class SelfTuningAgentConfig:
  """An algorithm, and what replay and actors need besides.

  Attributes:
    algorithm: everything the algorithm is. `num_rollouts` is the learner's
      batch, and `horizon` the steps of an item.
    max_queue_size: most rollouts waiting in replay; inserting blocks beyond.
      None is two batches.
    replay_table_name: name of the replay table.
    actor_backend: JAX backend that actors act on; None is JAX's default one.
    evaluates_by_mode: whether evaluation takes the mode of the distribution
      instead of a draw.
  """

  algorithm: self_tuning.SelfTuningConfig = dataclasses.field(
    default_factory=self_tuning.SelfTuningConfig
  )
  max_queue_size: int | None = None
  replay_table_name: str = 'rollouts'
  actor_backend: str | None = 'cpu'
  evaluates_by_mode: bool = False

  def __post_init__(self):
    if self.algorithm.bootstrap_steps > 1:
      raise ValueError(
        f'bootstrap_steps: got {self.algorithm.bootstrap_steps}, but a target'
        ' of more than one step plays with parameters that no actor gets. Use'
        ' 1, or train on a device (acme_metarl.self_tuning.make_train).'
      )
    if self.max_queue_size is None:
      return
    input_checks.positive_integer('max_queue_size', self.max_queue_size)
    if self.max_queue_size < self.algorithm.num_rollouts:
      raise ValueError(
        f'max_queue_size: got {self.max_queue_size}, but a batch has'
        f' {self.algorithm.num_rollouts} rollouts and would never fill.'
      )

  @property
  def queue_size(self) -> int:
    """Size of the queue."""
    return self.max_queue_size or 2 * self.algorithm.num_rollouts
