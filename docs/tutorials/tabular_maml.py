# %% [markdown]
# # From an exact Hessian to MAML
#
# Everything that this library does is visible in a problem small enough to be
# solved exactly: a Markov decision process (MDP) with three states and two
# actions. We compute the value of a policy and its derivatives in closed form,
# estimate them from sampled trajectories, and use the estimates to train a
# policy that *adapts* well: model-agnostic meta-learning (MAML).

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from acme_metarl import evaluators, tabular, types

# Exact sums deserve exact numbers.
jax.config.update('jax_enable_x64', True)

# %% [markdown]
# ## 1. The exact value and its derivatives
#
# A softmax policy has one logit for each state and action, $\theta$ of shape
# `[X, A]`. Its value at the start state, $V(\theta)$, is a differentiable
# function of $\theta$, so JAX gives the gradient and the Hessian.

# %%
rng = np.random.default_rng(0)
mdp = tabular.make_mdp(
  transition=rng.dirichlet(np.full(3, 0.5), size=(3, 2)),  # [X, A, X]
  reward=rng.normal(size=(3, 2)),  # [X, A]
  discount=0.9,
)
HORIZON = 4
theta = jnp.asarray(rng.normal(size=(3, 2)))


def value(theta):
  return tabular.value(mdp, theta, HORIZON)


exact_value, exact_gradient = jax.jit(jax.value_and_grad(value))(theta)
exact_hessian = jax.jit(jax.hessian(value))(theta)
print(f'V = {exact_value:.3f}')
print('gradient:', exact_gradient.round(3).tolist())
print('Hessian has the shape', exact_hessian.shape)

# %% [markdown]
# ## 2. Estimates from data
#
# An agent knows no transition probabilities. It has trajectories of a
# *behaviour policy* $\mu$, and wants to know about a *target policy* $\pi$. An
# **off-policy evaluator** turns one trajectory into an estimate of $V^\pi$, as
# a function of the importance ratios $\rho_t = \pi(a_t|x_t)/\mu(a_t|x_t)$.
# Differentiate the estimate by $\theta$, and you have an estimate of the
# derivative, to any order.
#
# Here the MDP is so small that all trajectories of four steps can be listed,
# with their probabilities. The expected estimate is then a sum, and we can ask
# whether it is *exactly* right. The data are from $\pi$ itself.

# %%
behaviour = tabular.softmax_policy(theta)
critic = jnp.zeros(3)  # A critic that knows nothing.
probability, trajectories = tabular.enumerate_trajectories(
  mdp, behaviour, HORIZON
)
CANDIDATES = {
  'log-likelihood (plain MAML)': evaluators.log_likelihood,
  'first order (LVC)': functools.partial(evaluators.taylor_expansion, order=1),
  'second order (TayPO-2)': functools.partial(
    evaluators.taylor_expansion, order=2
  ),
  'doubly robust (Loaded DiCE)': evaluators.doubly_robust,
}
expected = jax.jit(
  functools.partial(
    tabular.estimate_derivatives, list(CANDIDATES.values()), mdp
  )
)(theta, behaviour, critic, trajectories, probability)
print(f'{len(probability)} trajectories; largest error of the expectation:')
for i, name in enumerate(CANDIDATES):
  of_gradient = jnp.abs(expected.gradient[i] - exact_gradient).max()
  of_hessian = jnp.abs(expected.hessian[i] - exact_hessian).max()
  print(f'{name:28} gradient {of_gradient:.0e}, Hessian {of_hessian:.0e}')

# %% [markdown]
# All four have the right gradient. Only second order and doubly robust have the
# right *Hessian*: that of log-likelihood and of first order is biased, however
# much data they see. An evaluator is a choice between such a bias and variance.
#
# ## 3. The meta-gradient
#
# MAML asks for a $\theta$ that is good *after* a gradient step on a new task:
#
# $$ \max_\theta \; V\left(\theta + \eta \nabla V(\theta)\right), $$
#
# whose derivative, $(I + \eta \nabla^2 V)\, \nabla V(\theta')$, contains the
# Hessian. Nothing has to be derived by hand: write the step, and differentiate
# through it.

# %%
STEP_SIZE = 1.0


