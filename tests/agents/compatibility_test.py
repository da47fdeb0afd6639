"""Names that JAX dropped come back where they are missing, and only there."""

import types

import pytest

from acme_metarl.agents import compatibility


class _Advising:
  """As JAX does for some names: it raises with advice."""

  def __getattr__(self, name):
    raise AttributeError(f'{name} is gone; use another.')


@pytest.mark.parametrize('module', [types.SimpleNamespace(), _Advising()])
def test_what_is_missing_is_restored(module):
  compatibility._restore(module, 'tree_map', 3)
  assert module.tree_map == 3


def test_what_is_there_stays():
  module = types.SimpleNamespace(tree_map=1)
  compatibility._restore(module, 'tree_map', 3)
  assert module.tree_map == 1
