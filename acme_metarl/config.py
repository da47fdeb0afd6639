"""What an algorithm is: one frozen configuration, named or written out."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import importlib
import inspect
import numbers
from typing import Any
import warnings

from acme_metarl import (
  _validation,
  baselines,
  evaluators,
  objectives,
  policies,
  reductions,
  types,
)

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


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
  """Everything a meta-RL algorithm is; the defaults are ProMP's.

  Where a name is asked for, a callable with the same signature will do; only
  one that can be imported can be written to a file.

  Attributes:
    num_tasks: tasks in a meta-batch.
    num_rollouts: rollouts of each task at each stage.
    horizon: steps of a rollout.
    num_inner_steps: adaptation steps; a trial has one stage more.
    num_iterations: meta-updates of a whole run.
    discount: discount factor.
    gae_lambda: λ of the advantages, and of evaluators that take `lambda_`.
    baseline: 'linear_feature', 'linear_time' or 'zero'.
    normalize_advantages: whether advantages are normalised per task and stage.
    inner_learning_rate: initial inner step size.
    inner_step_sizes: 'fixed'; or learned by the outer loop, as one 'scalar' or
      'per_parameter' (Meta-SGD, Li et al. 2017).
    evaluator: objective of adaptation, a name from `evaluators`.
    evaluator_options: keyword arguments for it.
    reduction: 'per_step' or 'start_state'.
    meta_gradient: 'full', 'first_order', 'emaml', 'linearised' or
      'score_function', see `meta_gradients`.
    outer_objective: 'clipped_surrogate', 'surrogate' or 'policy_gradient'.
    clip_epsilon: of the clipped surrogate.
    inner_kl_coefficient: weight of the mean over inner steps of KL(behaviour
      policy ‖ policy) in the outer loss.
    adaptive_inner_kl: whether each inner step's coefficient halves or doubles
      when its KL leaves [target / 1.5, target * 1.5].
    inner_kl_target: that target.
    outer_optimizer: 'adam', 'sgd' or 'trust_region'.
    outer_learning_rate: of 'adam' and 'sgd'.
    num_outer_epochs: outer steps on each meta-batch.
    max_kl: trust region: bound on the mean KL between adapted policies.
    cg_iterations: trust region: conjugate-gradient steps.
    cg_damping: trust region: added to the curvature's diagonal.
    backtrack_ratio: trust region: shrinks the step in the line search.
    max_backtracks: trust region: most candidate steps.
    hidden_sizes: hidden layers of the policy network.
    init_log_std: initial log-standard-deviation of Gaussian policies.
    min_std: smallest standard deviation of Gaussian policies.
    compute_dtype: of the network's products, 'bfloat16' or 'float16' (fast on
      accelerators, less precise); by default that of the observations.
    chunk_size: tasks processed at once on each device; chosen from the
      backend by default.
  """

  num_tasks: int = 40
  num_rollouts: int = 20
  horizon: int = 100
  num_inner_steps: int = 1
  num_iterations: int = 1001
  discount: float = 0.99
  gae_lambda: float = 1.0
  baseline: str | Callable[..., Any] = 'linear_feature'
  normalize_advantages: bool = True
  inner_learning_rate: float = 0.1
  inner_step_sizes: str = 'fixed'
  evaluator: str | Callable[..., Any] = 'taylor_expansion'
  evaluator_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  reduction: str | Callable[..., Any] = 'per_step'
  meta_gradient: str = 'full'
  outer_objective: str | Callable[..., Any] = 'clipped_surrogate'
  clip_epsilon: float = 0.3
  inner_kl_coefficient: float = 5e-4
  adaptive_inner_kl: bool = False
  inner_kl_target: float = 0.01
  outer_optimizer: str = 'adam'
  outer_learning_rate: float = 1e-3
  num_outer_epochs: int = 5
  max_kl: float = 0.01
  cg_iterations: int = 10
  cg_damping: float = 0.0
  backtrack_ratio: float = 0.8
  max_backtracks: int = 15
  hidden_sizes: tuple[int, ...] = (64, 64)
  init_log_std: float = 0.0
  min_std: float = 1e-6
  compute_dtype: str | None = None
  chunk_size: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'hidden_sizes', tuple(self.hidden_sizes))
    object.__setattr__(self, 'evaluator_options', dict(self.evaluator_options))
    _check_numbers(self)
    _check_names(self)
    _check_evaluator(self)
    _check_combinations(self)

  @property
  def uses_trust_region(self) -> bool:
    return self.outer_optimizer == 'trust_region'

  def make_evaluator(self) -> Callable[..., Any]:
    """Returns the evaluator with its options, λ included where it has one."""
    options = dict(self.evaluator_options)
    if isinstance(self.evaluator, str):
      function = getattr(evaluators, self.evaluator)
      if 'lambda_' in _options(self.evaluator):
        options.setdefault('lambda_', self.gae_lambda)
    else:
      function = self.evaluator
    return functools.partial(function, **options) if options else function

  def evaluator_option_names(self) -> frozenset[str]:
    """Options of a named evaluator; of a callable those it was given."""
    if isinstance(self.evaluator, str):
      return frozenset(_options(self.evaluator))
    return frozenset(self.evaluator_options)

  def make_policy(self, action_spec: Any) -> types.Policy:
    """Returns the policy network that an action spec asks for.

    Args:
      action_spec: of one action; one with `num_values` is discrete.

    Returns:
      A categorical policy for discrete actions, a Gaussian one for vectors.

    Raises:
      ValueError: on other actions.
    """
    num_values = getattr(action_spec, 'num_values', None)
    if num_values is not None:
      return policies.categorical(
        num_values, self.hidden_sizes, self.compute_dtype
      )
    if len(getattr(action_spec, 'shape', ())) != 1:
      raise ValueError(
        f'action_spec: an action is {action_spec!r}; the networks of this'
        ' library know discrete actions and vectors. Use a policy of your own.'
      )
    return policies.gaussian(
      action_spec.shape[0],
      self.hidden_sizes,
      self.init_log_std,
      self.min_std,
      self.compute_dtype,
    )

  def make_reduction(self) -> reductions.Reduction:
    """Returns the reduction."""
    if isinstance(self.reduction, str):
      return getattr(reductions, self.reduction)
    return self.reduction

  def make_baseline(self) -> baselines.Baseline:
    """Returns the baseline."""
    if isinstance(self.baseline, str):
      return BASELINES[self.baseline]()
    return self.baseline

  def make_outer_objective(self) -> objectives.OuterObjective:
    """Returns the outer objective."""
    if self.outer_objective == 'clipped_surrogate':
      return objectives.ClippedSurrogate(self.clip_epsilon)
    if self.outer_objective == 'surrogate':
      return objectives.Surrogate()
    if self.outer_objective == 'policy_gradient':
      return objectives.PolicyGradient()
    return self.outer_objective

  def to_dict(self) -> dict[str, Any]:
    """Returns plain JSON types; callables become 'module:name'.

    Raises:
      ValueError: if a callable cannot be found again by its name.
    """
    values = {}
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, tuple):
        value = list(value)
      elif callable(value):
        value = _reference(field.name, value)
      values[field.name] = value
    return values

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> 'AlgorithmConfig':
    """Reads what `to_dict` wrote.

    Raises:
      ValueError: for fields that do not exist or values that do not fit.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
      raise ValueError(
        f'values has unknown fields {unknown}; known are {sorted(names)}.'
      )
    return cls(
      **{
        name: _dereference(value)
        if isinstance(value, str) and ':' in value
        else value
        for name, value in values.items()
      }
    )


