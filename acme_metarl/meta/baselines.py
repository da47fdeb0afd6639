"""Critics for one task, fitted to its own data at every stage.

A baseline is a pure function of a stage's observations and returns; it keeps
nothing between stages or tasks. `learned_value.LearnedValue` is the one that
does: it has a state, which the outer loop trains.
"""

import dataclasses
from typing import Any, Protocol

import chex
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import input_checks
from acme_metarl.meta import learned_value, observations, regression

LearnedValue = learned_value.LearnedValue
ridge_regression = regression.ridge_regression


class Baseline(Protocol):
  """Fits a critic to one stage of one task, and evaluates it there."""

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Returns values `[B, T+1]` of the observations `[B, T+1, ...]`.

    `returns` `[B, T]` are the targets at the first T of them; steps with
    `mask` `[B, T]` 0 take no part in the fit.
    """


class BootstrappedBaseline(Baseline, Protocol):
  """A baseline that knows what to do where a rollout stops without ending.

  The method is optional. A baseline without it is fitted to the rewards up to
  the time limit as if nothing followed, so its value there is worth little.
  """

  def bootstrapped(
    self,
    observation: chex.ArrayTree,
    returns: chex.Array,
    discount_t: chex.Array,
    mask: chex.Array,
  ) -> chex.Array:
    """Returns values `[B, T+1]` where some rows go on after the last step.

    `returns` `[B, T]` are sums of rewards up to the end of the row; what
    follows x_T is worth its value times the product of `discount_t` `[B, T]`
    from the step to the end, and that is 0 for rows that terminated.
    """


class LearnedBaseline(Protocol):
  """A baseline that the outer loop trains; `learned_value` explains it."""

  def init(
    self, key: chex.PRNGKey, observation: chex.ArrayTree
  ) -> types.PyTree:
    """Returns the state, for one unbatched observation."""

  def update(
    self,
    state: types.PyTree,
    trials: types.Stage,
    discount: float,
    gae_lambda: float,
  ) -> types.PyTree:
    """Returns the state trained on trials `[G, K+1, B, T, ...]`."""

  def __call__(
    self,
    observation: chex.ArrayTree,
    returns: chex.Array,
    mask: chex.Array,
    state: types.PyTree,
  ) -> chex.Array:
    """Returns values `[B, T+1]`."""


def evaluate(
  baseline: Any,
  observation: chex.ArrayTree,
  returns: chex.Array,
  discount_t: chex.Array,
  mask: chex.Array,
  state: types.PyTree = (),
) -> chex.Array:
  """The values of any kind of baseline, constant in every derivative.

  A time limit that is no end is seen by a last discount that is not 0. With
  reward 1 and γ = .9 the value is 10 whatever the limit:

  >>> observation, ones = jnp.zeros((1, 4, 1)), jnp.ones((1, 3))
  >>> returns = jnp.array([[2.71, 1.9, 1.]])
  >>> values = evaluate(LinearFeature(), observation, returns, .9 * ones, ones)
  >>> values.round(1).tolist()
  [[10.0, 10.0, 10.0, 10.0]]

  Args:
    baseline: a `Baseline`, `BootstrappedBaseline` or `LearnedBaseline`.
    observation: `[B, T+1, ...]`, or a pytree of such.
    returns: `[B, T]` discounted sums of rewards up to the end of the row.
    discount_t: `[B, T]` discount factor times the environment's discount.
    mask: `[B, T]`.
    state: of a learned baseline.

  Returns:
    `[B, T+1]` values.
  """
  # Of the inputs too: loops inside could not be differentiated.
  observation, returns, discount_t, mask, state = lax.stop_gradient(
    (observation, returns, discount_t, mask, state)
  )
  if hasattr(baseline, 'init'):
    values = baseline(observation, returns, mask, state=state)
    return lax.stop_gradient(values)
  values = baseline(observation, returns, mask)
  if not hasattr(baseline, 'bootstrapped'):
    return lax.stop_gradient(values)

  def bootstrapped():
    new = baseline.bootstrapped(observation, returns, discount_t, mask)
    return new.astype(values.dtype)

  is_open = jnp.any(discount_t[:, -1] != 0)
  if input_checks.is_traced(is_open):
    # A loop of at most one round: under vmap a `cond` would do both always.
    _, values = lax.while_loop(
      lambda carry: carry[0],
      lambda carry: (jnp.zeros((), bool), bootstrapped()),
      (is_open, values),
    )
  elif is_open:
    values = bootstrapped()
  return lax.stop_gradient(values)


def for_observations(baseline: Any, observation_spec: Any) -> Any:
  """The same baseline with what is discrete in observations one-hot.

  >>> from dm_env import specs
  >>> for_observations(LinearFeature(), specs.DiscreteArray(3)).num_values
  (3,)

  Args:
    baseline: one whose field `num_values` is empty is changed, others are not.
    observation_spec: of one observation, a pytree of `dm_env` specs.

  Returns:
    A baseline.
  """
  sizes = observations.num_values(observation_spec)
  if getattr(baseline, 'num_values', None) != () or not any(sizes):
    return baseline
  return dataclasses.replace(baseline, num_values=sizes)


@dataclasses.dataclass(frozen=True)
class Zero:
  """No critic: every value is zero.

  >>> Zero()(jnp.zeros((1, 3, 2)), jnp.ones((1, 2)), jnp.ones((1, 2))).tolist()
  [[0.0, 0.0, 0.0]]
  """

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Returns zeros `[B, T+1]`."""
    del observation, mask
    return jnp.zeros((returns.shape[0], returns.shape[1] + 1), returns.dtype)


