"""Calls of other nodes, by who may be asked to stop meanwhile."""

from collections.abc import Callable, Sequence
from typing import Any

from acme import core
import courier
from courier.python import client

_TIMEOUT_SECONDS = 5


class StoppedError(Exception):
  """Raised where the answer of another node is not waited for any more."""


class Remote:
  """Another node's functions; waits until it is there."""

  def __init__(self, address: str, should_stop: Callable[[], bool]):
    """Makes a client.

    Args:
      address: of the node.
      should_stop: asked every few seconds while there is no answer.
    """
    self._client = courier.Client(address, call_timeout=_TIMEOUT_SECONDS)
    self._should_stop = should_stop

  def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the node.

    Raises:
      StoppedError: once there is no use in waiting.
    """
    while True:
      try:
        return getattr(self._client, function)(*args, **kwargs)
      except client.StatusNotOk as error:
        if error.code.name != 'DEADLINE_EXCEEDED':
          raise
        if self._should_stop():
          raise StoppedError from error


class RemoteVariables(core.VariableSource):
  """The learner's variables."""

  def __init__(self, learner: Remote):
    self._learner = learner

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    return self._learner.call('get_variables', list(names))