def _options(evaluator: str) -> set[str]:
  """The options of a named evaluator."""
  function = getattr(evaluators, EVALUATORS[evaluator])
  options = set(inspect.signature(function).parameters) - set(_INPUTS)
  return options - {'order'} if evaluator == 'lvc' else options


def _reference(name: str, value: Callable[..., Any]) -> str:
  module = getattr(value, '__module__', None)
  qualified = getattr(value, '__qualname__', None)
  reference = f'{module}:{qualified}'
  try:
    found = _dereference(reference)
  except (ImportError, AttributeError):
    found = None
  if found is not value:
    raise ValueError(
      f'{name} is {value!r}, which no import leads to, so it cannot be written'
      ' to a file. Define it at the top level of a module.'
    )
  return reference


def _dereference(reference: str) -> Any:
  module, _, name = reference.partition(':')
  return functools.reduce(
    getattr, name.split('.'), importlib.import_module(module)
  )


def _check_numbers(config: AlgorithmConfig) -> None:
  for name in (
    'num_tasks',
    'num_rollouts',
    'horizon',
    'num_inner_steps',
    'num_iterations',
    'num_outer_epochs',
    'cg_iterations',
    'max_backtracks',
  ):
    _check_count(name, getattr(config, name))
  if config.chunk_size is not None:
    _check_count('chunk_size', config.chunk_size)
  for size in config.hidden_sizes:
    _check_count('hidden_sizes', size)
  for name in ('discount', 'gae_lambda'):
    _check_number(name, getattr(config, name), 0, 1, 'in [0, 1]')
  for name in (
    'clip_epsilon',
    'outer_learning_rate',
    'max_kl',
    'inner_kl_target',
    'min_std',
  ):
    _check_number(name, getattr(config, name), 1e-300, None, 'above 0')
  for name in ('inner_kl_coefficient', 'cg_damping'):
    _check_number(name, getattr(config, name), 0, None, 'of at least 0')
  for name in ('inner_learning_rate', 'init_log_std'):
    _check_number(name, getattr(config, name), None, None, 'that is finite')
  ratio = config.backtrack_ratio
  if not (isinstance(ratio, numbers.Real) and 0 < ratio < 1):
    raise ValueError(
      f'backtrack_ratio must be a number between 0 and 1, but got {ratio!r}.'
    )


