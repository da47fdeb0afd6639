"""Policy networks as init/apply pairs over distrax distributions.

`make_default` chooses by the specs; `gaussian`, `categorical`, `integers` and
`tabular` are what there is. Anything else is wrapped: a Haiku function by
`from_haiku`; a Flax module whose call returns a distribution is
`types.Policy(module.init, module.apply)`.

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
import numpy as np

from acme_metarl import types
from acme_metarl.meta import distributions, observations

# (params, observation, action) -> [...] log-probabilities.
LogProbFn = Callable[[types.PyTree, chex.ArrayTree, chex.Array], chex.Array]
# A softmax over more integers than these is hardly meant.
_MOST_VALUES = 256


def make_default(
  action_spec: Any,
  observation_spec: Any = None,
  *,
  hidden_sizes: Sequence[int] = (64, 64),
  init_log_std: float = 0.0,
  min_std: float = 1e-6,
  compute_dtype: Any = None,
) -> types.Policy:
  """The policy network that the specs ask for.

  >>> from dm_env import specs
  >>> policy = make_default(specs.DiscreteArray(3), specs.DiscreteArray(5))
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> policy.apply(params, jnp.array([4, 1])).logits.shape
  (2, 3)

  Args:
    action_spec: of one action, `dm_env`'s. With `num_values` it is discrete;
      bounded integers are independent categoricals, of at most 256 values each;
      a vector of floats is Gaussian.
    observation_spec: of one observation, a pytree of such; None if every leaf
      is a vector of numbers.
    hidden_sizes: see `gaussian`.
    init_log_std: see `gaussian`.
    min_std: see `gaussian`.
    compute_dtype: see `gaussian`.

  Returns:
    A policy. What it draws is what `action_spec` says, within its bounds where
    it is discrete or integer.

  Raises:
    ValueError: on actions or observations that have no such network.
  """
  if observation_spec is not None:
    observations.check_spec(observation_spec)
  network = dict(
    hidden_sizes=hidden_sizes,
    compute_dtype=compute_dtype,
    observation_spec=observation_spec,
  )
  num_values = getattr(action_spec, 'num_values', None)
  if num_values is not None:
    return categorical(num_values, **network)
  dtype = jnp.dtype(getattr(action_spec, 'dtype', float))
  if jnp.issubdtype(dtype, jnp.integer):
    return integers(*_integer_bounds(action_spec), **network)
  shape = tuple(getattr(action_spec, 'shape', ()))
  if len(shape) != 1 or not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f'action_spec: an action is {action_spec!r}; the networks of this'
      ' library know discrete actions, bounded integers, and vectors of floats.'
      ' Use a policy of your own.'
    )
  return gaussian(
    shape[0], init_log_std=init_log_std, min_std=min_std, **network
  )


def _integer_bounds(spec: Any) -> tuple[np.ndarray, np.ndarray]:
  """Smallest value and number of values of each dimension of an action."""
  low, high = getattr(spec, 'minimum', None), getattr(spec, 'maximum', None)
  if low is not None and high is not None:
    low, high = (
      np.broadcast_to(np.asarray(x, np.float64), spec.shape)
      for x in (low, high)
    )
    sizes = high - low + 1
    if np.all((sizes >= 1) & (sizes <= _MOST_VALUES)):
      return low.astype(np.int64), sizes.astype(np.int64)
  raise ValueError(
    f'action_spec: an action is {spec!r}, integers that are not bounded to at'
    f' most {_MOST_VALUES} values each. A Gaussian has no density for integers:'
    ' declare bounds, or let the environment take floats and round them itself.'
  )


def gaussian(
  action_size: int,
  hidden_sizes: Sequence[int] = (64, 64),
  init_log_std: float = 0.0,
  min_std: float = 1e-6,
  compute_dtype: Any = None,
  observation_spec: Any = None,
) -> types.Policy:
  """A diagonal Gaussian: tanh network for the mean, one log-std a dimension.

  Weights are Xavier-uniform, biases zero. The log-standard-deviation does not
  depend on the state; it is a parameter like any other, so adaptation changes
  it too.

  >>> policy = gaussian(action_size=2, init_log_std=-1.)
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  >>> policy.apply(params, jnp.zeros((5, 3))).mean().shape
  (5, 2)

  Args:
    action_size: number of action dimensions.
    hidden_sizes: units of the hidden layers; `()` for a linear mean.
    init_log_std: initial log-standard-deviation.
    min_std: the standard deviation never gets below this.
    compute_dtype: of the network's products and activations, for example
      'bfloat16'; parameters, distribution and log-probabilities stay in the
      observation's dtype, which is the default.
    observation_spec: of one observation, see `observations.flatten`.

  Returns:
    A policy; observations are `[..., n]`, or a pytree of such arrays, which
    are concatenated.
  """

  def forward(observation):
    x = observations.flatten(observation, observation_spec)
    mean = _network(x, hidden_sizes, action_size, compute_dtype)
    return _gaussian_head(mean, init_log_std, min_std)

  return from_haiku(forward)


def categorical(
  num_actions: int,
  hidden_sizes: Sequence[int] = (64, 64),
  compute_dtype: Any = None,
  observation_spec: Any = None,
) -> types.Policy:
  """A softmax over actions on top of a tanh network.

  >>> policy = categorical(num_actions=2, hidden_sizes=())
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  >>> policy.apply(params, jnp.zeros((1, 3))).probs.tolist()
  [[0.5, 0.5]]

  Args:
    num_actions: number of actions.
    hidden_sizes: units of the hidden layers; `()` for linear logits.
    compute_dtype: of the network's products and activations, see `gaussian`.
    observation_spec: of one observation, see `observations.flatten`.

  Returns:
    A policy; observations are `[..., n]`, or a pytree of such arrays, which
    are concatenated.
  """

  def forward(observation):
    x = observations.flatten(observation, observation_spec)
    return distrax.Categorical(
      logits=_network(x, hidden_sizes, num_actions, compute_dtype)
    )

  return from_haiku(forward)


def integers(
  minimum: chex.ArrayNumpy,
  num_values: chex.ArrayNumpy,
  hidden_sizes: Sequence[int] = (64, 64),
  compute_dtype: Any = None,
  observation_spec: Any = None,
) -> types.Policy:
  """Independent softmaxes over the integers of a box on top of a tanh network.

  >>> policy = integers(minimum=[0, -1], num_values=[2, 3])
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  >>> action = policy.apply(params, jnp.zeros((5, 3))).sample(
  ...     seed=jax.random.PRNGKey(1))
  >>> action.shape, int(action.min()) >= -1, int(action.max()) <= 1
  ((5, 2), True, True)

  Args:
    minimum: smallest value of each dimension, of the action's shape.
    num_values: how many values each dimension has, of the same shape.
    hidden_sizes: units of the hidden layers; `()` for linear logits.
    compute_dtype: of the network's products and activations, see `gaussian`.
    observation_spec: of one observation, see `observations.flatten`.

  Returns:
    A policy of `distributions.Integers`.
  """
  num_values = np.asarray(num_values)
  size = int(num_values.max())
  is_value = np.arange(size) < num_values[..., np.newaxis]

  def forward(observation):
    x = observations.flatten(observation, observation_spec)
    logits = _network(x, hidden_sizes, is_value.size, compute_dtype)
    logits = logits.reshape(logits.shape[:-1] + is_value.shape)
    if not is_value.all():
      logits = distributions.mask_logits(logits, is_value)
    return distributions.Integers(logits, minimum)

  return from_haiku(forward)


def tabular(num_states: int, num_actions: int) -> types.Policy:
  """A table of logits, zero at first: the softmax policy of tabular studies.

  >>> policy = tabular(num_states=3, num_actions=2)
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> policy.apply(params, jnp.array([0, 2])).probs.tolist()
  [[0.5, 0.5], [0.5, 0.5]]

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
  """Makes a policy of a Haiku function from observation to distribution.

  >>> policy = from_haiku(lambda x: distrax.Categorical(logits=hk.Linear(2)(x)))
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  >>> policy.apply(params, jnp.zeros((5, 3))).logits.shape
  (5, 2)

  Args:
    forward: any batch axes in front of the observation are the distribution's.

  Returns:
    A policy without a memory.
  """
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
  function = policy.unroll or policy.apply
  return distributions.without_infinite_logits(function(params, observation))


