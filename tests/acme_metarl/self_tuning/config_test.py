"""What a configuration refuses, and counts."""

import pytest

from acme_metarl import self_tuning


@pytest.mark.parametrize(
  ('settings', 'sentence'),
  [
    ({'num_inner_steps': 0}, 'num_inner_steps'),
    ({'horizon': 0}, 'horizon'),
    ({'num_rollouts': 2.5}, 'num_rollouts'),
    ({'bootstrap_steps': -1}, 'bootstrap_steps is -1'),
    ({'outer_discount': 1.5}, r'outer_discount is 1.5; .* \[0, 1\]'),
    ({'outer_entropy_cost': -1.0}, 'outer_entropy_cost is -1.0'),
    ({'critic': 'inner'}, "critic is 'inner'; choose from shared"),
    ({'evaluator': 'dice'}, "evaluator is 'dice'; choose from log_likelihood"),
    ({'tuned': ['gamma']}, "tuned has 'gamma'"),
    (
      {'hyperparameters': self_tuning.Hyperparameters(discount=1.0)},
      'discount starts at 1.0',
    ),
  ],
)
def test_mistakes_are_a_sentence(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    self_tuning.SelfTuningConfig(**settings)


@pytest.mark.parametrize(
  ('settings', 'expected'),
  [
    ({}, 3),
    ({'reuses_validation': False}, 4),
    ({'bootstrap_steps': 1}, 3),
    ({'bootstrap_steps': 3}, 5),
    ({'tuned': ()}, 3),
    ({'tuned': (), 'reuses_validation': False}, 3),
  ],
)
def test_counts_rollouts(settings, expected):
  config = self_tuning.SelfTuningConfig(num_inner_steps=3, **settings)
  assert config.rollouts_per_iteration == expected
