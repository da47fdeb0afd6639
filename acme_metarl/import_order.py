"""Lets TensorFlow Probability's JAX half load beside an old TensorFlow.

distrax and rlax import `tensorflow_probability`, whose top module checks the
version of TensorFlow if (and only if) TensorFlow is loaded already. Acme,
Reverb and Launchpad load TensorFlow 2.8, which that check refuses, although
the JAX half never touches it. So the outcome would depend on the order of a
program's imports.

`install()` adds a hook for that one module: should its import be refused while
TensorFlow is loaded, it is repeated with TensorFlow out of sight. Where
TensorFlow is not loaded, or nothing complains, nothing happens. The packages
that import distrax, rlax or Acme call it first; `import acme_metarl` does not.
"""

from collections.abc import Sequence
import functools
import importlib.abc
import importlib.machinery
import sys
import types

_GUARDED = 'tensorflow_probability'


class _Finder(importlib.abc.MetaPathFinder):
  """Finds `tensorflow_probability` as usual, and guards its execution."""

  def find_spec(
    self,
    fullname: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None = None,
  ) -> importlib.machinery.ModuleSpec | None:
    if fullname != _GUARDED:
      return None
    spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
    if spec is not None and spec.loader is not None:
      execute = spec.loader.exec_module
      guarded = functools.partial(_guarded, execute)
      spec.loader.exec_module = guarded  # type: ignore[method-assign]
    return spec


def _guarded(execute, module: types.ModuleType) -> None:
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


def install() -> None:
  """Installs the hook, once."""
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
