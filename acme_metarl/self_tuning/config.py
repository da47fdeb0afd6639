"""What a self-tuning agent is."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import chex
import optax

from acme_metarl import algorithm_parts
from acme_metarl.evaluators import input_checks
from acme_metarl.meta import torsos
from acme_metarl.self_tuning import hyperparameters as hyperparameters_lib
from acme_metarl.self_tuning import networks as networks_lib
from acme_metarl.self_tuning import updating

Range = hyperparameters_lib.Range
Hyperparameters = hyperparameters_lib.Hyperparameters

# Under the root of Adam: without it the derivative of the update by a gradient
# of zero (a dead unit) is not finite.
_EPS_ROOT = 1e-12


def adam(
  learning_rate: float, max_norm: float = 0.5, eps: float = 1e-5
) -> optax.GradientTransformation:
  """Adam after clipping by the global norm, with derivatives at zero.

  >>> adam(7e-4).init({'w': 0.0})[0]
  EmptyState()

  Args:
    learning_rate: of Adam.
    max_norm: of the gradient.
    eps: of Adam.
  """
  return optax.chain(
    optax.clip_by_global_norm(max_norm),
    optax.adam(learning_rate, eps=eps, eps_root=_EPS_ROOT),
  )


@dataclasses.dataclass(frozen=True)
class SelfTuningConfig:
  """An actor-critic that tunes its own hyper-parameters.

  The defaults are those of the Atari study of "A Theoretical Understanding of
  Gradient Bias in Meta-Reinforcement Learning" by Liu et al. (2022),
  https://arxiv.org/abs/2112.15400, with K = 1.

  Attributes:
    hyperparameters: start values.
    tuned: names of those that the meta-gradient tunes, or their ranges by name;
      (0, 1) by default, behind a sigmoid. Empty for a plain actor-critic.
    evaluator: what the policy loss is, a name in `updating.EVALUATORS` or a
      function. 'log_likelihood' is published meta-gradient RL;
      'taylor_expansion' of order 1 is its low-variance curvature (LVC).
    evaluator_options: of it, `order` or `causal_lambda` for example.
    num_inner_steps: K, updates that the meta-gradient goes through.
    num_rollouts: environments that are played at the same time.
    horizon: steps of each between two updates.
    optimizer: of the networks; an optax transformation.
    differentiates_optimizer: whether the meta-gradient goes through the state
      of the optimiser too.
    critic: 'shared', 'conditioned' or 'outer', see
      `networks.make_actor_critic`.
    outer_discount: γ of the outer objective.
    outer_lambda: λ of the outer objective.
    outer_entropy_cost: entropy that the outer objective pays for.
    outer_value_cost: coefficient of the outer critic's loss.
    meta_optimizer: of the tuned numbers; an optax transformation.
    bootstrap_steps: L of bootstrapped meta-gradients (Flennerhag et al., 2022,
      https://arxiv.org/abs/2109.04504): L − 1 more inner updates and one step
      down the outer loss make a target, and the outer loss becomes the KL
      divergence from it. 0 for the plain meta-gradient.
    target_optimizer: of that step down the outer loss; an optax transformation,
      by default `optimizer`. It has a state of its own: in that of the inner
      loss, momentum and step sizes are those of the inner gradients, and a
      target that follows them leads to the inner objective.
    reuses_validation: whether the rollout that the outer loss is measured on is
      the next first inner rollout, as it is of those very parameters. Otherwise
      every meta-update plays one more.
    hidden_sizes: units of the torso of flat observations.
    torso: of the networks; by default what the observations ask for.
    critic_torso: of each critic; by default critics share the policy's.
  """

  hyperparameters: Hyperparameters = Hyperparameters()
  tuned: Mapping[str, Range] | Sequence[str] = (
    'discount',
    'lambda_',
    'value_cost',
    'entropy_cost',
  )
  evaluator: str | Callable[..., chex.Array] = 'log_likelihood'
  evaluator_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  num_inner_steps: int = 1
  num_rollouts: int = 64
  horizon: int = 5
  optimizer: optax.GradientTransformation = adam(7e-4)
  differentiates_optimizer: bool = True
  critic: str = 'shared'
  outer_discount: float = 0.99
  outer_lambda: float = 0.95
  outer_entropy_cost: float = 0.0
  outer_value_cost: float = 0.5
  meta_optimizer: optax.GradientTransformation = optax.adam(1e-3)
  bootstrap_steps: int = 0
  target_optimizer: optax.GradientTransformation | None = None
  reuses_validation: bool = True
  hidden_sizes: tuple[int, ...] = (64, 64)
  torso: torsos.Torso | None = None
  critic_torso: torsos.Torso | None = None

  def __post_init__(self):
    for name in ('num_inner_steps', 'num_rollouts', 'horizon'):
      input_checks.positive_integer(name, getattr(self, name))
    if self.bootstrap_steps != 0:
      input_checks.positive_integer('bootstrap_steps', self.bootstrap_steps)
    for name in ('differentiates_optimizer', 'reuses_validation'):
      input_checks.boolean(name, getattr(self, name))
    for name in ('optimizer', 'meta_optimizer', 'target_optimizer'):
      value = getattr(self, name)
      if value is None and name == 'target_optimizer':
        continue
      if not hasattr(value, 'init') or not hasattr(value, 'update'):
        raise ValueError(
          f'{name} is {value!r}; it needs to be an optax transformation.'
        )
    for name in ('outer_discount', 'outer_lambda'):
      value = getattr(self, name)
      if not 0.0 <= value <= 1.0:
        raise ValueError(f'{name} is {value}; it needs to be in [0, 1].')
    for name in ('outer_entropy_cost', 'outer_value_cost'):
      value = getattr(self, name)
      if not value >= 0.0:
        raise ValueError(f'{name} is {value}; it needs to be at least 0.')
    if self.critic not in networks_lib.CRITICS:
      raise ValueError(
        f'critic is {self.critic!r}; choose from'
        f' {", ".join(networks_lib.CRITICS)}.'
      )
    _check_evaluator(self.evaluator, self.evaluator_options)
    hyperparameters_lib.check(self.hyperparameters, self.ranges)

  @property
  def ranges(self) -> dict[str, Range]:
    """The ranges of what is tuned, by name."""
    return hyperparameters_lib.ranges(self.tuned)

  @property
  def rollouts_per_iteration(self) -> int:
    """How often all environments are played for one meta-update."""
    if not self.tuned:
      return self.num_inner_steps
    again = 0 if self.reuses_validation else 1
    return self.num_inner_steps + again + max(0, self.bootstrap_steps - 1)

  def make_networks(
    self, action_spec: Any, observation_spec: Any
  ) -> networks_lib.ActorCritic:
    """Makes the networks that specs ask for."""
    return networks_lib.make_actor_critic(
      action_spec,
      observation_spec,
      critic=self.critic,
      torso=self.torso,
      critic_torso=self.critic_torso,
      hidden_sizes=self.hidden_sizes,
    )

  def make_update(
    self, networks: networks_lib.ActorCritic
  ) -> updating.ActorCriticUpdate:
    """Makes the inner loop."""
    return updating.ActorCriticUpdate(
      networks,
      start=self.hyperparameters,
      tuned=self.ranges,
      evaluator=self.evaluator,
      evaluator_options=self.evaluator_options,
      optimizer=self.optimizer,
      differentiates_optimizer=self.differentiates_optimizer,
      critic=self.critic,
      outer_discount=self.outer_discount,
      outer_lambda=self.outer_lambda,
      outer_value_cost=self.outer_value_cost,
    )


def _check_evaluator(evaluator: Any, options: Any) -> None:
  """Refuses what is no evaluator, and options that it does not take."""
  if evaluator not in updating.EVALUATORS and not callable(evaluator):
    raise ValueError(
      f'evaluator is {evaluator!r}; choose from'
      f' {", ".join(updating.EVALUATORS)}, or pass a function.'
    )
  if not isinstance(options, Mapping):
    raise ValueError(
      f'evaluator_options is {options!r}; it needs to be options by name.'
    )
  taken = algorithm_parts.evaluator_options(evaluator)
  if callable(evaluator) and 'lambda_' not in taken:
    raise ValueError(
      f'evaluator is {evaluator!r}; it needs to take `lambda_`, the λ of'
      ' returns.'
    )
  unknown = sorted(set(options) - taken | {'lambda_'} & set(options))
  if unknown:
    raise ValueError(
      f'evaluator_options has {unknown}; what can be set are'
      f' {sorted(taken - {"lambda_"})}, and λ is among the hyperparameters.'
    )
