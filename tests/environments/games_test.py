"""Games of other people's: gymnax, jumanji and Atari, all optional.

pip install gymnax jumanji ale-py
"""

from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import types
from acme_metarl.environments import (
  atari,
  gymnax_games,
  jumanji_games,
  navigation_2d,
  tabular_mdp,
)


class TestStickyActions:
  def test_repeats_as_often_as_it_says(self):
    plain = tabular_mdp.make(num_states=5, num_actions=2, seed=1)
    sticky = gymnax_games.StickyActions(plain, 0.25)
    assert sticky.action_spec().num_values == 2
    task = jnp.stack([jnp.zeros(5), jnp.ones(5)], axis=1)  # Action 1 pays.
    key = jax.random.PRNGKey(0)
    state, _ = sticky.reset(key, task)

    def step(state, action):
      state, time_step = sticky.step(state, action)
      return state, time_step.reward

    # Actions change at every step, so each reward says which one it was.
    actions = jnp.arange(1, 4001) % 2
    _, rewards = jax.jit(lambda s: jax.lax.scan(step, s, actions))(state)
    share = np.mean(np.asarray(rewards) != np.asarray(actions))
    # The one before is the other one where that was not repeated itself.
    assert abs(share - 0.25 / 1.25) < 4 * np.sqrt(0.2 * 0.8 / 4000)

  @pytest.mark.parametrize('probability', [-0.1, 1.0])
  def test_needs_a_probability(self, probability):
    with pytest.raises(ValueError, match='probability is'):
      gymnax_games.StickyActions(tabular_mdp.make(3, 2), probability)

  def test_needs_discrete_actions(self):
    environment = navigation_2d.Navigation2D()
    with pytest.raises(ValueError, match='are not discrete'):
      gymnax_games.StickyActions(environment, 0.1)


@pytest.mark.parametrize(
  ('make', 'package', 'sentence'),
  [
    (lambda: gymnax_games.minatar('breakout'), 'gymnax', 'self_tuning'),
    (jumanji_games.snake, 'jumanji', 'jumanji'),
    (lambda: atari.make('pong'), 'ale_py', 'atari'),
  ],
)
def test_what_is_not_installed_is_a_sentence(
  monkeypatch, make, package, sentence
):
  import sys

  monkeypatch.setitem(sys.modules, package, None)
  for name in [x for x in sys.modules if x.startswith(f'{package}.')]:
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ValueError, match=rf'acme-metarl\[{sentence}\]'):
    make()


class TestGymnax:
  @pytest.fixture(autouse=True)
  def _suite(self):
    pytest.importorskip('gymnax', reason='needs gymnax')

  @pytest.mark.parametrize('name', ['breakout', 'asterix'])
  def test_minatar(self, name):
    environment = gymnax_games.minatar(name)
    assert environment.observation_spec().shape[:2] == (10, 10)
    key = jax.random.PRNGKey(0)
    state, first = environment.reset(key, environment.sample_task(key))
    assert first.observation.any()
    step = jax.jit(environment.step)
    for i in range(5):
      state, time_step = step(state, i % 3)
    assert time_step.discount in (0, 1)

  def test_chain_pays_when_and_what_its_first_action_says(self):
    environment = gymnax_games.discounting_chain(optimal_action=3)
    step = jax.jit(environment.step)
    for action, (when, reward) in enumerate(
      [(1, 1), (3, 1), (10, 1), (30, 1.1)]
    ):
      state, _ = environment.reset(jax.random.PRNGKey(0), {})
      rewards = []
      for _ in range(when + 1):
        state, time_step = step(state, action if not rewards else 0)
        rewards.append(float(time_step.reward))
      assert np.flatnonzero(rewards).tolist() == [when - 1]
      assert rewards[when - 1] == pytest.approx(reward)

  def test_unknown_games_are_a_sentence(self):
    with pytest.raises(ValueError, match="name is 'pong'; choose from asterix"):
      gymnax_games.minatar('pong')
    with pytest.raises(ValueError, match='optimal_action is 5'):
      gymnax_games.discounting_chain(5)


