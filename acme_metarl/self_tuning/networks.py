"""Networks of an actor-critic: torsos, a policy and values on top of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import haiku as hk
from jax import lax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.meta import policy_networks, torsos
from acme_metarl.self_tuning import hyperparameters as hyperparameters_lib

# Units that a critic sees discount and λ through (Xu et al., 2018).
_EMBEDDING_SIZE = 16

CRITICS = ('shared', 'conditioned', 'outer')


class Evaluation(NamedTuple):
  """What networks say about observations.

  Attributes:
    distribution: over actions, distrax's interface.
    value: `[...]`, the critic.
    outer_value: `[...]`, the critic at the outer discount; `value` itself
      where there is none.
  """

  distribution: Any
  value: chex.Array
  outer_value: chex.Array


class ActorCritic(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(key, observation) -> params`, for one unbatched observation.
    apply: `(params, observation, hyperparameters) -> Evaluation`, for any
      leading batch axes. Only a critic that is conditioned on the
      hyper-parameters looks at them.
  """

  init: Callable[[chex.PRNGKey, chex.ArrayTree], types.PyTree]
  apply: Callable[
    [types.PyTree, chex.ArrayTree, hyperparameters_lib.Hyperparameters],
    Evaluation,
  ]


def make_actor_critic(
  action_spec: Any,
  observation_spec: Any,
  *,
  critic: str = 'shared',
  torso: torsos.Torso | None = None,
  critic_torso: torsos.Torso | None = None,
  hidden_sizes: Sequence[int] = (64, 64),
) -> ActorCritic:
  """The networks that specs ask for.

  Args:
    action_spec: `dm_env` spec of one action.
    observation_spec: `dm_env` specs of one observation, a pytree.
    critic: 'shared' is one value head; 'conditioned' one that sees discount and
      λ through an embedding, as in "Meta-Gradient Reinforcement Learning" by
      Xu et al. (2018), https://arxiv.org/abs/1805.09801; 'outer' a second head
      for the outer discount, as in "Debiasing Meta-Gradient Reinforcement
      Learning by Learning the Outer Value Function" by Bonnet et al. (2022),
      https://arxiv.org/abs/2211.10550. The second head does not train the
      torso, so that without a meta-gradient all three learn the same.
    torso: what the heads share; by default `torsos.make_torso`'s.
    critic_torso: what each critic has of its own, so that `torso` is the
      policy's alone.
    hidden_sizes: units of the default torso of flat observations.

  Returns:
    The networks.

  Raises:
    ValueError: on actions or observations that have no such network, or if
      there is no such critic.

  Example:
    >>> from dm_env import specs
    >>> networks = make_actor_critic(
    ...   specs.DiscreteArray(3), specs.Array((4,), 'float32'))
    >>> import jax
    >>> params = networks.init(jax.random.PRNGKey(0), jnp.zeros(4))
    >>> numbers = hyperparameters_lib.Hyperparameters()
    >>> networks.apply(params, jnp.zeros((2, 5, 4)), numbers).value.shape
    (2, 5)
  """
  if critic not in CRITICS:
    raise ValueError(f'critic is {critic!r}; choose from {", ".join(CRITICS)}.')
  head = policy_networks.head_of_spec(action_spec)
  if torso is None:
    torso = torsos.make_torso(observation_spec, hidden_sizes)

  def forward(observation, numbers):
    features = torso(observation)
    # Close to uniform at first, as in published actor-critics.
    w_init = hk.initializers.VarianceScaling(1e-4)
    logits = hk.Linear(head.size, w_init=w_init, name='policy')(features)
    seen = critic_torso(observation) if critic_torso else features
    if critic == 'conditioned':
      pair = jnp.stack([jnp.asarray(x, features.dtype) for x in numbers[:2]])
      embedding = hk.Linear(_EMBEDDING_SIZE, name='condition')(pair)
      embedding = jnp.broadcast_to(
        embedding, (*seen.shape[:-1], _EMBEDDING_SIZE)
      )
      seen = jnp.concatenate([seen, embedding], axis=-1)
    value = hk.Linear(1, name='value')(seen)[..., 0]
    outer_value = value
    if critic == 'outer':
      seen = (
        critic_torso(observation)
        if critic_torso
        else lax.stop_gradient(features)
      )
      outer_value = hk.Linear(1, name='outer_value')(seen)[..., 0]
    return Evaluation(head.make(logits), value, outer_value)

  transformed = hk.without_apply_rng(hk.transform(forward))

  def init(key, observation):
    return transformed.init(
      key, observation, hyperparameters_lib.Hyperparameters()
    )

  return ActorCritic(init, transformed.apply)
