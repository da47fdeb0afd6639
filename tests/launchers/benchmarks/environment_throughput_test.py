"""Tests of the measurements of throughput, small."""

import time

import numpy as np
import pytest

from acme_metarl.environments.mujoco import environment, locomotion
from acme_metarl.launchers.benchmarks import environment_throughput


@pytest.fixture(autouse=True)
def _scratch_folder(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
  'name', ['half_cheetah_direction', 'hopper_params', 'ant_goal+contact_forces']
)
def test_locomotion_is_compared_with_bare_stepping(name):
  whole, bare = environment_throughput.measure_locomotion(name, 2, 3, 4, seed=0)
  assert whole.case == bare.case == f'{name}, 6 simulations'
  assert (whole.name, bare.name) == ('environment', 'bare')
  assert whole.unit == 'steps/s'
  assert whole.value > 0 and bare.value > 0 and whole.ratio > 0


def test_a_slow_environment_misses_the_target(monkeypatch):
  step = environment.LocomotionEnvironment.step

  def slow_step(self, action):
    time.sleep(0.05)
    return step(self, action)

  monkeypatch.setattr(environment.LocomotionEnvironment, 'step', slow_step)
  whole, _ = environment_throughput.measure_locomotion(
    'half_cheetah_direction', 1, 2, 3, seed=0
  )
  assert whole.value < 2 / 0.05
  assert whole.target == '>= 0.85' and whole.is_met is False


def test_both_sides_step_the_same(monkeypatch):
  # Bare stepping leads to the state that the environment's step led to.
  seen = {'bare': [], 'environment': []}
  bare_step = environment_throughput._BareStepping.step
  step = environment.LocomotionEnvironment.step

  def spy_on_bare(self):
    bare_step(self)
    seen['bare'].append(self._state[:, -1, 1:].copy())

  def spy_on_environment(self, action):
    live = self._live.copy()
    returned = step(self, action)
    state = np.concatenate(self.get_state(), axis=-1)
    seen['environment'].append(state.reshape(len(live), -1)[live])
    return returned

  monkeypatch.setattr(environment_throughput._BareStepping, 'step', spy_on_bare)
  monkeypatch.setattr(
    environment.LocomotionEnvironment, 'step', spy_on_environment
  )
  environment_throughput.measure_locomotion('walker2d_params', 2, 3, 60, seed=0)
  assert len(seen['bare']) == 63
  for bare, whole in zip(seen['bare'], seen['environment'], strict=True):
    np.testing.assert_array_equal(bare, whole)
  # Some rollouts had ended.
  assert min(len(state) for state in seen['bare']) < 6


def test_rows_hold_medians_and_the_median_of_the_ratios():
  seconds = {
    'environment': np.array([0.1, 0.2, 0.9]),
    'bare': np.array([0.1, 0.1, 0.3]),
  }
  whole, bare = environment_throughput._rows('name', 8, seconds, target=0.5)
  assert whole.value == pytest.approx(5.0)
  assert bare.value == pytest.approx(10.0)
  assert whole.ratio == pytest.approx(0.5)  # Of 1, 1/2 and 1/3.
  assert whole.is_met is (whole.ratio >= 0.5)


def test_navigation_is_compared_with_drawing_its_actions():
  whole, bare = environment_throughput.measure_navigation(2, 3, 4, seed=0)
  assert whole.case == 'navigation_2d, 6 simulations'
  assert bare.value > 0 and whole.value > 0 and whole.ratio > 0
  assert whole.target == '>= 0.5'


def test_targets_are_of_known_environments():
  assert set(environment_throughput._TARGETS) < set(locomotion.TASKS)
