"""Whole runs on a device: they learn, count, and tune what they should."""

from typing import NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import self_tuning, types
from acme_metarl.self_tuning import networks, playing

LENGTH = 4


class _State(NamedTuple):
  first: chex.Array
  elapsed: chex.Array


class Patience:
  """Action 0 pays 1 at once; action 1 pays 3 after four steps.

  Only the first action of an episode counts; it is shown, with the time.
  """

  def sample_task(self, key):
    return ()

  def reset(self, key, task):
    state = _State(jnp.int32(2), jnp.int32(0))
    return state, self._show(state, 0.0, 1.0)

  def step(self, state, action):
    first = jnp.where(state.elapsed == 0, action, state.first)
    state = _State(first.astype(jnp.int32), state.elapsed + 1)
    reward = jnp.where(
      first == 0, state.elapsed == 1, 3 * (state.elapsed == LENGTH)
    )
    return state, self._show(state, reward, state.elapsed < LENGTH)

  def observation_spec(self):
    return specs.Array((7,), np.float32)

  def action_spec(self):
    return specs.DiscreteArray(2)

  def _show(self, state, reward, discount):
    observation = jnp.concatenate(
      [jax.nn.one_hot(state.first, 3), jax.nn.one_hot(state.elapsed, LENGTH)]
    )
    return types.TimeStep(
      observation, jnp.float32(reward), jnp.asarray(discount, jnp.float32)
    )


def _config(**settings):
  return self_tuning.SelfTuningConfig(
    **{
      'hyperparameters': self_tuning.Hyperparameters(discount=0.5),
      'num_rollouts': 16,
      'horizon': LENGTH,
      'optimizer': self_tuning.adam(0.02),
      'meta_optimizer': optax.adam(0.05),
      'outer_discount': 1.0,
      'outer_lambda': 1.0,
      'hidden_sizes': (8,),
      **settings,
    }
  )


@pytest.fixture(scope='module')
def _float32():
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', False)
  yield
  jax.config.update('jax_enable_x64', before)


