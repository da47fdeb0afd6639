"""What tests of several folders share."""

import jax
from jax.experimental import compilation_cache as cache_lib
import pytest


@pytest.fixture(scope='session')
def compilation_cache(tmp_path_factory):
  """Lets tests that build the same program share what XLA made of it.

  Yields:
    The folder, for tests that start processes.
  """
  folder = str(tmp_path_factory.mktemp('xla'))
  names = {
    'jax_compilation_cache_dir': folder,
    'jax_persistent_cache_min_compile_time_secs': 0.2,
  }
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in names.items():
    jax.config.update(name, value)
  cache_lib.compilation_cache.reset_cache()
  yield folder
  for name, value in before.items():
    jax.config.update(name, value)
  cache_lib.compilation_cache.reset_cache()
