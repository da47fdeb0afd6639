"""What the studies of causal λ measure."""

import dataclasses
import itertools
from typing import Literal, NamedTuple

from acme_metarl.launchers.studies import study
from acme_metarl.studies import derivative_accuracy


class Point(NamedTuple):
  """A point of the study, see `derivative_accuracy.Point`."""

  horizon: int
  epsilon: float
  num_trajectories: int


@dataclasses.dataclass(frozen=True)
class Config(study.RandomMDPs):
  """What is measured.

  Attributes:
    measure: what of; see above.
    causal_lambdas: at least three different numbers in [0, 1].
    num_trajectories: derivatives, lags: numbers of trajectories.
    epsilons: derivatives, lags: distances of the target from the behaviour
      policy, each in [0, 1).
    num_trials: derivatives, lags: random MDPs, the same ones at every point.
    horizons: derivatives: further horizons, for the law. The discount factor
      goes with them, so that (1 - discount) * horizon stays.
    step_size: derivatives: inner step size of the meta-gradient.
    num_lag_trajectories: lags: trajectories that the noise is measured with.
    checkpoint: agent: a checkpoint, or the log directory of a run, whose newest
      one is taken.
    num_tasks: agent: tasks, the same ones throughout.
    num_batches: agent: batches of as many rollouts as the run was trained with.
    num_reference_rollouts: agent: rollouts of each of the two trials that a
      batch is compared with.
  """

  measure: Literal['derivatives', 'lags', 'agent'] = 'derivatives'
  causal_lambdas: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
  num_trajectories: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)
  epsilons: tuple[float, ...] = (0.0, 0.5)
  num_trials: int = 10
  horizons: tuple[int, ...] = ()
  step_size: float = 10.0
  num_lag_trajectories: int = 200
  checkpoint: str = ''
  num_tasks: int = 40
  num_batches: int = 40
  num_reference_rollouts: int = 400

  def __post_init__(self):
    super().__post_init__()
    if len(set(self.causal_lambdas)) < 3:
      raise ValueError(
        f'causal_lambdas is {self.causal_lambdas}; it needs three different '
        'numbers at least, between which a best one can lie.'
      )
    if not all(0 <= value <= 1 for value in self.causal_lambdas):
      raise ValueError(
        f'causal_lambdas is {self.causal_lambdas}; each needs to be in [0, 1].'
      )
    if not self.points:
      raise ValueError(
        'num_trajectories or epsilons is empty; each needs one at least.'
      )
    derivative_accuracy.check(
      [derivative_accuracy.Point(*point[1:]) for point in self.points],
      self.num_trials,
      ['taylor_2'],
    )
    for horizon in self.all_horizons:
      _ = self.setting_of(horizon)  # Refuses what there is not.
    study.at_least(self, 1, 'num_reference_rollouts')
    for name in ('horizon', 'num_lag_trajectories', 'num_tasks', 'num_batches'):
      study.at_least(self, 2, name)
    if (self.measure == 'agent') != bool(self.checkpoint):
      raise ValueError(
        f'checkpoint is {self.checkpoint!r} with measure {self.measure!r}; '
        'agent needs one, and nothing else takes one.'
      )

  @property
  def grid(self) -> tuple[float, ...]:
    """The causal λ in order, each once."""
    return tuple(sorted(set(self.causal_lambdas)))

  @property
  def all_horizons(self) -> tuple[int, ...]:
    return tuple(dict.fromkeys((self.horizon, *self.horizons)))

  @property
  def points(self) -> tuple[Point, ...]:
    """All points, each once."""
    return tuple(
      dict.fromkeys(
        Point(*point)
        for point in itertools.product(
          self.all_horizons, self.epsilons, self.num_trajectories
        )
      )
    )

  def setting_of(self, horizon: int) -> derivative_accuracy.Setting:
    """The MDPs of a horizon."""
    if horizon < 2:
      raise ValueError(f'horizons has {horizon}; each needs to be at least 2.')
    return dataclasses.replace(
      self.setting,
      horizon=horizon,
      discount=1 - (1 - self.discount) * self.horizon / horizon,
    )
