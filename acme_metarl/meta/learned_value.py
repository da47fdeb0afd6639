"""A value function that tasks share, trained by the outer loop."""

import dataclasses
from typing import NamedTuple

import chex
import haiku as hk
import jax
from jax import lax
import jax.numpy as jnp
import optax

from acme_metarl import types
from acme_metarl.evaluators import recurrences, reductions
from acme_metarl.meta import observations

# Least weight of a meta-batch in the running moments of its targets.
_MOMENTS_RATE = 0.05


class ValueState(NamedTuple):
  """What is learned.

  Attributes:
    params: of the network, whose output is in units of the targets' moments.
    opt_state: of its optimiser.
    mean: running mean of the targets.
    std: running standard deviation of the targets.
    num_updates: int32.
  """

  params: types.PyTree
  opt_state: optax.OptState
  mean: chex.Array
  std: chex.Array
  num_updates: chex.Array


@dataclasses.dataclass(frozen=True)
class LearnedValue:
  """A tanh network from observations to values, with an optimiser of its own.

  It is regressed on λ-returns of all tasks and stages of a meta-batch, after
  the meta-update has used it, so that within an update it is independent of the
  samples. Where a rollout stops without ending, its targets end with its own
  value. It sees observations only: what differs between tasks that look the
  same it averages.

  >>> value = LearnedValue(hidden_sizes=(8,))
  >>> state = value.init(jax.random.PRNGKey(0), jnp.zeros(2))
  >>> returns = mask = jnp.ones((5, 3))
  >>> value(jnp.zeros((5, 4, 2)), returns, mask, state=state).shape
  (5, 4)

  Attributes:
    hidden_sizes: units of the hidden layers.
    learning_rate: of Adam.
    num_epochs: gradient steps on each meta-batch, of all of its steps.
    max_gradient_norm: gradients are clipped to this norm.
    num_values: see `baselines.LinearFeature`.
  """

  hidden_sizes: tuple[int, ...] = (64, 64)
  learning_rate: float = 1e-3
  num_epochs: int = 20
  max_gradient_norm: float = 10.0
  num_values: tuple[int | None, ...] = ()

  def __post_init__(self):
    # Lists, as JSON has them, could not be hashed.
    for name in ('hidden_sizes', 'num_values'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    if self.num_epochs < 1:
      raise ValueError(f'num_epochs: got {self.num_epochs}, need at least 1.')

  def init(self, key: chex.PRNGKey, observation: chex.ArrayTree) -> ValueState:
    """Returns the state at the start: every value is close to 0.

    Args:
      key: random key.
      observation: one, unbatched.
    """
    x = observations.to_vectors(observation, 0, self.num_values)
    params = self._network().init(key, x)
    return ValueState(
      params=params,
      opt_state=self._optimizer().init(params),
      mean=jnp.zeros((), x.dtype),
      std=jnp.ones((), x.dtype),
      num_updates=jnp.zeros((), jnp.int32),
    )

  def __call__(
    self,
    observation: chex.ArrayTree,
    returns: chex.Array,
    mask: chex.Array,
    state: ValueState,
  ) -> chex.Array:
    """Returns values `[..., T+1]` of observations `[..., T+1, ...]`.

    Args:
      observation: batch axes like `returns` has, one more in time.
      returns: `[..., T]`; only their shape and type count.
      mask: not used.
      state: of this baseline.
    """
    del mask
    x = observations.to_vectors(observation, returns.ndim, self.num_values)
    values = state.mean + state.std * self._network().apply(state.params, x)
    return values.astype(returns.dtype)

  def update(
    self,
    state: ValueState,
    trials: types.Stage,
    discount: float,
    gae_lambda: float = 1.0,
  ) -> ValueState:
    """Trains on a meta-batch.

    Args:
      state: of this baseline.
      trials: `[G, K+1, B, T, ...]`.
      discount: discount factor γ.
      gae_lambda: λ of the targets.

    Returns:
      The new state.
    """
    mask = trials.mask.astype(trials.reward.dtype)
    targets = lax.stop_gradient(
      self._targets(state, trials, mask, discount, gae_lambda)
    )
    mean = reductions.masked_mean(targets, mask)
    std = jnp.sqrt(reductions.masked_mean((targets - mean) ** 2, mask))
    # A mean of all at first, a running one later.
    rate = jnp.maximum(1.0 / (state.num_updates + 1.0), _MOMENTS_RATE)
    mean = state.mean + rate * (mean - state.mean)
    std = state.std + rate * (std - state.std)
    std = jnp.maximum(std, 1e-4 * jnp.maximum(jnp.abs(mean), 1.0))
    mean, std = mean.astype(state.mean.dtype), std.astype(state.std.dtype)
    x = observations.to_vectors(
      trials.observation, trials.reward.ndim, self.num_values
    )[..., :-1, :]

    def loss(params):
      error = self._network().apply(params, x) - (targets - mean) / std
      return reductions.masked_mean(error**2, mask)

    def step(carry, _):
      params, opt_state = carry
      updates, opt_state = self._optimizer().update(
        jax.grad(loss)(params), opt_state, params
      )
      return (optax.apply_updates(params, updates), opt_state), None

    (params, opt_state), _ = lax.scan(
      step, (state.params, state.opt_state), None, length=self.num_epochs
    )
    return ValueState(params, opt_state, mean, std, state.num_updates + 1)

  def _targets(self, state, trials, mask, discount, gae_lambda) -> chex.Array:
    """λ-returns `[G, K+1, B, T]`: v + Σ (γλ)^k δ."""
    rows = trials.reward.shape
    reward = jnp.where(mask > 0, trials.reward, 0.0)
    discount_t = discount * trials.discount * mask
    values = self(trials.observation, reward, mask, state=state)
    td_errors = reward + discount_t * values[..., 1:] - values[..., :-1]
    advantage = jax.vmap(recurrences.linear)(  # type: ignore[call-arg]
      *(
        x.reshape((-1, rows[-1]))
        for x in (gae_lambda * discount_t, td_errors * mask)
      ),
      jnp.zeros_like(reward, shape=(reward.size // rows[-1],)),
    )
    return values[..., :-1] + advantage.reshape(rows)

  def _network(self) -> hk.Transformed:
    return hk.without_apply_rng(hk.transform(self._forward))

  def _forward(self, x: chex.Array) -> chex.Array:
    for size in self.hidden_sizes:
      x = jnp.tanh(hk.Linear(size)(x))
    w_init = hk.initializers.VarianceScaling(1e-4)
    return hk.Linear(1, w_init=w_init)(x)[..., 0]

  def _optimizer(self) -> optax.GradientTransformation:
    return optax.chain(
      optax.clip_by_global_norm(self.max_gradient_norm),
      optax.adam(self.learning_rate),
    )
