"""What every node of the program is told; nothing heavy is loaded for it."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.distributed import session as session_lib


@dataclasses.dataclass(frozen=True)
class Shared:
  """What every node is told; plain values, which load nothing.

  Attributes:
    config: `RunConfig.to_dict()`.
    given: what its texts may import, because the user said so.
    options: of the program.
    directory: log directory of the run.
    checkpoint: path of the checkpoint to go on from, or None.
    counts: of the counter, to go on from.
    folder: of the session; None where nodes are on several machines.
  """

  config: Mapping[str, Any]
  given: tuple[str, ...]
  options: options_lib.ProgramOptions
  directory: str
  checkpoint: str | None
  counts: Mapping[str, int]
  folder: str | None

  @property
  def session(self) -> session_lib.Session:
    """The session, as all nodes see it."""
    return session_lib.Session(self.folder)

  @property
  def in_own_process(self) -> bool:
    """Whether the node that asks is a process of its own."""
    return True