def _check_count(name: str, value: Any) -> None:
  is_integer = isinstance(value, numbers.Integral) and value is not True
  if not is_integer or value < 1:
    raise ValueError(
      f'{name} must be an integer of at least 1, but got {value!r}.'
    )


def _check_number(name, value, low, high, needs) -> None:
  if _validation.is_traced(value):
    return  # A hyper-parameter that jax.vmap sweeps.
  fits = (
    isinstance(value, numbers.Real)
    and abs(value) < float('inf')
    and (low is None or value >= low)
    and (high is None or value <= high)
  )
  if not fits:
    raise ValueError(f'{name} must be a number {needs}, but got {value!r}.')


def _check_names(config: AlgorithmConfig) -> None:
  for name, known, may_be_callable in (
    ('baseline', tuple(BASELINES), True),
    ('evaluator', tuple(EVALUATORS), True),
    ('reduction', REDUCTIONS, True),
    ('outer_objective', OUTER_OBJECTIVES, True),
    ('meta_gradient', META_GRADIENTS, False),
    ('outer_optimizer', OUTER_OPTIMIZERS, False),
    ('inner_step_sizes', STEP_SIZES, False),
    ('compute_dtype', COMPUTE_DTYPES, False),
  ):
    value = getattr(config, name)
    if may_be_callable and callable(value):
      continue
    if value not in known:
      extra = ', or a callable' if may_be_callable else ''
      names = ', '.join(map(str, known))
      raise ValueError(
        f'{name} must be one of {names}{extra}, but got {value!r}.'
      )


def _check_evaluator(config: AlgorithmConfig) -> None:
  if not isinstance(config.evaluator, str):
    return
  accepted = _options(config.evaluator)
  unknown = sorted(set(config.evaluator_options) - accepted)
  if unknown:
    raise ValueError(
      f'evaluator_options has {unknown}, which {config.evaluator} does not'
      f' take; it takes {sorted(accepted)}.'
    )
  arrays = sorted({'q_tm1', 'v_mu_tm1'} & set(config.evaluator_options))
  if arrays:
    raise ValueError(
      f'evaluator_options has {arrays}, which depend on the data. Wrap the'
      ' evaluator in a function that computes them, and pass that.'
    )
  if 'order' in config.evaluator_options:
    _check_count(
      "evaluator_options['order']", config.evaluator_options['order']
    )


def _check_combinations(config: AlgorithmConfig) -> None:
  if config.uses_trust_region and config.num_outer_epochs != 1:
    raise ValueError(
      'outer_optimizer "trust_region" takes one step that uses up the whole'
      f' max_kl, but num_outer_epochs is {config.num_outer_epochs}. Set'
      ' num_outer_epochs=1, or use "adam" for several steps.'
    )
  if config.outer_objective == 'policy_gradient':
    if config.uses_trust_region:
      raise ValueError(
        'outer_objective "policy_gradient" (mean A log π) does not estimate'
        ' improvement away from its own data, so a line search on it means'
        ' nothing. Use outer_objective="surrogate" with the trust region.'
      )
    if config.num_outer_epochs != 1:
      raise ValueError(
        'outer_objective "policy_gradient" has the right gradient only on data'
        ' of the current policy, which holds for the first epoch, but'
        f' num_outer_epochs is {config.num_outer_epochs}. Set it to 1, or use'
        ' outer_objective="surrogate" or "clipped_surrogate".'
      )
  if config.adaptive_inner_kl and config.inner_kl_coefficient == 0:
    raise ValueError(
      'adaptive_inner_kl halves and doubles inner_kl_coefficient, which stays'
      ' 0 for ever. Start from a coefficient above 0, for example 5e-4.'
    )
  if (
    config.meta_gradient in SCORE_META_GRADIENTS
    and isinstance(config.evaluator, str)
    and config.evaluator != 'log_likelihood'
  ):
    warnings.warn(
      f'meta_gradient "{config.meta_gradient}" adds the score of the pre-update'
      f' samples, and the derivatives of "{config.evaluator}" contain some or'
      ' all of it already: it is counted twice. evaluator="log_likelihood"'
      ' is the one whose derivative leaves it out.',
      stacklevel=4,
    )
