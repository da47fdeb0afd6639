import pytest

from acme_metarl import presets
from acme_metarl.agents import maml


def test_defaults_are_those_of_the_main_job():
  config = maml.MAMLConfig()
  assert config.algorithm == presets.make('promp_taypo2')
  assert config.reuse == 1
  assert config.queue_size(40) == 120


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    ({'algorithm': 'promp'}, 'algorithm: .*AlgorithmConfig'),
    ({'reuse': 0}, 'reuse: got 0'),
    ({'max_queue_size': 39}, 'max_queue_size: got 39.*40 tasks'),
    (
      {'algorithm': presets.make('promp', num_rollouts=1)},
      'num_rollouts: got 1.*normalize_advantages',
    ),
  ],
)
def test_refuses(overrides, message):
  with pytest.raises(ValueError, match=message):
    maml.MAMLConfig(**overrides)


def test_one_rollout_is_fine_without_normalisation():
  algorithm = presets.make('promp', num_rollouts=1, normalize_advantages=False)
  assert maml.MAMLConfig(algorithm).algorithm.num_rollouts == 1


def test_queue_must_hold_what_is_inserted_at_once():
  config = maml.MAMLConfig(max_queue_size=40)
  assert config.queue_size(1) == 40
  with pytest.raises(ValueError, match='max_queue_size: got 40.*49'):
    config.queue_size(10)
