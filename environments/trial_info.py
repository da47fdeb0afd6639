"""Tables of what environments report beside the reward: successes, say."""

from collections.abc import Mapping

import numpy as np

from acme_metarl.environments import trial as trial_lib
from acme_metarl.meta import reports


class InfoRecorder:
  """Keeps every scalar of a trial, to be asked for by stage and task.

      recorder = InfoRecorder()
      trial.reset()
      recorder.start()
      while not time_step.last():
        time_step = trial.step(action)
        recorder.record(trial, time_step.observation)
      success = recorder.ever()['success']  # [K+1, G]

  It is an observer of Acme's `EnvironmentLoop`, too.
  """

  def __init__(self):
    self._rows = []

  def start(self) -> None:
    """Forgets the trial before."""
    self._rows = []

  def record(
    self,
    trial: trial_lib.TrialEnvironment,
    observation: trial_lib.TrialObservation,
  ) -> None:
    """Keeps the numbers of one loop step."""
    if not observation.is_first:
      info = {name: np.array(value) for name, value in trial.info.items()}
      self._rows.append((int(observation.stage), info))

  def observe_first(self, env, timestep) -> None:
    del env, timestep
    self.start()

  def observe(self, env, timestep, action) -> None:
    del action
    self.record(env, timestep.observation)

  def get_metrics(self) -> dict[str, float]:
    """Means over the tasks of a stage: whether it was ever so, for example.

    Returns:
      `'<name>_ever_<stage>'`, and so on; see `summaries`.
    """
    tables = {name: rows.T for name, rows in self.summaries().items()}
    means = reports.stage_means(tables)
    return {name: float(value) for name, value in means.items()}

  def summaries(self) -> dict[str, np.ndarray]:
    """The largest, the last and the mean number of a rollout.

    Returns:
      `[K+1, G]` by name, `'success_ever'`, `'success_last'`, `'success_mean'`,
      see `reports.summaries`.
    """
    return reports.summaries(self.steps())

  def steps(self) -> Mapping[str, np.ndarray]:
    """Every number, by name: `[K+1, G, B, T]`, NaN where there is none."""
    names = {name for _, info in self._rows for name in info}
    num_stages = 1 + max((stage for stage, _ in self._rows), default=0)
    table = {}
    for name in sorted(names):
      shape = next(i[name].shape for _, i in self._rows if name in i)
      missing = np.full(shape, np.nan, np.float32)
      stages = [
        [info.get(name, missing) for k, info in self._rows if k == stage]
        for stage in range(num_stages)
      ]
      # A stage that goes on is filled up.
      horizon = max(map(len, stages))
      stages = [rows + [missing] * (horizon - len(rows)) for rows in stages]
      table[name] = np.moveaxis(np.array(stages), 1, -1)
    return table

  def ever(self) -> Mapping[str, np.ndarray]:
    """The largest number of a rollout, then the mean over rollouts, `[K+1, G]`.

    Of a success of 0 or 1: the part of the rollouts that ever succeeded.
    """
    return self._reduce(reports.ever)

  def last(self) -> Mapping[str, np.ndarray]:
    """The last number of a rollout, then the mean over rollouts, `[K+1, G]`."""
    return self._reduce(reports.last)

  def mean(self) -> Mapping[str, np.ndarray]:
    """The mean over the steps of a rollout, then over rollouts, `[K+1, G]`."""
    return self._reduce(reports.mean)

  def _reduce(self, of_a_rollout) -> Mapping[str, np.ndarray]:
    return {
      name: reports.mean(of_a_rollout(table))
      for name, table in self.steps().items()
    }
