"""What a launch of the program tells its nodes."""

from collections.abc import Collection
import os
from typing import Any

from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config


def shared_values(
  config: run_config.RunConfig,
  options: options_lib.ProgramOptions,
  directory: str | os.PathLike[str],
  checkpoint: checkpointing.Checkpoint | None,
  given: Collection[str],
  folder: str | None,
) -> dict[str, Any]:
  """What `Shared` is made of.

  Raises:
    ValueError: if settings do not fit together.
  """
  # Else actors of this many tasks could block for ever.
  config.agent_config.queue_size(options.tasks_per_actor)
  return dict(
    config=config.to_dict(),
    given=tuple(given),
    options=options,
    directory=str(directory),
    checkpoint=None if checkpoint is None else str(checkpoint.path),
    counts=counts(checkpoint),
    folder=folder,
  )


def counts(checkpoint: checkpointing.Checkpoint | None) -> dict[str, int]:
  """Counts of a checkpoint, be it one of training on one machine."""
  if checkpoint is None:
    return {}
  return checkpoint.metadata.get('counts') or {
    'trials': checkpoint.get('actor')['num_trials'],
    'num_diverged': checkpoint.get('environment')['num_diverged'],
  }
