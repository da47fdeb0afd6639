"""Which errors are the user's mistakes, told in a sentence."""

import os
import sysconfig
import traceback
import types

_PACKAGE = 'acme_metarl'
_PYTHON = tuple(
  os.path.realpath(sysconfig.get_path(name)) + os.sep
  for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')
)


def is_explained(error: ValueError) -> bool:
  """Whether an error is a sentence of this package, about a setting.

  Of others nobody here knows the cause: those that a user's code raises, or
  runs into, show where.
  """
  frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
  return (
    bool(frames)
    and _is_ours(frames[-1])
    and not any(_is_users(frame) for frame in frames)
  )


def _module(frame: types.FrameType) -> str:
  name = frame.f_globals.get('__name__', '')
  spec = frame.f_globals.get('__spec__')
  if name == '__main__' and spec is not None:
    return spec.name
  return name


def _is_ours(frame: types.FrameType) -> bool:
  return _module(frame).partition('.')[0] == _PACKAGE


def _is_users(frame: types.FrameType) -> bool:
  file = frame.f_code.co_filename
  return not (
    _is_ours(frame)
    or file.startswith('<frozen')
    or os.path.realpath(file).startswith(_PYTHON)
  )
