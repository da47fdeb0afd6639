"""Tests of vector: the numbers of the adapter with an object a rollout."""

import numpy as np
import pytest

from acme_metarl import environments
from tests.environments import drawn_environments as drawn_lib

gymnasium = pytest.importorskip('gymnasium')
G, B, T, K = 2, 3, 6, 1
MODES = list(gymnasium.vector.AutoresetMode)


class Walk(gymnasium.Env):
  """Moves; ends, one way or the other, when it is far to the right or up."""

  observation_space = gymnasium.spaces.Dict(
    place=gymnasium.spaces.Box(-9.0, 9.0, (2,), np.float64),
    time=gymnasium.spaces.Discrete(100, start=1),
  )
  action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
  goal = None

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._place = self.np_random.uniform(-0.2, 0.2, size=2)
    self._time = 1
    return self._show(), {}

  def step(self, action):
    self._place = self._place + action
    self._time += 1
    reward = -np.linalg.norm(self._place - self.goal)
    x, y = self._place
    info = {'success': bool(x > 0), 'height': y, 'name': 'walk'}
    if self._time == 3:
      info['third'] = np.float64(self._time)
    return self._show(), reward, bool(x > 0.4), bool(y > 0.4), info

  def _show(self):
    return {'place': self._place, 'time': self._time}


class Shift(gymnasium.Env):
  """Shows its action; both count from 5."""

  observation_space = gymnasium.spaces.Discrete(3, start=5)
  action_space = gymnasium.spaces.Discrete(3, start=5)
  goal = None

  def reset(self, *, seed=None, options=None):
    return 5, {}

  def step(self, action):
    assert self.action_space.contains(action)
    return int(action), float(self.goal), False, False, {}


def _sample_task(rng):
  return rng.uniform(-1, 1, size=2)


def _set_task(environment, goal):
  environment.unwrapped.goal = goal


def _vector(mode, kind='sync', **options):
  make = {
    'sync': gymnasium.vector.SyncVectorEnv,
    'async': gymnasium.vector.AsyncVectorEnv,
  }[kind]
  return environments.GymnasiumVectorBatch(
    lambda size: make([Walk] * size, autoreset_mode=mode),
    _sample_task,
    **{'set_tasks': 'goal', **options},
  )


def _play(batch, **options):
  """Time steps and info of a trial."""
  trial = environments.TrialEnvironment(batch, G, B, T, K, seed=3, **options)
  rng = np.random.default_rng(0)
  rows = [(trial.reset(), trial.info)]
  while not rows[-1][0].last():
    action = rng.normal(0.5, 1.5, size=(G, B, 2)).astype(np.float32)
    rows.append((trial.step(action), trial.info))
  trial.close()
  return rows


@pytest.fixture(scope='module')
def expected():
  rows = _play(environments.GymnasiumBatch(Walk, _sample_task, _set_task))
  # Some end, and not all at once.
  assert 0 < rows[T][0].observation.mask.sum() < G * B
  return rows


def _assert_same(rows, expected):
  assert len(rows) == len(expected)
  for (row, info), (other, other_info) in zip(rows, expected, strict=True):
    for name in ('reward', 'discount'):
      np.testing.assert_array_equal(getattr(row, name), getattr(other, name))
    for name in ('place', 'time'):
      np.testing.assert_array_equal(
        row.observation.observation[name], other.observation.observation[name]
      )
    np.testing.assert_array_equal(row.observation.mask, other.observation.mask)
    for name in {*info, *other_info}:
      missing = np.full((G, B), np.nan)
      np.testing.assert_array_equal(
        info.get(name, missing), other_info.get(name, missing)
      )


@pytest.mark.parametrize('mode', MODES)
def test_equals_an_object_for_each_rollout(mode, expected):
  _assert_same(_play(_vector(mode)), expected)


@pytest.mark.parametrize('mode', MODES)
def test_in_processes(mode, expected):
  if mode is gymnasium.vector.AutoresetMode.SAME_STEP:
    _assert_same(_play(_vector(mode, 'async')), expected)
  else:
    batch = _vector(mode, 'async')
    assert batch.reset(np.zeros((1, 2)), 1, np.random.default_rng(0))
    batch.close()


def test_wrapped_and_a_function_that_sets_tasks(expected):
  def set_tasks(vector, tasks):
    assert len(tasks) == G * B
    vector.unwrapped.set_attr('goal', tasks)

  batch = environments.GymnasiumVectorBatch(
    lambda size: gymnasium.wrappers.vector.RecordEpisodeStatistics(
      gymnasium.vector.SyncVectorEnv([Walk] * size)
    ),
    _sample_task,
    set_tasks,
  )
  rows = _play(batch)
  _assert_same([(row, {}) for row, _ in rows], [(r, {}) for r, _ in expected])


