"""MuJoCo leaves its log in the working directory: not in the project's."""

import pytest


@pytest.fixture(autouse=True)
def _scratch_folder(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
