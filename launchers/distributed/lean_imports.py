"""Importing less where less is needed."""

from collections.abc import Iterator
import contextlib
import sys


@contextlib.contextmanager
def tensorflow_hidden() -> Iterator[None]:
  """Spares TensorFlow, which takes longer to import than all else together.

  TensorFlow Probability, which distrax needs, imports it where there is one, to
  copy documentation. Whoever needs it, such as Reverb, can import it later.
  """
  if 'tensorflow' in sys.modules:
    yield
    return
  sys.modules['tensorflow'] = None
  try:
    yield
  finally:
    del sys.modules['tensorflow']
