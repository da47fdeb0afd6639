"""Where JAX keeps what it has compiled, so that later runs load it."""

import os
import pathlib

import jax

OFF = 'off'
_FOLDER = 'JAX_COMPILATION_CACHE_DIR'
_SECONDS = 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'


def set_up(choice: str | None) -> str:
  """Turns the cache on, here and in processes to come, or off.

  Args:
    choice: a directory, or 'off'. By default the user's own
      `JAX_COMPILATION_CACHE_DIR`, or a folder in the user's cache.

  Returns:
    A sentence for the user.
  """
  if choice == OFF:
    os.environ.pop(_FOLDER, None)
    jax.config.update('jax_compilation_cache_dir', None)
    return 'What is compiled is not kept.'
  if choice:
    folder = str(pathlib.Path(choice).expanduser())
    os.environ[_FOLDER] = folder
  else:
    cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    default = str(pathlib.Path(cache) / 'acme_metarl' / 'xla')
    folder = os.environ.setdefault(_FOLDER, default)
  seconds = os.environ.setdefault(_SECONDS, '0.1')
  # JAX has read its environment already.
  jax.config.update('jax_compilation_cache_dir', folder)
  jax.config.update(
    'jax_persistent_cache_min_compile_time_secs', float(seconds)
  )
  return f'What is compiled is kept in {folder} (--compilation_cache=off: not).'
