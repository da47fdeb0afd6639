"""The agent on a game, and a run that goes on; Atari itself is optional."""

import csv
import dataclasses
import os

import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_metarl import self_tuning

atari_study = pytest.importorskip(
  'acme_metarl.launchers.studies.self_tuning_atari', reason='needs Acme'
)

_CONFIG = atari_study.Config(
  num_frames=120, num_inner_steps=1, num_rollouts=2, horizon=3, replay='local'
)


def test_the_agent_is_that_of_the_study():
  published = self_tuning.SelfTuningConfig()
  algorithm = atari_study.Config(num_inner_steps=3).agent.algorithm
  assert algorithm.tuned == published.tuned
  assert algorithm.num_inner_steps == 3
  assert algorithm.num_rollouts * algorithm.horizon == 320
  assert atari_study.Config(num_inner_steps=0).agent.algorithm.tuned == ()
  second = atari_study.Config(evaluator='taylor_expansion', order=2).agent
  assert second.algorithm.evaluator_options == {'order': 2}


class _Game(dm_env.Environment):
  """Five steps an episode; the return, not clipped, is 7."""

  episode_return = 7.0

  def reset(self):
    self._step = 0
    return dm_env.restart(self._show())

  def step(self, action):
    self._step += 1
    if self._step == 5:
      return dm_env.termination(np.float32(1), self._show())
    return dm_env.transition(np.float32(0), self._show(), np.float32(1))

  def _show(self):
    return np.full((4, 4, 1), 50 * self._step, np.uint8)

  def observation_spec(self):
    return specs.BoundedArray((4, 4, 1), np.uint8, 0, 255)

  def action_spec(self):
    return specs.DiscreteArray(2)


def test_trains_and_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(atari_study, '_SAVE_EVERY', 0.0)
  rows = atari_study.train(_CONFIG, _Game(), tmp_path)
  assert [row['frames'] for row in rows] == [20, 40, 60, 80, 100, 120]
  assert {row['episode_return'] for row in rows} == {7.0}
  assert rows[-1]['num_updates'] == 5  # 30 steps in batches of 6.
  longer = dataclasses.replace(_CONFIG, num_frames=200)
  more = atari_study.train(longer, _Game(), tmp_path)
  assert more[:6] == rows
  assert len(more) == 10
  assert more[6]['num_updates'] >= rows[-1]['num_updates']
  assert os.listdir(tmp_path) == ['partial_breakout_0.npz']


def test_draws_and_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(atari_study.atari, 'make', lambda *_, **__: _Game())
  names = atari_study.run(
    dataclasses.replace(_CONFIG, num_inner_steps=0), tmp_path
  )
  assert names == ['breakout_0.csv', 'breakout_0.png']
  with (tmp_path / 'breakout_0.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 6
  assert {row['discount'] for row in rows} == {'0.99'}


def test_mistakes_are_a_sentence(call_main, tmp_path):
  for flag, sentence in {
    '--num_frames=0': 'num_frames is 0',
    '--evaluator=dice': "evaluator is 'dice'; choose from",
    '--critic=inner': "critic is 'inner'; choose from",
    '--order=2': "evaluator_options has ['order']",
  }.items():
    with pytest.raises(SystemExit) as error:
      call_main('self_tuning_atari', flag, f'--logdir={tmp_path}')
    assert sentence in str(error.value)
