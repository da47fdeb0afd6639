import os
import subprocess
import sys

import pytest

from acme_metarl.launchers.runs import host_devices


@pytest.mark.parametrize(
  ('num_cores', 'num_tasks', 'expected'),
  [(2, 40, 2), (16, 40, 14), (64, 40, 40), (3, 1, 1), (4, 6, 3)],
)
def test_no_more_than_are_of_use(monkeypatch, num_cores, num_tasks, expected):
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(num_cores))
  asked = []
  monkeypatch.setattr(
    host_devices.jax.config, 'update', lambda *x: asked.append(x)
  )
  host_devices.set_up(None, num_tasks)
  assert asked == [('jax_num_cpu_devices', expected)]


def test_refuses_none():
  with pytest.raises(ValueError, match='num_devices: got 0'):
    host_devices.set_up(0, 40)


def test_the_users_flag_wins():
  script = (
    'from acme_metarl.launchers import host_devices; import jax;'
    'host_devices.set_up({}, 40); print(jax.local_device_count())'
  )
  counts = []
  for number, flags in (
    (3, ''),
    (3, '--xla_force_host_platform_device_count=5'),
  ):
    process = subprocess.run(
      [sys.executable, '-c', script.format(number)],
      env=os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
    )
    counts.append(process.stdout.strip())
  assert counts == ['3', '5']
