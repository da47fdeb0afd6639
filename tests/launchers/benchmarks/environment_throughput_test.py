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
  result = environment_throughput.measure_locomotion(name, 2, 3, 4, seed=0)
  assert result.environment == name
  assert result.num_simulations == 6
  assert result.steps_per_second > 0 and result.bare_steps_per_second > 0
  assert result.ratio > 0


def test_a_slow_environment_misses_the_target(monkeypatch):
  step = environment.LocomotionEnvironment.step

  def slow_step(self, action):
    time.sleep(0.05)
    return step(self, action)

  monkeypatch.setattr(environment.LocomotionEnvironment, 'step', slow_step)
  result = environment_throughput.measure_locomotion(
    'half_cheetah_direction', 1, 2, 3, seed=0
  )
  assert result.ratio < 0.5
  assert result.is_met is False
  assert result.steps_per_second < 2 / 0.05
  assert 'missed' in environment_throughput.table([result])


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


def test_a_row_holds_medians_and_the_median_of_the_ratios():
  result = environment_throughput._result(
    'name', 8, [0.1, 0.2, 0.9], [0.1, 0.1, 0.3], target=0.5
  )
  assert result.steps_per_second == pytest.approx(5.0)
  assert result.bare_steps_per_second == pytest.approx(10.0)
  assert result.ratio == pytest.approx(0.5)  # Of 1, 1/2 and 1/3.
  assert result.is_met is (result.ratio >= 0.5)


def test_navigation_is_compared_with_drawing_its_actions():
  result = environment_throughput.measure_navigation(2, 3, 4, seed=0)
  assert result.num_simulations == 6
  assert result.steps_per_second > 0
  assert result.bare_steps_per_second > 0
  assert result.target == 0.5


def test_targets_are_of_known_environments():
  assert set(environment_throughput._TARGETS) < set(locomotion.TASKS)
