"""Meta-gradients within one lifetime: agents that tune themselves.

An actor-critic differentiates through K of its own updates to change its
discount, λ, and the coefficients of its losses. `make_train` is the whole run
as one compiled function of a random key, for pure-JAX environments;
`acme_metarl.agents.self_tuning` has the same update for all others.

This package may import the rest of the library but for `on_device`, `studies`,
`presets` and `tabular`.
"""

from acme_metarl.self_tuning.config import SelfTuningConfig as SelfTuningConfig
from acme_metarl.self_tuning.config import adam as adam
from acme_metarl.self_tuning.hyperparameters import (
  Hyperparameters as Hyperparameters,
)
from acme_metarl.self_tuning.hyperparameters import Range as Range
from acme_metarl.self_tuning.networks import ActorCritic as ActorCritic
from acme_metarl.self_tuning.networks import Evaluation as Evaluation
from acme_metarl.self_tuning.networks import (
  make_actor_critic as make_actor_critic,
)
from acme_metarl.self_tuning.training import Trainer as Trainer
from acme_metarl.self_tuning.training import TrainState as TrainState
from acme_metarl.self_tuning.training import make_train as make_train
from acme_metarl.self_tuning.training import make_trainer as make_trainer
from acme_metarl.self_tuning.tuning import Tuner as Tuner
from acme_metarl.self_tuning.tuning import TunerState as TunerState
from acme_metarl.self_tuning.updating import (
  ActorCriticUpdate as ActorCriticUpdate,
)
from acme_metarl.self_tuning.updating import MetaParams as MetaParams
