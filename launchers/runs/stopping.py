"""Ends a run between two iterations, on Ctrl-C or when asked to terminate."""

import contextlib
import signal
import threading
from typing import Any


class StopRequest:
  """Turns signals into a question that a loop asks when it suits it.

  Attributes:
    signal_name: of the signal that came, or None.
  """

  def __init__(self):
    self.signal_name: str | None = None

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
      yield self
    finally:
      for number, handler in old.items():
        signal.signal(number, handler)

  def _handle(self, number: int, frame: Any) -> None:
    del frame
    if self and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.signal_name = signal.Signals(number).name
