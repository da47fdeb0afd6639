"""Meta-reinforcement learning whose gradients are right."""

from typing import TYPE_CHECKING, Any

from acme_metarl import import_order

if TYPE_CHECKING:
  from acme_metarl.on_device import make_train as make_train

import_order.install()

__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
  # When first asked for: importing the package must not load JAX.
  if name == 'make_train':
    from acme_metarl import on_device

    return on_device.make_train
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
