"""How programs end, under every local launch type."""

import errno
import importlib.util
import signal
import subprocess

import pytest

from acme_metarl.launchers.runs import checkpointing

_needs_launchpad = pytest.mark.skipif(
  not importlib.util.find_spec('launchpad'), reason='needs Launchpad'
)


def _latest(running):
  return checkpointing.Checkpointer(
    running.directory / 'checkpoints'
  ).load_latest()


def _check_saved(running):
  done = running.iterations
  assert done == list(range(1, len(done) + 1))
  assert _latest(running).step == len(done)
  assert (running.directory / 'curves.png').exists()


def _check_done(running, num_iterations):
  assert running.end() == 0, running.output
  assert 'Done' in running.output
  assert len(running.iterations) == num_iterations
  _check_saved(running)
  last = running.rows('evaluation.csv')[-1]
  assert int(last['iteration']) == num_iterations


@_needs_launchpad
def test_threads_save_and_end_on_ctrl_c(start):
  running = start('--num_iterations=1000000', '--lp_launch_type=local_mt')
  running.wait_for_iteration(3)
  running.say(signal.SIGINT, to_group=True)
  assert running.end() == 0, running.output
  last = running.iterations[-1]
  assert f'Stopped by SIGINT after iteration {last}' in running.output
  _check_saved(running)


@_needs_launchpad
@pytest.mark.parametrize(
  ('flags', 'beginning'),
  [
    (['--num_actors=0'], 'num_actors: '),
    (['--actor_device=abacus'], 'actor_device: '),
    (['--learner_device=tpu:1'], 'learner_device: '),
    (['--max_restarts=-1'], 'max_restarts: '),
    (['--max_lag=-1'], 'max_lag: '),
    (['--lp_launch_type=vertex_ai'], 'lp_launch_type: '),
    (
      ['--num_tasks=2', '--num_actors=1', '--config.max_queue_size=2'],
      'max_queue_size:',
    ),
  ],
)
def test_mistakes_are_told_at_once(refused, tmp_path, flags, beginning):
  directory = tmp_path / 'run'
  message = refused('train_distributed', f'--logdir={directory}', *flags)
  assert message.startswith(beginning)
  assert not directory.exists()


def test_engines_must_be_there(refused, tmp_path):
  logdir = f'--logdir={tmp_path / "run"}'
  message = refused('train_distributed', logdir, '--address=localhost:6379')
  if importlib.util.find_spec('launchpad'):
    assert message.startswith('address: is of a cluster of Ray')
  for engine in ('launchpad', 'ray'):
    if not importlib.util.find_spec(engine):
      message = refused('train_distributed', logdir, f'--engine={engine}')
      assert message.startswith(f'engine: there is no {engine} here; pip inst')
  assert not (tmp_path / 'run').exists()


@_needs_launchpad
@pytest.mark.learning
@pytest.mark.parametrize(
  'launch_type', ['local_mp', 'local_mt', 'test_mt', 'test_mp']
)
def test_launch_types_end_with_the_last_iteration(start, launch_type):
  running = start('--num_iterations=7', f'--lp_launch_type={launch_type}')
  running.wait_for_iteration(1)
  _check_done(running, 7)


@_needs_launchpad
@pytest.mark.learning
@pytest.mark.parametrize('launch_type', ['local_mp', 'local_mt', 'test_mp'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_end(start, launch_type, number):
  running = start('--num_iterations=1000000', f'--lp_launch_type={launch_type}')
  running.wait_for_iteration(3)
  running.say(number, to_group=number == signal.SIGINT)
  assert running.end() == 0, running.output
  assert f'Stopped by {number.name}' in running.output
  _check_saved(running)


@_needs_launchpad
@pytest.mark.learning
@pytest.mark.parametrize('name', ['launcher', 'replay', 'learner'])
def test_signal_before_anything_has_started(start, name):
  running = start('--num_iterations=1000000')
  running.living(name)
  running.say(signal.SIGTERM)
  assert running.end() == 0, running.output
  assert 'Stopped by SIGTERM after iteration 0' in running.output


@_needs_launchpad
@pytest.mark.learning
def test_signal_in_the_middle_of_an_update(start):
  running = start(
    '--num_iterations=1000000',
    '--config.num_outer_epochs=4000',
    '--checkpoint_every=1000',
  )
  running.wait_for_iteration(3)
  running.say(signal.SIGTERM)
  assert running.end() == 0, running.output
  seconds = [
    [float(row[name]) for name in ('learning_seconds', 'waiting_seconds')]
    for row in running.rows()
  ]
  learning, waiting = (sum(x) for x in zip(*seconds[1:], strict=True))
  assert learning > 10 * waiting  # So that is where the signal came.
  _check_saved(running)
  assert int(_latest(running).arrays['.num_updates']) == running.iterations[-1]


@_needs_launchpad
@pytest.mark.learning
@pytest.mark.parametrize('name', ['replay', 'counter', 'launcher'])
def test_program_is_launched_anew(start, name):
  running = start('--num_iterations=1000000')
  running.wait_for_iteration(7)
  running.living(name).kill()
  last = running.iterations[-1]
  running.wait(lambda: 'Launching it anew' in running.output, 'restart')
  where = running.output.split('Launching it anew from checkpoint_')[1]
  # What is learned while the program ends is no loss.
  assert last - int(where[:8]) <= 5 + 1
  running.wait_for_iteration(last + 3)
  running.say(signal.SIGTERM)
  assert running.end() == 0, running.output
  _check_saved(running)


@_needs_launchpad
@pytest.mark.learning
def test_all_end_with_the_supervising_launcher(start):
  running = start('--num_iterations=1000000')
  running.wait_for_iteration(6)
  running.say(signal.SIGKILL)
  assert running.end() == -signal.SIGKILL
  # Nothing to learn, but perhaps to evaluate.
  saved = _latest(running).step
  again = start(
    '--resume',
    f'--num_iterations={saved}',
    directory=running.directory,
    small=False,
  )
  _check_done(again, saved)


@_needs_launchpad
@pytest.mark.learning
def test_restarts_are_bounded(start):
  running = start('--num_iterations=1000000', '--max_restarts=1')
  for last in (3, 6):
    running.wait_for_iteration(last)
    running.living('learner').kill()
    running.wait(
      lambda: 'Launching it anew' in running.output or running.process.poll(),
      'restart',
    )
  assert running.end() == 1
  assert 'given up. --resume goes on from checkpoint_' in running.output


@pytest.fixture
def small_disk(tmp_path):
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', str(tmp_path)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('needs the right to mount a small disk')
  yield tmp_path
  subprocess.run(['umount', '-l', str(tmp_path)], check=True)


@_needs_launchpad
@pytest.mark.learning
def test_full_disk_ends_it_and_leaves_the_last_checkpoint(start, small_disk):
  running = start('--num_iterations=1000000', directory=small_disk / 'run')
  running.wait_for_iteration(6)
  running.wait(lambda: _latest(running), 'checkpoint')
  with open(small_disk / 'filler', 'wb', buffering=0) as file:
    with pytest.raises(OSError) as caught:
      while True:
        file.write(b'0' * 2**12)
    assert caught.value.errno == errno.ENOSPC
  assert running.end() == 1
  assert 'No space left on device' in running.output
  assert 'the last checkpoint is intact' in running.output
  assert 'Launching it anew' not in running.output
  saved = _latest(running).step
  (small_disk / 'filler').unlink()
  again = start(
    '--resume',
    f'--num_iterations={saved + 3}',
    directory=running.directory,
    small=False,
  )
  _check_done(again, saved + 3)
