"""Model-agnostic meta-reinforcement learning with pluggable evaluators.

A name is imported when it is first asked for, so that who needs only the
configuration does not load Acme, Reverb and TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from acme_metarl.agents.maml.acting import MAMLActor as MAMLActor
  from acme_metarl.agents.maml.adding import TrialAdder as TrialAdder
  from acme_metarl.agents.maml.adding import TrialRecorder as TrialRecorder
  from acme_metarl.agents.maml.builder import MAMLBuilder as MAMLBuilder
  from acme_metarl.agents.maml.config import MAMLConfig as MAMLConfig
  from acme_metarl.agents.maml.items import Extras as Extras
  from acme_metarl.agents.maml.items import Item as Item
  from acme_metarl.agents.maml.layouts import LayoutBuilder as LayoutBuilder
  from acme_metarl.agents.maml.learning import MAMLLearner as MAMLLearner
  from acme_metarl.agents.maml.networks import MAMLNetworks as MAMLNetworks
  from acme_metarl.agents.maml.networks import MAMLPolicy as MAMLPolicy
  from acme_metarl.agents.maml.networks import make_networks as make_networks
  from acme_metarl.agents.maml.networks import rollout_spec as rollout_spec
  from acme_metarl.agents.maml.observing import TrialReturns as TrialReturns
  from acme_metarl.agents.maml.replay import batches as batches
  from acme_metarl.agents.maml.replay import serve as serve

_MODULES = {
  'MAMLActor': 'acting',
  'Extras': 'items',
  'Item': 'items',
  'LayoutBuilder': 'layouts',
  'TrialAdder': 'adding',
  'TrialRecorder': 'adding',
  'MAMLBuilder': 'builder',
  'MAMLConfig': 'config',
  'MAMLLearner': 'learning',
  'MAMLNetworks': 'networks',
  'MAMLPolicy': 'networks',
  'make_networks': 'networks',
  'rollout_spec': 'networks',
  'TrialReturns': 'observing',
  'batches': 'replay',
  'serve': 'replay',
}
__all__ = tuple(_MODULES)


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
