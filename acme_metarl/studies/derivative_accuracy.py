"""How accurate estimates of gradients and Hessians are, on random MDPs.

The study behind Figure 1(a)-(c) of "Unifying Gradient Estimators for
Meta-Reinforcement Learning via Off-Policy Evaluation" by Tang et al. (2021),
https://arxiv.org/abs/2106.13125.

A trial is a random MDP with a uniform behaviour policy mu, a random
deterministic policy and a noisy critic of mu. At a point (epsilon, N) of the
study the target policy is pi = (1 - epsilon) mu + epsilon deterministic, a
softmax with logits log pi; every estimator averages over the same N
trajectories from mu, and its accuracy is the correlation of all components
with those of the exact derivative of V^pi(x_0) at infinite horizon.

Trajectories end after T steps without having terminated: as everywhere in the
library, evaluators close with the critic's value of x_T, except for importance
sampling, which has no critic and closes with 0.

Random streams: the MDP, the deterministic policy and the critic of a trial
depend on (seed, trial) only, so that points and estimators can be compared in
pairs. Trajectories depend on (seed, trial, epsilon, N): a point has the same
numbers whatever else is in the study.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import re
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import evaluators, tabular

ESTIMATORS = (
  'importance_sampling',
  'doubly_robust',
  'truncated_doubly_robust',
  'taylor_1',
  'taylor_2',
  'taylor_3',
)

# Trajectories that are differentiated at a time. Small chunks stay in cache:
# 250 are about three times as fast as 1000 on a CPU.
_CHUNK_SIZE = 250
# Parameters of a policy; several dense Hessians of 2000 x 2000 fit in 2 GB.
_LARGEST_TABLE = 2000


@dataclasses.dataclass(frozen=True)
class Setting:
  """The random MDPs and the data of the study.

  Attributes:
    num_states: X. The authors' code has 20, the paper's text 10.
    num_actions: A >= 2.
    horizon: T, length of the trajectories.
    discount: discount factor in [0, 1).
    concentration: of the Dirichlet distribution of transitions.
  """

  num_states: int = 20
  num_actions: int = 5
  horizon: int = 20
  discount: float = 0.8
  concentration: float = 0.001

  def __post_init__(self):
    for name, least in (('num_states', 1), ('num_actions', 2), ('horizon', 1)):
      if getattr(self, name) < least:
        raise ValueError(
          f'{name} is {getattr(self, name)}; it needs to be at least {least}.'
        )
    if not 0 <= self.discount < 1:
      raise ValueError(
        f'discount is {self.discount}; it needs to be in [0, 1), because the '
        'exact value has an infinite horizon.'
      )
    if self.num_states * self.num_actions > _LARGEST_TABLE:
      raise ValueError(
        f'num_states * num_actions is {self.num_states * self.num_actions}; it '
        f'needs to be at most {_LARGEST_TABLE}, because Hessians are dense.'
      )
    if not self.concentration > 0:
      raise ValueError(
        f'concentration is {self.concentration}; it needs to be positive.'
      )


class Point(NamedTuple):
  """A point of the study.

  Attributes:
    epsilon: distance of the target from the behaviour policy, in [0, 1).
    num_trajectories: N.
  """

  epsilon: float
  num_trajectories: int


class Accuracy(NamedTuple):
  """Correlations with the exact derivatives, in [-1, 1].

  Attributes:
    gradient: `[trials, E]`, one column an estimator.
    hessian: `[trials, E]`.
  """

  gradient: chex.Array
  hessian: chex.Array


class Problem(NamedTuple):
  """What a trial holds fixed.

  Attributes:
    mdp: the random MDP.
    behaviour: `[X, A]` uniform.
    deterministic: `[X, A]` one-hot.
    critic: `[X]` V of the behaviour policy plus noise.
  """

  mdp: tabular.TabularMDP
  behaviour: chex.Array
  deterministic: chex.Array
  critic: chex.Array


def make_evaluator(name: str) -> evaluators.Evaluator:
  """Returns the evaluator of a name of `ESTIMATORS`, or `taylor_K`, K >= 1.

  `taylor_K@VALUE` has a causal lambda of that value, in [0, 1].
  `log_likelihood`, whose Hessian is biased, is available for comparison.

  Raises:
    ValueError: if no estimator has the name.
  """
  if name in (
    'importance_sampling',
    'doubly_robust',
    'truncated_doubly_robust',
    'log_likelihood',
  ):
    return getattr(evaluators, name)
  if match := re.fullmatch(r'taylor_([1-9]\d{0,2})(@(0|1|0?\.\d+))?', name):
    return functools.partial(
      evaluators.taylor_expansion,
      order=int(match[1]),
      causal_lambda=float(match[3] or 1.0),
    )
  raise ValueError(
    f'Unknown evaluator {name!r}; choose from {", ".join(ESTIMATORS)}, '
    'log_likelihood, or a higher order like taylor_4.'
  )


def sample_problem(key: chex.PRNGKey, setting: Setting) -> Problem:
  """Draws an MDP, a deterministic policy and a critic.

  The critic's noise has the standard deviation |V| / X in every state, |V|
  being the Euclidean norm of V of the behaviour policy.

  Args:
    key: random key.
    setting: sizes and distribution.

  Returns:
    The problem.
  """
  mdp_key, policy_key, critic_key = jax.random.split(key, 3)
  mdp = tabular.random_mdp(
    mdp_key,
    setting.num_states,
    setting.num_actions,
    setting.discount,
    setting.concentration,
  )
  behaviour = tabular.uniform_policy(mdp)
  value = tabular.state_values(mdp, behaviour)
  scale = jnp.linalg.norm(value) / setting.num_states
  noise = jax.random.normal(critic_key, value.shape, value.dtype)
  return Problem(
    mdp,
    behaviour,
    tabular.random_deterministic_policy(policy_key, mdp),
    value + scale * noise,
  )


def target_logits(problem: Problem, epsilon: chex.Numeric) -> chex.Array:
  """Returns theta = log((1 - epsilon) mu + epsilon deterministic)."""
  return jnp.log(
    (1.0 - epsilon) * problem.behaviour + epsilon * problem.deterministic
  )


def estimate(
  key: chex.PRNGKey,
  problem: Problem,
  logits: chex.Array,
  num_trajectories: chex.Numeric,
  horizon: int,
  estimators: Sequence[str],
  chunk_size: int = _CHUNK_SIZE,
) -> tabular.Derivatives:
  """Averages every estimator over the same sampled trajectories.

  Works through chunks of a fixed size, so that one compiled program serves any
  number of trajectories at the same memory.

  Args:
    key: random key.
    problem: MDP, behaviour policy and critic.
    logits: theta `[X, A]` of the target policy.
    num_trajectories: N >= 1, may be traced.
    horizon: T.
    estimators: E names.
    chunk_size: trajectories at a time; chunk i is drawn with
      `jax.random.fold_in(key, i)`.

  Returns:
    Estimates of value, gradient and Hessian.
  """
  evaluate = [make_evaluator(name) for name in estimators]

  def chunk(i, sums):
    trajectories = tabular.sample_trajectories(
      jax.random.fold_in(key, i),
      problem.mdp,
      problem.behaviour,
      chunk_size,
      horizon,
    )
    index = i * chunk_size + jnp.arange(chunk_size)
    weights = (index < num_trajectories).astype(logits.dtype)
    derivatives = tabular.estimate_derivatives(
      evaluate,
      problem.mdp,
      logits,
      problem.behaviour,
      problem.critic,
      trajectories,
      weights / num_trajectories,
    )
    return jax.tree.map(jnp.add, sums, derivatives)

  shape = (len(evaluate), *logits.shape)
  zeros = tabular.Derivatives(
    jnp.zeros(shape[:1], logits.dtype),
    jnp.zeros(shape, logits.dtype),
    jnp.zeros((*shape, *logits.shape), logits.dtype),
  )
  num_chunks = (num_trajectories + chunk_size - 1) // chunk_size
  return jax.lax.fori_loop(0, num_chunks, chunk, zeros)


def correlation(x: chex.Array, y: chex.Array) -> chex.Array:
  """Returns Pearson's correlation of all components of two arrays.

  0 where one of them is constant: a derivative estimated as zero everywhere
  says nothing about the exact one.
  """
  x, y = (_standardise(jnp.ravel(z)) for z in (x, y))
  return jnp.dot(x, y)


def _standardise(x: chex.Array) -> chex.Array:
  """Centres, and scales to norm 1 unless all components are equal."""
  x = x - jnp.mean(x)
  # In two steps, so that no square overflows.
  x = x / _nonzero(jnp.max(jnp.abs(x)))
  return x / _nonzero(jnp.linalg.norm(x))


def _nonzero(x: chex.Array) -> chex.Array:
  return jnp.where(x == 0, 1.0, x)


@functools.partial(jax.jit, static_argnames=('setting', 'estimators'))
def trial_accuracy(
  trial_key: chex.PRNGKey,
  epsilon: chex.Numeric,
  num_trajectories: chex.Numeric,
  setting: Setting,
  estimators: tuple[str, ...],
) -> Accuracy:
  """Runs one trial of one point; pure, compiled once for all points.

  Args:
    trial_key: random key of the trial, the same for all points.
    epsilon: in [0, 1).
    num_trajectories: N >= 1.
    setting: sizes and distributions.
    estimators: E names.

  Returns:
    Accuracies `[E]`.
  """
  problem, data_key = start_trial(trial_key, epsilon, num_trajectories, setting)
  logits = target_logits(problem, epsilon)
  estimates = estimate(
    data_key, problem, logits, num_trajectories, setting.horizon, estimators
  )
  correlations = jax.vmap(correlation, in_axes=(0, None))
  return Accuracy(
    correlations(
      estimates.gradient, tabular.value_gradient(problem.mdp, logits)
    ),
    correlations(estimates.hessian, tabular.value_hessian(problem.mdp, logits)),
  )


def start_trial(
  trial_key: chex.PRNGKey,
  epsilon: chex.Numeric,
  num_trajectories: chex.Numeric,
  setting: Setting,
) -> tuple[Problem, chex.PRNGKey]:
  """Returns a trial's problem, and the key of its trajectories at a point."""
  problem_key, data_key = jax.random.split(trial_key)
  bits = jax.lax.bitcast_convert_type(jnp.float32(epsilon), jnp.uint32)
  data_key = jax.random.fold_in(data_key, bits)
  return (
    sample_problem(problem_key, setting),
    jax.random.fold_in(data_key, num_trajectories),
  )


