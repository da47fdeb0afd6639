"""Meta-training as one compiled function of a random key."""

from acme_metarl.on_device.train import Evaluation as Evaluation
from acme_metarl.on_device.train import Log as Log
from acme_metarl.on_device.train import Trainer as Trainer
from acme_metarl.on_device.train import TrainState as TrainState
from acme_metarl.on_device.train import make_train as make_train
from acme_metarl.on_device.train import make_trainer as make_trainer
from acme_metarl.on_device.train import map_seeds as map_seeds
from acme_metarl.on_device.train import override as override
