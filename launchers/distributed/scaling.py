"""How long an iteration takes with more actors, tasks, or accelerators."""

from typing import NamedTuple


class Work(NamedTuple):
  """What an iteration has to do.

  Attributes:
    num_tasks: tasks of a meta-batch.
    loop_steps: steps of an actor's loop in a trial.
    steps_per_task: environment steps of a task, over its rollouts and stages.
  """

  num_tasks: int
  loop_steps: int
  steps_per_task: float


class Costs(NamedTuple):
  """Seconds that one processor core works.

  Attributes:
    loop_step: of an actor, for one step of its loop, whatever the tasks.
    environment_step: of an actor, for one step of one rollout besides.
    item: of replay, for one task that is inserted and sampled.
    take: of the learner, to take one task out of replay and stack it.
    update: of the learner, for one meta-update.
  """

  loop_step: float
  environment_step: float
  item: float
  take: float
  update: float


class Prediction(NamedTuple):
  """What an iteration takes.

  Attributes:
    seconds: of an iteration.
    saturated: what they are spent on: 'actors', 'replay', 'learner', or
      'cores', where all of them together keep every core busy.
    core_seconds: that all of them together work.
  """

  seconds: float
  saturated: str
  core_seconds: float


def predict(
  costs: Costs,
  work: Work,
  num_actors: int,
  tasks_per_actor: int,
  num_cores: int | None = None,
  update_cores: int = 1,
  update_seconds: float | None = None,
) -> Prediction:
  """Predicts an iteration's time: that of what is busy all the time.

  Actors, replay and learner work at the same time, as far as there are cores
  for all of them.

  Args:
    costs: measured.
    work: of an iteration.
    num_actors: actors, each of which keeps one core busy.
    tasks_per_actor: tasks of each of their trials.
    num_cores: that all of them share; None for as many as they like.
    update_cores: CPU devices that share an update.
    update_seconds: that an update lasts on accelerators, which need no core.

  Returns:
    The longest of the times, and whose it is.
  """
  trials = work.num_tasks / tasks_per_actor
  acting = (
    trials * work.loop_steps * costs.loop_step
    + work.num_tasks * work.steps_per_task * costs.environment_step
  )
  replaying = work.num_tasks * costs.item
  taking = work.num_tasks * costs.take
  updating = costs.update if update_seconds is None else 0.0
  if num_cores is not None:
    update_cores = min(update_cores, num_cores)
  if update_seconds is None:
    update_seconds = costs.update / update_cores
  seconds = {
    'actors': acting / num_actors,
    'replay': replaying,
    'learner': taking + update_seconds,
  }
  core_seconds = acting + replaying + taking + updating
  if num_cores is not None:
    seconds['cores'] = core_seconds / num_cores
  saturated = max(seconds, key=seconds.get)
  return Prediction(seconds[saturated], saturated, core_seconds)


def acting_costs(
  work: Work, seconds_by_tasks: dict[int, float]
) -> tuple[float, float]:
  """Tells what a trial costs anyhow from what its tasks cost.

  Args:
    work: of an iteration.
    seconds_by_tasks: seconds of one core for a trial, by its number of tasks.

  Returns:
    Costs of a loop step and of an environment step: the line through the
    smallest and the largest number; all is the tasks' if there is one number.
  """
  few, many = min(seconds_by_tasks), max(seconds_by_tasks)
  per_task = seconds_by_tasks[many] / many
  if few != many:
    rise = seconds_by_tasks[many] - seconds_by_tasks[few]
    per_task = max(rise / (many - few), 0.0)
  fixed = max(seconds_by_tasks[many] - many * per_task, 0.0)
  return fixed / work.loop_steps, per_task / work.steps_per_task