@dataclasses.dataclass(frozen=True)
class LinearTime:
  """Ridge regression on time alone: [t, t², t³, 1] with t in `time_scale`s.

  Where the time limit is no end, time says nothing, and one constant is fitted.

  >>> returns, mask = jnp.array([[2., 1.]]), jnp.ones((1, 2))
  >>> values = LinearTime(time_scale=1.)(None, returns, mask)
  >>> values[:, :2].round(1).tolist()
  [[2.0, 1.0]]

  Attributes:
    ridge: penalty on the squared coefficients.
    time_scale: steps that make one unit of time.
  """

  ridge: float = 1e-5
  time_scale: float = 100.0

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Fits and returns values `[B, T+1]`."""
    del observation
    features = time_features(
      returns.shape[0], returns.shape[1] + 1, self.time_scale, returns.dtype
    )
    return _fit_values(features, returns, mask, self.ridge)

  def bootstrapped(
    self,
    observation: chex.ArrayTree,
    returns: chex.Array,
    discount_t: chex.Array,
    mask: chex.Array,
  ) -> chex.Array:
    """See `BootstrappedBaseline`."""
    del observation
    shape = (returns.shape[0], returns.shape[1] + 1, 0)
    return _fit_bootstrapped(
      jnp.zeros(shape, returns.dtype), returns, discount_t, mask, self.ridge
    )


@dataclasses.dataclass(frozen=True)
class LinearFeature:
  """Ridge regression on [o, o², t, t², t³, 1].

  The baseline of Duan et al., "Benchmarking Deep Reinforcement Learning for
  Continuous Control" (2016), https://arxiv.org/abs/1604.06778, as published
  meta-RL code uses it. Where the time limit is no end, the features are [o, o²,
  1] and the targets end with the fit's own value, see `regression`.

  >>> observation = jnp.array([[[0.], [1.], [2.]]])
  >>> returns, mask = jnp.array([[1., 3.]]), jnp.ones((1, 2))
  >>> values = LinearFeature()(observation, returns, mask)
  >>> values[:, :2].round(2).tolist()
  [[1.0, 3.0]]

  Attributes:
    ridge: penalty on the squared coefficients; ten times as much, as often as
      needed, where the system is singular.
    observation_clip: observations are clipped to plus or minus this.
    time_scale: steps that make one unit of time.
    num_values: how many values each leaf of the observation has if it is
      discrete, and so one-hot, None if not; empty if none is.
  """

  ridge: float = 1e-5
  observation_clip: float = 10.0
  time_scale: float = 100.0
  num_values: tuple[int | None, ...] = ()

  def __post_init__(self):
    object.__setattr__(self, 'num_values', tuple(self.num_values))

  def __call__(
    self, observation: chex.ArrayTree, returns: chex.Array, mask: chex.Array
  ) -> chex.Array:
    """Fits and returns values `[B, T+1]`."""
    time = time_features(
      returns.shape[0], returns.shape[1] + 1, self.time_scale, returns.dtype
    )
    features = [self._features(observation, returns.dtype), time]
    features = jnp.concatenate(features, axis=-1)
    return _fit_values(features, returns, mask, self.ridge)

  def bootstrapped(
    self,
    observation: chex.ArrayTree,
    returns: chex.Array,
    discount_t: chex.Array,
    mask: chex.Array,
  ) -> chex.Array:
    """See `BootstrappedBaseline`."""
    features = self._features(observation, returns.dtype)
    return _fit_bootstrapped(features, returns, discount_t, mask, self.ridge)

  def _features(self, observation, dtype) -> chex.Array:
    """[o, o²], clipped; `[B, T+1, F]`."""
    o = observations.to_vectors(observation, 2, self.num_values).astype(dtype)
    o = jnp.clip(o, -self.observation_clip, self.observation_clip)
    if self.num_values and all(self.num_values):
      return o  # The squares of one-hot vectors are the same again.
    return jnp.concatenate([o, o**2], axis=-1)


def time_features(
  batch: int, length: int, time_scale: float, dtype: chex.ArrayDType
) -> chex.Array:
  """Returns [t, t², t³, 1] as `[batch, length, 4]`.

  >>> time_features(1, 2, 1., jnp.float32).tolist()
  [[[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]]

  Args:
    batch: how many rows, all the same.
    length: t = 0 … length − 1,
    time_scale: in units of this.
    dtype: of the features.
  """
  t = jnp.arange(length, dtype=dtype) / time_scale
  features = jnp.stack([t, t**2, t**3, jnp.ones_like(t)], axis=-1)
  return jnp.broadcast_to(features, (batch, *features.shape))


def _fit_values(
  features: chex.Array, returns: chex.Array, mask: chex.Array, ridge: float
) -> chex.Array:
  """Fits features `[B, :T, F]` to returns `[B, T]`; returns `[B, T+1]`."""
  size = features.shape[-1]
  rows = (features[:, :-1] * mask[..., jnp.newaxis]).reshape((-1, size))
  targets = (returns * mask).reshape((-1,))
  # One matrix product for all the rollouts of a task.
  weights = regression.ridge_regression(rows, targets, ridge)
  return features @ weights


def _fit_bootstrapped(
  features: chex.Array,
  returns: chex.Array,
  discount_t: chex.Array,
  mask: chex.Array,
  ridge: float,
) -> chex.Array:
  """The fixed point for features `[B, T+1, F]` and a constant; `[B, T+1]`."""
  # Centred, so that what hardly varies is no second constant.
  count = jnp.maximum(jnp.sum(mask), 1.0)
  mean = jnp.sum(features[:, :-1] * mask[..., jnp.newaxis], (0, 1)) / count
  ones = jnp.ones_like(features, shape=(*features.shape[:2], 1))
  features = jnp.concatenate(
    [features - mean.reshape((1, 1, -1)), ones], axis=-1
  )
  size = features.shape[-1]
  # What the value of x_T counts in the return from x_t on.
  share = jnp.cumprod(discount_t[:, ::-1], axis=1)[:, ::-1]
  following = share[..., jnp.newaxis] * features[:, -1:]
  rows, following = (
    (x * mask[..., jnp.newaxis]).reshape((-1, size))
    for x in (features[:, :-1], following)
  )
  weights = regression.fixed_point_regression(
    rows, following, (returns * mask).reshape((-1,)), ridge
  )
  return features @ weights
