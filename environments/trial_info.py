"""Tables of what environments report beside the reward: successes, say."""

from collections.abc import Mapping

import numpy as np

from acme_metarl.environments import trial as trial_lib


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
    return {
      f'{name}_{stage}': float(value)
      for name, rows in self.summaries().items()
      for stage, value in enumerate(_quiet(np.nanmean, rows))
    }

  def summaries(self) -> dict[str, np.ndarray]:
    """The largest, the last and the mean number of a rollout.

    Returns:
      `[K+1, G]` by name, `'success_ever'`, `'success_last'`, `'success_mean'`.
      Names that begin with `return` have `info_` in front: they are no returns.
    """
    of = {'ever': self.ever(), 'last': self.last(), 'mean': self.mean()}
    return {
      f'{"info_" * name.startswith("return")}{name}_{how}': of[how][name]
      for name in of['ever']
      for how in of
    }

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
    return self._reduce(lambda x: _quiet(np.nanmax, x))

  def last(self) -> Mapping[str, np.ndarray]:
    """The last number of a rollout, then the mean over rollouts, `[K+1, G]`."""

    def last(x):
      has = ~np.isnan(x)
      index = x.shape[-1] - 1 - np.argmax(has[..., ::-1], axis=-1)
      return np.take_along_axis(x, index[..., None], axis=-1)[..., 0]

    return self._reduce(last)

  def mean(self) -> Mapping[str, np.ndarray]:
    """The mean over the steps of a rollout, then over rollouts, `[K+1, G]`."""
    return self._reduce(lambda x: _quiet(np.nanmean, x))

  def _reduce(self, of_a_rollout) -> Mapping[str, np.ndarray]:
    return {
      name: _quiet(np.nanmean, of_a_rollout(table))
      for name, table in self.steps().items()
    }


def _quiet(function, x: np.ndarray) -> np.ndarray:
  """Over the last axis; NaN, without a warning, where all numbers are NaN."""
  empty = np.isnan(x).all(axis=-1)
  filled = np.where(empty[..., None], 0, x)
  return np.where(empty, np.nan, function(filled, axis=-1))