def run(
  points: Sequence[Point],
  num_trials: int = 10,
  seed: int = 0,
  setting: Setting | None = None,
  estimators: Sequence[str] = ESTIMATORS,
  on_trial: Callable[[Point], None] | None = None,
) -> Iterator[tuple[Point, Accuracy]]:
  """Runs the study, a point at a time.

  Args:
    points: where to measure.
    num_trials: random MDPs, the same for every point.
    seed: of all randomness.
    setting: sizes and distributions; the figure's by default.
    estimators: E names, see `make_evaluator`.
    on_trial: called after every trial, for showing progress.

  Yields:
    A point and its accuracies per trial, as NumPy arrays `[num_trials, E]`.

  Raises:
    ValueError: at once, if an argument is outside of its range.
  """
  setting = Setting() if setting is None else setting
  check(points, num_trials, estimators)
  return _run(
    tuple(points), num_trials, seed, setting, tuple(estimators), on_trial
  )


def _run(points, num_trials, seed, setting, estimators, on_trial):
  keys = jax.random.split(jax.random.PRNGKey(seed), num_trials)
  for point in points:
    trials = []
    for key in keys:
      accuracy = trial_accuracy(
        key, point.epsilon, point.num_trajectories, setting, estimators
      )
      trials.append(jax.tree.map(np.asarray, accuracy))
      if on_trial is not None:
        on_trial(point)
    yield point, Accuracy(*(np.stack(x) for x in zip(*trials, strict=True)))


