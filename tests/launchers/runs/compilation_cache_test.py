import os
import pathlib

import jax
import pytest

from acme_metarl.launchers.runs import compilation_cache

_NAME = 'JAX_COMPILATION_CACHE_DIR'


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
  before = {
    name: getattr(jax.config, name)
    for name in (
      'jax_compilation_cache_dir',
      'jax_persistent_cache_min_compile_time_secs',
    )
  }
  for name in (_NAME, 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'):
    monkeypatch.setenv(name, 'is put back after the test')
    monkeypatch.delenv(name)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_is_in_the_users_cache_by_default(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
  said = compilation_cache.set_up(None)
  assert '/somewhere/acme_metarl/xla' in said
  assert jax.config.jax_compilation_cache_dir == '/somewhere/acme_metarl/xla'
  assert os.environ[_NAME] == '/somewhere/acme_metarl/xla'  # For children.


def test_is_at_home_without(monkeypatch):
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  compilation_cache.set_up(None)
  expected = pathlib.Path.home() / '.cache' / 'acme_metarl' / 'xla'
  assert jax.config.jax_compilation_cache_dir == str(expected)


def test_the_users_own_wins(monkeypatch):
  monkeypatch.setenv(_NAME, '/mine')
  compilation_cache.set_up(None)
  assert jax.config.jax_compilation_cache_dir == '/mine'
  compilation_cache.set_up('/other')
  assert jax.config.jax_compilation_cache_dir == os.environ[_NAME] == '/other'


def test_can_be_off(monkeypatch):
  monkeypatch.setenv(_NAME, '/mine')
  assert 'not kept' in compilation_cache.set_up('off')
  assert jax.config.jax_compilation_cache_dir is None
  assert _NAME not in os.environ
