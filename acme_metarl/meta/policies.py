"""Policies as functions over distrax distributions, and what is asked of them.

`make_default` chooses a network by the specs; `gaussian`, `categorical`,
`integers`, `tabular` and, with a memory, `gru` are what there is. Anything else
is wrapped: a Haiku function by `from_haiku`; a Flax module whose call returns a
distribution is `types.Policy(module.init, module.apply)`.

A distribution's parameters are the array leaves of the distribution itself
(distrax distributions are pytrees), so storing behaviour parameters and
computing Kullback-Leibler divergences need no code for each family.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.meta import distributions, policy_networks

make_default = policy_networks.make_default
gaussian = policy_networks.gaussian
categorical = policy_networks.categorical
integers = policy_networks.integers
tabular = policy_networks.tabular
gru = policy_networks.gru
from_haiku = policy_networks.from_haiku
mask_logits = distributions.mask_logits

# (params, observation, action) -> [...] log-probabilities.
LogProbFn = Callable[[types.PyTree, chex.ArrayTree, chex.Array], chex.Array]
# Two batch sizes that no other axis is likely to have.
_BATCH_SIZES = (11, 13)
_HINT = (
  ' For a Gaussian use distrax.Independent(distrax.Normal(mean, std), 1), with'
  ' a std of the shape of the mean.'
)


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

  >>> import distrax
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

  >>> import distrax
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


def check_storable(
  policy: types.Policy, observation: chex.ArrayTree, action_spec: Any = None
) -> None:
  """Refuses distributions that cannot be stored with their actions.

  Traces the policy with two batch sizes; computes nothing.

  >>> import distrax
  >>> def apply(params, observation):
  ...   return distrax.Normal(observation, jnp.ones(3))
  >>> policy = types.Policy(lambda key, observation: (), apply)
  >>> check_storable(policy, jnp.zeros(3))
  Traceback (most recent call last):
  ...
  ValueError: policy: a Normal over a batch of 11 observations has ...

  Args:
    policy: any policy.
    observation: an example of one observation, or its specs.
    action_spec: of one action, whose shape and kind draws must have; None to
      leave that open.

  Raises:
    ValueError: says what does not fit, and what to use.
  """
  for size in _BATCH_SIZES:
    _check_batch(policy, observation, action_spec, size)


def _check_batch(policy, observation, action_spec, size) -> None:
  name = 'distribution'

  def draw(key, one, many):
    nonlocal name
    params = policy.init(key, one)
    memory = initial_state(policy, (size,))
    distribution, _ = act(policy, params, many, memory)
    name = type(distribution).__name__
    stored = distribution_params(distribution)
    if not all(hasattr(x, 'shape') for x in stored):
      raise ValueError(
        f'policy: a {name} is no pytree of arrays, and cannot be stored with'
        ' the actions.' + _HINT
      )
    action = distribution.sample(seed=key)
    return action, distribution.log_prob(action), stored

  one, many = (
    jax.tree_util.tree_map(
      lambda x: jax.ShapeDtypeStruct((*batch, *x.shape), x.dtype),  # noqa: B023
      observation,
    )
    for batch in ((), (size,))
  )
  key = jax.random.PRNGKey(0)
  action, log_prob, stored = jax.eval_shape(draw, key, one, many)
  start = f'policy: a {name} over a batch of {size} observations has'
  if log_prob.shape != (size,):
    raise ValueError(
      f'{start} log-probabilities of shape {log_prob.shape}, not {(size,)}.'
      + _HINT
    )
  for x in stored:
    if x.shape[:1] != (size,):
      raise ValueError(
        f'{start} a parameter of shape {x.shape}, without the batch axis, and'
        ' cannot be stored with the actions.' + _HINT
      )
  if action_spec is not None:
    _check_action(action, action_spec, start, size)


def _check_action(action, action_spec, start, size) -> None:
  shape = (size, *action_spec.shape)
  if action.shape != shape:
    raise ValueError(
      f'{start} draws of shape {action.shape}, but action_spec needs {shape}.'
    )
  is_integer = hasattr(action_spec, 'num_values') or jnp.issubdtype(
    action_spec.dtype, jnp.integer
  )
  if is_integer and not jnp.issubdtype(action.dtype, jnp.integer):
    raise ValueError(
      f'{start} draws of {action.dtype}, but actions are integers'
      f' ({action_spec!r}); rounded, they would not be the actions of their'
      ' log-probabilities. Use policies.make_default or policies.integers.'
    )
