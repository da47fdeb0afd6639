# %% [markdown]
# # An agent that tunes itself
#
# The discount factor says how far an agent looks ahead, and somebody has to
# choose it. Here the agent does, within one lifetime: it differentiates through
# its own updates and moves the discount factor to where those updates help
# more. There are no tasks to adapt to; what is meta-learned is a number.
#
# ## 1. A corridor
#
# Six cells, started in the second. The left end pays 0.1 a step, the right end
# 1.0. With a discount factor of 0.5, staying left is worth $0.1 / (1 - 0.5) =
# 0.2$, and the way to the right end, four steps, about $0.5^4 / (1 - 0.5) =
# 0.125$: who looks ahead so little would rather stay.

# %%
import dataclasses

from dm_env import specs
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from acme_metarl import self_tuning, types

LENGTH = 6


class Corridor:
  """Left, right, and a reward at either end; the state is the cell."""

  def sample_task(self, key):
    return jnp.zeros(())  # There is one task.

  def reset(self, key, task):
    return jnp.int32(1), self._time_step(jnp.int32(1))

  def step(self, state, action):
    state = jnp.clip(state + 2 * action - 1, 0, LENGTH - 1)
    return state, self._time_step(state)

  def _time_step(self, state):
    reward = jnp.where(state == 0, 0.1, 0.0) + (state == LENGTH - 1)
    return types.TimeStep(jax.nn.one_hot(state, LENGTH), reward, jnp.float32(1))

  def observation_spec(self):
    return specs.Array((LENGTH,), np.float32, 'cell')

  def action_spec(self):
    return specs.DiscreteArray(2)


# %% [markdown]
# ## 2. The agent
#
# An actor-critic begins with a discount factor of 0.5. Its *outer* objective
# has 0.97, and the gradient of that is taken through three of its own updates:
# what would these updates have done for the outer objective, had the discount
# factor been a little larger? Three updates have Hessians in them, so the
# policy loss is an evaluator. We take one whose Hessian is right, the Taylor
# expansion of second order, and beside it the usual log-likelihood.

# %%
config = self_tuning.SelfTuningConfig(
  hyperparameters=self_tuning.Hyperparameters(discount=0.5, entropy_cost=0.02),
  tuned=('discount',),
  evaluator='taylor_expansion',
  evaluator_options={'order': 2},
  num_inner_steps=3,
  num_rollouts=16,
  horizon=16,
  optimizer=optax.sgd(0.5),
  critic='outer',
  outer_discount=0.97,
  meta_optimizer=optax.adam(0.1),
  hidden_sizes=(16,),
)
agents = {
  'second order': config,
  'log-likelihood': dataclasses.replace(
    config, evaluator='log_likelihood', evaluator_options={}
  ),
}
discounts = {}
for name, agent in agents.items():
  train = self_tuning.make_train(
    agent, Corridor(), num_iterations=60, time_limit=32
  )
  _, metrics = train(jax.random.PRNGKey(0))
  discounts[name] = np.asarray(metrics['discount'])
  print(f'{name}: highest discount factor {discounts[name].max():.2f}')

# %%
plt.figure(figsize=(6, 3))
for name, values in discounts.items():
  plt.plot(values, label=name)
plt.axhline(0.5, color='grey', linestyle=':', label='start')
plt.xlabel('meta-update (three updates each)')
plt.ylabel('discount factor')
plt.legend()
plt.show()

# %% [markdown]
# At first both agents look further ahead, while there is something to find.
# Then the discount factor drifts: at the right end every one of them says to
# stay, so that nothing holds it. The two losses have the same gradient and
# another Hessian, and so they tune differently. In so small a corridor the
# agent would have got there anyway; [another page](../self_tuning.md) says
# where tuning pays, what else can be tuned, and which evaluator to take.
