"""Most of the tests' time is JAX's: they compile much and compute little.

So programs are compiled without LLVM's optimisations, and what one worker or
launcher compiled the others of the same run of pytest load from a folder that
is made for this run and removed after it.
"""

import gc
import os
import shutil
import tempfile

import pytest

_FOLDER = 'JAX_COMPILATION_CACHE_DIR'


def pytest_configure(config):
  # Tracing makes many objects that live, and next to no cyclic garbage.
  gc.set_threshold(100_000, 50, 50)
  if hasattr(config, 'workerinput'):
    return
  # Workers and launchers inherit these; JAX reads them when it is imported.
  os.environ[_FOLDER] = tempfile.mkdtemp(prefix='xla-')
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
  if config.option.markexpr == 'not learning':
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'--xla_backend_optimization_level=0 {flags}'


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)


@pytest.fixture(scope='session')
def compilation_cache():
  """The folder, for tests that start processes."""
  return os.environ[_FOLDER]


@pytest.fixture(autouse=True, scope='module')
def _forget_programs():
  """Else a worker keeps every program that it ever compiled, gigabytes."""
  yield
  import jax

  jax.clear_caches()
