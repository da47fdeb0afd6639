"""Names of the parts that an algorithm is made of."""

import inspect

from acme_metarl import evaluators
from acme_metarl.meta import baselines

# Names of evaluators, aliases included, and the function whose options each
# takes.
EVALUATORS = {
  'importance_sampling': 'importance_sampling',
  'doubly_robust': 'doubly_robust',
  'truncated_doubly_robust': 'truncated_doubly_robust',
  'taylor_expansion': 'taylor_expansion',
  'log_likelihood': 'log_likelihood',
  'dice': 'importance_sampling',
  'loaded_dice': 'doubly_robust',
  'lvc': 'taylor_expansion',
  'vtrace': 'truncated_doubly_robust',
}
# What every evaluator takes; the rest are options.
_INPUTS = ('v_tm1', 'v_t', 'r_t', 'discount_t', 'rho_tm1')
REDUCTIONS = ('per_step', 'start_state')
BASELINES = {
  'linear_feature': baselines.LinearFeature,
  'linear_time': baselines.LinearTime,
  'zero': baselines.Zero,
}
META_GRADIENTS = (
  'full',
  'first_order',
  'emaml',
  'linearised',
  'score_function',
)
# These add the score of the samples to the derivative of the inner update.
SCORE_META_GRADIENTS = ('emaml', 'linearised', 'score_function')
OUTER_OBJECTIVES = ('clipped_surrogate', 'surrogate', 'policy_gradient')
OUTER_OPTIMIZERS = ('adam', 'sgd', 'trust_region')
COMPUTE_DTYPES = (None, 'float32', 'float16', 'bfloat16')
STEP_SIZES = ('fixed', 'scalar', 'per_parameter')


def evaluator_options(evaluator: str) -> frozenset[str]:
  """The options of a named evaluator."""
  function = getattr(evaluators, EVALUATORS[evaluator])
  options = frozenset(inspect.signature(function).parameters) - set(_INPUTS)
  return options - {'order'} if evaluator == 'lvc' else options
