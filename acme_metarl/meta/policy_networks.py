"""Networks that are policies; `policies` gives them to users.

Weights are Xavier-uniform but for those of recurrent units, biases zero.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import distrax
import haiku as hk
import jax.numpy as jnp
import numpy as np

from acme_metarl import types
from acme_metarl.meta import distributions, observations, torsos

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
  >>> import jax
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.int32(0))
  >>> policy.apply(params, jnp.array([4, 1])).logits.shape
  (2, 3)

  Args:
    action_spec: of one action, `dm_env`'s. With `num_values` it is discrete;
      bounded integers are independent categoricals, of at most 256 values each;
      a vector of floats is Gaussian.
    observation_spec: of one observation, a pytree of such; None if every leaf
      is a vector of numbers. An image, `[H, W, C]`, gets the convolutions of
      `torsos.make_torso` in the place of hidden layers.
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
  head = head_of_spec(action_spec, init_log_std, min_std)
  if observation_spec is not None:
    if torsos.is_image(observation_spec):
      return _of_images(head, compute_dtype, observation_spec)
    observations.check_spec(observation_spec)
  return _feed_forward(head, hidden_sizes, compute_dtype, observation_spec)


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
  >>> import jax
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
  head = _gaussian_head(action_size, init_log_std, min_std)
  return _feed_forward(head, hidden_sizes, compute_dtype, observation_spec)


def categorical(
  num_actions: int,
  hidden_sizes: Sequence[int] = (64, 64),
  compute_dtype: Any = None,
  observation_spec: Any = None,
) -> types.Policy:
  """A softmax over actions on top of a tanh network.

  >>> policy = categorical(num_actions=2, hidden_sizes=())
  >>> import jax
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
  head = _categorical_head(num_actions)
  return _feed_forward(head, hidden_sizes, compute_dtype, observation_spec)


def integers(
  minimum: chex.ArrayNumpy,
  num_values: chex.ArrayNumpy,
  hidden_sizes: Sequence[int] = (64, 64),
  compute_dtype: Any = None,
  observation_spec: Any = None,
) -> types.Policy:
  """Independent softmaxes over the integers of a box on top of a tanh network.

  >>> policy = integers(minimum=[0, -1], num_values=[2, 3])
  >>> import jax
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
  head = _integers_head(minimum, num_values)
  return _feed_forward(head, hidden_sizes, compute_dtype, observation_spec)


def tabular(num_states: int, num_actions: int) -> types.Policy:
  """A table of logits, zero at first: the softmax policy of tabular studies.

  >>> policy = tabular(num_states=3, num_actions=2)
  >>> import jax
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
  >>> import jax
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


def gru(
  action_spec: Any,
  observation_spec: Any = None,
  *,
  memory_size: int = 32,
  hidden_sizes: Sequence[int] = (),
  init_log_std: float = 0.0,
  min_std: float = 1e-6,
) -> types.Policy:
  """A policy with a memory: a gated recurrent unit, then a tanh network.

  The unit of Cho et al., "Learning Phrase Representations using RNN
  Encoder-Decoder for Statistical Machine Translation" (2014),
  https://arxiv.org/abs/1406.1078, from zeros at the start of every rollout.

  >>> from dm_env import specs
  >>> policy = gru(specs.DiscreteArray(2), memory_size=4)
  >>> import jax
  >>> params = policy.init(jax.random.PRNGKey(0), jnp.zeros(3))
  >>> distribution, state = policy.apply(
  ...     params, jnp.zeros(3), policy.initial_state())
  >>> distribution.logits.shape, state.shape
  ((2,), (4,))
  >>> policy.unroll(params, jnp.zeros((5, 7, 3))).logits.shape
  (5, 7, 2)

  Args:
    action_spec: see `make_default`.
    observation_spec: see `make_default`.
    memory_size: units of the memory.
    hidden_sizes: units of the layers between memory and distribution.
    init_log_std: see `gaussian`.
    min_std: see `gaussian`.

  Returns:
    A policy with `initial_state` and `unroll`.

  Raises:
    ValueError: on actions or observations that have no such network.
  """
  if observation_spec is not None:
    observations.check_spec(observation_spec)
  head = head_of_spec(action_spec, init_log_std, min_std)

  def initial_state():
    return jnp.zeros((memory_size,))

  def distribution(memory):
    return head.make(_network(memory, hidden_sizes, head.size, None))

  def step(observation, state):
    x = observations.flatten(observation, observation_spec)
    batch = x.shape[:-1]
    memory = jnp.broadcast_to(state, (*batch, memory_size)).astype(x.dtype)
    memory, _ = hk.GRU(memory_size)(
      x.reshape((-1, x.shape[-1])), memory.reshape((-1, memory_size))
    )
    memory = memory.reshape((*batch, memory_size))
    # The state keeps its type, so that it can be carried in a scan.
    return distribution(memory), memory.astype(state.dtype)

  def unroll(observation):
    x = observations.flatten(observation, observation_spec)
    by_time = jnp.moveaxis(x.reshape((-1, *x.shape[-2:])), 1, 0)
    start = jnp.zeros((by_time.shape[1], memory_size), x.dtype)
    memory, _ = hk.dynamic_unroll(hk.GRU(memory_size), by_time, start)
    memory = jnp.moveaxis(memory, 0, 1)
    return distribution(memory.reshape((*x.shape[:-1], memory_size)))

  acting, learning = (
    hk.without_apply_rng(hk.transform(function)) for function in (step, unroll)
  )
  return types.Policy(
    init=lambda key, observation: acting.init(
      key, observation, initial_state()
    ),
    apply=acting.apply,
    initial_state=initial_state,
    unroll=learning.apply,
  )


