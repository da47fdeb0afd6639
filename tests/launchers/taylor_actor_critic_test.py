import os
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]


def test_learns_to_balance():
  process = subprocess.run(
    [
      sys.executable,
      '-m',
      'acme_metarl.launchers.taylor_actor_critic',
      '--num_episodes=150',
    ],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  assert process.returncode == 0, process.stderr
  returns = [float(x) for x in re.findall(r'return ([\d.]+)', process.stdout)]
  assert len(returns) == 6
  # A policy that chooses at random gets 22.
  assert returns[0] < 60
  assert max(returns[-2:]) > 100
