import pytest

from acme_metarl import presets
from acme_metarl.agents import maml

_EVOLUTION = dict(
  meta_gradient='evolution_strategies',
  num_outer_epochs=1,
  inner_kl_coefficient=0,
)


def test_defaults_are_those_of_the_main_job():
  config = maml.MAMLConfig()
  assert config.algorithm == presets.make('promp_taypo2')
  assert config.reuse == 1
  assert config.queue_size(40) == 120


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    ({'algorithm': 'promp'}, 'algorithm: .*AlgorithmConfig'),
    (
      {'algorithm': presets.make('promp', **_EVOLUTION)},
      "meta_gradient: got 'evolution_strategies'.*on device",
    ),
    ({'reuse': 0}, 'reuse: got 0'),
    ({'reuse': 1.5}, 'reuse: got 1.5, need an integer'),
    ({'max_lag': -1}, 'max_lag: got -1, need an integer of at least 0'),
    ({'max_lag': 'none'}, "max_lag: got 'none'"),
    (
      {'algorithm': presets.make('trpo_maml'), 'reuse': 2, 'max_lag': 3},
      "reuse: got 2, .*evaluator='log_likelihood'.*max_lag=3.*Use reuse=1",
    ),
    ({'max_queue_size': 50.0}, 'max_queue_size: got 50.0, need an integer'),
    ({'max_queue_size': 39}, 'max_queue_size: got 39.*40 tasks'),
  ],
)
def test_refuses(overrides, message):
  with pytest.raises(ValueError, match=message):
    maml.MAMLConfig(**overrides)


def test_queue_must_hold_what_is_inserted_at_once():
  config = maml.MAMLConfig(max_queue_size=40)
  assert config.queue_size(1) == 40
  with pytest.raises(ValueError, match='max_queue_size: got 40.*49'):
    config.queue_size(10)


def test_bounds_the_lag_of_what_ratios_do_not_correct():
  off_policy, on_policy = presets.make('promp'), presets.make('trpo_maml')
  assert not maml.MAMLConfig(off_policy, reuse=3, max_lag=1).drops_older
  assert maml.MAMLConfig(on_policy, max_lag=0).drops_older
  assert not maml.MAMLConfig(on_policy).drops_older


def test_warns_of_reuse_that_ratios_do_not_correct():
  with pytest.warns(UserWarning, match='reuse: got 2.*biased') as caught:
    maml.MAMLConfig(presets.make('vpg_maml'), reuse=2)
  assert caught[0].filename == __file__