def check(
  points: Sequence[Point], num_trials: int, estimators: Sequence[str]
) -> None:
  """Raises `ValueError` where `run` cannot run."""
  for point in points:
    if not 0 <= point.epsilon < 1:
      raise ValueError(
        f'epsilon is {point.epsilon}; it needs to be in [0, 1): at 1 the '
        'target policy has probabilities of zero, and no logits.'
      )
    if point.num_trajectories < 1:
      raise ValueError(
        f'num_trajectories is {point.num_trajectories}; it needs to be at '
        'least 1.'
      )
  if num_trials < 1:
    raise ValueError(f'num_trials is {num_trials}; it needs to be at least 1.')
  if not estimators:
    raise ValueError(
      f'estimators is empty; choose from {", ".join(ESTIMATORS)}.'
    )
  for name in estimators:
    make_evaluator(name)


def mean_and_stderr(x: chex.Array) -> tuple[float, float]:
  """Returns the mean over `[trials]` and its standard error.

  The standard error of a single trial is NaN: it is unknown.
  """
  x = np.asarray(x, np.float64)
  if len(x) < 2:
    return float(x.mean()), float('nan')
  return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))


def summarise(
  point: Point, accuracy: Accuracy, estimators: Sequence[str]
) -> list[dict[str, Any]]:
  """Returns a row an estimator: means and standard errors over trials."""
  rows = []
  for i, name in enumerate(estimators):
    gradient, gradient_stderr = mean_and_stderr(accuracy.gradient[:, i])
    hessian, hessian_stderr = mean_and_stderr(accuracy.hessian[:, i])
    rows.append(
      {
        'estimator': name,
        'epsilon': float(point.epsilon),
        'num_trajectories': int(point.num_trajectories),
        'num_trials': len(accuracy.gradient),
        'gradient_accuracy_mean': gradient,
        'gradient_accuracy_stderr': gradient_stderr,
        'hessian_accuracy_mean': hessian,
        'hessian_accuracy_stderr': hessian_stderr,
      }
    )
  return rows
