"""Meta-gradients of MDPs whose trajectories can all be listed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import config, evaluators, tabular, types
from acme_metarl.evaluators import reductions
from acme_metarl.meta import inner_loop, objectives, policies
from acme_metarl.meta import learner as learner_lib
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
    policy = policies.tabular(mdp.num_states, mdp.num_actions)
    loss = task_loss_lib.TaskLoss(
      policy=policy,
      inner=inner_loop.GradientAscent(
        policies.log_prob_fn(policy), EVALUATORS[name], expectation
      ),
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
  """All data that two tasks can have; the expectation is a sum over them.

  Through `MetaLearner.update` with a gradient step of 1, so that what an update
  adds is the meta-gradient.
  """

  HORIZON = 2
  STEP_SIZE = 0.7

  def _outcomes(self, mdp, logits):
    """Stages of one rollout for each trajectory, and their probabilities."""
    probabilities, trajectories = tabular.enumerate_trajectories(
      mdp, tabular.softmax_policy(logits), self.HORIZON
    )
    keep = np.flatnonzero(np.asarray(probabilities))
    states, actions = trajectories.states[keep], trajectories.actions[keep]
    log_probs = jax.nn.log_softmax(logits)[states[:, :-1], actions]
    ones = jnp.ones_like(log_probs)
    stages = types.Stage(
      observation=states[:, None],
      action=actions[:, None],
      reward=trajectories.rewards[keep][:, None],
      discount=ones.at[:, -1].set(0.0)[:, None],
      mask=ones[:, None],
      behaviour_log_prob=log_probs[:, None],
    )
    return probabilities[keep], stages

  def _setup(self, kind, objective):
    # Two successors, all states and actions possible.
    mdp = tabular.random_mdp(
      jax.random.PRNGKey(3), num_states=2, num_actions=2, discount=0.8
    )
    transition = jnp.zeros_like(mdp.transition).at[0, 0, 0].set(1.0)
    transition = transition.at[0, 1, 1].set(1.0).at[1, :, 0].set(1.0)
    mdp = mdp._replace(transition=transition)
    logits = jax.random.normal(jax.random.PRNGKey(0), (2, 2))
    settings = config.AlgorithmConfig(
      num_tasks=2,
      num_rollouts=1,
      horizon=self.HORIZON,
      discount=0.8,
      evaluator='log_likelihood',
      reduction='start_state',
      baseline='zero',
      normalize_advantages=False,
      inner_learning_rate=self.STEP_SIZE,
      inner_kl_coefficient=0.0,
      meta_gradient=kind,
      outer_objective=objective,
      outer_optimizer='sgd',
      outer_learning_rate=1.0,
      num_outer_epochs=1,
    )
    learner = learner_lib.make_meta_learner(
      settings, policies.tabular(2, 2), jax.devices('cpu')[:1]
    )
    state = learner.init(jax.random.PRNGKey(0), jnp.zeros((), jnp.int32))
    params = {'~': {'logits': logits}}
    state = state._replace(params=state.params._replace(policy=params))
    return mdp, logits, learner, state

  def _meta_gradient(self, kind, objective):
    """Its expectation, and the exact one of E[V(θ + η X)]."""
    mdp, logits, learner, state = self._setup(kind, objective)

    @jax.jit
    def adapted(x, stage):
      prepared = learner.prepare(state.params, stage)
      meta = state.params._replace(policy={'~': {'logits': x}})
      params, _ = learner.update_inner(
        meta, *learner.init_inner(meta), prepared
      )
      return params['~']['logits']

    first_probabilities, first = self._outcomes(mdp, logits)
    trials, probabilities = [], []
    for i, p in enumerate(first_probabilities):
      before = jax.tree_util.tree_map(lambda x, i=i: x[i], first)
      last_probabilities, last = self._outcomes(mdp, adapted(logits, before))
      for j, q in enumerate(last_probabilities):
        after = jax.tree_util.tree_map(lambda x, j=j: x[j], last)
        trials.append(
          jax.tree_util.tree_map(lambda *x: jnp.stack(x), before, after)
        )
        probabilities.append(p * q)
    trials = jax.tree_util.tree_map(lambda *x: jnp.stack(x), *trials)
    probabilities = jnp.stack(probabilities)
    np.testing.assert_allclose(jnp.sum(probabilities), 1.0, atol=1e-12)

    def step(i, j):
      both = jax.tree_util.tree_map(lambda x: x[jnp.array([i, j])], trials)
      new_state, _ = learner.update(state, both)
      return new_state.params.policy['~']['logits'] - logits

    n = len(probabilities)
    steps = jax.jit(jax.vmap(jax.vmap(step, (None, 0)), (0, None)))(
      jnp.arange(n), jnp.arange(n)
    )
    mean = jnp.einsum('i,j,ij...->...', probabilities, probabilities, steps)

    @jax.jit
    @jax.grad
    def exact(x):
      log_probs = jax.nn.log_softmax(x)
      total = 0.0
      for i, p in enumerate(first_probabilities):
        before = jax.tree_util.tree_map(lambda y, i=i: y[i], first)
        chosen = log_probs[before.observation[:, :-1], before.action]
        ratio = jnp.exp(jnp.sum(chosen - before.behaviour_log_prob))
        value = tabular.value(mdp, adapted(x, before), self.HORIZON)
        total += p * ratio * value
      return total

    return mean, exact(logits)

  def test_is_unbiased_through_the_learner(self):
    """Of the value of the start state, with its control variate."""
    objective = objectives.Evaluated(evaluators.doubly_robust)
    mean, exact = self._meta_gradient('score_function', objective)
    np.testing.assert_allclose(mean, exact, atol=1e-12)

  def test_the_score_is_part_of_it(self):
    objective = objectives.Evaluated(evaluators.doubly_robust)
    mean, exact = self._meta_gradient('full', objective)
    assert np.max(np.abs(mean - exact)) > 1e-3

  def test_surrogates_weigh_by_the_value_that_their_gradient_is_of(self):
    """The mean reward per step is the value over the horizon where γ = 1."""
    log_prob = jnp.log(jnp.array([[0.5, 0.25]]))
    prepared = types.Prepared(
      observation=jnp.zeros((1, 2)),
      action=jnp.zeros((1, 2)),
      v_tm1=jnp.zeros((1, 2)),
      v_t=jnp.zeros((1, 2)),
      r_t=jnp.array([[3.0, 5.0]]),
      discount_t=jnp.array([[1.0, 0.0]]),
      advantage=jnp.array([[1.0, -1.0]]),
      mask=jnp.ones((1, 2)),
      behaviour_log_prob=log_prob,
    )
    for objective in (
      objectives.Surrogate(),
      objectives.ClippedSurrogate(),
      objectives.PolicyGradient(),
      objectives.Evaluated(evaluators.lvc, reductions.per_step),
    ):
      assert objectives.value(objective, log_prob, prepared) == 4.0
