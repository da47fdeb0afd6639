import socket

import courier
import portpicker
import pytest

from acme_metarl.launchers.distributed import peers, remote, serving


def _devices(port):
  return [
    listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    for listener in serving.listeners(port)
  ]


@pytest.mark.parametrize('local_only, device', [(True, b'lo\0'), (False, b'')])
def test_serves_whom_it_shall(local_only, device):
  port = portpicker.pick_unused_port()
  with serving.serve({'twice': lambda x: 2 * x}, port, local_only):
    assert _devices(port) == [device]
    client = courier.Client(f'localhost:{port}', call_timeout=20)
    assert client.twice(21) == 42
    assert courier.list_methods(client) == ['twice']


def test_refuses_where_nothing_listens():
  with pytest.raises(ValueError, match='nothing here listens'):
    serving.restrict_to_loopback(portpicker.pick_unused_port())


def test_remote_waits_until_there_is_no_use(monkeypatch):
  monkeypatch.setattr(remote, '_TIMEOUT_SECONDS', 0.2)
  asked = []

  def should_stop():
    asked.append(1)
    return len(asked) == 3

  address = f'localhost:{portpicker.pick_unused_port()}'
  with pytest.raises(peers.StoppedError):
    remote.Remote(address, should_stop).call('anything')
  assert len(asked) == 3


def test_silence_of_a_node_is_told(monkeypatch, caplog):
  monkeypatch.setattr(remote, '_TIMEOUT_SECONDS', 0.1)
  monkeypatch.setattr(remote, '_SILENCE_SECONDS', 0.3)
  asked = []
  address = f'localhost:{portpicker.pick_unused_port()}'

  def should_stop():
    asked.append(1)
    return len(asked) > 8

  with pytest.raises(peers.StoppedError):
    remote.Remote(address, should_stop, 'counter').call('anything')
  told = [x for x in caplog.messages if f'counter at {address}' in x]
  assert 1 <= len(told) <= 3


def test_remote_raises_what_the_function_raises():
  def fail():
    raise ValueError('no trial')

  port = portpicker.pick_unused_port()
  with serving.serve({'fail': fail}, port, local_only=True):
    node = remote.Remote(f'localhost:{port}', lambda: False)
    with pytest.raises(Exception, match='no trial'):
      node.call('fail')
