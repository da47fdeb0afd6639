"""Programs of real processes, which end with the test at the latest."""

import csv
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

_ROOT = pathlib.Path(__file__).parents[3]
_SMALL = (
  '--num_tasks=2',
  '--num_rollouts=3',
  '--horizon=5',
  '--config.hidden_sizes=8',
  '--config.num_outer_epochs=1',
  '--environment_options={"reward": "dense"}',
  '--checkpoint_every=5',
  '--eval_every=5',
  '--num_actors=1',
)
_SECONDS = 240


class Program:
  """A run of `train_distributed`.

  Attributes:
    directory: its log directory.
    process: the supervising launcher.
    seen: every process that was ever seen below it.
  """

  def __init__(self, directory, cache, flags, engine):
    self.directory = directory
    self._engine = engine
    self._stderr = directory.parent / f'{directory.name}.stderr'
    with open(self._stderr, 'w') as stderr:
      self.process = subprocess.Popen(
        [
          sys.executable,
          '-m',
          'acme_metarl.launchers.train_distributed',
          f'--engine={engine}',
          f'--logdir={directory}',
          *flags,
        ],
        stdout=stderr,
        stderr=stderr,
        # Ctrl-C reaches the group that a terminal has in front.
        start_new_session=True,
        env=os.environ
        | {
          'JAX_PLATFORMS': 'cpu',
          'JAX_COMPILATION_CACHE_DIR': cache,
          'PYTHONPATH': str(_ROOT),
        },
      )
    self.seen = set()

  @property
  def output(self):
    return self._stderr.read_text()

  def processes(self):
    """Living processes below the supervising launcher."""
    try:
      found = psutil.Process(self.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
      found = []
    self.seen.update(found)
    return found

  def living(self, name):
    """The process of a name, as soon as there is one."""
    if self._engine == 'ray':
      name = f'ray::{name.capitalize()}'

    def find():
      for process in self.processes():
        try:
          with open(f'/proc/{process.pid}/comm') as file:
            if file.read().strip() == name:
              return process
        except FileNotFoundError:
          continue

    return self.wait(find, f'a process {name}')

  def wait(self, condition, what):
    """Waits until something is true, and returns it."""
    deadline = time.time() + _SECONDS
    while time.time() < deadline:
      assert self.process.poll() is None, f'ended early: {self.output}'
      result = condition()
      if result:
        return result
      time.sleep(0.1)  # Reading tables takes processor time, too.
    raise AssertionError(f'no {what}: {self.output}')

  def rows(self, table='learner.csv'):
    path = self.directory / table
    if not path.exists():
      return []
    with open(path, newline='') as file:
      return list(csv.DictReader(file))

  @property
  def iterations(self):
    return [int(row['iteration']) for row in self.rows()]

  def wait_for_iteration(self, number):
    self.wait(
      lambda: self.iterations and self.iterations[-1] >= number,
      f'iteration {number}',
    )

  def say(self, number, to_group=False):
    """Sends a signal to the supervising launcher."""
    self.processes()
    if to_group:
      os.killpg(self.process.pid, number)
    else:
      self.process.send_signal(number)

  def end(self):
    """Waits for the end; returns the exit code, once all have ended."""
    code = self.process.wait(_SECONDS)
    # Ray's own helpers look for their parent now and then only.
    seconds = 90 if self._engine == 'ray' else 5
    _, alive = psutil.wait_procs(self.seen, timeout=seconds)
    assert not alive, f'still there: {alive}'
    return code

  def close(self):
    self.processes()
    if self.process.poll() is None:
      os.killpg(self.process.pid, signal.SIGKILL)
      self.process.wait()
    for process in self.seen:
      try:
        process.kill()
      except psutil.NoSuchProcess:
        continue


@pytest.fixture(scope='module')
def start(tmp_path_factory, compilation_cache):
  programs = []

  def start_program(*flags, directory=None, small=True, engine='launchpad'):
    if directory is None:
      directory = tmp_path_factory.mktemp('distributed') / 'run'
    flags = (*(_SMALL if small else ()), *flags)
    programs.append(Program(directory, compilation_cache, flags, engine))
    return programs[-1]

  yield start_program
  for program in programs:
    program.close()
