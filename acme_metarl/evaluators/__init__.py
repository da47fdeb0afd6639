"""Off-policy evaluators whose derivatives of every order are estimates too.

Usable alone, with JAX and chex. `protocols` says what an evaluator is.
"""

from acme_metarl.evaluators import (
  derivatives,
  ratios,
  recurrences,
  reductions,
)
from acme_metarl.evaluators.checking import DerivativeCheck, check_derivatives
from acme_metarl.evaluators.derivatives import (
  gradient,
  hessian,
  hessian_vector_product,
  objective,
  reduced_estimate,
  value,
)
from acme_metarl.evaluators.expansions import (
  loaded_dice,
  log_likelihood,
  lvc,
  taylor_expansion,
)
from acme_metarl.evaluators.importance_weighted import (
  dice,
  dice_with_baseline,
  doubly_robust,
  importance_sampling,
  truncated_doubly_robust,
  vtrace,
)
from acme_metarl.evaluators.protocols import Evaluator
from acme_metarl.evaluators.ratios import (
  importance_ratios,
  masked_importance_ratios,
)
from acme_metarl.evaluators.reductions import (
  Reduction,
  masked_mean,
  normalize_advantages,
  per_step,
  start_state,
)

__all__ = [
  'DerivativeCheck',
  'Evaluator',
  'Reduction',
  'check_derivatives',
  'derivatives',
  'dice',
  'dice_with_baseline',
  'doubly_robust',
  'gradient',
  'hessian',
  'hessian_vector_product',
  'importance_ratios',
  'importance_sampling',
  'loaded_dice',
  'log_likelihood',
  'lvc',
  'masked_importance_ratios',
  'masked_mean',
  'normalize_advantages',
  'objective',
  'per_step',
  'ratios',
  'recurrences',
  'reduced_estimate',
  'reductions',
  'start_state',
  'taylor_expansion',
  'truncated_doubly_robust',
  'value',
  'vtrace',
]


def __dir__() -> list[str]:
  return list(__all__)
