"""Names that JAX dropped come back where they are missing, and only there."""

import types

import dm_env
import numpy as np
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


def test_acmes_adders_write_into_reverb(monkeypatch):
  reverb = pytest.importorskip('reverb')
  acme_adders = pytest.importorskip('acme.adders.reverb')
  make = reverb.Client.trajectory_writer
  monkeypatch.setattr(reverb.Client, 'trajectory_writer', make)
  for _ in range(2):
    compatibility._ignore_timeout(reverb.Client)
  table = reverb.Table.queue('transitions', 10)
  server = reverb.Server([table])
  adder = acme_adders.NStepTransitionAdder(
    reverb.Client(f'localhost:{server.port}'),
    n_step=1,
    discount=0.9,
    priority_fns={'transitions': lambda x: 1.0},
  )
  adder.add_first(dm_env.restart(np.zeros(2, np.float32)))
  adder.add(
    np.int32(1), dm_env.termination(np.float32(3), np.ones(2, np.float32))
  )
  adder.reset()
  assert table.info.current_size == 1
  server.stop()
