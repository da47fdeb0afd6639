"""Calls of other nodes of a Launchpad program."""

from collections.abc import Callable, Mapping
import contextlib
import time
from typing import Any

from absl import logging
import courier
from courier.python import client
import reverb

from acme_metarl.launchers.distributed import launchpad_shared, peers, serving

_TIMEOUT_SECONDS = 5
# Nodes need up to half of that to start.
_SILENCE_SECONDS = 45


class Remote:
  """Another node's functions; waits until it is there."""

  def __init__(
    self, address: str, should_stop: Callable[[], bool], name: str = 'a node'
  ):
    """Makes a client.

    Args:
      address: of the node.
      should_stop: asked every few seconds while there is no answer.
      name: of the node, for messages.
    """
    self._client = courier.Client(address, call_timeout=_TIMEOUT_SECONDS)
    self._should_stop = should_stop
    self._silence = _Silence(name, address)

  def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the node.

    Raises:
      StoppedError: once there is no use in waiting.
    """
    self._silence.begin()
    while True:
      try:
        return getattr(self._client, function)(*args, **kwargs)
      except client.StatusNotOk as error:
        if error.code.name != 'DEADLINE_EXCEEDED':
          raise
        if self._should_stop():
          raise peers.StoppedError from error
        self._silence.go_on()


class _Silence:
  """Says so when a node does not answer for long."""

  def __init__(self, name: str, address: str):
    self._who = f'{name} at {address}'
    self.begin()

  def begin(self) -> None:
    self._since = self._said = time.monotonic()

  def go_on(self) -> None:
    now = time.monotonic()
    if now - self._said >= _SILENCE_SECONDS:
      self._said = now
      logging.warning(
        'No answer from %s for %.0f s. It may be busy, gone, or behind a '
        'proxy or firewall; still trying.',
        self._who,
        now - self._since,
      )


def replay(address: str, should_stop: Callable[[], bool]) -> reverb.Client:
  """A client of replay, once that answers.

  Args:
    address: of replay.
    should_stop: asked every few seconds while there is no answer.

  Raises:
    StoppedError: once there is no use in waiting.
  """
  made = reverb.Client(address)
  silence = _Silence('replay', address)
  while True:
    try:
      made.server_info(timeout=_TIMEOUT_SECONDS)
      return made
    except reverb.DeadlineExceededError as error:
      if should_stop():
        raise peers.StoppedError from error
      silence.go_on()


class Peers:
  """The other nodes, see `peers.Peers`."""

  def __init__(
    self, shared: launchpad_shared.Shared, should_stop: Callable[[], bool]
  ):
    """Connects when somebody is called.

    Args:
      shared: what this node is told.
      should_stop: asked every few seconds while there is no answer.
    """
    self._shared = shared
    self._should_stop = should_stop
    self._remotes: dict[str, Remote] = {}

  def call(self, role: str, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the counter or the learner."""
    if role not in self._remotes:
      self._remotes[role] = Remote(
        self._shared.address(role), self._should_stop, role
      )
    return self._remotes[role].call(function, *args, **kwargs)

  def replay(self) -> reverb.Client:
    """A client of replay, once that answers."""
    return replay(self._shared.address('replay'), self._should_stop)

  def serve(
    self, functions: Mapping[str, Callable[..., Any]]
  ) -> contextlib.AbstractContextManager[None]:
    """Serves functions of the learner."""
    return serving.serve(
      functions, self._shared.port('learner'), self._shared.options.local_only
    )