def act(
  policy: types.Policy,
  params: types.PyTree,
  observation: chex.ArrayTree,
  state: types.PyTree,
) -> tuple[Any, types.PyTree]:
  """One step of acting, with a memory or without.

  >>> policy = tabular(num_states=3, num_actions=2)
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> distribution, state = act(policy, params, jnp.array([0, 2]), ())
  >>> distribution.probs.shape, state
  ((2, 2), ())

  Args:
    policy: any policy.
    params: its parameters.
    observation: `[..., n]`, or a pytree of such arrays.
    state: `[..., ...]` of `initial_state`, or what the last call returned.

  Returns:
    A distribution with batch axes `[...]`, and the next state.
  """
  if policy.initial_state is None:
    distribution = policy.apply(params, observation)
  else:
    distribution, state = policy.apply(params, observation, state)
  return distributions.without_infinite_logits(distribution), state


def initial_state(
  policy: types.Policy, batch_shape: Sequence[int] = ()
) -> types.PyTree:
  """The memory of rollouts that start; `()` for a policy without one.

  >>> initial_state(tabular(num_states=3, num_actions=2), (5,))
  ()

  Args:
    policy: any policy.
    batch_shape: put in front.

  Returns:
    A pytree of arrays `[*batch_shape, ...]`.
  """
  if policy.initial_state is None:
    return ()
  return jax.tree_util.tree_map(
    lambda x: jnp.broadcast_to(x, (*batch_shape, *jnp.shape(x))),
    policy.initial_state(),
  )


