"""Settings that differ by environment."""

from absl import flags
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import flags as run_flags
from acme_metarl.launchers.runs import recommended


def _algorithm(*arguments, overrides=()):
  values = flags.FlagValues()
  run_flags.define(values)
  values(['train', *arguments])
  return run_flags.config_from_flags(dict(overrides), values).algorithm


def test_the_recommended_algorithm_differs_by_environment():
  navigation = _algorithm('--algorithm=recommended')
  assert navigation.uses_trust_region
  assert navigation.max_epoch_kl is None
  assert navigation.evaluator_options == {'order': 2, 'causal_lambda': 0.8}
  assert navigation.inner_learning_rate == 0.2
  robot = _algorithm(
    '--algorithm=recommended', '--environment=half_cheetah_direction'
  )
  expected = presets.make('recommended', num_iterations=robot.num_iterations)
  assert robot == expected
  assert robot.evaluator_options == {'order': 2, 'causal_lambda': 0.3}
  assert not robot.uses_trust_region


def test_what_is_asked_for_counts_more():
  own = _algorithm(
    '--algorithm=recommended',
    overrides={
      'max_kl': '0.05',
      'evaluator_options.causal_lambda': '0.9',
    },
  )
  assert own.max_kl == 0.05
  assert own.evaluator_options == {'order': 2, 'causal_lambda': 0.9}
  order = _algorithm(
    '--algorithm=recommended', overrides={'evaluator_options.order': '1'}
  )
  assert order.evaluator_options == {'order': 1, 'causal_lambda': 0.8}
  other = _algorithm(
    '--algorithm=recommended', overrides={'evaluator': 'doubly_robust'}
  )
  assert other.evaluator_options == {}


@pytest.mark.parametrize('preset', ['promp', 'trpo_dice'])
def test_other_presets_are_what_was_published(preset):
  assert recommended.settings(preset, 'navigation_2d') == {}


def test_an_environment_of_ones_own_has_none():
  assert recommended.settings('recommended', object()) == {}
