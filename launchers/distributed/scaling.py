"""How long an iteration takes with more actors, tasks, or accelerators."""

from typing import NamedTuple


class Costs(NamedTuple):
  """Seconds that one processor core works, or an update lasts.

  Attributes:
    environment_step: of an actor, for one step of one rollout; choosing the
      action, recording and adapting included.
    item: of replay, for one task that is inserted and sampled.
    update: of the learner, for one meta-update; taking the tasks included.
  """

  environment_step: float
  item: float
  update: float


class Prediction(NamedTuple):
  """What an iteration takes.

  Attributes:
    seconds: of an iteration.
    saturated: what they are spent on: 'actors', 'replay', 'learner', or
      'cores', where all of them together keep every core busy.
  """

  seconds: float
  saturated: str


def predict(
  costs: Costs,
  num_actors: int,
  num_tasks: int,
  steps_per_task: int,
  num_cores: int | None,
  update_cores: int = 1,
  update_seconds: float | None = None,
) -> Prediction:
  """Predicts an iteration's time: that of what is busy all the time.

  Actors, replay and learner work at the same time, as long as there are cores
  for all of them.

  Args:
    costs: measured.
    num_actors: actors, each of which keeps one core busy.
    num_tasks: tasks of a meta-batch.
    steps_per_task: environment steps of one task, over all rollouts and stages.
    num_cores: that all of them share; None for as many as they like.
    update_cores: CPU devices that share an update.
    update_seconds: that an update lasts on accelerators, which need no core.

  Returns:
    The longest of the times, and whose it is.
  """
  acting = costs.environment_step * steps_per_task * num_tasks
  replaying = costs.item * num_tasks
  updating = costs.update if update_seconds is None else 0.0
  shares = update_cores if num_cores is None else min(update_cores, num_cores)
  if update_seconds is None:
    update_seconds = updating / shares
  seconds = {
    'actors': acting / num_actors,
    'replay': replaying,
    'learner': update_seconds,
  }
  if num_cores is not None:
    seconds['cores'] = (acting + replaying + updating) / num_cores
  saturated = max(seconds, key=seconds.get)
  return Prediction(seconds[saturated], saturated)
