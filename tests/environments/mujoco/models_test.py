"""Tests of the models."""

import os
import pathlib
import subprocess
import sys

import pytest

import acme_metarl
from acme_metarl.environments.mujoco import models

# Time steps of the physics, in seconds, and sizes, by the published table.
MODELS = {
  'half_cheetah.xml': (0.01, 9, 9, 6),
  'ant.xml': (0.01, 15, 14, 8),
  'walker2d.xml': (0.002, 9, 9, 6),
  'hopper.xml': (0.002, 6, 6, 3),
  'humanoid.xml': (0.003, 24, 23, 17),
}


@pytest.mark.parametrize('file_name', MODELS)
def test_models_are_those_of_the_table(file_name):
  model = models.load(file_name)
  timestep, nq, nv, nu = MODELS[file_name]
  assert model.opt.timestep == timestep
  assert (model.nq, model.nv, model.nu) == (nq, nv, nu)


def test_half_cheetah_weighs_what_its_deprecated_attribute_says():
  # MuJoCo announces that it will drop `settotalmass`; without it the robot
  # would weigh something else.
  model = models.load('half_cheetah.xml')
  assert model.body_mass.sum() == pytest.approx(14.0)


def test_loading_leaves_no_log_behind():
  models.load('half_cheetah.xml')
  assert os.listdir() == []


def test_missing_model_is_named():
  with pytest.raises(ImportError, match='unicycle.xml'):
    models.find('unicycle.xml')


def test_mujoco_and_gymnasium_are_imported_no_sooner_than_needed():
  code = """
import sys
import acme_metarl.environments.mujoco
assert not {'mujoco', 'gymnasium'} & set(sys.modules)
from acme_metarl.environments.mujoco import models
models.find('ant.xml')
assert 'gymnasium' not in sys.modules
"""
  root = pathlib.Path(acme_metarl.__file__).parents[1]
  subprocess.run([sys.executable, '-c', code], check=True, cwd=root)
