"""The folder of compiled programs stays bounded."""

import os
import runpy


def test_what_was_not_used_for_longest_is_deleted(tmp_path):
  prune = runpy.run_path(os.path.join(os.path.dirname(__file__), 'conftest.py'))
  for age in range(10):
    path = tmp_path / f'program_{age}'
    path.write_bytes(bytes(100))
    os.utime(path, (1000 - age, 1000 - age))
  prune['_prune'](tmp_path, 1000)
  assert len(list(tmp_path.iterdir())) == 10
  prune['_prune'](tmp_path, 999)
  left = {path.name for path in tmp_path.iterdir()}
  assert left == {f'program_{age}' for age in range(4)}
