# %% [markdown]
# # An evaluator of your own
#
# The learner's loss is an *off-policy evaluator*: a function of one trajectory
# that estimates the value of a policy. Yours plugs in wherever ours do. What
# has to be right about it is more than its value, though: all its derivatives.
# `check_derivatives` measures them exactly, without any sampling.
#
# The signature is
#
# ```python
# evaluator(v_tm1, v_t, r_t, discount_t, rho_tm1, **options) -> [T]
# ```
#
# with the critic at $x_k$ and $x_{k+1}$, rewards, discounts (zero where the
# episode ended) and importance ratios $\rho_k = \pi(a_k|x_k)/\mu(a_k|x_k)$,
# each an array `[T]`. The result estimates $V^\pi$ at $x_0 \ldots x_{T-1}$.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from acme_metarl import environments, evaluators, make_train, presets, tabular

# %% [markdown]
# ## 1. A first attempt
#
# Many agents compute targets backwards in time and hold the target of the next
# state constant, as in Q-learning. As an estimate of the *value* that is right.


# %%
def held_constant(v_tm1, v_t, r_t, discount_t, rho_tm1):
  """Doubly robust, with the estimate at the next state held constant."""

  def backwards(next_estimate, step):
    v, r, discount, rho = step
    target = r + discount * jax.lax.stop_gradient(next_estimate)
    estimate = v + rho * (target - v)
    return estimate, estimate

  steps = (v_tm1, r_t, discount_t, rho_tm1)
  return jax.lax.scan(backwards, v_t[-1], steps, reverse=True)[1]


print(evaluators.check_derivatives(held_constant, order=2))

# %% [markdown]
# Order 0 is the value: no bias, on the data of the policy itself and on those
# of another one. Order 1, the gradient, is wrong: the policy's later actions
# were held constant with the target. Without `stop_gradient` it is the doubly
# robust evaluator of the library, which is right in every order:

# %%
print(evaluators.check_derivatives(evaluators.doubly_robust, order=2))

# %% [markdown]
# ## 2. Something new
#
# Off-policy, doubly robust has no bias and much variance, since it multiplies
# ratios; the Taylor expansion of second order has a bias and less variance.
# What about something in between?


# %%
def blended(v_tm1, v_t, r_t, discount_t, rho_tm1, weight=0.5):
  """A share of doubly robust in the second-order Taylor expansion."""
  arguments = v_tm1, v_t, r_t, discount_t, rho_tm1
  taylor = evaluators.taylor_expansion(*arguments, order=2)
  return (1 - weight) * taylor + weight * evaluators.doubly_robust(*arguments)


check = evaluators.check_derivatives(blended, order=3)
print(check)
print('unbiased up to order, on and off policy:', check.unbiased_orders())

# %% [markdown]
# On the policy's own data the first two derivatives are exact, the third is
# not, nor anything off-policy. How large is that bias, and what does it save?

# %%
weights = (0.0, 0.25, 0.5, 0.75, 1.0)
bias = [
  evaluators.check_derivatives(blended, order=1, weight=x).off_policy[1]
  for x in weights
]

mdp = tabular.random_mdp(jax.random.PRNGKey(0), num_states=6, num_actions=3)
target = jax.random.normal(jax.random.PRNGKey(1), (6, 3))
behaviour = tabular.uniform_policy(mdp)
candidates = [functools.partial(blended, weight=x) for x in weights]


@jax.jit
def gradients(key):
  data = tabular.sample_trajectories(key, mdp, behaviour, 20, 10)
  return tabular.estimate_derivatives(
    candidates, mdp, target, behaviour, jnp.zeros(6), data
  ).gradient


keys = jax.random.split(jax.random.PRNGKey(2), 100)
samples = np.stack([gradients(key) for key in keys])
deviation = np.sqrt(samples.var(0).sum((-2, -1)))

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.plot(weights, bias, 'o-')
left.set(xlabel='weight', ylabel='relative bias of the gradient')
right.plot(weights, deviation, 'o-')
right.set(xlabel='weight', ylabel='standard deviation, 20 trajectories')
figure.tight_layout()
plt.show()

# %% [markdown]
# A dial between the two, as hoped. Off-policy, that is; `weight` has no effect
# on gradients and Hessians of fresh data.
#
# ## 3. Train with it
#
# An algorithm is a configuration with an evaluator in it. Here your own one
# takes the place of PROMP-TayPO-2's, on 2-D navigation, with sizes for a
# notebook.

# %%
config = presets.make(
  'promp_taypo2',
  evaluator=blended,
  evaluator_options={'weight': 0.25},
  num_tasks=4,
  num_rollouts=4,
  horizon=20,
  num_iterations=3,
  hidden_sizes=(16,),
)
train = make_train(config, environments.make('navigation_2d'))
state, log = train(jax.random.PRNGKey(0))
print('iterations done:', int(state.iteration))
before, after = log.evaluation[-1].mean(0)
print(f'return before {before:.3f} and after adaptation {after:.3f}')

# %% [markdown]
# For real sizes take [`train_on_device`](../index.md#two-commands) or the
# agent, which take the same configuration. Next: [an environment of your
# own](own_environment).
