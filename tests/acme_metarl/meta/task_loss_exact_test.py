"""Meta-gradients of MDPs whose trajectories can all be listed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators, tabular, types
from acme_metarl.meta import objectives, policies, preparation
from acme_metarl.meta import task_loss as task_loss_lib

EVALUATORS = {
  'importance_sampling': evaluators.importance_sampling,
  'doubly_robust': evaluators.doubly_robust,
  'order 1': evaluators.taylor_expansion,
  'order 2': functools.partial(evaluators.taylor_expansion, order=2),
  'order 3': functools.partial(evaluators.taylor_expansion, order=3),
  'log_likelihood': evaluators.log_likelihood,
}


class TestTabular:
  """All trajectories of an MDP with their probabilities: nothing sampled."""

  HORIZON = 3
  STEP_SIZE = 0.7

  def _setup(self, behaviour_logits):
    mdp = tabular.random_mdp(
      jax.random.PRNGKey(3), num_states=3, num_actions=2, discount=0.8
    )
    probabilities, trajectories = tabular.enumerate_trajectories(
      mdp, tabular.softmax_policy(behaviour_logits), self.HORIZON
    )
    states, actions = trajectories.states, trajectories.actions
    discount_t = (mdp.discount * trajectories.discounts).at[:, -1].set(0.0)
    critic = 0.5 * jnp.cos(states.astype(float))
    log_prob = jax.nn.log_softmax(behaviour_logits)[states[:, :-1], actions]
    prepared = types.Prepared(
      observation=states[:, :-1],
      action=actions,
      v_tm1=critic[:, :-1],
      v_t=critic[:, 1:],
      r_t=trajectories.rewards,
      discount_t=discount_t,
      advantage=jnp.zeros_like(discount_t),
      mask=jnp.ones_like(discount_t),
      behaviour_log_prob=log_prob,
    )

    def expectation(estimates, v_t, discount_t, mask=None):
      del v_t, discount_t, mask
      return probabilities @ estimates[:, 0]

    return mdp, prepared, expectation

  def _meta_gradient(self, logits, behaviour, name, num_inner_steps):
    mdp, prepared, expectation = self._setup(behaviour)
    loss = task_loss_lib.MetaGradient(
      policy=policies.tabular(mdp.num_states, mdp.num_actions),
      evaluator=EVALUATORS[name],
      reduction=expectation,
      num_inner_steps=num_inner_steps,
      outer_objective=objectives.Evaluated(
        evaluators.doubly_robust, expectation
      ),
      kind='full',
    )
    stages = jax.tree_util.tree_map(
      lambda x: jnp.stack([x] * (num_inner_steps + 1)), prepared
    )
    logits_of_behaviour = jax.nn.log_softmax(behaviour)[stages.observation]
    task = task_loss_lib.Task(
      stages, reference=(logits_of_behaviour,), score_weight=jnp.zeros(())
    )

    def value(x):
      meta_params = task_loss_lib.MetaParams(
        {'~': {'logits': x}}, jnp.asarray(self.STEP_SIZE)
      )
      return -loss.task_loss(meta_params, task, jnp.zeros(num_inner_steps))[0]

    estimate = jax.jit(jax.grad(value))(logits)
    exact = tabular.meta_gradient(
      mdp, logits, self.STEP_SIZE, num_inner_steps, self.HORIZON
    )
    return estimate, exact

  @pytest.mark.parametrize('num_inner_steps', [1, 2])
  @pytest.mark.parametrize('name', ['importance_sampling', 'doubly_robust'])
  def test_is_exact_where_the_evaluator_is(self, name, num_inner_steps):
    logits = jax.random.normal(jax.random.PRNGKey(0), (3, 2))
    behaviour = jax.random.normal(jax.random.PRNGKey(1), (3, 2))
    estimate, exact = self._meta_gradient(
      logits, behaviour, name, num_inner_steps
    )
    np.testing.assert_allclose(estimate, exact, atol=1e-12)

  def test_full_order_expansion_is_exact(self):
    logits = jax.random.normal(jax.random.PRNGKey(0), (3, 2))
    behaviour = jax.random.normal(jax.random.PRNGKey(1), (3, 2))
    estimate, exact = self._meta_gradient(logits, behaviour, 'order 3', 1)
    np.testing.assert_allclose(estimate, exact, atol=1e-12)

  def test_order_two_is_exact_on_policy_and_order_one_is_not(self):
    """The Hessian enters the meta-gradient, and nothing higher at K = 1."""
    logits = jax.random.normal(jax.random.PRNGKey(0), (3, 2))
    estimate, exact = self._meta_gradient(logits, logits, 'order 2', 1)
    np.testing.assert_allclose(estimate, exact, atol=1e-12)
    for name in ('order 1', 'log_likelihood'):
      estimate, exact = self._meta_gradient(logits, logits, name, 1)
      assert np.max(np.abs(estimate - exact)) > 1e-3


class TestScoreFunction:
  """One sampled trajectory; its expectation is a sum over all of them."""

  HORIZON = 2
  STEP_SIZE = 0.7

  def test_is_unbiased(self):
    """For L(θ) = E[V(θ + η X)], the sampling of X included."""
    mdp = tabular.random_mdp(
      jax.random.PRNGKey(3), num_states=2, num_actions=2, discount=0.8
    )
    logits = jax.random.normal(jax.random.PRNGKey(0), (2, 2))
    probabilities, trajectories = tabular.enumerate_trajectories(
      mdp, tabular.softmax_policy(logits), self.HORIZON
    )
    states, actions = trajectories.states[:, :-1], trajectories.actions
    discount_t = (mdp.discount * trajectories.discounts).at[:, -1].set(0.0)
    returns = preparation.discounted_sums(trajectories.rewards, discount_t)
    weights = returns * mdp.discount ** jnp.arange(self.HORIZON)
    num_trajectories = len(probabilities)

    def log_probs(x):
      return jax.nn.log_softmax(x)[states, actions]

    def adapted(x, index):
      step = jax.grad(lambda y: jnp.sum(weights[index] * log_probs(y)[index]))
      return x + self.STEP_SIZE * step(x)

    def value(x):
      return tabular.value(mdp, x, self.HORIZON)

    def exact(x):
      ratios = jnp.exp(jnp.sum(log_probs(x) - log_probs(logits), axis=1))
      values = jax.vmap(lambda i: value(adapted(x, i)))(
        jnp.arange(num_trajectories)
      )
      return (probabilities * ratios) @ values

    zeros = jnp.zeros_like(discount_t)
    all_of_them = types.Prepared(
      observation=states,
      action=actions,
      v_tm1=zeros,
      v_t=zeros,
      r_t=trajectories.rewards,
      discount_t=discount_t,
      advantage=zeros,
      mask=jnp.ones_like(zeros),
      behaviour_log_prob=log_probs(logits),
    )
    loss = task_loss_lib.MetaGradient(
      policy=policies.tabular(2, 2),
      evaluator=evaluators.log_likelihood,
      num_inner_steps=1,
      kind='score_function',
      # The mask lets one trajectory through.
      reduction=lambda estimates, v_t, discount_t, mask: jnp.sum(
        estimates[:, 0] * mask[:, 0]
      ),
      outer_objective=objectives.Evaluated(
        evaluators.doubly_robust,
        lambda estimates, *_: probabilities @ estimates[:, 0],
      ),
    )

    def estimate(index):
      """The meta-gradient where adaptation saw one trajectory."""
      one = jnp.zeros_like(zeros).at[index].set(1.0)
      stages = jax.tree_util.tree_map(lambda x: jnp.stack([x, x]), all_of_them)
      task = task_loss_lib.Task(
        stages._replace(mask=jnp.stack([one, all_of_them.mask])),
        reference=(jnp.zeros((2, *states.shape, 2)),),
        score_weight=value(adapted(logits, index)),
      )

      def negative_loss(x):
        params = task_loss_lib.MetaParams(
          {'~': {'logits': x}}, jnp.asarray(self.STEP_SIZE)
        )
        return -loss.task_loss(params, task, jnp.zeros(1))[0]

      return jax.grad(negative_loss)(logits)

    estimates = jax.jit(jax.vmap(estimate))(jnp.arange(num_trajectories))
    mean = jnp.tensordot(probabilities, estimates, 1)
    expected = jax.jit(jax.grad(exact))(logits)
    np.testing.assert_allclose(mean, expected, atol=1e-12)
    # The score is part of it: the path alone is far off.
    loss = dataclasses.replace(loss, kind='full')
    path = jax.jit(jax.vmap(estimate))(jnp.arange(num_trajectories))
    path = jnp.tensordot(probabilities, path, 1)
    assert np.max(np.abs(path - mean)) > 1e-3