def test_discrete_spaces_that_start_elsewhere():
  batch = environments.GymnasiumVectorBatch(
    lambda size: gymnasium.vector.SyncVectorEnv([Shift] * size),
    lambda rng: 3,
    'goal',
  )
  trial = environments.TrialEnvironment(batch, G, B, T, K)
  np.testing.assert_array_equal(trial.reset().observation.observation, 0)
  action = np.arange(G * B).reshape(G, B) % 3
  time_step = trial.step(action)
  np.testing.assert_array_equal(time_step.observation.observation, action)
  np.testing.assert_array_equal(time_step.reward, 3)


def test_one_that_is_vectorised_by_itself():
  batch = environments.GymnasiumVectorBatch(
    lambda size: gymnasium.make_vec(
      'CartPole-v1', num_envs=size, vectorization_mode='vector_entry_point'
    ),
    lambda rng: (),
    lambda vector, tasks: None,
  )
  trial = environments.TrialEnvironment(batch, G, B, 40, 0, seed=1)
  start = trial.reset().observation.observation
  assert len(np.unique(start[..., 0])) == G * B
  mask = np.ones((G, B))
  for _ in range(40):
    time_step = trial.step(np.ones((G, B), int))
    # Once ended, a rollout stays so, though its environment goes on.
    assert (time_step.observation.mask <= mask).all()
    mask = time_step.observation.mask
  assert not mask.any()


def test_refused():
  with pytest.raises(ValueError, match='factory: it returned'):
    environments.GymnasiumVectorBatch(lambda size: Walk(), _sample_task, 'goal')
  with pytest.raises(ValueError, match='set_tasks'):
    _vector(MODES[0], set_tasks=None)
  one = Walk()
  batch = environments.GymnasiumVectorBatch(
    lambda size: gymnasium.vector.SyncVectorEnv([lambda: one] * size),
    _sample_task,
    'goal',
  )
  with pytest.raises(ValueError, match='factory.*same Walk'):
    batch.reset(np.zeros((2, 2)), 1, np.random.default_rng(0))
  with pytest.raises(ValueError, match='call reset first'):
    _vector(MODES[0]).step(np.zeros((1, 1, 2)))


def _reset(factory, set_tasks='goal'):
  batch = environments.GymnasiumVectorBatch(
    lambda size: gymnasium.vector.SyncVectorEnv([factory] * size),
    _sample_task,
    set_tasks,
  )
  rng = np.random.default_rng(0)
  batch.reset(batch.sample_tasks(rng, 2), 1, rng)
  return batch


def test_environments_that_depend_on_the_task_or_have_no_seed():
  class Wide(Walk):
    @property
    def action_space(self):
      return gymnasium.spaces.Box(-1.0, 1.0, (2 if self.goal is None else 3,))

  class Long(Walk):
    @property
    def observation_space(self):
      return gymnasium.spaces.Discrete(2 if self.goal is None else 3)

  class Unseeded(Walk):
    def reset(self):
      return self._show(), {}

  with pytest.raises(ValueError, match='SyncVectorEnv.*its actions are.*task,'):
    _reset(Wide)
  with pytest.raises(ValueError, match='its observations are int.*task, so'):
    _reset(Long)
  with pytest.raises(ValueError, match='SyncVectorEnv.* its reset takes no se'):
    _reset(Unseeded)


def test_tasks_that_would_be_kept_in_a_wrapper():
  def wrapped():
    return gymnasium.wrappers.TimeLimit(Walk(), 9)

  batch = _reset(wrapped)
  inside = [one.unwrapped.goal for one in batch._vector.envs]
  assert len({tuple(goal) for goal in inside}) == 2
  with pytest.raises(ValueError, match="wrapped and have no attribute 'gaol'"):
    _reset(wrapped, 'gaol')
  with pytest.raises(
    ValueError, match='SyncVectorEnv.* has no set_task, which'
  ):
    _reset(wrapped, lambda vector, tasks: vector.set_task(tasks))


