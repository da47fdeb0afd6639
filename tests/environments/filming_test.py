"""Films of environments that draw themselves."""

import dm_env
from dm_env import specs
import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import environments, types
from acme_metarl.environments import filming, films, rendering

_STEP = 10  # Of brightness, at every step.


class _Lamp(gymnasium.Env):
  """Brightens from where the task says; ends when it is as bright as can be."""

  observation_space = gymnasium.spaces.Box(0, 255, (1,), np.float32)
  action_space = gymnasium.spaces.Discrete(2)
  metadata = {'render_modes': ['rgb_array']}
  render_mode = 'rgb_array'

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.level = self.start
    return self._show(), {}

  def step(self, action):
    self.level += _STEP * (1 + int(action))
    is_over = self.level >= 100
    info = {'success': is_over}
    return self._show(), 1.0, is_over, False, info

  def _show(self):
    return np.array([self.level], np.float32)

  def render(self):
    return np.full((5, 7, 3), self.level, np.uint8)


class _JaxLamp:
  def sample_task(self, key):
    return jnp.zeros(())

  def reset(self, key, task):
    return task, types.TimeStep(task[jnp.newaxis], 0.0, 1.0)

  def step(self, state, action):
    state = state + _STEP * (1 + action)
    step = types.TimeStep(state[jnp.newaxis], jnp.ones(()), jnp.ones(()))
    return state.astype(jnp.float32), step._replace(
      discount=1.0 - (state >= 100)
    )

  def info(self, state):
    return {'success': state >= 100}

  def observation_spec(self):
    return specs.Array((1,), np.float32)

  def action_spec(self):
    return specs.DiscreteArray(2)

  def render(self, state):
    assert isinstance(state, np.ndarray | np.float32)
    return np.full((5, 7, 3), state, np.uint8)


class _DmLamp(dm_env.Environment):
  def __init__(self):
    self.lamp = _Lamp()

  def reset(self):
    return dm_env.restart(self.lamp.reset()[0])

  def step(self, action):
    observation, reward, is_over, _, self.info = self.lamp.step(action)
    make = dm_env.termination if is_over else dm_env.transition
    return make(reward, observation)

  def observation_spec(self):
    return specs.Array((1,), np.float32)

  def action_spec(self):
    return specs.DiscreteArray(2)


def _set(environment, start):
  environment.start = start


def _gymnasium(**_):
  return environments.GymnasiumBatch(_Lamp, lambda rng: 0.0, _set)


_BATCHES = {
  'gymnasium': _gymnasium,
  'vector': lambda: environments.GymnasiumVectorBatch(
    lambda size: gymnasium.vector.SyncVectorEnv([_Lamp] * size),
    lambda rng: 0.0,
    'start',
  ),
  'dm_env': lambda: environments.DmEnvBatch(
    _DmLamp,
    lambda rng: 0.0,
    lambda environment, start: _set(environment.lamp, start),
    get_info=lambda environment: environment.info,
    render=lambda environment: environment.lamp.render(),
  ),
  'jax': lambda: environments.batch(_JaxLamp()),
}
_TASKS = np.array([30.0, 60.0], np.float32)


def _policies():
  return [
    lambda x, action=action: np.full(x.shape[:2], action, int)
    for action in (0, 1)
  ]


@pytest.fixture
def written(monkeypatch):
  """What would be written."""
  calls = {}

  def write(path, rollouts, titles, **options):
    calls.update(rollouts=rollouts, titles=titles, **options)
    return path

  monkeypatch.setattr(films, 'write', write)
  return calls


@pytest.mark.parametrize('kind', _BATCHES)
def test_every_kind_is_drawn(kind, written, tmp_path):
  path = environments.render(
    _BATCHES[kind](),
    _policies(),
    tmp_path / 'film.mp4',
    tasks=_TASKS,
    num_rollouts=2,
    horizon=5,
  )
  assert path == tmp_path / 'film.mp4'
  levels = [film[:, 0, 0, 0].tolist() for film in written['rollouts']]
  # A row for each task, a column for each policy; what has ended stands still.
  assert levels == [
    [30, 40, 50, 60, 70, 80],
    [30, 50, 70, 90, 110, 110],
    [60, 70, 80, 90, 100, 100],
    [60, 80, 100, 100, 100, 100],
  ]
  assert written['titles'] == [
    'task 30, before adaptation: return 5.0, success 0',
    'task 30, after 1 step: return 4.0, success 1',
    'task 60, before adaptation: return 4.0, success 1',
    'task 60, after 1 step: return 2.0, success 1',
  ]
  assert written['num_columns'] == 2


