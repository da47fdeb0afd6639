"""Processes of a comparison: failures, signals, and who writes where."""

import fcntl
import json
import os
import signal
import sys
import threading
import time

import pytest

from acme_metarl.launchers.comparison import (
  job_making,
  processes,
  stored_runs,
)
from acme_metarl.launchers.runs import config as run_config

_FINISHES = """
import pathlib, sys
directory = pathlib.Path(sys.argv[1])
print('at work')
(directory / 'learner.csv').write_text('iteration,x\\n4,1\\n5,1\\n')
(directory / 'evaluation.csv').write_text(
  'iteration,environment_steps,num_inner_steps_taken,return_mean,return_stderr'
  '\\n5,9,1,0.5,0.1\\n'
)
"""
_FAILS = 'import sys; print("no idea"); sys.exit(3)'
_WAITS = """
import pathlib, signal, sys, time
directory = pathlib.Path(sys.argv[1])
def stop(*_):
  (directory / 'stopped').touch()
  sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(directory / 'begun').touch()
time.sleep(60)
"""
_IGNORES = _WAITS.replace(
  'signal.signal(signal.SIGTERM, stop)',
  'signal.signal(signal.SIGTERM, signal.SIG_IGN)',
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
  monkeypatch.setattr(processes, '_POLL_SECONDS', 0.02)


def _job(tmp_path, seed, script):
  config = run_config.RunConfig(seed=seed)
  config = config.replace_algorithm(num_iterations=5)
  run = stored_runs.Run('navigation_2d', 'promp', config, tmp_path)
  command = (sys.executable, '-c', script, str(run.directory))
  return job_making.Job((run,), 'train', command)


def _directory(tmp_path, seed):
  return tmp_path / 'runs' / 'navigation_2d' / 'promp' / f'seed_{seed}'


def _execute(jobs, num_parallel=1):
  runs = [run for job in jobs for run in job.runs]
  return processes.execute(jobs, num_parallel, runs)


def test_one_failure_does_not_end_the_others(tmp_path, capfd):
  scripts = (_FAILS, _FINISHES, 'pass', 'import os; os.abort()')
  jobs = [_job(tmp_path, i, script) for i, script in enumerate(scripts)]
  outcome = _execute(jobs, num_parallel=3)
  assert outcome.failures == {
    'navigation_2d/promp/seed_0': 'exit status 3',
    'navigation_2d/promp/seed_2': 'ended too early',
    'navigation_2d/promp/seed_3': 'ended by SIGABRT',
  }
  assert outcome.signal_name is None
  err = capfd.readouterr().err
  assert 'no idea' in err and 'seed_1: done' in err
  assert 'at work' not in err  # Is in the log.
  assert (_directory(tmp_path, 1) / 'output.log').read_text() == 'at work\n'
  (made_by,) = json.loads(
    (_directory(tmp_path, 1) / 'made_by.json').read_text()
  )
  assert made_by['versions']['jax']
  assert made_by['command']


def test_processes_share_the_cores_out(tmp_path):
  cores = os.sched_getaffinity(0)
  note_cores = _FINISHES + (
    'import os\n'
    'text = " ".join(map(str, os.sched_getaffinity(0)))\n'
    '(directory / "cores").write_text(text)\n'
  )
  jobs = [_job(tmp_path, i, note_cores) for i in range(5)]

  def cores_of(num_jobs, num_parallel):
    assert not _execute(jobs[:num_jobs], num_parallel).failures
    texts = [
      (_directory(tmp_path, i) / 'cores').read_text() for i in range(num_jobs)
    ]
    return [{int(core) for core in text.split()} for text in texts]

  shares = cores_of(5, num_parallel=2)
  assert set.union(*shares) == cores
  if len(cores) > 1:
    assert all(share < cores for share in shares)
  assert all(cores_of(5, num_parallel=len(cores) + 2))  # More than there are.
  assert cores_of(1, num_parallel=2) == [cores]  # Nothing to share.
  assert os.sched_getaffinity(0) == cores


def _signal_when(paths, *numbers):
  """Sends signals to this process once the files exist."""

  def send():
    while not all(path.exists() for path in paths):
      time.sleep(0.01)
    for number in numbers:
      os.kill(os.getpid(), number)
      time.sleep(0.3)

  thread = threading.Thread(target=send)
  thread.start()
  return thread


def test_ctrl_c_asks_the_running_ones_to_stop(tmp_path, capfd):
  jobs = [_job(tmp_path, i, _WAITS) for i in range(3)]
  begun = [_directory(tmp_path, i) / 'begun' for i in (0, 1)]
  thread = _signal_when(begun, signal.SIGINT)
  outcome = _execute(jobs, num_parallel=2)
  thread.join()
  assert outcome.signal_name == 'SIGINT'
  assert not outcome.failures
  assert [(_directory(tmp_path, i) / 'stopped').exists() for i in (0, 1)] == [
    True,
    True,
  ]
  assert not _directory(tmp_path, 2).exists()
  assert 'Stopping' in capfd.readouterr().err


def test_a_second_ctrl_c_ends_them_at_once(tmp_path):
  job = _job(tmp_path, 0, _IGNORES)
  begun = [_directory(tmp_path, 0) / 'begun']
  thread = _signal_when(begun, signal.SIGINT, signal.SIGINT)
  with pytest.raises(KeyboardInterrupt):
    _execute([job])
  thread.join()
  # Nobody holds the directory any more.
  assert not _execute([_job(tmp_path, 0, _FINISHES)]).failures


def test_two_processes_do_not_make_the_same_run(tmp_path):
  job = _job(tmp_path, 0, _FINISHES)
  job.log.parent.mkdir(parents=True)
  with open(job.log, 'ab') as log:
    fcntl.flock(log, fcntl.LOCK_EX)
    outcome = _execute([job])
  assert 'another process' in outcome.failures['navigation_2d/promp/seed_0']
  assert not _execute([job]).failures
