import os
import signal
import subprocess
import sys

import pytest

from acme_metarl.launchers.runs import directories

_HOLD = """
import pathlib, sys, time
from acme_metarl.launchers.runs import directories
with directories.claimed(pathlib.Path(sys.argv[1])):
  print('have it', flush=True)
  time.sleep(600)
"""


def test_only_one_has_a_directory(tmp_path):
  with directories.claimed(tmp_path / 'run') as directory:
    with (
      pytest.raises(directories.TakenError, match=f'process {os.getpid()} on'),
      directories.claimed(directory),
    ):
      pass
  with directories.claimed(tmp_path / 'run'):
    pass


def test_a_dead_process_has_none(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', _HOLD, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'have it\n'
  with (
    pytest.raises(directories.TakenError, match=f'process {process.pid}'),
    directories.claimed(tmp_path),
  ):
    pass
  process.send_signal(signal.SIGKILL)
  process.communicate()
  with directories.claimed(tmp_path):
    pass


def test_names_say_what_differs():
  def name(**differences):
    return directories.default_name('nav', 'promp', 3, differences)

  assert name() == 'nav-promp-3'
  assert name(horizon=5, discount=0.5) == 'nav-promp-3-discount=0.5-horizon=5'
  assert (
    name(evaluator='my.module:own') == 'nav-promp-3-evaluator=my.module.own'
  )
  assert name(hidden_sizes=[8, 9]) == 'nav-promp-3-hidden_sizes=8,9'
  assert '/' not in name(path='../../etc')
  long = [name(hidden_sizes=[size] * 100) for size in (8, 9)]
  assert long[0] != long[1]
  assert all(len(x) < 200 for x in long)


def _begin(directory):
  directory.mkdir(parents=True)
  (directory / 'config.json').write_text('{}')


def test_finds_the_run_that_is_meant(tmp_path):
  with pytest.raises(ValueError, match='there is no run in'):
    directories.to_resume(tmp_path, 'run')
  _begin(tmp_path / 'run-horizon=5')
  assert directories.to_resume(tmp_path, 'run').name == 'run-horizon=5'
  _begin(tmp_path / 'run-horizon=6')
  with pytest.raises(ValueError, match='several runs.*horizon=5.*horizon=6'):
    directories.to_resume(tmp_path, 'run')
  _begin(tmp_path / 'run')
  _begin(tmp_path / 'run-2')
  assert directories.to_resume(tmp_path, 'run').name == 'run-2'


def test_settings_alone_are_no_beginning(tmp_path):
  _begin(tmp_path / 'run')
  assert directories.has_run(tmp_path / 'run')
  assert not directories.has_begun(tmp_path / 'run')
  (tmp_path / 'run' / 'learner.csv').write_text('iteration\n1\n')
  assert directories.has_begun(tmp_path / 'run')


def test_a_damaged_table_is_a_beginning(tmp_path):
  (tmp_path / 'learner.csv').write_bytes(b'iteration\n\xff\n')
  assert directories.has_begun(tmp_path)