def test_names_of_tasks():
  batch = environments.GymnasiumBatch(
    _Lamp, environments.TaskClasses({'dim': [1.5], 'bright': [b'a']}), _set
  )
  names = np.array(['dim', 'bright'])
  tasks = environments.ClassTask(names, np.array([1.5, 2]))
  assert filming.task_names(batch, tasks, 2) == ['dim 1.5', 'bright 2']
  plain = _gymnasium()
  pair = {'mass': np.array([0.5, 2]), 'wind': np.array([[1, 2], [3, 4]])}
  assert filming.task_names(plain, pair, 2) == [
    'task mass 0.5, wind 1, 2',
    'task mass 2, wind 3, 4',
  ]
  # There is no room for so many.
  many = {name: np.zeros(2) for name in 'abcd'}
  assert filming.task_names(plain, many, 2) == ['task 1', 'task 2']
  goals = np.array([[1.0, 2.0]])
  assert filming.task_names(plain, goals, 1) == ['task 1, 2']


def test_a_strip_is_written(tmp_path):
  image = pytest.importorskip('matplotlib.image')
  path = environments.render(
    _gymnasium(),
    _policies(),
    tmp_path / 'strip.png',
    tasks=_TASKS,
    num_rollouts=1,
    horizon=4,
    num_strip_frames=3,
  )
  # Small pictures are enlarged to 259 pixels, made even, below a caption.
  picture = image.imread(path)
  height = 5 * 37 + 1 + 20
  assert picture.shape[:2] == (4 * height, 3 * 260)
  assert picture[100, 300, 0] == pytest.approx(50 / 255, abs=0.01)


def test_which_kind_of_file():
  assert rendering.ending(environments.make('navigation_2d')) == '.png'
  trial = environments.TrialEnvironment(environments.make('navigation_2d'))
  assert rendering.ending(trial) == '.png'
  assert rendering.ending(_gymnasium()) == '.mp4'


def _refused(batch, kind=ValueError):
  batch.reset(_TASKS, 1, np.random.default_rng(0))
  with pytest.raises(kind) as info:
    filming.pictures(batch, [0])
  return str(info.value)


def test_mistakes_are_explained(monkeypatch):
  for name in ('gymnasium', 'vector'):
    with monkeypatch.context() as patch:
      patch.setattr(_Lamp, 'render', lambda self: None)
      assert "make it with render_mode='rgb_array'" in _refused(
        _BATCHES[name]()
      )
  with monkeypatch.context() as patch:
    patch.delattr(_JaxLamp, 'render')
    assert 'give it a method render(state)' in _refused(_BATCHES['jax']())
  no_hook = environments.DmEnvBatch(
    _DmLamp, lambda rng: 0.0, lambda e, start: _set(e.lamp, start)
  )
  assert 'give DmEnvBatch a function render' in _refused(no_hook)
  for frame, message in (
    (np.zeros((3, 4), np.uint8), r'shape \(3, 4\), need \[height'),
    (np.zeros((3, 4, 3)), 'numbers of type float64, need uint8'),
  ):
    monkeypatch.setattr(_Lamp, 'render', lambda self, frame=frame: frame)
    assert message.replace('\\', '') in _refused(_gymnasium())

  def fail(self):
    raise OSError('no display')

  monkeypatch.setattr(_Lamp, 'render', fail)
  message = _refused(_gymnasium(), RuntimeError)
  assert 'OSError: no display' in message and 'MUJOCO_GL=egl' in message


def test_without_any_method(tmp_path):
  class Plain:
    sample_tasks = reset = step = None

  with pytest.raises(ValueError, match='has no picture, need a method render'):
    environments.render(Plain(), _policies(), tmp_path / 'a.png', tasks=_TASKS)
