"""Model-agnostic meta-reinforcement learning with pluggable evaluators."""

from acme_metarl.agents.maml.acting import MAMLActor as MAMLActor
from acme_metarl.agents.maml.adding import Extras as Extras
from acme_metarl.agents.maml.adding import Item as Item
from acme_metarl.agents.maml.adding import TrialAdder as TrialAdder
from acme_metarl.agents.maml.adding import TrialRecorder as TrialRecorder
from acme_metarl.agents.maml.builder import MAMLBuilder as MAMLBuilder
from acme_metarl.agents.maml.config import MAMLConfig as MAMLConfig
from acme_metarl.agents.maml.learning import MAMLLearner as MAMLLearner
from acme_metarl.agents.maml.networks import MAMLNetworks as MAMLNetworks
from acme_metarl.agents.maml.networks import MAMLPolicy as MAMLPolicy
from acme_metarl.agents.maml.networks import make_networks as make_networks
from acme_metarl.agents.maml.observing import TrialReturns as TrialReturns
