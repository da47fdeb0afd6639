"""Servers on this machine are reached without a proxy."""

import os

_HERE = ('localhost', '127.0.0.1', '::1')
# gRPC, below Reverb and Courier, reads these; others the ones in capitals.
_VARIABLES = ('no_grpc_proxy', 'no_proxy', 'NO_PROXY')


def spare_proxies() -> None:
  """Lets no connection to this machine go through a proxy of the environment.

  Called before the first server or client is made.
  """
  for name in _VARIABLES:
    hosts = [x for x in os.environ.get(name, '').split(',') if x]
    if '*' not in hosts:
      missing = [x for x in _HERE if x not in hosts]
      os.environ[name] = ','.join([*hosts, *missing])
