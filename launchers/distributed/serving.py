"""Servers of the program's nodes, and who may connect to them."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import os
import socket
import stat
from typing import Any

import courier


@contextlib.contextmanager
def serve(
  functions: Mapping[str, Callable[..., Any]],
  port: int,
  local_only: bool,
  num_threads: int = 16,
) -> Iterator[None]:
  """Offers functions to `courier.Client`s of other nodes.

  Args:
    functions: by name.
    port: to listen on.
    local_only: see `restrict_to_loopback`.
    num_threads: how many calls are served at once.
  """
  server = courier.Server(port=port, thread_pool_size=num_threads)
  for name, function in functions.items():
    server.Bind(name, function)
  server.Start()
  try:
    if local_only:
      restrict_to_loopback(port)
    yield
  finally:
    server.Stop()
    server.Join()


def restrict_to_loopback(port: int) -> None:
  """Lets no other machine connect to a server inside this process.

  Courier and Reverb listen on all addresses, know no passwords, and Courier
  unpickles what it is sent. Neither can be told an address, so the sockets they
  listen on are bound to the loopback device after the fact, as
  `SO_BINDTODEVICE` does since Linux 5.7 without privileges.

  Args:
    port: that the server listens on.

  Raises:
    ValueError: if that cannot be done.
  """
  found = False
  for listener in listeners(port):
    found = True
    try:
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo\0')
    except OSError as error:
      raise ValueError(
        f'local_only: port {port} cannot be kept to this machine ({error}); '
        'use --nolocal_only behind a firewall.'
      ) from error
  if not found:
    raise ValueError(f'local_only: nothing here listens on port {port}.')


def listeners(port: int) -> Iterator[socket.socket]:
  """Sockets of this process that listen on a port."""
  for name in os.listdir('/proc/self/fd'):
    try:
      if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
        continue
      with socket.socket(fileno=os.dup(int(name))) as candidate:
        if (
          candidate.family in (socket.AF_INET, socket.AF_INET6)
          and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
          and candidate.getsockname()[1] == port
        ):
          yield candidate
    except OSError:  # Closed meanwhile.
      continue