def log_prob_fn(policy: types.Policy) -> LogProbFn:
  """The log-probabilities of whole rollouts.

  >>> policy = tabular(num_states=3, num_actions=2)
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> log_prob = log_prob_fn(policy)
  >>> x = log_prob(params, jnp.array([0, 2]), jnp.array([1, 1]))
  >>> jnp.exp(x).round(3).tolist()
  [0.5, 0.5]

  Args:
    policy: any policy.

  Returns:
    `(params, observation [..., T, n], action [..., T, ...]) -> [..., T]`.
  """

  def log_prob(params, observation, action):
    return unroll(policy, params, observation).log_prob(action)

  return log_prob


def distribution_params(distribution: Any) -> tuple[chex.Array, ...]:
  """The parameters of a distribution, as stored with behaviour data.

  >>> normal = distrax.Normal(jnp.zeros(2), jnp.ones(2))
  >>> [x.tolist() for x in distribution_params(normal)]
  [[0.0, 0.0], [1.0, 1.0]]

  Args:
    distribution: one that is a pytree, as distrax's are.

  Returns:
    Its array leaves, each `[..., n]` with the observation's batch axes in front
    (for a Gaussian of this module mean and standard deviation).
  """
  return tuple(jax.tree_util.tree_leaves(distribution))


def with_params(distribution: Any, params: Sequence[chex.Array]) -> Any:
  """The same kind of distribution with other parameters.

  >>> normal = distrax.Normal(jnp.zeros(2), jnp.ones(2))
  >>> with_params(normal, (jnp.ones(2), jnp.ones(2))).mean().tolist()
  [1.0, 1.0]

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
  return distributions.without_infinite_logits(
    jax.tree_util.tree_unflatten(structure, leaves)
  )


def _gaussian_head(mean, init_log_std, min_std) -> distrax.Distribution:
  log_std = hk.get_parameter(
    'log_std',
    mean.shape[-1:],
    mean.dtype,
    hk.initializers.Constant(init_log_std),
  )
  std = jnp.exp(jnp.maximum(log_std, math.log(min_std)))
  normal = distrax.Normal(mean, jnp.broadcast_to(std, mean.shape))
  return distrax.Independent(normal, reinterpreted_batch_ndims=1)


def _network(
  x: chex.Array,
  hidden_sizes: Sequence[int],
  output_size: int,
  compute_dtype: Any,
) -> chex.Array:
  """A tanh network with Xavier-uniform weights, in the input's dtype."""
  dtype = x.dtype
  if isinstance(compute_dtype, str):
    # NumPy's 'bfloat16' becomes TensorFlow's own once that is loaded.
    compute_dtype = getattr(jnp, compute_dtype)
  x = x.astype(compute_dtype or dtype)
  xavier = hk.initializers.VarianceScaling(1.0, 'fan_avg', 'uniform')

  def create(next_creator, shape, _, init, context):
    del context
    return next_creator(shape, dtype, init)

  def read(next_getter, parameter, context):
    del context
    return next_getter(parameter).astype(x.dtype)

  # Parameters keep their precision where the products have less.
  with hk.custom_creator(create), hk.custom_getter(read):
    for size in hidden_sizes:
      x = jnp.tanh(hk.Linear(size, w_init=xavier)(x))
    x = hk.Linear(output_size, w_init=xavier)(x)
  return x.astype(dtype)
