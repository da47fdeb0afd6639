"""Policy networks as init/apply pairs over distrax distributions.

`gaussian`, `categorical` and `tabular` are the ones the presets use. Anything
else is wrapped: a Haiku function by `from_haiku`; a Flax module whose call
returns a distribution is `types.Policy(module.init, module.apply)`.

A distribution's parameters are the array leaves of the distribution itself
(distrax distributions are pytrees), so storing behaviour parameters and
computing Kullback-Leibler divergences need no code for each family.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any

import chex
import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.meta import products

# (params, observation, action) -> [...] log-probabilities.
LogProbFn = Callable[[types.PyTree, chex.ArrayTree, chex.Array], chex.Array]


def gaussian(
  action_size: int,
  hidden_sizes: Sequence[int] = (64, 64),
  init_log_std: float = 0.0,
  min_std: float = 1e-6,
  compute_dtype: Any = None,
) -> types.Policy:
  """A diagonal Gaussian: tanh network for the mean, one log-std a dimension.

  Weights are Xavier-uniform, biases zero. The log-standard-deviation does not
  depend on the state; it is a parameter like any other, so adaptation changes
  it too.

  Args:
    action_size: number of action dimensions.
    hidden_sizes: units of the hidden layers; `()` for a linear mean.
    init_log_std: initial log-standard-deviation.
    min_std: the standard deviation never gets below this.
    compute_dtype: of the network's products and activations, for example
      'bfloat16'; parameters, distribution and log-probabilities stay in the
      observation's dtype, which is the default.

  Returns:
    A policy; observations are `[..., n]`, or a pytree of such arrays, which
    are concatenated.
  """

  def forward(observation):
    mean = _network(observation, hidden_sizes, action_size, compute_dtype)
    log_std = hk.get_parameter(
      'log_std',
      (action_size,),
      mean.dtype,
      hk.initializers.Constant(init_log_std),
    )
    std = jnp.exp(jnp.maximum(log_std, math.log(min_std)))
    normal = distrax.Normal(mean, jnp.broadcast_to(std, mean.shape))
    return distrax.Independent(normal, reinterpreted_batch_ndims=1)

  return from_haiku(forward)


def categorical(
  num_actions: int,
  hidden_sizes: Sequence[int] = (64, 64),
  compute_dtype: Any = None,
) -> types.Policy:
  """A softmax over actions on top of a tanh network.

  Args:
    num_actions: number of actions.
    hidden_sizes: units of the hidden layers; `()` for linear logits.
    compute_dtype: of the network's products and activations, see `gaussian`.

  Returns:
    A policy; observations are `[..., n]`, or a pytree of such arrays, which
    are concatenated.
  """

  def forward(observation):
    return distrax.Categorical(
      logits=_network(observation, hidden_sizes, num_actions, compute_dtype)
    )

  return from_haiku(forward)


def tabular(num_states: int, num_actions: int) -> types.Policy:
  """A table of logits, zero at first: the softmax policy of tabular studies.

  Args:
    num_states: number of states.
    num_actions: number of actions.

  Returns:
    A policy; observations are integer states `[...]`, or one-hot (or any other)
    weights over states `[..., num_states]`.
  """

  def forward(observation):
    observation = jnp.asarray(observation)
    is_state = jnp.issubdtype(observation.dtype, jnp.integer)
    logits = hk.get_parameter(
      'logits',
      (num_states, num_actions),
      jnp.result_type(float) if is_state else observation.dtype,
      jnp.zeros,
    )
    if is_state:
      return distrax.Categorical(logits=logits[observation])
    return distrax.Categorical(logits=observation @ logits)

  return from_haiku(forward)


def from_haiku(forward: Callable[[chex.ArrayTree], Any]) -> types.Policy:
  """Makes a policy of a Haiku function from observation to distribution."""
  transformed = hk.without_apply_rng(hk.transform(forward))
  return types.Policy(init=transformed.init, apply=transformed.apply)


def unroll(
  policy: types.Policy, params: types.PyTree, observation: chex.ArrayTree
) -> Any:
  """The distributions of whole rollouts, with a memory or without.

  >>> policy = tabular(num_states=3, num_actions=2)
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> unroll(policy, params, jnp.array([0, 2])).probs.tolist()
  [[0.5, 0.5], [0.5, 0.5]]

  Args:
    policy: any policy.
    params: its parameters.
    observation: `[..., T, n]`, or a pytree of such arrays; the rollouts start
      at 0.

  Returns:
    A distribution with batch axes `[..., T]`.
  """
  if policy.unroll is None:
    return policy.apply(params, observation)
  return policy.unroll(params, observation)


def log_prob_fn(policy: types.Policy) -> LogProbFn:
  """Returns `(params, observation, action) -> log-probability` of rollouts."""

  def log_prob(params, observation, action):
    return unroll(policy, params, observation).log_prob(action)

  return log_prob


def distribution_params(distribution: Any) -> tuple[chex.Array, ...]:
  """The parameters of a distribution, as stored with behaviour data.

  Args:
    distribution: one that is a pytree, as distrax's are.

  Returns:
    Its array leaves, each `[..., n]` with the observation's batch axes in front
    (for a Gaussian of this module mean and standard deviation).
  """
  return tuple(jax.tree_util.tree_leaves(distribution))


def with_params(distribution: Any, params: Sequence[chex.Array]) -> Any:
  """The same kind of distribution with other parameters.

  Args:
    distribution: any distribution of the kind.
    params: what `distribution_params` gave for another one.

  Returns:
    A distribution.

  Raises:
    ValueError: if the number of parameters does not fit the kind.
  """
  structure = jax.tree_util.tree_structure(distribution)
  leaves = jax.tree_util.tree_leaves(params)
  if len(leaves) != structure.num_leaves:
    raise ValueError(
      f'params has {len(leaves)} arrays, but a {type(distribution).__name__}'
      f' has {structure.num_leaves} parameters. Store what'
      ' policies.distribution_params returns.'
    )
  return jax.tree_util.tree_unflatten(structure, leaves)


class _Linear(hk.Module):
  """A linear layer of arrays with the features in front, `[n, 1, N]`.

  On a CPU this order makes the products of the layer's derivatives, of the
  second order too, about twice as fast as `[N, n]` does. The axis of one is
  for XLA 0.6, which writes what follows a product of the same shape in place,
  without vector instructions.
  """

  def __init__(self, output_size: int, param_dtype: Any, name: str = 'linear'):
    super().__init__(name)
    self._output_size = output_size
    self._param_dtype = param_dtype

  def __call__(self, x: chex.Array) -> chex.Array:
    size = (x.shape[0], self._output_size)
    xavier = hk.initializers.VarianceScaling(1.0, 'fan_avg', 'uniform')
    w = hk.get_parameter('w', size, self._param_dtype, xavier)
    b = hk.get_parameter('b', size[1:], self._param_dtype, jnp.zeros)
    w, b = w.astype(x.dtype), b.astype(x.dtype)
    product = products.left_transposed(w, x[:, 0])
    # The derivative of this product is one as well; that of a broadcast would
    # be a slower sum.
    bias = b[:, jnp.newaxis] @ jnp.ones((1, x.shape[-1]), x.dtype)
    return product[:, jnp.newaxis] + bias[:, jnp.newaxis]


def _network(
  observation: chex.ArrayTree,
  hidden_sizes: Sequence[int],
  output_size: int,
  compute_dtype: Any,
) -> chex.Array:
  x = jnp.moveaxis(flat_observation(observation), -1, 0)
  batch_shape, dtype = x.shape[1:], x.dtype
  x = x.reshape((x.shape[0], 1, -1))
  if isinstance(compute_dtype, str):
    # NumPy's 'bfloat16' becomes TensorFlow's own once that is loaded.
    compute_dtype = getattr(jnp, compute_dtype)
  x = x.astype(compute_dtype or dtype)
  for size in hidden_sizes:
    x = jnp.tanh(_Linear(size, dtype)(x))
  x = _Linear(output_size, dtype)(x)
  x = x.reshape((output_size, *batch_shape))
  return jnp.moveaxis(x, 0, -1).astype(dtype)


def flat_observation(observation: chex.ArrayTree) -> chex.Array:
  """Concatenates the leaves of an observation along their last axis."""
  leaves = [
    leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(float)
    for leaf in map(jnp.asarray, jax.tree_util.tree_leaves(observation))
  ]
  return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves, axis=-1)
