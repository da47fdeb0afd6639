"""One meta-gradient estimate on a tabular MDP, its parts chosen one by one.

MAML with K inner steps theta_{k+1} = theta_k + alpha g_k has the meta-gradient

    (I + alpha H_0) ... (I + alpha H_{K-1}) g_K,

with H_k the Hessian at theta_k and g_K the outer gradient at theta_K. Any of
the inner gradients g_0 ... g_{K-1} (where adaptation goes), the Hessians (what
is differentiated) and the outer gradient can be exact or an estimate from
samples of its own. In code for automatic differentiation that is
theta' = sg(inner) + hessian - sg(hessian), with two estimates of the same step;
here the product is taken from the right, one Hessian-vector product a step.

See "A Theoretical Understanding of Gradient Bias in Meta-Reinforcement
Learning" by Liu et al. (2022), https://arxiv.org/abs/2112.15400.

Which estimator, how many steps, trajectories and so on are numbers of a
compiled program and not part of it, so that one compilation serves a study.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from acme_metarl import evaluators, tabular, types
from acme_metarl.evaluators import derivatives
from acme_metarl.studies import derivative_accuracy

EXACT = 'exact'

ESTIMATORS = (
  'importance_sampling',
  'doubly_robust',
  'taylor_1',
  'taylor_2',
  'taylor_3',
  'log_likelihood',
)

# Trajectories of one estimate that are drawn and differentiated at a time; all
# trials of a study do so side by side.
CHUNK_SIZE = 4


class Problem(NamedTuple):
  """What all trials on one MDP share.

  Attributes:
    mdp: the process.
    deterministic: `[X, A]` one-hot, the policy that off-policy data leans to.
    logits: `[X, A]` theta before adaptation.
  """

  mdp: tabular.TabularMDP
  deterministic: chex.Array
  logits: chex.Array


class Parts(NamedTuple):
  """Where each part of a meta-gradient comes from.

  Attributes:
    inner: the inner gradients. Either a name, `'exact'` or an estimator's, or
      its number, 0 being `'exact'`.
    hessian: the Hessians, likewise.
    outer: the gradient after adaptation, likewise.
  """

  inner: Any = EXACT
  hessian: Any = EXACT
  outer: Any = EXACT

  def numbers(self, estimators: Sequence[str] = ESTIMATORS) -> 'Parts':
    """Returns the parts as numbers of a list of estimators.

    Raises:
      ValueError: if a name is not in the list.
    """
    names = (EXACT, *estimators)
    for part, name in self._asdict().items():
      if name not in names:
        raise ValueError(
          f'{part} is {name!r}; it needs to be one of {", ".join(names)}.'
        )
    return Parts(*(names.index(name) for name in self))


class Settings(NamedTuple):
  """Numbers of an estimate, all of which may be traced.

  Attributes:
    step_size: alpha of the inner steps.
    num_inner_steps: K >= 0.
    num_trajectories: N >= 1, behind each estimated part of each step.
    critic_noise: standard deviation of the critic's error in every state, in
      units of |V| / X, the norm of the values over the number of states.
    off_policyness: epsilon in [0, 1). Data are drawn from
      (1 - epsilon) pi + epsilon deterministic, pi being the current policy.
    shared_data: whether Hessians use the samples of the inner gradients, as
      agents do; otherwise each has its own.
    hessian_error: c. Adds c mean(theta^2) to the inner objective on the
      derivative's path, so 2c / (X A) to the diagonal of every Hessian.
    hessian_error_noise: adds noise of this standard deviation to every
      diagonal element's c, anew in every step.
  """

  step_size: chex.Numeric = 10.0
  num_inner_steps: chex.Numeric = 1
  num_trajectories: chex.Numeric = 64
  critic_noise: chex.Numeric = 1.0
  off_policyness: chex.Numeric = 0.0
  shared_data: chex.Numeric = False
  hessian_error: chex.Numeric = 0.0
  hessian_error_noise: chex.Numeric = 0.0


# estimate(key, problem, parts, settings) -> [X, A]
Estimate = Callable[[chex.PRNGKey, Problem, Parts, Settings], chex.Array]


def sample_problem(
  key: chex.PRNGKey, setting: derivative_accuracy.Setting
) -> Problem:
  """Draws an MDP and a deterministic policy; theta is 0, the uniform policy."""
  mdp_key, policy_key = jax.random.split(key)
  mdp = tabular.random_mdp(
    mdp_key,
    setting.num_states,
    setting.num_actions,
    setting.discount,
    setting.concentration,
  )
  deterministic = tabular.random_deterministic_policy(policy_key, mdp)
  return Problem(mdp, deterministic, jnp.zeros_like(mdp.reward))


def behaviour_policy(
  problem: Problem, logits: chex.Array, off_policyness: chex.Numeric
) -> chex.Array:
  """Returns mu `[X, A]`, see `Settings.off_policyness`."""
  policy = tabular.softmax_policy(logits)
  return policy + off_policyness * (problem.deterministic - policy)


def noisy_critic(
  key: chex.PRNGKey, value: chex.Array, scale: chex.Numeric
) -> chex.Array:
  """Returns values `[X]` with noise, see `Settings.critic_noise`."""
  noise = jax.random.normal(key, value.shape, value.dtype)
  return value + scale * jnp.linalg.norm(value) / value.size * noise


def prepare(
  mdp: tabular.TabularMDP,
  behaviour: chex.Array,
  critic: chex.Array,
  trajectories: tabular.Trajectories,
) -> types.Prepared:
  """Returns trajectories with a critic `[X]` as evaluators take them."""
  states, actions = trajectories.states, trajectories.actions
  value = critic[states]
  return types.Prepared(
    observation=states[:, :-1],
    action=actions,
    v_tm1=value[:, :-1],
    v_t=value[:, 1:],
    r_t=trajectories.rewards,
    discount_t=mdp.discount * trajectories.discounts,
    advantage=jnp.zeros_like(trajectories.rewards),  # Evaluators form theirs.
    mask=trajectories.mask,
    behaviour_log_prob=jnp.log(behaviour[states[:, :-1], actions]),
  )


def surrogate(
  evaluator: evaluators.Evaluator,
  data: types.Prepared,
  weights: chex.Array,
) -> Callable[[chex.Array], chex.Array]:
  """Returns logits -> weighted sum of estimates of V(x_0).

  Args:
    evaluator: of `acme_metarl.evaluators` or your own.
    data: `[N, T]`.
    weights: `[N]`, summing to 1 over all trajectories of an estimate.
  """

  def weighted_start_state(estimates, v_t, discount_t, mask=None):
    del v_t, discount_t, mask
    return jnp.dot(weights, estimates[:, 0])

  return derivatives.objective(
    tabular.log_prob, data, evaluator, weighted_start_state
  )


def sum_over_chunks(
  function: Callable[[tabular.Trajectories, chex.Array], chex.ArrayTree],
  key: chex.PRNGKey,
  mdp: tabular.TabularMDP,
  behaviour: chex.Array,
  num_trajectories: chex.Numeric,
  horizon: int,
  chunk_size: int = CHUNK_SIZE,
) -> chex.ArrayTree:
  """Draws N trajectories, a chunk at a time, and sums a function of them.

  Args:
    function: `(trajectories [C, T], weights [C]) -> pytree`; the weights are
      1 / N, and 0 for what the last chunk has too many.
    key: random key.
    mdp: the process.
    behaviour: `[X, A]` the policy that draws.
    num_trajectories: N >= 1, may be traced.
    horizon: T.
    chunk_size: C, trajectories at a time; chunk i is drawn with
      `jax.random.fold_in(key, i)`.

  Returns:
    The sum.
  """

  def term(i):
    trajectories = tabular.sample_trajectories(
      jax.random.fold_in(key, i), mdp, behaviour, chunk_size, horizon
    )
    index = i * chunk_size + jnp.arange(chunk_size)
    weights = (index < num_trajectories) / jnp.asarray(
      num_trajectories, mdp.reward.dtype
    )
    return function(trajectories, weights)

  num_chunks = (num_trajectories + chunk_size - 1) // chunk_size
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(term, 0)
  )
  return lax.fori_loop(
    0, num_chunks, lambda i, x: jax.tree.map(jnp.add, x, term(i)), zeros
  )


def make_estimate(
  estimators: Sequence[str] | Mapping[str, evaluators.Evaluator] = ESTIMATORS,
  horizon: int = 20,
  max_inner_steps: int = 8,
) -> Estimate:
  """Returns the function that draws one meta-gradient estimate.

  Args:
    estimators: names of `derivative_accuracy.make_evaluator`, or a mapping from
      names to evaluators, your own included. Their order gives `Parts` numbers;
      without any, all parts are exact.
    horizon: T, length of the trajectories; each closes with the critic.
    max_inner_steps: the largest `Settings.num_inner_steps`; larger ones count
      as this.

  Returns:
    `estimate(key, problem, parts, settings) -> [X, A]`, to be jitted and
    vmapped over keys and problems; parts are numbers, see `Parts.numbers`.
  """
  if not isinstance(estimators, Mapping):
    estimators = {
      name: derivative_accuracy.make_evaluator(name) for name in estimators
    }

  derivative = functools.partial(
    _derivative, tuple(estimators.values()), horizon
  )

  def estimate(key, problem, parts, settings):
    num_steps = jnp.minimum(settings.num_inner_steps, max_inner_steps)
    inner_key, hessian_key, error_key = jax.random.split(key, 3)

    def forward(k, carry):
      # Step K is the outer gradient: the same code at the adapted logits.
      logits, _ = carry
      number = jnp.where(k < num_steps, parts.inner, parts.outer)
      gradient = derivative(
        number,
        jax.random.fold_in(inner_key, k),
        problem,
        logits[k],
        settings,
        lambda objective: jax.grad(objective)(logits[k]),
      )
      adapted = logits[k] + settings.step_size * gradient
      return logits.at[k + 1].set(adapted), gradient

    start = jnp.asarray(problem.logits)
    logits = jnp.zeros((max_inner_steps + 2, *start.shape), start.dtype)
    logits, outer = lax.fori_loop(
      0,
      num_steps + 1,
      forward,
      (logits.at[0].set(start), jnp.zeros_like(start)),
    )

    data_key = jnp.where(settings.shared_data, inner_key, hessian_key)

    def backward(i, vector):
      k = num_steps - 1 - i
      product = derivative(
        jnp.asarray(parts.hessian),
        jax.random.fold_in(data_key, k),
        problem,
        logits[k],
        settings,
        lambda objective: jax.jvp(jax.grad(objective), (logits[k],), (vector,))[
          1
        ],
      )
      noise = jax.random.normal(
        jax.random.fold_in(error_key, k), start.shape, start.dtype
      )
      error = settings.hessian_error + settings.hessian_error_noise * noise
      product += 2.0 * error / start.size * vector
      return vector + settings.step_size * product

    return lax.fori_loop(0, num_steps, backward, outer)

  return estimate


def _derivative(
  estimators: tuple[evaluators.Evaluator, ...],
  horizon: int,
  number: chex.Array,
  key: chex.PRNGKey,
  problem: Problem,
  logits: chex.Array,
  settings: Settings,
  of: Callable[[Callable[[chex.Array], chex.Array]], chex.Array],
) -> chex.Array:
  """A derivative of V(x_0): exact, or an estimator's average.

  Args:
    estimators: evaluators.
    horizon: T.
    number: 0 for exact, otherwise 1 + the estimator's index.
    key: random key.
    problem: the problem.
    logits: `[X, A]` of the current policy.
    settings: numbers of the estimate.
    of: takes an objective, a function of logits, to the derivative.

  Returns:
    What `of` returns.
  """
  mdp = problem.mdp

  def exact():
    return of(lambda x: tabular.value(mdp, x))

  def sampled():
    data_key, critic_key = jax.random.split(key)
    behaviour = behaviour_policy(problem, logits, settings.off_policyness)
    critic = noisy_critic(
      critic_key, tabular.state_values(mdp, behaviour), settings.critic_noise
    )

    def chunk(trajectories, weights):
      data = prepare(mdp, behaviour, critic, trajectories)
      branches = [
        lambda e=evaluator: of(surrogate(e, data, weights))
        for evaluator in estimators
      ]
      return lax.switch(number - 1, branches)

    return sum_over_chunks(
      chunk, data_key, mdp, behaviour, settings.num_trajectories, horizon
    )

  if not estimators:
    return exact()
  return lax.cond(number == 0, exact, sampled)
