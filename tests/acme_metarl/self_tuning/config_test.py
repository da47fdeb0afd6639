"""What a configuration refuses, and counts."""

import pytest

from acme_metarl import evaluators, self_tuning


@pytest.mark.parametrize(
  ('settings', 'sentence'),
  [
    ({'num_inner_steps': 0}, 'num_inner_steps'),
    ({'horizon': 0}, 'horizon'),
    ({'num_rollouts': 2.5}, 'num_rollouts'),
    ({'bootstrap_steps': -1}, 'bootstrap_steps must be .* but got -1'),
    ({'bootstrap_steps': 1.5}, 'bootstrap_steps must be .* but got 1.5'),
    ({'reuses_validation': 1}, 'reuses_validation must be True or False'),
    ({'optimizer': 1e-3}, 'optimizer is 0.001; it needs to be an optax'),
    ({'meta_optimizer': None}, 'meta_optimizer is None; it needs'),
    ({'outer_discount': 1.5}, r'outer_discount is 1.5; .* \[0, 1\]'),
    ({'target_optimizer': 0.1}, 'target_optimizer is 0.1; it needs to be an'),
    ({'outer_entropy_cost': -1.0}, 'outer_entropy_cost is -1.0'),
    ({'critic': 'inner'}, "critic is 'inner'; choose from shared"),
    ({'evaluator': 'dice'}, "evaluator is 'dice'; choose from log_likelihood"),
    (
      {'evaluator': evaluators.importance_sampling},
      'evaluator is .* needs to take `lambda_`',
    ),
    (
      {'evaluator_options': 2},
      'evaluator_options is 2; it needs to be options',
    ),
    (
      {'evaluator_options': {'order': 2}},
      r"evaluator_options has \['order'\]; what can be set are",
    ),
    (
      {'evaluator_options': {'lambda_': 0.5}},
      r"evaluator_options has \['lambda_'\].* λ is among the hyperparameters",
    ),
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
