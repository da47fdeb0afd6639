import json
import os
import subprocess
import sys

from acme_metarl.launchers.runs import versions


def test_nodes_name_the_command_of_their_launcher(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['train_distributed', '--logdir=a b'])
  own = versions.command()
  assert own.endswith("'--logdir=a b'")
  code = (
    'import json, sys\n'
    'from acme_metarl.launchers.runs import versions\n'
    'print(json.dumps(versions.entry()["command"]))\n'
  )
  with versions.handed_on():
    assert versions.command() == own
    done = subprocess.run(
      [sys.executable, '-c', code, '--of=a_node'],
      capture_output=True,
      text=True,
      check=True,
    )
    # Here it goes on to be what it is.
    monkeypatch.setattr(sys, 'argv', ['train', '--seed=1'])
    assert versions.command().endswith('--seed=1')
  assert json.loads(done.stdout) == own
  assert versions._OF_LAUNCHER not in os.environ
