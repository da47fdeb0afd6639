"""Evolution strategies: the meta-gradient without differentiation.

The gradient of the smoothed return J_σ(θ) = E_ε[J(θ + σε)], J the return after
adaptation, by antithetic pairs (Song et al., "ES-MAML: Simple Hessian-Free
Meta Learning", 2020, equation 4 and section 3.1,
https://arxiv.org/abs/1910.01215):

    ∇J_σ ≈ 1/P Σ_i (J(θ + σ ε_i) − J(θ − σ ε_i)) / (2σ) ε_i.

Both of a pair play the same task from the same random numbers.
"""

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types


def noise(key: chex.PRNGKey, params: types.PyTree, num_pairs: int):
  """Draws ε, standard normal `[P, ...]` for each leaf of the parameters.

  Example:
    >>> import jax
    >>> noise(jax.random.PRNGKey(0), jnp.zeros(3), num_pairs=2).shape
    (2, 3)
  """
  leaves, structure = jax.tree_util.tree_flatten(params)
  keys = jax.random.split(key, len(leaves))
  drawn = [
    jax.random.normal(k, (num_pairs, *jnp.shape(x)), jnp.result_type(x))
    for k, x in zip(keys, leaves, strict=True)
  ]
  return jax.tree_util.tree_unflatten(structure, drawn)


def perturb(
  params: types.PyTree, epsilon: types.PyTree, std: chex.Numeric
) -> types.PyTree:
  """Returns θ + σε and θ − σε in turn, `[2P, ...]`.

  Args:
    params: parameters θ.
    epsilon: `[P, ...]` from `noise`.
    std: σ.

  Returns:
    Pytree `[2P, ...]`; task 2i has the plus and task 2i + 1 the minus.

  Example:
    >>> import jax.numpy as jnp
    >>> perturb(jnp.ones(()), jnp.array([1.0, 2.0]), 0.5).tolist()
    [1.5, 0.5, 2.0, 0.0]
  """

  def both(p, e):
    pairs = jnp.stack([p + std * e, p - std * e], axis=1)
    return pairs.reshape((-1, *jnp.shape(p)))

  return jax.tree_util.tree_map(both, params, epsilon)


def gradient(
  returns: chex.Array, epsilon: types.PyTree, std: chex.Numeric
) -> types.PyTree:
  """The estimate of the gradient of the smoothed return, to be climbed.

  Args:
    returns: `[2P]` returns after adaptation, in the order of `perturb`.
    epsilon: `[P, ...]` from `noise`.
    std: σ.

  Returns:
    Pytree like the parameters.

  Example:
    >>> import jax.numpy as jnp
    >>> epsilon = jnp.array([1.0, -1.0])
    >>> returns = 3.0 * perturb(jnp.zeros(()), epsilon, 0.1)  # A slope of 3.
    >>> round(float(gradient(returns, epsilon, 0.1)), 5)
    3.0
  """
  plus, minus = returns[::2], returns[1::2]
  weights = (plus - minus) / (2 * std * plus.shape[0])
  return jax.tree_util.tree_map(
    lambda e: jnp.tensordot(weights.astype(e.dtype), e, axes=1), epsilon
  )
