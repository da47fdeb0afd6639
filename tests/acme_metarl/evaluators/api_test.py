"""The package by itself: what it shows, and what it needs."""

import subprocess
import sys

from acme_metarl import evaluators

_ALONE = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in {
      'acme', 'distrax', 'dm_env', 'gymnasium', 'haiku',
      'launchpad', 'mujoco', 'optax', 'reverb', 'rlax', 'tensorflow', 'tree',
    }:
      raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Block())
import jax.numpy as jnp
from acme_metarl import evaluators
one = jnp.ones(1)
for name in evaluators.__all__:
  assert getattr(evaluators, name) is not None
print(float(evaluators.loaded_dice(one, one, one, one, one)[0]))
print(evaluators.check_derivatives(evaluators.lvc, order=1).unbiased_orders())
"""


def test_dir_is_the_api():
  assert dir(evaluators) == sorted(evaluators.__all__)
  assert 'jnp' not in dir(evaluators)
  for name in ('taylor_expansion', 'importance_ratios', 'per_step', 'hessian'):
    assert name in dir(evaluators)
  for name in ('derivatives', 'ratios', 'recurrences', 'reductions'):
    assert getattr(evaluators, name).__name__.endswith(name)


def test_everything_public_says_what_it_is():
  for name in evaluators.__all__:
    assert getattr(evaluators, name).__doc__, name


def test_jax_and_chex_are_enough():
  result = subprocess.run(
    [sys.executable, '-c', _ALONE], capture_output=True, text=True, check=False
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout.splitlines() == ['2.0', '(1, -1)']
