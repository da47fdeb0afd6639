"""Evolution strategies: exact for quadratics, and on a device."""

import dataclasses

from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import on_device, presets, types
from acme_metarl.meta import evolution
from acme_metarl.meta import learner as learner_lib
from acme_metarl.on_device import sampling


def test_gradient_is_exact_in_expectation_for_quadratics():
  """J(θ) = bᵀθ − θᵀAθ/2 has J_σ' = J'; 4 standard errors of 4000 pairs."""
  a = jnp.array([[2.0, 0.5], [0.5, 1.0]])
  theta, slope = jnp.array([0.3, -0.2]), jnp.array([1.0, -1.0])

  def value(x):
    return slope @ x - 0.5 * x @ a @ x

  num_pairs, std = 4000, 0.3
  epsilon = evolution.noise(jax.random.PRNGKey(0), theta, num_pairs)
  candidates = evolution.perturb(theta, epsilon, std)
  estimate = evolution.gradient(jax.vmap(value)(candidates), epsilon, std)
  exact = slope - a @ theta
  # Of one pair: εεᵀg, whose covariance is |g|² I + g gᵀ.
  errors = np.sqrt((exact @ exact + exact**2) / num_pairs)
  assert np.all(np.abs(estimate - exact) < 4 * errors)


def test_pairs_are_opposite():
  params = {'w': jnp.ones((2, 3)), 'b': jnp.zeros(3)}
  epsilon = evolution.noise(jax.random.PRNGKey(0), params, 5)
  candidates = evolution.perturb(params, epsilon, 0.5)
  for name, x in candidates.items():
    assert x.shape == (10, *params[name].shape)
    middle = jnp.broadcast_to(params[name], x[::2].shape)
    np.testing.assert_allclose(
      (x[::2] + x[1::2]) / 2, middle, rtol=1e-6, atol=1e-7
    )


@dataclasses.dataclass(frozen=True)
class _Bandit:
  """Pays for actions near 1; the state is where it began, at random."""

  def sample_task(self, key):
    return jax.random.normal(key)

  def reset(self, key, task):
    start = jnp.stack([jax.random.normal(key), task])
    return start, self._time_step(start, 0.0)

  def step(self, state, action):
    return state, self._time_step(state, -jnp.square(action[0] - 1.0))

  def _time_step(self, state, reward):
    reward = jnp.asarray(reward, jnp.float32)
    return types.TimeStep(state, reward, jnp.ones((), jnp.float32))

  def observation_spec(self):
    return specs.Array((2,), np.float32)

  def action_spec(self):
    return specs.Array((1,), np.float32)


ENVIRONMENT = _Bandit()


@pytest.fixture(autouse=True, scope='module')
def _float32():
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', False)
  yield
  jax.config.update('jax_enable_x64', before)


def _settings(**overrides):
  return presets.make(
    'es_maml',
    num_tasks=16,
    num_rollouts=4,
    horizon=5,
    hidden_sizes=(),
    num_iterations=40,
    outer_learning_rate=0.1,
    **overrides,
  )


def test_both_of_a_pair_play_the_same_task():
  settings = _settings()
  policy = settings.make_policy(ENVIRONMENT.action_spec())
  devices = tuple(jax.devices()[:1])
  learner = learner_lib.make_meta_learner(settings, policy, devices)
  sampler = sampling.TrialSampler(
    settings, ENVIRONMENT, policy, learner, False, devices
  )
  params = learner.init(jax.random.PRNGKey(0), jnp.zeros(2)).params
  stages = jax.jit(sampler.sample_perturbed, static_argnums=2)(
    params, jax.random.PRNGKey(1), 16
  ).stages
  first = stages.observation[:, 0, :, 0]  # [G, B, 2] start states.
  np.testing.assert_array_equal(first[::2], first[1::2])
  assert np.max(np.abs(stages.action[::2] - stages.action[1::2])) > 1e-3


def test_learns_on_a_device():
  """The return after adaptation rises, without a derivative of it."""
  train = on_device.make_train(_settings(), ENVIRONMENT)
  _, log = train(jax.random.PRNGKey(0))
  returns = np.asarray(log.metrics['objective'])
  errors = np.std(returns[:5]) / np.sqrt(5) + np.std(returns[-5:]) / np.sqrt(5)
  assert returns[-5:].mean() - returns[:5].mean() > 3 * errors


def test_an_odd_number_of_tasks_is_refused():
  with pytest.raises(ValueError, match='num_tasks must be even'):
    dataclasses.replace(_settings(), num_tasks=7)
