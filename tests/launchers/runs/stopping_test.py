import os
import signal
import subprocess
import sys
import threading

import pytest

from acme_metarl.launchers.runs import stopping


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_are_heard(number):
  before = signal.getsignal(number)
  stop = stopping.StopRequest()
  with stop.listening():
    assert not stop
    os.kill(os.getpid(), number)
    assert stop
    assert stop.signal_name == signal.Signals(number).name
  assert signal.getsignal(number) is before


def test_a_second_interrupt_is_one():
  stop = stopping.StopRequest()
  with pytest.raises(KeyboardInterrupt), stop.listening():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def test_nothing_happens_in_other_threads():
  heard = []

  def run():
    with stopping.StopRequest().listening() as stop:
      heard.append(bool(stop))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert heard == [False]


_COMPILES = """
import ctypes, signal, sys, threading
from acme_metarl.launchers.runs import stopping

with stopping.StopRequest(lambda: sys.argv[1] == 'yes').listening() as stop:
  threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
  # As a compiler does: the main thread is in C, and no handler runs.
  libc = ctypes.CDLL(None)
  libc.usleep(900_000)
  print(stop.signal_name)
"""


@pytest.mark.parametrize(
  ('has_nothing_to_save', 'code'), [('yes', 130), ('no', 0)]
)
def test_ctrl_c_is_answered_where_there_is_nothing_to_save(
  has_nothing_to_save, code
):
  done = subprocess.run(
    [sys.executable, '-c', _COMPILES, has_nothing_to_save],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == code, done.stderr
  assert ('nothing to save' in done.stderr) == (code == 130)
  assert done.stdout == ('' if code else 'SIGINT\n')
