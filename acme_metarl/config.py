"""What an algorithm is: one frozen configuration, named or written out."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import optax

from acme_metarl import algorithm_parts, config_checks, types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import (
  baselines,
  causal_dial,
  objectives,
  policies,
  trust_region,
)


class Options(dict[str, Any]):
  """Keyword arguments in a configuration; hashable as long as values are."""

  def __hash__(self) -> int:  # type: ignore[override]
    return hash(frozenset(self.items()))


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
  """Everything a meta-RL algorithm is; the defaults are ProMP's.

  Evaluator, reduction, baseline, outer objective and optimisers are objects, or
  names of the library's own; an object that has a name becomes the name, so
  the two are the same. `to_dict` writes names, dataclasses with their fields
  and what `algorithm_parts.register` named; other objects can be used, but not
  written to a file.

  Attributes:
    num_tasks: tasks in a meta-batch.
    num_rollouts: rollouts of each task at each stage.
    horizon: steps of a rollout.
    num_inner_steps: adaptation steps; a trial has one stage more.
    num_iterations: meta-updates of a whole run.
    discount: discount factor.
    gae_lambda: λ of the advantages, and of evaluators whose `lambda_` is that
      of the return inside (Taylor expansions and `log_likelihood`).
    baseline: of `meta.baselines`: 'linear_feature', 'linear_time',
      'learned_value', 'zero', or an object.
    normalize_advantages: whether advantages are normalised per task and stage.
    inner_learning_rate: initial inner step size η.
    inner_step_sizes: 'fixed'; or learned by the outer loop, as one 'scalar' or
      'per_parameter' (Meta-SGD, Li et al. 2017).
    inner_optimizer: of the inner updates, θ' = θ + η · optimiser(∇): a name in
      optax, made with a learning rate of 1; or an optax transformation, which
      brings its own learning rate and is multiplied by a step size of 1.
    inner_optimizer_options: keyword arguments for a named one.
    inner_differentiation: 'reverse' differentiates the inner gradient in
      reverse mode again; 'mixed' in forward mode (MixFlow-MG), which takes
      less memory and, on a CPU, up to a quarter more time. It allows no forward
      derivative of the update, so no trust region.
    inner_loop: an `inner_loop.InnerLoop` of your own, made by a function of
      (configuration, policy); None for `inner_loop.GradientAscent`.
    evaluator: objective of adaptation, of `evaluators`.
    evaluator_options: keyword arguments for it. `causal_lambda` may be
      'adaptive': the outer loop sets it, see `meta.causal_dial`.
    learned_evaluator_options: evaluator options, and 'discount', that the outer
      loop learns, with their initial values in (0, 1).
    reduction: of `evaluators.reductions`.
    meta_gradient: 'full', 'first_order', 'emaml', 'linearised',
      'score_function', 'reptile' or 'evolution_strategies', see
      `meta.task_loss`.
    es_noise_std: standard deviation σ of the perturbations of evolution
      strategies.
    outer_objective: of `meta.objectives`.
    stage_weights: weight of the outer objective of each of the K+1 stages'
      policies on that stage's data, from before adaptation to after the last
      step (the multi-step loss of MAML++, Antoniou et al. 2019,
      https://arxiv.org/abs/1810.09502); None for the last one alone.
    clip_epsilon: of the clipped surrogate given by name.
    inner_kl_coefficient: weight of the mean over inner steps of KL(behaviour
      policy ‖ policy) in the outer loss.
    adaptive_inner_kl: whether each inner step's coefficient halves or doubles
      when its KL leaves [target / 1.5, target * 1.5].
    inner_kl_target: that target.
    outer_optimizer: 'trust_region', a name in optax, or an optax
      transformation, which brings its own learning rate.
    outer_learning_rate: of an optimiser given by name.
    outer_optimizer_options: further keyword arguments for it.
    num_outer_epochs: outer steps on each meta-batch.
    max_epoch_kl: bound on the mean KL(behaviour policy ‖ policy) of every
      stage, before and after adaptation: an outer step that leads beyond it, or
      to a higher loss than there was, is halved and tried again, instead of one
      of the steps that follow. None for no bound.
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
  inner_optimizer: str | optax.GradientTransformation = 'sgd'
  inner_optimizer_options: Mapping[str, Any] = dataclasses.field(
    default_factory=Options
  )
  inner_differentiation: str = 'reverse'
  inner_loop: Callable[..., Any] | None = None
  evaluator: str | Callable[..., Any] = 'taylor_expansion'
  evaluator_options: Mapping[str, Any] = dataclasses.field(
    default_factory=Options
  )
  learned_evaluator_options: Mapping[str, float] = dataclasses.field(
    default_factory=Options
  )
  reduction: str | Callable[..., Any] = 'per_step'
  meta_gradient: str = 'full'
  es_noise_std: float = 0.1
  outer_objective: str | Callable[..., Any] = 'clipped_surrogate'
  stage_weights: tuple[float, ...] | None = None
  clip_epsilon: float = 0.3
  inner_kl_coefficient: float = 5e-4
  adaptive_inner_kl: bool = False
  inner_kl_target: float = 0.01
  outer_optimizer: str | optax.GradientTransformation = 'adam'
  outer_learning_rate: float = 1e-3
  outer_optimizer_options: Mapping[str, Any] = dataclasses.field(
    default_factory=Options
  )
  num_outer_epochs: int = 5
  max_epoch_kl: float | None = None
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
    if isinstance(self.evaluator, functools.partial) and not (
      self.evaluator.args
    ):
      options = {**self.evaluator.keywords, **self.evaluator_options}
      object.__setattr__(self, 'evaluator_options', options)
      object.__setattr__(self, 'evaluator', self.evaluator.func)
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.name == 'hidden_sizes' or isinstance(value, list):
        value = tuple(value)
      elif field.name.endswith('_options') and isinstance(value, Mapping):
        value = Options(value)
      elif field.name in _PARTS:
        value = algorithm_parts.name_of(field.name, value)
      object.__setattr__(self, field.name, config_checks.plain(value))
    config_checks.check(self)

  @property
  def uses_trust_region(self) -> bool:
    return self.outer_optimizer == 'trust_region'

  @property
  def sets_causal_lambda(self) -> bool:
    """Whether the outer loop sets the evaluator's causal λ."""
    value = self.evaluator_options.get('causal_lambda')
    return isinstance(value, str) and value == causal_dial.ADAPTIVE

  @property
  def is_off_policy(self) -> bool:
    """Whether importance ratios correct for data of an older policy.

    They cannot where a part takes its data for the current policy's own: the
    evaluator `log_likelihood`, the outer objective 'policy_gradient',
    meta-gradients that add the score of the samples, and evolution strategies.
    A callable is given the behaviour policy's log-probabilities, and trusted to
    use them.
    """
    return not (
      self.evaluator == 'log_likelihood'
      or isinstance(self.make_outer_objective(), objectives.PolicyGradient)
      or self.meta_gradient in algorithm_parts.SCORE_META_GRADIENTS
      or self.meta_gradient == 'evolution_strategies'
    )

  def make_evaluator(self) -> Callable[..., Any]:
    """Returns the evaluator with its options, λ included where it has one.

    Where evaluator options are learned, nothing that depends on them is held
    constant.
    """
    options = dict(self.evaluator_options)
    if self.sets_causal_lambda:
      del options['causal_lambda']  # On its own data the gradient has none.
    function = self.evaluator
    if isinstance(function, str):
      taken = algorithm_parts.evaluator_options(function)
      function = algorithm_parts.named('evaluator', function)
      if self.evaluator in _GAE_LAMBDA_EVALUATORS and 'lambda_' in taken:
        options.setdefault('lambda_', self.gae_lambda)
      if self.learned_evaluator_options and 'stop_target_gradients' in taken:
        options.setdefault('stop_target_gradients', False)
    for name in self.learned_evaluator_options:
      options.pop(name, None)
    return functools.partial(function, **options) if options else function

  def evaluator_option_names(self) -> frozenset[str]:
    """Options of a named evaluator; of a callable those it was given."""
    if isinstance(self.evaluator, str):
      return algorithm_parts.evaluator_options(self.evaluator)
    return frozenset(self.evaluator_options)

  def make_policy(
    self, action_spec: Any, observation_spec: Any = None
  ) -> types.Policy:
    """Returns the policy network that an action spec asks for.

    Args:
      action_spec: of one action; one with `num_values` is discrete.
      observation_spec: of one observation; says which of them are discrete.

    Returns:
      A categorical policy for discrete actions, a Gaussian one for vectors.

    Raises:
      ValueError: on other actions.
    """
    return policies.make_default(
      action_spec,
      observation_spec,
      hidden_sizes=self.hidden_sizes,
      init_log_std=self.init_log_std,
      min_std=self.min_std,
      compute_dtype=self.compute_dtype,
    )

  def make_reduction(self) -> reductions.Reduction:
    """Returns the reduction."""
    if isinstance(self.reduction, str):
      return algorithm_parts.named('reduction', self.reduction)
    return self.reduction

  def make_baseline(self) -> baselines.Baseline:
    """Returns the baseline."""
    if isinstance(self.baseline, str):
      return algorithm_parts.named('baseline', self.baseline)()
    return self.baseline

  def make_outer_objective(self) -> objectives.OuterObjective:
    """Returns the outer objective."""
    if self.outer_objective == 'clipped_surrogate':
      return objectives.ClippedSurrogate(self.clip_epsilon)
    if isinstance(self.outer_objective, str):
      return algorithm_parts.named('outer_objective', self.outer_objective)()
    return self.outer_objective

  def make_outer_optimizer(self) -> optax.GradientTransformationExtraArgs:
    """Returns the outer optimiser."""
    if self.uses_trust_region:
      return trust_region.trust_region(
        max_kl=self.max_kl,
        cg_iterations=self.cg_iterations,
        cg_damping=self.cg_damping,
        backtrack_ratio=self.backtrack_ratio,
        max_backtracks=self.max_backtracks,
      )
    optimizer = self.outer_optimizer
    if isinstance(optimizer, str):
      optimizer = algorithm_parts.make_optimizer(
        optimizer, self.outer_learning_rate, self.outer_optimizer_options
      )
    return optax.with_extra_args_support(optimizer)

  def make_inner_optimizer(self) -> optax.GradientTransformationExtraArgs:
    """Returns the inner optimiser, to be multiplied by the step sizes."""
    optimizer = self.inner_optimizer
    if isinstance(optimizer, str):
      optimizer = algorithm_parts.make_optimizer(
        optimizer, 1.0, self.inner_optimizer_options
      )
    return optax.with_extra_args_support(optimizer)

  @property
  def initial_step_size(self) -> Any:
    """What the inner optimiser's updates are multiplied by at first."""
    if isinstance(self.inner_optimizer, str):
      return self.inner_learning_rate
    return 1.0

  def to_dict(self) -> dict[str, Any]:
    """Returns plain JSON types.

    Raises:
      ValueError: if something cannot be written; says what to do instead.
    """
    return {
      field.name: algorithm_parts.write(field.name, getattr(self, field.name))
      for field in dataclasses.fields(self)
    }

  @classmethod
  def check_fields(cls, name: str, values: Mapping[str, Any]) -> None:
    """Refuses names that are no fields.

    Args:
      name: of the mapping, for the message.
      values: by field.

    Raises:
      ValueError: which ones, and which fields there are.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
      raise ValueError(
        f'{name} has unknown fields {unknown}; known are {sorted(known)}.'
      )

  @classmethod
  def from_dict(
    cls, values: Mapping[str, Any], allow_imports: bool = False
  ) -> 'AlgorithmConfig':
    """Reads what `to_dict` wrote.

    Args:
      values: by field.
      allow_imports: whether texts 'module:name' import the module. Allow it for
        what the user said, never for what a file says.

    Raises:
      ValueError: for fields that do not exist or values that do not fit.
    """
    cls.check_fields('values', values)
    read: dict[str, Any] = {}
    for name, value in values.items():
      if name in _PARTS or name == 'inner_loop':
        value = algorithm_parts.read(name, value, allow_imports)
      elif isinstance(value, Mapping):
        value = {k: algorithm_parts.read_number(v) for k, v in value.items()}
      elif name not in _TEXTS:
        value = algorithm_parts.read_number(value)
      read[name] = value
    return cls(**read)


# Fields that hold parts of an algorithm.
_PARTS = ('evaluator', 'reduction', 'baseline', 'outer_objective')
_TEXTS = (
  'inner_optimizer',
  'outer_optimizer',
  'inner_step_sizes',
  'inner_differentiation',
  'meta_gradient',
  'compute_dtype',
)
# Whose `lambda_` is that of the return on the behaviour policy's data.
_GAE_LAMBDA_EVALUATORS = (
  'taylor_expansion',
  'lvc',
  'loaded_dice',
  'log_likelihood',
)
