"""What an algorithm is: one frozen configuration, named or written out."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import importlib
from typing import Any

from acme_metarl import algorithm_parts, config_checks, evaluators, types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import baselines, objectives, policies


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
      'score_function', see `meta.task_loss`.
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
    config_checks.check(self)

  @property
  def uses_trust_region(self) -> bool:
    return self.outer_optimizer == 'trust_region'

  @property
  def is_off_policy(self) -> bool:
    """Whether importance ratios correct for data of an older policy.

    They cannot where a part takes its data for the current policy's own: the
    evaluator `log_likelihood`, the outer objective 'policy_gradient', and
    meta-gradients that add the score of the samples. A callable is given the
    behaviour policy's log-probabilities, and trusted to use them.
    """
    return not (
      self.evaluator in ('log_likelihood', evaluators.log_likelihood)
      or isinstance(self.make_outer_objective(), objectives.PolicyGradient)
      or self.meta_gradient in algorithm_parts.SCORE_META_GRADIENTS
    )

  def make_evaluator(self) -> Callable[..., Any]:
    """Returns the evaluator with its options, λ included where it has one."""
    options = dict(self.evaluator_options)
    if isinstance(self.evaluator, str):
      function = getattr(evaluators, self.evaluator)
      if 'lambda_' in algorithm_parts.evaluator_options(self.evaluator):
        options.setdefault('lambda_', self.gae_lambda)
    else:
      function = self.evaluator
    return functools.partial(function, **options) if options else function

  def evaluator_option_names(self) -> frozenset[str]:
    """Options of a named evaluator; of a callable those it was given."""
    if isinstance(self.evaluator, str):
      return algorithm_parts.evaluator_options(self.evaluator)
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
      return algorithm_parts.BASELINES[self.baseline]()
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


def _reference(name: str, value: Callable[..., Any]) -> str:
  module = getattr(value, '__module__', None)
  qualified = getattr(value, '__qualname__', None)
  reference = f'{module}:{qualified}'
  try:
    found = _dereference(reference)
  except ValueError:
    found = None
  if found is not value:
    raise ValueError(
      f'{name} is {value!r}, which no import leads to, so it cannot be written'
      ' to a file. Define it at the top level of a module.'
    )
  return reference


def _dereference(reference: str) -> Any:
  module, _, name = reference.partition(':')
  try:
    return functools.reduce(
      getattr, name.split('.'), importlib.import_module(module)
    )
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f'{reference!r} needs {name!r} in a module {module!r} that can be'
      f' imported, but: {error}.'
    ) from error
