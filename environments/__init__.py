"""Task distributions, by name, batched, and as whole trials.

`make(name)` gives one; `TrialEnvironment` makes an ordinary dm_env environment
of it, which one Acme episode plays for a whole trial.
"""

from acme_metarl.environments.batched import (
  BatchedEnvironment as BatchedEnvironment,
)
from acme_metarl.environments.batched import JaxBatch as JaxBatch
from acme_metarl.environments.batched import batch as batch
from acme_metarl.environments.registry import make as make
from acme_metarl.environments.registry import names as names
from acme_metarl.environments.registry import register as register
from acme_metarl.environments.trial import TrialEnvironment as TrialEnvironment
from acme_metarl.environments.trial import TrialObservation as TrialObservation
