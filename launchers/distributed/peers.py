"""How a node of the program reaches the others, whichever engine runs it."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from typing import Any, Protocol

from acme import core


class StoppedError(Exception):
  """Raised where the answer of another node is not waited for any more."""


class Peers(Protocol):
  """The other nodes; waits until they are there."""

  def call(self, role: str, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function that the counter or the learner serves.

    Raises:
      StoppedError: once there is no use in waiting.
    """

  def replay(self) -> Any:
    """A client of replay, as `agents.maml.replay.connect` takes it.

    Raises:
      StoppedError: likewise.
    """

  def serve(
    self, functions: Mapping[str, Callable[..., Any]]
  ) -> contextlib.AbstractContextManager[None]:
    """Lets the others call functions of this node, by name."""


class Variables(core.VariableSource):
  """The learner's variables."""

  def __init__(self, peers: Peers):
    self._peers = peers

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    return self._peers.call('learner', 'get_variables', list(names))
