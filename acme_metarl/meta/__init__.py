"""Meta-learning: adaptation, meta-gradients, outer updates; knows no agent.

Its modules are imported when they are first asked for.
"""

import importlib
import types

from acme_metarl import import_order

__all__ = [
  'adaptation',
  'baselines',
  'causal_dial',
  'diagnostics',
  'distributions',
  'epochs',
  'evolution',
  'inner_loop',
  'learned_value',
  'learner',
  'objectives',
  'observations',
  'outer_loop',
  'policies',
  'policy_networks',
  'preparation',
  'regression',
  'reports',
  'synthetic',
  'task_batching',
  'task_loss',
  'torsos',
  'trust_region',
]

# Before any module in here imports distrax or rlax.
import_order.install()


def __getattr__(name: str) -> types.ModuleType:
  if name in __all__:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted(__all__)