@pytest.mark.usefixtures('_float32')
class TestTraining:
  def test_tunes_the_discount_and_earns_more(self):
    """At a discount of .5 the late reward is worth .375, and the early 1."""
    returns, discounts = {}, {}
    arms = {
      'a2c': {'tuned': ()},
      'mg': {'tuned': ('discount',)},
      'bootstrapped': {'tuned': ('discount',), 'bootstrap_steps': 1},
    }
    for name, settings in arms.items():
      config = _config(critic='outer', **settings)
      train = self_tuning.make_train(config, Patience(), num_iterations=300)
      state, metrics = jax.vmap(train)(
        jax.random.split(jax.random.PRNGKey(0), 2)
      )
      assert (state.num_steps == 300 * 16 * LENGTH).all()
      late = {k: np.asarray(x)[:, -20:] for k, x in metrics.items()}
      returns[name] = late['total_return'].sum(1) / late['num_episodes'].sum(1)
      discounts[name] = late['discount'][:, -1]
    assert (returns['a2c'] < 1.4).all(), returns
    assert (discounts['a2c'] == 0.5).all()
    for name in ('mg', 'bootstrapped'):
      assert (discounts[name] > 0.7).all(), discounts
      assert (returns[name] > 2.5).all(), returns

  @pytest.mark.parametrize(
    'settings',
    [
      {'num_inner_steps': 2, 'reuses_validation': False},
      {'bootstrap_steps': 2, 'critic': 'conditioned'},
    ],
  )
  def test_options_run(self, settings):
    config = _config(**settings)
    trainer = self_tuning.make_trainer(config, Patience())
    state = jax.jit(trainer.init)(jax.random.PRNGKey(0))
    state, metrics = jax.jit(trainer.advance, static_argnums=1)(state, 3)
    assert int(state.num_steps) == 3 * config.rollouts_per_iteration * 64
    assert metrics['num_skipped'][-1] == 0
    assert all(np.isfinite(x).all() for x in metrics.values())
    assert (metrics['meta_gradient_norm'] > 0).all()
    if config.bootstrap_steps:
      assert (metrics['meta_loss'] > 0).all()  # A divergence.

  @pytest.mark.parametrize('bootstrap_steps', [0, 1])
  def test_meta_gradients_that_are_not_finite_are_skipped(
    self, bootstrap_steps
  ):
    class Broken(Patience):
      def _show(self, state, reward, discount):
        return super()._show(state, reward * jnp.inf, discount)

    config = _config(bootstrap_steps=bootstrap_steps)
    trainer = self_tuning.make_trainer(config, Broken())
    state = jax.jit(trainer.init)(jax.random.PRNGKey(0))
    before = state.tuner.meta_params.tuned, state.tuner.target_opt_state
    state, metrics = jax.jit(trainer.iterate)(state)
    assert metrics['num_skipped'] == 1
    jax.tree.map(
      np.testing.assert_array_equal,
      before,
      (state.tuner.meta_params.tuned, state.tuner.target_opt_state),
    )

  def test_rollouts_are_whole_episodes_one_after_the_other(self):
    arena = playing.Arena(Patience(), 3, 2 * LENGTH)
    players = arena.init(jax.random.PRNGKey(0))

    def act(params, observation):
      spec = specs.DiscreteArray(2)
      network = networks.make_actor_critic(
        spec, specs.Array((7,), np.float32), hidden_sizes=()
      )
      return network.apply(
        params, observation, self_tuning.Hyperparameters()
      ).distribution

    params = networks.make_actor_critic(
      specs.DiscreteArray(2), specs.Array((7,), np.float32), hidden_sizes=()
    ).init(jax.random.PRNGKey(1), jnp.zeros(7))
    stage, players, ended = jax.jit(arena.play, static_argnums=0)(
      act, params, players
    )
    np.testing.assert_array_equal(stage.discount[0], [1, 1, 1, 0, 1, 1, 1, 0])
    time = np.argmax(stage.observation[0, :, 3:], axis=-1)
    np.testing.assert_array_equal(time, [0, 1, 2, 3, 0, 1, 2, 3, 0])
    assert ended.number == 6
    np.testing.assert_allclose(ended.total_return, stage.reward.sum())
    expected = np.where(np.asarray(stage.action[:, ::LENGTH]) == 0, 1.0, 3.0)
    np.testing.assert_allclose(
      stage.reward.reshape(3, 2, LENGTH).sum(-1), expected
    )
    assert (players.elapsed == 0).all()

  def test_a_time_limit_ends_episodes(self):
    arena = playing.Arena(Patience(), 1, 4, time_limit=2)
    players = arena.init(jax.random.PRNGKey(0))
    network = _config().make_networks(
      Patience().action_spec(), Patience().observation_spec()
    )
    params = network.init(jax.random.PRNGKey(1), jnp.zeros(7))

    def act(params, observation):
      return network.apply(params, observation, None).distribution

    stage, _, ended = arena.play(act, params, players)
    np.testing.assert_array_equal(stage.discount[0], [1, 0, 1, 0])
    assert ended.number == 2

  def test_returns_of_whole_episodes(self):
    trainer = self_tuning.make_trainer(_config(), Patience())
    state = jax.jit(trainer.init)(jax.random.PRNGKey(0))
    returns = jax.jit(trainer.returns, static_argnums=(2, 3, 4))(
      state, jax.random.PRNGKey(0), 32, 10, False
    )
    assert set(np.asarray(returns).tolist()) == {1.0, 3.0}


@pytest.mark.parametrize(
  ('environment', 'options', 'sentence'),
  [
    (object(), {}, 'it has no sample_task, reset, step, observation_spec'),
    (Patience(), {'time_limit': 0}, 'time_limit is 0'),
  ],
)
def test_mistakes_are_a_sentence(environment, options, sentence):
  with pytest.raises(ValueError, match=sentence):
    self_tuning.make_trainer(_config(), environment, **options)


def test_a_run_needs_iterations():
  with pytest.raises(ValueError, match='num_iterations must be .* but got 0'):
    self_tuning.make_train(_config(), Patience(), num_iterations=0)


@pytest.mark.parametrize(
  ('optimizer', 'is_differentiable'),
  [
    (optax.adam(0.1), False),
    (optax.adam(0.1, eps_root=1e-12), True),
    (optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(0.1)), True),
  ],
)
def test_an_optimizer_needs_a_derivative_at_zero(optimizer, is_differentiable):
  trainer = self_tuning.make_trainer(_config(optimizer=optimizer), Patience())
  init = jax.jit(jax.vmap(trainer.init)).lower
  keys = jax.random.split(jax.random.PRNGKey(0), 2)
  if is_differentiable:
    init(keys)
  else:
    with pytest.raises(ValueError, match='Give Adam an eps_root above 0'):
      init(keys)


def test_an_environment_without_a_torso_is_a_sentence():
  class Strange(Patience):
    def observation_spec(self):
      return specs.Array((7, 7), np.float32)

  with pytest.raises(ValueError, match=r'\(7, 7\), .* pass a torso'):
    self_tuning.make_trainer(_config(), Strange())
