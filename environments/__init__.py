"""Task distributions, by name, batched, and as whole trials.

`make(name)` gives one; `TrialEnvironment` makes an ordinary dm_env environment
of it, which one Acme episode plays for a whole trial. `DmEnvBatch` and
`GymnasiumBatch` take in environments of other people's, and
`GymnasiumVectorBatch` vectorised ones; `TaskClasses` balances the classes of
their tasks.
"""

from acme_metarl.environments.adapters import DmEnvBatch as DmEnvBatch
from acme_metarl.environments.adapters import GymnasiumBatch as GymnasiumBatch
from acme_metarl.environments.batched import (
  BatchedEnvironment as BatchedEnvironment,
)
from acme_metarl.environments.batched import JaxBatch as JaxBatch
from acme_metarl.environments.batched import batch as batch
from acme_metarl.environments.batched import (
  has_finite_tasks as has_finite_tasks,
)
from acme_metarl.environments.batched import tasks_in_words as tasks_in_words
from acme_metarl.environments.processes import ProcessBatch as ProcessBatch
from acme_metarl.environments.registry import (
  evaluation_options as evaluation_options,
)
from acme_metarl.environments.registry import make as make
from acme_metarl.environments.registry import names as names
from acme_metarl.environments.registry import register as register
from acme_metarl.environments.rendering import (
  plot_navigation as plot_navigation,
)
from acme_metarl.environments.rendering import render as render
from acme_metarl.environments.suites import BraxEnvironment as BraxEnvironment
from acme_metarl.environments.suites import (
  GymnaxEnvironment as GymnaxEnvironment,
)
from acme_metarl.environments.task_classes import ClassTask as ClassTask
from acme_metarl.environments.task_classes import TaskClasses as TaskClasses
from acme_metarl.environments.trial import TrialEnvironment as TrialEnvironment
from acme_metarl.environments.trial import TrialObservation as TrialObservation
from acme_metarl.environments.trial_info import InfoRecorder as InfoRecorder
from acme_metarl.environments.vector import (
  GymnasiumVectorBatch as GymnasiumVectorBatch,
)
