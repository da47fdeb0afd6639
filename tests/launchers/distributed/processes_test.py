import os
import signal
import subprocess
import sys
import time

import pytest

from acme_metarl.launchers.distributed import processes

# Not in this process: JAX may run in it, which does not go with forks.
_KEEPER = """
import os, sys
from acme_metarl.launchers.distributed import processes

def run():
  with open(sys.argv[1], 'a') as file:
    file.write(f'{os.getpid()} ')
  os.kill(os.getpid(), 9)

try:
  processes.keep_running('child', run, lambda: False, in_child=True)
except RuntimeError as error:
  print(error)
"""
_PARENT = """
import subprocess, sys, time
code = '''
import os, time
from acme_metarl.launchers.distributed import processes
processes.die_with(os.getppid())
print('ready', flush=True)
time.sleep(600)
'''
print(subprocess.Popen([sys.executable, '-c', code]).pid, flush=True)
time.sleep(600)
"""


def test_gives_up_a_child_that_keeps_dying(tmp_path):
  path = tmp_path / 'pids'
  out = subprocess.run(
    [sys.executable, '-c', _KEEPER, str(path)],
    capture_output=True,
    text=True,
    timeout=100,
  ).stdout
  assert 'child ended with code -9, for the 5th time in a row' in out
  assert len(set(path.read_text().split())) == processes.MAX_FAILURES


def test_keeps_running_in_a_thread():
  runs = []

  def run():
    runs.append(1)
    raise RuntimeError

  processes.keep_running('node', run, lambda: len(runs) == 3, in_child=False)
  assert len(runs) == 3
  with pytest.raises(RuntimeError, match='node raised RuntimeError, for the'):
    processes.keep_running('node', run, lambda: False, in_child=False)


def test_dies_with_another_process():
  parent = subprocess.Popen(
    [sys.executable, '-c', _PARENT], stdout=subprocess.PIPE, text=True
  )
  pid = int(parent.stdout.readline())
  assert parent.stdout.readline() == 'ready\n'
  parent.send_signal(signal.SIGKILL)
  parent.wait()
  # An orphan is somebody else's zombie until it is waited for.
  deadline = time.time() + 60
  while os.path.exists(f'/proc/{pid}') and time.time() < deadline:
    with open(f'/proc/{pid}/stat') as file:
      if file.read().split()[2] == 'Z':
        return
    time.sleep(0.01)
  assert not os.path.exists(f'/proc/{pid}')
