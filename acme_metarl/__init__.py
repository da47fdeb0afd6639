"""Meta-reinforcement learning whose gradients are right.

`acme_metarl.evaluators` is usable alone. Everything is imported when it is
first asked for: `import acme_metarl` loads nothing, not even JAX, whose
settings a program may still want to make.
"""

import importlib
from typing import TYPE_CHECKING, Any

from acme_metarl import _moved

if TYPE_CHECKING:
  from acme_metarl import agents as agents
  from acme_metarl import config as config
  from acme_metarl import environments as environments
  from acme_metarl import evaluators as evaluators
  from acme_metarl import meta as meta
  from acme_metarl import on_device as on_device
  from acme_metarl import presets as presets
  from acme_metarl import self_tuning as self_tuning
  from acme_metarl import tabular as tabular
  from acme_metarl import types as types
  from acme_metarl.config import AlgorithmConfig as AlgorithmConfig
  from acme_metarl.launchers.runs.loading import load as load
  from acme_metarl.on_device import make_train as make_train

__version__ = '0.1.0'

__all__ = [
  'AlgorithmConfig',
  '__version__',
  'agents',
  'config',
  'environments',
  'evaluators',
  'load',
  'make_train',
  'meta',
  'on_device',
  'presets',
  'self_tuning',
  'tabular',
  'types',
]
# Names that are no modules, and where they are.
_MEMBERS = {
  'AlgorithmConfig': 'config',
  'load': 'launchers.runs.loading',
  'make_train': 'on_device',
}

_moved.install()


def __getattr__(name: str) -> Any:
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'{__name__}.{_MEMBERS.get(name, name)}')
  return getattr(module, name) if name in _MEMBERS else module


def __dir__() -> list[str]:
  return sorted(__all__)
