"""Which processes make the runs of a comparison.

Seeds of one algorithm that have come equally far share a process, and so one
compilation, where they train on the device. A seed that trains alone agrees
with one in company up to rounding, which training amplifies.
"""

from collections.abc import Sequence
import itertools
import pathlib
import sys
from typing import Any, NamedTuple

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import checkpointing, directories, outputs
from acme_metarl.launchers.runs import config as run_config

AUTO = 'auto'
OUTPUT_LOG = 'output.log'


# A run, the launcher that makes it, and the step of its checkpoint if any.
_ToDo = tuple[stored_runs.Run, str, int | None]


class Job(NamedTuple):
  """What one process does.

  Attributes:
    runs: that it makes, consecutive seeds of one algorithm.
    launcher: its module.
    command: of the process.
  """

  runs: tuple[stored_runs.Run, ...]
  launcher: str
  command: tuple[str, ...]

  def write_config(self) -> None:
    """Writes the file that the process has its settings from."""
    config = self.runs[0].config
    outputs.write_json(config_file(self.runs[0]), config.to_dict())

  @property
  def name(self) -> str:
    last = self.runs[-1].seed
    return self.runs[0].name + ('' if len(self.runs) == 1 else f' … {last}')

  @property
  def log(self) -> pathlib.Path:
    """What the process prints."""
    return self.runs[0].directory / OUTPUT_LOG


def config_file(run: stored_runs.Run) -> pathlib.Path:
  """Settings of the runs of one algorithm, beside the directories of these."""
  return run.directory.parent / run_config.CONFIG_JSON


def make_jobs(runs: Sequence[stored_runs.Run], runner: str) -> list[Job]:
  """Puts the work together.

  Args:
    runs: that are to be made or continued.
    runner: `auto` or the name of a launcher; `auto` trains on the device what
      can, and goes on with what is stored by the launcher that it began with.

  Returns:
    Jobs in the order of the runs.

  Raises:
    ValueError: if a run cannot be made by the runner.
  """
  steps_on_host = {
    name: _steps_on_host(next(run for run in runs if run.environment == name))
    for name in dict.fromkeys(run.environment for run in runs)
  }
  todo = []
  for run in runs:
    checkpoint = stored_runs.checkpoint_of(run.directory)
    launcher = _launcher(
      run, runner, steps_on_host[run.environment], checkpoint
    )
    todo.append((run, launcher, checkpoint and checkpoint.step))
  groups = [
    [item for _, item in group]
    for _, group in itertools.groupby(enumerate(todo), _group_key)
  ]
  return [_job(group) for group in groups]


def _steps_on_host(run: stored_runs.Run) -> bool:
  # Those that do draw their tasks themselves.
  return hasattr(run.config.make_environment(), 'sample_tasks')


def _launcher(
  run: stored_runs.Run,
  runner: str,
  steps_on_host: bool,
  checkpoint: checkpointing.Checkpoint | None,
) -> str:
  """The launcher that makes a run."""
  problem = ''
  if steps_on_host:
    problem = f'{run.environment} steps on the host'
  elif run.config.agent['reuse'] != 1:
    problem = 'its data is used more than once'
  if problem and runner == stored_runs.TRAIN_ON_DEVICE:
    raise ValueError(
      f'--runner: {run.name} cannot train on the device: {problem}. Use '
      f'--runner={AUTO}.'
    )
  if checkpoint is not None:
    stored = stored_runs.launcher_of(checkpoint)
    if runner not in (AUTO, stored):
      raise ValueError(
        f'--runner: {run.name} was begun by {stored}, and {runner} cannot go '
        f'on with it. Use --runner={AUTO}, or move it away.'
      )
    return stored
  if runner != AUTO:
    return runner
  return stored_runs.TRAIN if problem else stored_runs.TRAIN_ON_DEVICE


def _group_key(numbered: tuple[int, _ToDo]) -> Any:
  """Equal for neighbours that one process can make."""
  index, (run, launcher, step) = numbered
  if launcher != stored_runs.TRAIN_ON_DEVICE:
    return index
  return run.environment, run.label, run.seed - index, step


def _job(group: Sequence[_ToDo]) -> Job:
  runs = tuple(run for run, *_ in group)
  first, launcher, _ = group[0]
  if len(runs) == 1:
    own = [f'--logdir={first.directory}']
  else:
    own = [f'--logdir={first.directory.parent}', f'--num_seeds={len(runs)}']
  if any(directories.has_run(run.directory) for run in runs):
    own += ['--resume', f'--num_iterations={first.config.num_iterations}']
    own += [
      f'--{name}={getattr(first.config, name)}'
      for name in ('eval_every', 'checkpoint_every')
    ]
  command = (
    sys.executable,
    '-m',
    f'acme_metarl.launchers.{launcher}',
    f'--config_file={config_file(first)}',
    *first.arguments,
    f'--seed={first.seed}',
    *own,
  )
  return Job(runs, launcher, command)
