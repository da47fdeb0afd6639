"""The old name of `task_filter`, for one release."""

import warnings

from acme_metarl.agents.maml.task_filter import TaskCounts as TaskCounts
from acme_metarl.agents.maml.task_filter import TaskFilter as TaskIntake
from acme_metarl.agents.maml.task_filter import lag as lag

warnings.warn(
  'acme_metarl.agents.maml.intake is task_filter now, and TaskIntake is '
  'TaskFilter; the old names go with the next release.',
  DeprecationWarning,
  stacklevel=2,
)
__all__ = ['TaskCounts', 'TaskIntake', 'lag']
