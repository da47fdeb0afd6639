import os
import signal
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
