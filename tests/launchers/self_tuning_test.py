"""The studies of self-tuning as their user makes them."""

import csv
import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import self_tuning
from acme_metarl.environments import tabular_mdp
from acme_metarl.launchers.studies import self_tuning as study
from acme_metarl.launchers.studies import (
  self_tuning_games,
  self_tuning_gradients,
  self_tuning_runs,
)

_NAME = 'self_tuning'
_BASE = self_tuning.SelfTuningConfig(
  tuned=('discount', 'entropy_cost'),
  num_rollouts=2,
  horizon=2,
  hidden_sizes=(2,),
)


def _game():
  return self_tuning_games.Game(
    make=lambda: tabular_mdp.make(num_states=2, num_actions=2),
    base=_BASE,
    arms={'a2c': {'tuned': ()}, 'mgrl_k1': {}, 'mgrl_k3_outer': {}},
    num_steps=32,
    time_limit=3,
  )


@pytest.fixture
def _small(monkeypatch):
  monkeypatch.setitem(self_tuning_games.GAMES, 'small', _game())


@pytest.mark.usefixtures('_small')
class TestRuns:
  def test_writes_runs_table_and_figure_and_repeats_nothing(
    self, tmp_path, call_main, monkeypatch
  ):
    arguments = (
      _NAME,
      '--game=small',
      '--arms=a2c,mgrl_k1',
      '--num_points=4',
      '--num_seeds=2',
      '--seeds_at_once=2',
      f'--logdir={tmp_path}',
    )
    out, _ = call_main(*arguments)
    assert 'small.csv and small.png' in out
    run = json.loads((tmp_path / 'small/mgrl_k1/seed_1.json').read_text())
    assert run['curve']['steps'] == [8, 16, 24, 32]
    assert run['curve']['discount'][0] != run['curve']['discount'][-1]
    assert run['score'] == pytest.approx(run['curve']['return'][-1], rel=1e-5)
    with (tmp_path / 'small.csv').open() as file:
      rows = list(csv.DictReader(file))
    assert [row['arm'] for row in rows] == ['a2c', 'mgrl_k1']
    assert rows[0]['num_seeds'] == '2'
    assert float(rows[0]['final_discount']) == pytest.approx(0.99)
    curves = [
      json.loads((tmp_path / f'small/mgrl_k1/seed_{i}.json').read_text())
      for i in range(2)
    ]
    expected = np.mean([run['curve']['return'] for run in curves])
    assert float(rows[1]['training_mean']) == pytest.approx(expected, rel=1e-4)
    assert not list(tmp_path.rglob('partial*'))
    before = {
      x: x.stat().st_mtime_ns for x in (tmp_path / 'small').rglob('*.json')
    }
    assert len(before) == 4
    monkeypatch.setattr(self_tuning_runs, 'run', None)  # Nothing is missing.
    call_main(*arguments)
    assert before == {x: x.stat().st_mtime_ns for x in before}

  def test_what_was_ended_goes_on(self, tmp_path, monkeypatch):
    arguments = ('small', 'mgrl_k1', [3], 32, 4)
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    list(self_tuning_runs.run(whole, *arguments))
    monkeypatch.setattr(self_tuning_runs, '_SAVE_EVERY', 0.0)
    begun = self_tuning_runs.run(parts, *arguments)
    assert [next(begun), next(begun)] == [0.25, 0.5]
    begun.close()
    assert list(self_tuning_runs.run(parts, *arguments)) == [0.75, 1.0]
    curves = [
      json.loads(self_tuning_runs.path(x, 'small', 'mgrl_k1', 3).read_text())[
        'curve'
      ]
      for x in (whole, parts)
    ]
    assert curves[0] == curves[1]
    assert os.listdir(parts / 'small' / 'mgrl_k1') == ['seed_3.json']

  def test_time_can_be_up(self, tmp_path, capsys):
    config = study.Config(
      game='small', arms=('a2c',), num_seeds=2, num_points=1, max_minutes=0.0
    )
    with pytest.raises(ValueError, match='there is no run of small'):
      study.run(config, tmp_path)
    assert '2 runs are left' in capsys.readouterr().out

  def test_runs_of_another_length_are_not_mixed(self, tmp_path):
    config = study.Config(game='small', arms=('a2c',), num_seeds=1)
    study.run(dataclasses.replace(config, num_points=1), tmp_path)
    with pytest.raises(ValueError, match='has 32 steps, but num_steps is 64'):
      study.run(dataclasses.replace(config, num_steps=64), tmp_path)

  def test_times_arms_beside_one_another(self):
    rows = self_tuning_runs.speed('small', ['a2c', 'mgrl_k1'], 2, 1)
    assert rows[0]['times_a2c'] == 1.0
    assert all(row['steps_per_cpu_second'] > 0 for row in rows)


