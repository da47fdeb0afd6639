"""A process small enough that its trajectories can all be listed."""

import jax
import jax.numpy as jnp
import pytest

from acme_metarl import tabular
from acme_metarl.studies import meta_gradient_bias


@pytest.fixture(scope='module')
def problem(_float64):
  mdp_key, logits_key, policy_key = jax.random.split(jax.random.PRNGKey(3), 3)
  mdp = tabular.random_mdp(mdp_key, 2, 2, discount=0.9, concentration=1.0)
  return meta_gradient_bias.Problem(
    mdp,
    tabular.random_deterministic_policy(policy_key, mdp),
    0.5 * jax.random.normal(logits_key, (2, 2)),
  )


@pytest.fixture(scope='module')
def critic(problem):
  policy = tabular.softmax_policy(problem.logits)
  return tabular.state_values(problem.mdp, policy) + jnp.array([0.3, -0.2])
