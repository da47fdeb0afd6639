"""Ends a run between two iterations, on Ctrl-C or when asked to terminate."""

from collections.abc import Callable
import contextlib
import os
import signal
import socket
import sys
import threading
from typing import Any

_INTERRUPTED = 130


class StopRequest:
  """Turns signals into a question that a loop asks when it suits it.

  Attributes:
    signal_name: of the signal that came, or None.
  """

  def __init__(self, has_nothing_to_save: Callable[[], bool] = lambda: False):
    """Makes a request that nobody has made yet.

    Args:
      has_nothing_to_save: whether Ctrl-C may end the process there and then.
        It is asked at once, also while the main thread compiles and hears no
        signals.
    """
    self.signal_name: str | None = None
    self._has_nothing_to_save = has_nothing_to_save

  def __bool__(self) -> bool:
    return self.signal_name is not None

  @contextlib.contextmanager
  def listening(self):
    """Listens to SIGINT and SIGTERM; a second SIGINT interrupts at once.

    Outside of the main thread, where Python hears no signals, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
      yield self
      return
    old = {
      number: signal.signal(number, self._handle)
      for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
      with self._heard_at_once():
        yield self
    finally:
      for number, handler in old.items():
        signal.signal(number, handler)

  @contextlib.contextmanager
  def _heard_at_once(self):
    """A thread that hears of signals while the main one cannot."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    old = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=self._wait, args=(receiver,), daemon=True)
    thread.start()
    try:
      yield
    finally:
      signal.set_wakeup_fd(old)
      sender.close()
      thread.join()
      receiver.close()

  def _wait(self, receiver: socket.socket) -> None:
    while numbers := receiver.recv(64):
      if signal.SIGINT in numbers and self._has_nothing_to_save():
        print(
          '\nInterrupted before the first iteration: nothing to save.',
          file=sys.stderr,
          flush=True,
        )
        os._exit(_INTERRUPTED)

  def _handle(self, number: int, frame: Any) -> None:
    del frame
    if self and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.signal_name = signal.Signals(number).name