class TestSnake:
  def test_plays(self):
    pytest.importorskip('jumanji', reason='needs jumanji')
    environment = jumanji_games.snake(size=6)
    assert environment.observation_spec().shape == (6, 6, 5)
    assert environment.action_spec().num_values == 4
    state, _ = environment.reset(jax.random.PRNGKey(0), ())
    step = jax.jit(environment.step)
    discounts = []
    for _ in range(7):  # Up, until the wall.
      state, time_step = step(state, 0)
      discounts.append(float(time_step.discount))
    assert 0.0 in discounts
    assert discounts[0] == 1.0 or discounts[0] == 0.0


class _Jumanji:
  """What jumanji's environments have, with actions of a spec."""

  def __init__(self, spec):
    self.action_spec = spec

  def reset(self, key):
    return 0, self._show(jnp.int32(0))

  def step(self, state, action):
    return state, self._show(jnp.sum(action))

  def _show(self, reward):
    return types.TimeStep(jnp.zeros(2), reward, jnp.float32(1))


def test_other_environments_are_a_sentence():
  with pytest.raises(ValueError, match='need one of jumanji'):
    jumanji_games.JumanjiEnvironment(object())
  unbounded = specs.Array((2,), np.int32)
  with pytest.raises(ValueError, match='an action is .* need a bounded one'):
    jumanji_games.JumanjiEnvironment(_Jumanji(unbounded))


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_actions_may_have_several_parts(dtype):
  spec = specs.BoundedArray((2,), dtype, 0, [2, 4])
  environment = jumanji_games.JumanjiEnvironment(_Jumanji(spec))
  found = environment.action_spec()
  assert (found.shape, found.dtype) == ((2,), dtype)
  np.testing.assert_array_equal(found.maximum, [2, 4])
  _, time_step = environment.step(0, jnp.array([1, 3], dtype))
  assert (time_step.reward, time_step.reward.dtype) == (4, jnp.float32)


@pytest.mark.parametrize('options', [{'size': 1}, {'time_limit': 0}])
def test_snake_needs_room_and_time(options):
  with pytest.raises(ValueError, match='they need to be at least 2 and 1'):
    jumanji_games.snake(**options)


class TestAtari:
  @pytest.fixture(autouse=True)
  def _suite(self):
    pytest.importorskip('ale_py', reason='needs ale-py')

  def test_an_episode(self):
    environment = atari.make('pong', seed=3, max_noops=5)
    timestep = environment.reset()
    environment.observation_spec().validate(timestep.observation)
    assert not timestep.observation[..., :3].any()
    assert timestep.observation[..., 3].any()
    total, before = 0.0, timestep.observation
    while not timestep.last():
      timestep = environment.step(0)
      # Frames move to the front.
      np.testing.assert_array_equal(
        timestep.observation[..., :3], before[..., 1:]
      )
      before = timestep.observation
      total += timestep.reward
    assert timestep.discount == 0
    assert total == environment.episode_return == -21
    assert environment.step(0).first()

  def test_frames_are_limited(self):
    environment = atari.make('breakout', max_frames=40)
    timestep = environment.reset()
    steps = 0
    while not timestep.last():
      timestep = environment.step(0)
      steps += 1
    assert (steps, timestep.discount) == (10, 1)

  @pytest.mark.parametrize(
    ('options', 'sentence'),
    [
      ({'game': 'pongg'}, "game is 'pongg'; there are adventure"),
      ({'sticky': 1.0}, 'sticky is 1.0'),
      ({'max_noops': -1}, 'max_noops is -1'),
      ({'max_noops': 1.5}, 'max_noops is 1.5; it needs to be an integer'),
      ({'max_frames': 3}, r'max_frames is 3; it .* in \[4, inf\]'),
      ({'seed': -1}, 'seed is -1'),
      ({'seed': 2**31}, 'seed is 2147483648'),
      ({'max_abs_reward': -1.0}, 'max_abs_reward is -1.0'),
    ],
  )
  def test_mistakes_are_a_sentence(self, options, sentence):
    with pytest.raises(ValueError, match=sentence):
      atari.make(**{'game': 'pong', **options})
