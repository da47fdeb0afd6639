"""Meta-training on a device: which parts are measured, and in what sizes."""

from collections.abc import Iterator
import dataclasses
import time

import jax

from acme_metarl import config as config_lib
from acme_metarl import presets
from acme_metarl.launchers.benchmarks import (
  benchmark,
  on_device_iteration,
  on_device_throughput,
)
from acme_metarl.launchers.runs import host_devices

PARTS = ('navigation', 'seeds', 'tabular', 'environments')
_NAMES = tuple(name for name, _ in on_device_throughput.ENVIRONMENTS)


@dataclasses.dataclass(frozen=True)
class Config:
  """What is measured.

  Attributes:
    parts: what to measure, some of navigation, seeds, tabular, environments; by
      default everything, but environments only where there is an accelerator.
    environments: environments that the part environments measures.
    task_counts: meta-batch sizes that the part environments measures.
    algorithm: preset that is trained.
    num_tasks: tasks, G.
    num_rollouts: rollouts, B.
    horizon: steps of a rollout; tabular MDPs: 20.
    num_seeds: seeds that the part seeds trains at once.
    num_turns: timed runs of each.
    num_devices: CPU devices that share the tasks; by default one per core.
    time_limit: seconds for everything.
    seed: seed of all randomness.
  """

  parts: tuple[str, ...] | None = None
  environments: tuple[str, ...] = _NAMES
  task_counts: tuple[int, ...] = (40, 400)
  algorithm: str = 'promp_taypo2'
  num_tasks: int = 40
  num_rollouts: int = 20
  horizon: int = 100
  num_seeds: int = 8
  num_turns: int = 10
  num_devices: int | None = None
  time_limit: float = 450.0
  seed: int = 0

  def __post_init__(self):
    if self.parts is not None:
      benchmark.check_names('parts', self.parts, PARTS)
    benchmark.check_names('environments', self.environments, _NAMES)
    benchmark.check_names('algorithm', [self.algorithm], presets.names())
    benchmark.check_positive(
      self, 'task_counts', 'num_seeds', 'num_turns', 'time_limit'
    )
    if self.horizon < 2:
      raise ValueError(f'horizon: got {self.horizon}, need at least 2.')
    _ = self.algorithm_config  # Refuses what there is not.

  @property
  def algorithm_config(self) -> config_lib.AlgorithmConfig:
    return presets.make(
      self.algorithm,
      num_tasks=self.num_tasks,
      num_rollouts=self.num_rollouts,
      horizon=self.horizon,
    )


def measure(config: Config) -> Iterator[benchmark.Row]:
  """Yields the rows of all parts, as they come."""
  start = time.monotonic()
  host_devices.set_up(config.num_devices, config.num_tasks)
  algorithm, turns, seed = (
    config.algorithm_config,
    config.num_turns,
    config.seed,
  )
  has_accelerator = jax.local_devices()[0].platform != 'cpu'
  parts = config.parts or PARTS[: len(PARTS) if has_accelerator else -1]
  if 'navigation' in parts:
    yield from on_device_iteration.measure(algorithm, turns, seed)
  if 'tabular' in parts:
    yield from on_device_throughput.measure_tabular(algorithm, turns, seed)
  if 'seeds' in parts:
    yield from on_device_throughput.measure_seeds(
      algorithm, config.num_seeds, turns, seed
    )
  if 'environments' in parts:
    yield from on_device_throughput.measure_environments(
      algorithm,
      config.environments,
      sorted(config.task_counts),
      turns,
      seed,
      deadline=start + config.time_limit,
    )
  elif not has_accelerator:
    yield benchmark.Row(
      'environments',
      '--parts=environments measures them here',
      None,
      'left out: no accelerator',
    )
