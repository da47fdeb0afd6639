"""Which command and which packages make a run."""

from collections.abc import Iterator
import contextlib
import functools
from importlib import metadata
import os
import pathlib
import platform
import shlex
import sys
from typing import Any

_PACKAGES = (
  'acme_metarl',
  'jax',
  'jaxlib',
  'numpy',
  'scipy',
  'chex',
  'distrax',
  'dm-haiku',
  'optax',
  'rlax',
  'dm-acme',
  'dm-reverb',
  'gymnasium',
  'mujoco',
  'mujoco-mjx',
  'matplotlib',
)


@functools.cache
def versions() -> dict[str, str]:
  """Versions of Python and of the packages that results depend on."""
  found = {
    'python': platform.python_version(),
    'platform': f'{platform.system()} {platform.machine()}',
  }
  for name in _PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      continue
  return found


# The command of a launcher, for the processes that it starts: its id, and that.
_OF_LAUNCHER = 'ACME_METARL_COMMAND'


@contextlib.contextmanager
def handed_on() -> Iterator[None]:
  """Has processes that are started inside name the command of this one."""
  os.environ[_OF_LAUNCHER] = f'{os.getpid()} {command()}'
  try:
    yield
  finally:
    del os.environ[_OF_LAUNCHER]


def command() -> str:
  """The command line of this process, as one would type it anywhere.

  Of a node it is that of the launcher, see `handed_on`.
  """
  launcher, _, given = os.environ.get(_OF_LAUNCHER, '').partition(' ')
  if given and launcher != str(os.getpid()):
    return given
  program, *arguments = sys.argv
  module = getattr(sys.modules['__main__'], '__spec__', None)
  start = [program] if module is None else ['python', '-m', module.name]
  return portable(shlex.join([*start, *arguments]))


def portable(text: str) -> str:
  """Leaves the working directory out of paths below it."""
  return text.replace(f'{pathlib.Path.cwd()}{os.sep}', '')


def entry() -> dict[str, Any]:
  """What files say about this process."""
  return {'command': command(), 'versions': versions()}