@pytest.mark.usefixtures('_small')
def test_measures_meta_gradients(tmp_path, monkeypatch):
  for name, value in (
    ('_FACTOR', 2),
    ('_NUM_CHECKPOINTS', 1),
    ('_NUM_SAMPLES', 3),
    ('_WARM_UP', 2),
  ):
    monkeypatch.setattr(self_tuning_gradients, name, value)
  self_tuning_gradients.run(tmp_path, 'small', ['a2c', 'mgrl_k1'], 8, 0)
  with (tmp_path / 'small_meta_gradients.csv').open() as file:
    (row,) = csv.DictReader(file)
  assert row['arm'] == 'mgrl_k1'
  assert -1 <= float(row['correlation']) <= 1
  assert float(row['relative_variance']) > 0
  # What is there is not measured again.
  monkeypatch.setattr(self_tuning_gradients, 'accuracy', None)
  self_tuning_gradients.run(tmp_path, 'small', ['a2c', 'mgrl_k1'], 8, 0)
  with (tmp_path / 'small_meta_gradients.csv').open() as file:
    assert list(csv.DictReader(file)) == [row]
  with pytest.raises(TypeError):  # Another seed is.
    self_tuning_gradients.run(tmp_path, 'small', ['mgrl_k1'], 8, 1)


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--game=pong', "game has 'pong'; choose from discounting_chain"),
    ('--arms=a2c,b', "arms has 'b'; choose from a2c, mg"),
    ('--num_seeds=0', 'num_seeds is 0'),
    ('--measure=speeds', 'need one of returns'),
  ],
)
def test_mistakes_are_a_sentence(call_main, tmp_path, flag, sentence):
  with pytest.raises(SystemExit) as error:
    call_main(_NAME, flag, f'--logdir={tmp_path}')
  assert sentence in str(error.value)


def test_values_of_the_chain_are_true():
  """Backwards along the chain, as its rules say."""
  config = self_tuning_games.GAMES['discounting_chain'].config('mg_outer')
  networks = self_tuning_games.chain_networks(config)
  params = networks.init(jax.random.PRNGKey(0), jnp.zeros(2))
  params = jax.tree.map(
    lambda x: x + jnp.arange(x.size).reshape(x.shape), params
  )
  numbers = config.hyperparameters._replace(discount=0.9)
  for field, discount in (('value', 0.9), ('outer_value', 1.0)):
    firsts = []
    for action, (when, size) in enumerate(
      zip((1, 3, 10, 30, 100), (1, 1, 1, 1.1, 1), strict=True)
    ):
      expected = np.zeros(101)
      for time in range(99, -1, -1):
        reward = size if time + 1 == when else 0.0
        expected[time] = reward + discount * expected[time + 1]
      observation = jnp.array([[action, time / 100] for time in range(1, 101)])
      found = getattr(networks.apply(params, observation, numbers), field)
      np.testing.assert_allclose(found, expected[1:], rtol=1e-5, atol=1e-7)
      firsts.append(expected[0])
    start = networks.apply(params, jnp.array([-1.0, 0.0]), numbers)
    np.testing.assert_allclose(
      getattr(start, field),
      start.distribution.probs @ np.array(firsts),
      rtol=1e-5,
    )


def test_arms_are_what_they_are_called():
  games = self_tuning_games.GAMES
  assert games['breakout'].config('a2c').tuned == ()
  assert games['breakout'].config('order_2_k3_outer').critic == 'outer'
  assert games['breakout'].config('lvc_k3').evaluator_options == {'order': 1}
  assert games['snake'].config('bmg').bootstrap_steps == 1
  assert games['snake'].config('bmg').critic_torso is not None
  assert games['snake_shared_torso'].config('bmg').critic_torso is None
  for game in games.values():
    for arm in game.arms:
      config = game.config(arm)
      assert ('outer' in arm) == (config.critic == 'outer')
      assert ('k3' in arm) <= (config.num_inner_steps == 3)
