"""A self-tuning actor-critic for dm_env environments, in Acme's style.

The update is `acme_metarl.self_tuning`'s. A name is imported when it is first
asked for, so that who needs only the configuration does not load Acme.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from acme_metarl.agents.self_tuning.acting import (
    LearningActor as LearningActor,
  )
  from acme_metarl.agents.self_tuning.acting import (
    SelfTuningActor as SelfTuningActor,
  )
  from acme_metarl.agents.self_tuning.adding import RolloutAdder as RolloutAdder
  from acme_metarl.agents.self_tuning.builder import (
    SelfTuningBuilder as SelfTuningBuilder,
  )
  from acme_metarl.agents.self_tuning.config import (
    SelfTuningAgentConfig as SelfTuningAgentConfig,
  )
  from acme_metarl.agents.self_tuning.learning import (
    SelfTuningLearner as SelfTuningLearner,
  )

_MODULES = {
  'LearningActor': 'acting',
  'SelfTuningActor': 'acting',
  'RolloutAdder': 'adding',
  'SelfTuningBuilder': 'builder',
  'SelfTuningAgentConfig': 'config',
  'SelfTuningLearner': 'learning',
}
__all__ = tuple(_MODULES)


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
