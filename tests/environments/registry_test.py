"""Tests of registry."""

import subprocess
import sys

from absl.testing import absltest, parameterized
import pytest

from acme_metarl import environments
from acme_metarl.environments import navigation_2d, registry

EXPECTED_NAMES = (
  'ant_direction',
  'ant_direction_2d',
  'ant_goal',
  'half_cheetah_direction',
  'half_cheetah_velocity',
  'hopper_params',
  'humanoid_direction',
  'humanoid_direction_2d',
  'iterated_prisoners_dilemma',
  'metaworld',
  'navigation_2d',
  'tabular_mdp',
  'walker2d_direction',
  'walker2d_params',
  'walker2d_velocity',
)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
  monkeypatch.setattr(registry, '_REGISTRY', dict(registry._REGISTRY))


class RegistryTest(parameterized.TestCase):
  def test_names(self):
    self.assertEqual(environments.names(), EXPECTED_NAMES)

  def test_options_reach_the_environment(self):
    env = environments.make('navigation_2d', reward='dense', momentum=True)
    self.assertEqual(env, navigation_2d.Navigation2D('dense', momentum=True))

  def test_unknown_name_lists_the_known_ones(self):
    with self.assertRaises(ValueError) as context:
      environments.make('navigation_3d')
    for name in ('navigation_3d', *EXPECTED_NAMES):
      self.assertIn(name, str(context.exception))

  def test_unknown_option_lists_the_known_ones(self):
    with self.assertRaises(ValueError) as context:
      environments.make('navigation_2d', rewards='dense')
    for option in ('rewards', 'reward', 'goals', 'momentum'):
      self.assertIn(option, str(context.exception))

  def test_no_options_at_all(self):
    with self.assertRaisesRegex(ValueError, 'it offers none'):
      environments.make('iterated_prisoners_dilemma', payoff=3)

  def test_what_runs_add_for_evaluations(self):
    registry.register('mine', navigation_2d.Navigation2D, {'reward': 'dense'})
    self.assertEqual(
      environments.evaluation_options('mine'), {'reward': 'dense'}
    )
    self.assertEqual(environments.make('mine'), navigation_2d.Navigation2D())
    self.assertEqual(environments.evaluation_options('navigation_2d'), {})
    with self.assertRaisesRegex(ValueError, "there is no environment 'other'"):
      environments.evaluation_options('other')

  def test_a_users_own(self):
    registry.register('mine', navigation_2d.Navigation2D, reward='dense')
    registry.register(
      'yours', 'acme_metarl.environments.navigation_2d:Navigation2D'
    )
    self.assertIn('mine', environments.names())
    self.assertEqual(environments.make('mine').reward, 'dense')
    self.assertEqual(
      environments.make('mine', reward='dense_squared').reward,
      'dense_squared',
    )
    self.assertEqual(environments.make('yours').reward, 'sparse')

  def test_taken_name(self):
    with self.assertRaisesRegex(ValueError, 'navigation_2d'):
      registry.register('navigation_2d', navigation_2d.Navigation2D)

  def test_registering_the_same_again(self):
    for _ in range(2):
      registry.register('mine', navigation_2d.Navigation2D, reward='dense')
      registry.register('yours', 'a.module:factory')
    with self.assertRaisesRegex(ValueError, "mine.*'reward': 'dense'"):
      registry.register('mine', navigation_2d.Navigation2D)
    with self.assertRaisesRegex(ValueError, 'yours.*a.module:factory'):
      registry.register('yours', 'a.module:other')
    registry.register('own', lambda: None)
    with self.assertRaisesRegex(ValueError, 'own'):
      registry.register('own', lambda: None)

  @parameterized.parameters('navigation', ':a', 'a:', 3, None)
  def test_what_is_no_factory(self, factory):
    with self.assertRaisesRegex(ValueError, 'factory: got'):
      registry.register('mine', factory)

  @parameterized.parameters(
    ('no_such_module:f', "no module 'no_such_module'"),
    ('acme_metarl.environments.none:f', 'no module'),
    ('acme_metarl.environments:f', "no 'f' in the module"),
  )
  def test_factories_that_cannot_be_found(self, factory, message):
    registry.register('mine', factory)
    with self.assertRaisesRegex(ValueError, f'factory: .*{message}'):
      environments.make('mine')

  def test_an_option_that_is_needed(self):
    registry.register('mine', lambda goal, speed=1: (goal, speed))
    with self.assertRaisesRegex(ValueError, 'needs the option goal'):
      environments.make('mine', speed=2)
    self.assertEqual(environments.make('mine', goal=3), (3, 1))

  def test_nothing_heavy_is_imported_before_it_is_needed(self):
    program = """
import sys
from acme_metarl import environments
environments.TrialEnvironment(environments.make('navigation_2d'), 1, 1).reset()
heavy = {'mujoco', 'gymnasium', 'matplotlib', 'imageio', 'acme', 'tensorflow'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, '-c', program], check=True)


if __name__ == '__main__':
  absltest.main()