class Head(NamedTuple):
  """From the last layer's outputs to a distribution.

  Attributes:
    size: how many outputs.
    make: `[..., size] -> distribution` with the batch axes `[...]`.
  """

  size: int
  make: Callable[[chex.Array], distrax.Distribution]


def _feed_forward(
  head: Head, hidden_sizes, compute_dtype, observation_spec
) -> types.Policy:
  def forward(observation):
    x = observations.flatten(observation, observation_spec)
    return head.make(_network(x, hidden_sizes, head.size, compute_dtype))

  return from_haiku(forward)


def _of_images(head: Head, compute_dtype, observation_spec) -> types.Policy:
  torso = torsos.make_torso(observation_spec)

  def forward(observation):
    features = torso(observation)
    return head.make(_network(features, (), head.size, compute_dtype))

  return from_haiku(forward)


def head_of_spec(
  action_spec: Any, init_log_std: float = 0.0, min_std: float = 1e-6
) -> Head:
  """The distribution that an action spec asks for, see `make_default`.

  >>> from dm_env import specs
  >>> head_of_spec(specs.DiscreteArray(3)).size
  3

  Args:
    action_spec: `dm_env`'s, of one action.
    init_log_std: see `gaussian`.
    min_std: see `gaussian`.

  Returns:
    A head, to be used inside of a Haiku transform.

  Raises:
    ValueError: on actions that have no such distribution.
  """
  num_values = getattr(action_spec, 'num_values', None)
  if num_values is not None:
    return _categorical_head(num_values)
  dtype = jnp.dtype(getattr(action_spec, 'dtype', float))
  if jnp.issubdtype(dtype, jnp.integer):
    return _integers_head(*_integer_bounds(action_spec))
  shape = tuple(getattr(action_spec, 'shape', ()))
  if len(shape) != 1 or not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f'action_spec: an action is {action_spec!r}; the networks of this'
      ' library know discrete actions, bounded integers, and vectors of floats.'
      ' Use a policy of your own.'
    )
  return _gaussian_head(shape[0], init_log_std, min_std)


def _gaussian_head(action_size, init_log_std, min_std) -> Head:
  def make(mean):
    log_std = hk.get_parameter(
      'log_std',
      (action_size,),
      mean.dtype,
      hk.initializers.Constant(init_log_std),
    )
    lowest = jnp.log(jnp.asarray(min_std, mean.dtype))
    std = jnp.exp(jnp.maximum(log_std, lowest))
    normal = distrax.Normal(mean, jnp.broadcast_to(std, mean.shape))
    return distrax.Independent(normal, reinterpreted_batch_ndims=1)

  return Head(action_size, make)


def _categorical_head(num_actions) -> Head:
  return Head(num_actions, lambda x: distrax.Categorical(logits=x))


def _integers_head(minimum, num_values) -> Head:
  num_values = np.asarray(num_values)
  is_value = np.arange(num_values.max()) < num_values[..., np.newaxis]

  def make(x):
    logits = x.reshape(x.shape[:-1] + is_value.shape)
    if not is_value.all():
      is_real = jnp.broadcast_to(is_value, logits.shape)
      logits = distributions.mask_logits(logits, is_real)
    return distributions.Integers(logits, minimum)

  return Head(is_value.size, make)


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
  x = jnp.moveaxis(x, -1, 0)
  batch = x.shape[1:]
  x = x.reshape((x.shape[0], 1, -1)).astype(compute_dtype or dtype)
  for size in hidden_sizes:
    x = jnp.tanh(_Linear(size, dtype)(x))
  x = _Linear(output_size, dtype)(x).reshape((output_size, *batch))
  return jnp.moveaxis(x, 0, -1).astype(dtype)


class _Linear(hk.Module):
  """A linear layer of arrays with the features in front, `[n, 1, N]`.

  On a CPU, first and second derivatives of a network of these take two thirds
  of the time that they take with `hk.Linear`, whose parameters it has. The axis
  of one is for XLA 0.6, which writes what follows a product of the same shape
  in place, without vector instructions.
  """

  def __init__(self, size: int, param_dtype: Any, name: str = 'linear'):
    super().__init__(name)
    self._size = size
    self._param_dtype = param_dtype

  def __call__(self, x: chex.Array) -> chex.Array:
    xavier = hk.initializers.VarianceScaling(1.0, 'fan_avg', 'uniform')
    shape = (x.shape[0], self._size)
    w = hk.get_parameter('w', shape, self._param_dtype, xavier)
    b = hk.get_parameter('b', shape[1:], self._param_dtype, jnp.zeros)
    # Parameters keep their precision where the products have less.
    w, b = w.astype(x.dtype), b.astype(x.dtype)
    product = jnp.tensordot(w, x[:, 0], axes=(0, 0))
    # The derivative of this product is one as well; that of a broadcast would
    # be a slower sum.
    bias = b[:, jnp.newaxis] @ jnp.ones((1, x.shape[-1]), x.dtype)
    return product[:, jnp.newaxis] + bias[:, jnp.newaxis]
