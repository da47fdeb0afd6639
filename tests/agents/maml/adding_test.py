import threading
import time

from acme import specs
import dm_env
import jax
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.agents import maml
from acme_metarl.agents.maml import items, networks, replay

_G, _B, _T = 2, 3, 5


class _Numbered:
  """Counts; rollout (0, 1) terminates after its second step."""

  def observation_spec(self):
    return {
      'n': dm_env.specs.Array((2,), np.float32),
      'm': dm_env.specs.Array((), np.float32),
    }

  def action_spec(self):
    return dm_env.specs.Array((2,), np.float32)

  def sample_tasks(self, rng, num_tasks):
    return np.arange(num_tasks)

  def _observation(self):
    n = np.stack([self._ids, np.full_like(self._ids, self._step)], axis=-1)
    return {'n': n.astype(np.float32), 'm': self._ids.astype(np.float32)}

  def reset(self, tasks, num_rollouts, rng):
    self._step = 0
    rollouts = np.arange(num_rollouts)
    self._ids = 10.0 * np.asarray(tasks)[:, None] + rollouts[None]
    return self._observation()

  def step(self, action):
    self._step += 1
    reward = (self._ids + self._step / 10).astype(np.float32)
    discount = np.ones(self._ids.shape, np.float32)
    discount[0, 1] = self._step < 2
    return self._observation(), reward, discount


def _trial_environment(num_tasks=_G):
  return environments.TrialEnvironment(
    _Numbered(), num_tasks, _B, _T, num_inner_steps=1
  )


def _play(environment, recorder, params=(), learner_step=7):
  """Plays a trial of recognisable actions; returns nothing but the record."""
  timestep = environment.reset()
  recorder.add_first(timestep)
  step = 0
  shape = environment.reward_spec().shape
  while not timestep.last():
    action = np.full((*shape, 2), step, np.float32)
    extras = maml.Extras(
      np.full(shape, -step, np.float32), params, np.int32(learner_step)
    )
    timestep = environment.step(action)
    recorder.add(action, timestep, extras)
    step += 1


@pytest.fixture(scope='module')
def item():
  def spec_of(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)

  sampled = networks.SampledActions(
    action=spec_of(_G, _B, 2), log_prob=spec_of(_G, _B), params=()
  )
  return items.item_spec(
    specs.make_environment_spec(_trial_environment()), sampled, 2, _T
  )


def _check(stages, task):
  """Checks blocks `[K+1, B, T, ...]` of a task against the definitions."""
  for stage in range(2):
    for rollout in range(_B):
      number = 10 * task + rollout
      for t in range(_T):
        where = (stage, rollout, t)
        is_over = (task, rollout) == (0, 1) and t >= 2
        # Between the stages there is one loop step whose action is ignored.
        loop_step = stage * (_T + 1) + t
        assert stages.action[where].tolist() == [loop_step] * 2
        assert stages.behaviour_log_prob[where] == -loop_step
        assert stages.mask[where] == (not is_over)
        ends = (task, rollout, t) == (0, 1, 1) or t == _T - 1
        assert stages.discount[where] == (not is_over and not ends)
        expected = 0 if is_over else number + (t + 1) / 10
        assert stages.reward[where] == pytest.approx(expected)
      for t in range(_T + 1):
        frozen = min(t, 2) if (task, rollout) == (0, 1) else t
        n = stages.observation['n'][stage, rollout, t]
        assert n.tolist() == [number, frozen]
        assert stages.observation['m'][stage, rollout, t] == number


def test_records_every_step_where_it_belongs(item):
  recorder = maml.TrialRecorder(item, _G)
  environment = _trial_environment()
  for _ in range(2):  # The second trial overwrites the first.
    _play(environment, recorder)
  for task in range(_G):
    _check(jax.tree_util.tree_map(lambda x, g=task: x[g], recorder.trial), task)
  stage = recorder.stage(1)
  assert stage.reward.shape == (_G, _B, _T)
  assert stage.observation['n'].shape == (_G, _B, _T + 1, 2)