def log_prob(theta, state, action):
  return jax.nn.log_softmax(theta[state])[action]


def prepare(mdp, trajectories):
  """Puts trajectories into the form that evaluators take."""
  states = trajectories.states
  return types.Prepared(
    observation=states[:, :-1],
    action=trajectories.actions,
    v_tm1=critic[states[:, :-1]],
    v_t=critic[states[:, 1:]],
    r_t=trajectories.rewards,
    discount_t=mdp.discount * trajectories.discounts,
    advantage=trajectories.rewards,  # Evaluators compute their own.
    mask=trajectories.mask,
    behaviour_log_prob=jnp.log(behaviour)[states[:, :-1], trajectories.actions],
  )


def adapted(theta, data, evaluator):
  """One inner step on estimated gradients."""
  estimate = evaluators.objective(log_prob, data, evaluator)
  return theta + STEP_SIZE * jax.grad(estimate)(theta)


def meta_gradient(theta, mdp, data, evaluator):
  """The derivative of the exact value after an estimated step."""
  return jax.grad(
    lambda x: tabular.value(mdp, adapted(x, data, evaluator), HORIZON)
  )(theta)


exact = jax.jit(
  lambda theta: tabular.meta_gradient(mdp, theta, STEP_SIZE, horizon=HORIZON)
)(theta)
draws = tabular.sample_trajectories(
  jax.random.PRNGKey(0), mdp, behaviour, 3000, HORIZON
)
data = prepare(mdp, draws)
estimates = {
  name: jax.jit(functools.partial(meta_gradient, evaluator=evaluator))(
    theta, mdp, data
  )
  for name, evaluator in list(CANDIDATES.items())[:3]
}
for name, estimate in estimates.items():
  error = jnp.linalg.norm(estimate - exact) / jnp.linalg.norm(exact)
  print(f'{name:28} relative error {error:.2f}')

# %% [markdown]
# ## 4. MAML on two tasks
#
# Now two tasks: the same transitions, and rewards of opposite sign. No single
# policy is good at both, so the best that $\theta$ can do is to be one gradient
# step away from either. Each iteration samples 30 trajectories a task, adapts
# to it, and follows the mean of the two meta-gradients.

# %%
tasks = [mdp, mdp._replace(reward=-mdp.reward)]
evaluator = CANDIDATES['second order (TayPO-2)']


@jax.jit
def iteration(theta, key):
  total = 0.0
  for task in tasks:
    key, task_key = jax.random.split(key)
    policy = tabular.softmax_policy(theta)
    sampled = tabular.sample_trajectories(task_key, task, policy, 30, HORIZON)
    data = prepare(task, sampled)._replace(
      behaviour_log_prob=jax.lax.stop_gradient(
        tabular.log_prob(theta, sampled.states[:, :-1], sampled.actions)
      )
    )
    total += meta_gradient(theta, task, data, evaluator)
  return theta + 0.3 * total / len(tasks)


@jax.jit
def mean_values(theta):
  """Mean over tasks before and after one exact step."""
  before = [tabular.value(x, theta, HORIZON) for x in tasks]
  after = [
    tabular.value(
      x, tabular.adapt(x, theta, STEP_SIZE, horizon=HORIZON), HORIZON
    )
    for x in tasks
  ]
  return sum(before) / 2, sum(after) / 2


curve = [mean_values(theta)]
for key in jax.random.split(jax.random.PRNGKey(1), 60):
  theta = iteration(theta, key)
  curve.append(mean_values(theta))
print(f'after adaptation: {curve[0][1]:.2f} -> {curve[-1][1]:.2f}')

# %%
plt.figure(figsize=(6, 3))
plt.plot([x[1] for x in curve], label='after one gradient step')
plt.plot([x[0] for x in curve], label='before')
plt.xlabel('iteration')
plt.ylabel('value, mean of two tasks')
plt.legend()
plt.show()

# %% [markdown]
# Before adaptation the mean is zero whatever the policy, since the tasks are
# opposites. After one step it is not, and training has made that step worth
# more. The agent of this library does the same with networks, robots and forty
# tasks at a time. Next: [an evaluator of your own](own_evaluator).
