"""Off-policy evaluators whose derivatives of every order are estimates too."""

from acme_metarl.evaluators.family import Evaluator as Evaluator
from acme_metarl.evaluators.family import dice as dice
from acme_metarl.evaluators.family import doubly_robust as doubly_robust
from acme_metarl.evaluators.family import (
  importance_sampling as importance_sampling,
)
from acme_metarl.evaluators.family import loaded_dice as loaded_dice
from acme_metarl.evaluators.family import log_likelihood as log_likelihood
from acme_metarl.evaluators.family import lvc as lvc
from acme_metarl.evaluators.family import taylor_expansion as taylor_expansion
from acme_metarl.evaluators.family import (
  truncated_doubly_robust as truncated_doubly_robust,
)
from acme_metarl.evaluators.family import vtrace as vtrace