def test_inserts_one_item_per_task(item):
  table = replay.make_table('trials', item, max_size=10, reuse=1)
  with replay.serve([table]) as client:
    adder = maml.TrialAdder(item, _G, client, 'trials')
    environment = _trial_environment()
    _play(environment, adder, learner_step=7)
    assert replay.connect(client, 'trials').counts().size == _G
    _play(environment, adder, learner_step=8)
    batch = next(replay.batches(client, 'trials', 2 * _G, reuse=1)).data
  assert isinstance(batch, maml.Item)
  assert batch.learner_step.tolist() == [7, 7, 8, 8]
  # Numbered by the adder, over all its trials.
  assert batch.identity[:, 1].tolist() == [0, 1, 2, 3]
  assert len(set(batch.identity[:, 0].tolist())) == 1
  assert batch.stages.behaviour_params == ()
  for index in range(2 * _G):
    stages = jax.tree_util.tree_map(lambda x, i=index: x[i], batch.stages)
    _check(stages, task=index % _G)
  expected = jax.tree_util.tree_map(lambda x: (x.shape, x.dtype), item)
  got = jax.tree_util.tree_map(lambda x: (x.shape[1:], x.dtype), batch)
  assert got == expected


def test_unfinished_trial_is_forgotten(item):
  table = replay.make_table('trials', item, max_size=10, reuse=1)
  with replay.serve([table]) as client:
    adder = maml.TrialAdder(item, _G, client, 'trials')
    environment = _trial_environment()
    timestep = environment.reset()
    adder.add_first(timestep)
    action = np.zeros((_G, _B, 2), np.float32)
    extras = maml.Extras(np.zeros((_G, _B), np.float32), (), 0)
    adder.add(action, environment.step(action), extras)
    adder.reset()
    _play(_trial_environment(), adder)
    batch = next(replay.batches(client, 'trials', _G, reuse=1)).data
    assert replay.connect(client, 'trials').counts().size == 0
  _check(jax.tree_util.tree_map(lambda x: x[1], batch.stages), task=1)


@pytest.mark.parametrize(
  ('horizon', 'num_inner_steps', 'message'),
  [
    (_T + 1, 1, 'a stage is longer'),
    (_T - 1, 1, 'a stage ended early'),
    (_T, 2, 'a trial has more stages'),
    (_T, 0, 'a trial ended early'),
  ],
)
def test_refuses_other_trials(item, horizon, num_inner_steps, message):
  environment = environments.TrialEnvironment(
    _Numbered(), _G, _B, horizon, num_inner_steps
  )
  with pytest.raises(ValueError, match=message):
    _play(environment, maml.TrialRecorder(item, _G))


def test_waits_for_room_and_gives_up_when_stopped(item):
  table = replay.make_table('trials', item, max_size=_G, reuse=1)
  stop = threading.Event()
  with replay.serve([table]) as client:
    adder = maml.TrialAdder(item, _G, client, 'trials', stop.is_set)
    _play(_trial_environment(), adder)
    second = threading.Thread(
      target=_play, args=(_trial_environment(), adder), daemon=True
    )
    second.start()
    time.sleep(0.3)
    assert second.is_alive()
    # Room for the second trial lets it through.
    next(replay.batches(client, 'trials', _G, reuse=1))
    second.join(10)
    assert not second.is_alive()
    third = threading.Thread(
      target=_play, args=(_trial_environment(), adder), daemon=True
    )
    third.start()
    stop.set()
    third.join(10)
    assert not third.is_alive()
    next(replay.batches(client, 'trials', _G, reuse=1))


def test_what_is_not_finite_and_not_real_is_stored_as_zero(item):
  recorder = maml.TrialRecorder(item, _G)
  environment = _trial_environment()
  timestep = environment.reset()
  recorder.add_first(timestep)
  action = np.zeros((_G, _B, 2), np.float32)
  action[0, 1] = np.nan
  log_prob = np.full((_G, _B), -1, np.float32)
  log_prob[0, 1] = np.nan
  mask = np.ones((_G, _B), np.float32)
  mask[0, 1] = 0
  timestep = environment.step(np.nan_to_num(action))
  timestep = timestep._replace(
    observation=timestep.observation._replace(mask=mask)
  )
  recorder.add(action, timestep, maml.Extras(log_prob, (), np.int32(0)))
  stage = recorder.stage(0)
  assert stage.action[0, 1, 0].tolist() == [0, 0]
  assert stage.behaviour_log_prob[:, :, 0].tolist() == [[-1, 0, -1], [-1] * 3]