@pytest.mark.parametrize('is_vector', [False, True])
def test_hidden_successes(is_vector, monkeypatch):
  """One that is no number is refused, as is one that was promised."""

  def play(info, **options):
    walked = Walk.step
    with monkeypatch.context() as patch:
      patch.setattr(
        Walk, 'step', lambda self, action: (*walked(self, action)[:4], info)
      )
      if is_vector:
        batch = _vector(MODES[0], **options)
      else:
        batch = environments.GymnasiumBatch(
          Walk, _sample_task, _set_task, **options
        )
      rng = np.random.default_rng(0)
      batch.reset(batch.sample_tasks(rng, 1), 2, rng)
      batch.step(np.zeros((1, 2, 2)))
    return batch.info

  for yes in (True, np.True_, np.array(True), 1, np.float32(1)):
    info = play({'success': yes}, reports=['success'])
    np.testing.assert_array_equal(info['success'], [[1, 1]])
  for wrong in ('yes', None, np.ones(3), {'now': 1}):
    with pytest.raises(ValueError, match=r"Walk.*info\['success'\] is|number"):
      play({'success': wrong})
  with pytest.raises(ValueError, match='reported height, but not success, '):
    play({'height': 2.0}, reports=['height', 'success'])
  assert 'success' not in play({'height': 2.0})
  with pytest.raises(ValueError, match="reports: got 'success', need a seq"):
    play({}, reports='success')


def test_info_by_stage_and_task(expected):
  """A table made by the recorder, and one made by hand."""
  batch = environments.GymnasiumBatch(Walk, _sample_task, _set_task)
  trial = environments.TrialEnvironment(batch, G, B, T, K, seed=3)
  rng = np.random.default_rng(0)
  recorder = environments.InfoRecorder()
  time_step = trial.reset()
  recorder.observe_first(trial, time_step)
  assert not trial.info
  while not time_step.last():
    action = rng.normal(0.5, 1.5, size=(G, B, 2)).astype(np.float32)
    time_step = trial.step(action)
    recorder.observe(trial, time_step, action)
  steps = recorder.steps()
  assert set(steps) == {'success', 'height', 'third'}
  assert steps['success'].shape == (K + 1, G, B, T)
  for stage in range(K + 1):
    rows = expected[1 + stage * (T + 1) : (stage + 1) * (T + 1)]
    for g, b in np.ndindex(G, B):
      values = []
      for t, (row, _) in enumerate(rows):
        value = steps['success'][stage, g, b, t]
        is_real = row.observation.mask[g, b] == 1
        assert np.isnan(value) == (not is_real)
        if is_real:
          x = row.observation.observation['place'][g, b, 0]
          assert value == (x > 0)
          values.append(value)
      third = steps['third'][stage, g, b]
      assert np.isnan(third[[0, 2, 3, 4, 5]]).all()
      assert len(values) < 2 or third[1] == 3
    ever = np.nanmax(steps['success'][stage], axis=-1).mean(axis=-1)
    np.testing.assert_allclose(recorder.ever()['success'][stage], ever)
    last = [
      [row[~np.isnan(row)][-1] for row in task]
      for task in steps['height'][stage]
    ]
    np.testing.assert_allclose(
      recorder.last()['height'][stage], np.mean(last, axis=-1), rtol=1e-6
    )
    mean = np.nanmean(steps['height'][stage], axis=-1).mean(axis=-1)
    np.testing.assert_allclose(
      recorder.mean()['height'][stage], mean, rtol=1e-5
    )
  metrics = recorder.get_metrics()
  assert metrics['success_ever_0'] == pytest.approx(
    recorder.ever()['success'][0].mean()
  )
  assert metrics['height_last_1'] == pytest.approx(
    recorder.last()['height'][1].mean()
  )


def test_info_of_dm_env_and_of_a_batch():
  script = drawn_lib.Script(
    kind='dm_env',
    leaves=(drawn_lib.Leaf((1,), 'float32'),),
    container='dict',
    action=drawn_lib.Action('discrete', (0,), (1,)),
    tasks=(1, 2),
    reward='constant',
    end_every=1,
    end_at=2,
    is_cut=False,
    diverge_at=9,
    diverges_in='reward',
    lie='',
    lie_at=1,
    reuses_buffer=False,
    writes=False,
  )
  batch = environments.DmEnvBatch(
    lambda: drawn_lib.ScriptedDmEnv(script, []),
    lambda rng: 1,
    lambda environment, task: environment.set_task(task),
    set_seed=lambda environment, seed: environment.set_seed(seed),
    get_info=lambda environment: {'time': environment._time, 'text': 'a'},
  )
  trial = environments.TrialEnvironment(batch, G, B, 3, 0)
  trial.reset()
  seen = []
  for _ in range(3):
    trial.step(np.zeros((G, B), int))
    seen.append(trial.info['time'][0, 0])
  np.testing.assert_array_equal(seen, [1, 2, np.nan])
  assert set(trial.info) == {'time'}
