"""Lets TensorFlow Probability's JAX half load without TensorFlow, or beside it.

distrax and rlax import `tensorflow_probability`, whose top module checks the
version of TensorFlow if (and only if) TensorFlow is loaded already. Acme,
Reverb and Launchpad load TensorFlow 2.8, which that check refuses, although
the JAX half never touches it. So the outcome would depend on the order of a
program's imports.

And the JAX half itself loads TensorFlow where it is installed, to copy texts of
its documentation, which takes longer than all other imports together.

`install()` adds a hook for those modules. Should the import of the top module
be refused while TensorFlow is loaded, it is repeated with TensorFlow out of
sight; those that copy never see it. The packages that import distrax, rlax or
Acme call it first; `import acme_metarl` does not.
"""

from collections.abc import Sequence
import functools
import importlib.abc
import importlib.machinery
import sys
import types

_REFUSES = 'tensorflow_probability'
_COPY = tuple(
  f'tensorflow_probability.python.internal.backend.{backend}.{name}'
  for backend in ('jax', 'numpy')
  for name in ('_utils', 'tf_inspect')
)


class _Finder(importlib.abc.MetaPathFinder):
  """Finds those modules as usual, and guards their execution."""

  def find_spec(
    self,
    fullname: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None = None,
  ) -> importlib.machinery.ModuleSpec | None:
    if fullname not in _GUARDS:
      return None
    spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
    if spec is not None and spec.loader is not None:
      execute = spec.loader.exec_module
      guarded = functools.partial(_GUARDS[fullname], execute)
      spec.loader.exec_module = guarded  # type: ignore[method-assign]
    return spec


def _where_refused(execute, module: types.ModuleType) -> None:
  try:
    execute(module)
  except ImportError:
    tensorflow = sys.modules.pop('tensorflow', None)
    if tensorflow is None:
      raise
    try:
      execute(module)
    finally:
      sys.modules['tensorflow'] = tensorflow


def _always(execute, module: types.ModuleType) -> None:
  before = {k: v for k, v in sys.modules.items() if k == 'tensorflow'}
  sys.modules['tensorflow'] = None  # type: ignore[assignment]
  try:
    execute(module)
  finally:
    del sys.modules['tensorflow']
    sys.modules.update(before)


_GUARDS = {_REFUSES: _where_refused, **dict.fromkeys(_COPY, _always)}


def install() -> None:
  """Installs the hook, once."""
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
