"""Files are written whole or not at all."""

import csv
import errno
import json
import os

import pytest

from acme_metarl.launchers.runs import outputs


def test_json_and_csv(tmp_path):
  rows = [{'name': 'a,b', 'x': 0.5, 'n': 3}, {'name': '', 'x': 1e-9, 'n': 4}]
  outputs.write_json(tmp_path / 'rows.json', rows)
  outputs.write_csv(tmp_path / 'rows.csv', rows)
  assert json.loads((tmp_path / 'rows.json').read_text()) == rows
  with open(tmp_path / 'rows.csv', newline='') as file:
    assert list(csv.DictReader(file)) == [
      {'name': 'a,b', 'x': '0.5', 'n': '3'},
      {'name': '', 'x': '1e-09', 'n': '4'},
    ]
  assert sorted(os.listdir(tmp_path)) == ['rows.csv', 'rows.json']


def test_unknown_numbers(tmp_path):
  rows = [{'x': float('nan'), 'y': [float('inf'), 1.0]}]
  outputs.write_json(tmp_path / 'a.json', rows)
  assert json.loads((tmp_path / 'a.json').read_text()) == [
    {'x': None, 'y': [None, 1.0]}
  ]
  outputs.write_csv(tmp_path / 'a.csv', [{'x': float('nan'), 'y': 1.0}])
  assert (tmp_path / 'a.csv').read_text() == 'x,y\n,1.0\n'


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'file'
  outputs.write(path, b'old')

  def fsync(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'fsync', fsync)
  with pytest.raises(OSError, match='No space left'):
    outputs.write(path, b'new')
  assert path.read_bytes() == b'old'
  assert os.listdir(tmp_path) == ['file']


def test_files_have_ordinary_permissions(tmp_path):
  outputs.write(tmp_path / 'a', b'')
  (tmp_path / 'b').write_bytes(b'')
  assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode


def test_writable_directory(tmp_path):
  assert outputs.writable_directory(tmp_path / 'x' / 'y').is_dir()
  assert not os.listdir(tmp_path / 'x' / 'y')
  (tmp_path / 'file').write_text('')
  for path in (tmp_path / 'file', tmp_path / 'file' / 'inside'):
    with pytest.raises(ValueError, match='choose another one'):
      outputs.writable_directory(path)
