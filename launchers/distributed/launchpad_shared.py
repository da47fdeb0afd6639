"""What every node of a Launchpad program is told; loads nothing heavy."""

from collections.abc import Mapping
import dataclasses

import launchpad as lp
from launchpad import context

from acme_metarl.launchers.distributed import shared as shared_lib

THREAD_LAUNCHES = (
  lp.LaunchType.LOCAL_MULTI_THREADING,
  lp.LaunchType.TEST_MULTI_THREADING,
)


@dataclasses.dataclass(frozen=True)
class Shared(shared_lib.Shared):
  """See the class of this name that all engines have.

  Attributes:
    addresses: of the nodes that serve, by role.
    supervisor: process that makes the program; nodes on its machine end with
      it.
  """

  addresses: Mapping[str, lp.Address]
  supervisor: int

  @property
  def in_own_process(self) -> bool:
    """Whether the node that asks is a process of its own."""
    return context.get_context().launch_type not in THREAD_LAUNCHES

  def address(self, role: str) -> str:
    """Where a role serves."""
    return self.addresses[role].resolve()

  def port(self, role: str) -> int:
    """The port that a role, asking for itself, listens on."""
    return lp.get_port_from_address(self.address(role))
