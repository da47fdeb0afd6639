"""Training in one compiled function, from the command line."""

import csv
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from acme_metarl.launchers import train_on_device
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.meta import causal_dial

_ROOT = pathlib.Path(__file__).parents[2]
_NAME = 'train_on_device'
_SMALL = (
  '--num_tasks=4',
  '--num_rollouts=4',
  '--horizon=8',
  '--config.hidden_sizes=8',
  '--environment_options={"reward": "dense"}',
  '--eval_every=2',
  '--checkpoint_every=2',
)


def _rows(path):
  with open(path, newline='', encoding='utf-8') as file:
    return [
      {k: v for k, v in row.items() if k != 'wall_seconds'}
      for row in csv.DictReader(file)
    ]


def _arrays(directory):
  return checkpointing.Checkpointer(directory / 'checkpoints').load_latest()


def _assert_same_run(one, other):
  for name in ('learner.csv', 'evaluation.csv', 'evaluation_tasks.csv'):
    assert _rows(one / name) == _rows(other / name)
  a, b = _arrays(one), _arrays(other)
  assert a.step == b.step
  for name in a.arrays:
    np.testing.assert_array_equal(a.arrays[name], b.arrays[name])


def _assert_close_returns(one, other):
  """Not the same: another number of devices, another order of sums."""
  np.testing.assert_allclose(
    *([float(row['return_mean']) for row in rows] for rows in (one, other)),
    rtol=1e-3,
  )


@pytest.fixture(scope='module')
def whole(run_launcher, tmp_path_factory):
  """A run of five iterations, in a process of its own."""
  directory = tmp_path_factory.mktemp('whole') / 'run'
  out, err = run_launcher(
    _NAME, *_SMALL, f'--logdir={directory}', '--num_iterations=5'
  )
  assert 'curves.png' in out
  assert 'adaptation steps' in err
  return directory


def test_writes_what_train_writes(whole):
  assert len(_rows(whole / 'learner.csv')) == 5
  evaluations = _rows(whole / 'evaluation.csv')
  assert [int(row['iteration']) for row in evaluations[::2]] == [0, 2, 4, 5]
  assert list(evaluations[0]) == [
    'iteration',
    'environment_steps',
    'num_inner_steps_taken',
    'return_mean',
    'return_stderr',
  ]
  assert int(evaluations[-1]['environment_steps']) == 5 * 4 * 4 * 8 * 2
  assert (whole / 'curves.png').stat().st_size > 1000
  assert json.loads((whole / 'config.json').read_text())['seed'] == 0
  # The dense reward of 8 steps from the origin to a corner at (±2, ±2).
  assert -26 < float(evaluations[0]['return_mean']) < -18


def test_resumed_run_is_the_same(whole, start_launcher, run_launcher, tmp_path):
  directory = tmp_path / 'run'
  arguments = (*_SMALL, f'--logdir={directory}', '--num_iterations=5')
  process = start_launcher(_NAME, *arguments)
  deadline = time.monotonic() + 200
  while _arrays(directory) is None and time.monotonic() < deadline:
    assert process.poll() in (None, 0)
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert _arrays(directory).step < 5 or process.returncode == 0
  run_launcher(_NAME, *arguments, '--resume')
  _assert_same_run(whole, directory)


def test_causal_lambda_that_sets_itself_is_told_and_resumed(
  call_main, tmp_path
):
  arguments = (
    *_SMALL,
    f'--logdir={tmp_path}',
    '--algorithm=promp_causal',
    '--config.evaluator_options.causal_lambda=adaptive',
    '--checkpoint_every=1',
  )
  call_main(_NAME, *arguments, '--num_iterations=2')
  call_main(_NAME, *arguments, '--num_iterations=4', '--resume')
  rows = _rows(tmp_path / 'learner.csv')
  cosines = [float(row['meta_gradient_cosine']) for row in rows]
  averages = [0.0]
  for cosine in cosines:
    averages.append(
      causal_dial.KEEP * averages[-1] + (1 - causal_dial.KEEP) * cosine
    )
  expected = [
    causal_dial.DISAGREEING
    if average < causal_dial.AGREEMENT
    else causal_dial.AGREEING
    for average in averages
  ]
  # Of the cosines before it.
  found = [float(row['causal_lambda']) for row in rows]
  np.testing.assert_allclose(found, expected[:-1], rtol=1e-6)
  (cosine,) = [x for k, x in _arrays(tmp_path).arrays.items() if 'cosine' in k]
  np.testing.assert_allclose(cosine, averages[-1], atol=1e-6)


def test_seeds_train_at_once_and_go_on_in_step(whole, call_main, tmp_path):
  call_main(
    _NAME,
    *_SMALL,
    f'--logdir={tmp_path / "runs"}',
    '--num_iterations=2',
    '--num_seeds=2',
  )
  first, second = (
    _rows(tmp_path / 'runs' / f'seed_{i}' / 'evaluation.csv') for i in (0, 1)
  )
  assert len(first) == len(second) == 4
  assert first != second
  _assert_close_returns(first, _rows(whole / 'evaluation.csv')[: len(first)])
  config = tmp_path / 'runs' / 'seed_1' / 'config.json'
  assert json.loads(config.read_text())['seed'] == 1
  plans = [
    run_config.Plan(None, path, _arrays(path))
    for path in sorted((tmp_path / 'runs').iterdir())
  ]
  assert train_on_device.in_step(plans) == plans
  newer = plans[1].checkpoint._replace(step=3)
  behind = train_on_device.in_step(
    [plans[0], plans[1]._replace(checkpoint=newer)]
  )
  assert [plan.checkpoint.step for plan in behind] == [2, 2]
  behind = train_on_device.in_step(
    [plans[0]._replace(checkpoint=None), plans[1]]
  )
  assert [plan.checkpoint for plan in behind] == [None, None]
  older = plans[0].checkpoint._replace(step=1)
  with pytest.raises(ValueError, match='no checkpoint of the same iteration'):
    train_on_device.in_step([plans[0]._replace(checkpoint=older), plans[1]])
  # One seed has none where another has had several: something was lost.
  saved = plans[1].checkpoint.path
  saved.with_name(checkpointing.file_name(1)).write_bytes(saved.read_bytes())
  with pytest.raises(ValueError, match="seed_0' has no checkpoint"):
    train_on_device.in_step([plans[0]._replace(checkpoint=None), plans[1]])


@pytest.mark.parametrize(
  ('flag', 'expected'),
  [
    ('--environment=half_cheetah_velocity', 'backend'),
    ('--num_seeds=0', 'num_seeds'),
    ('--reuse=2', 'reuse'),
    ('--algorithm=maml', 'promp_taypo2'),
    ('--resume', 'there is no run in'),
  ],
)
def test_mistakes_end_at_once_with_one_line(refused, tmp_path, flag, expected):
  directory = tmp_path / 'run'
  assert expected in refused(_NAME, f'--logdir={directory}', flag)
  assert not directory.exists()


_LACKS = """
import json, os
os.environ['JAX_PLATFORMS'] = 'abacus'
import jax, jax.numpy as jnp
from acme_metarl.launchers import train_on_device
from acme_metarl.launchers.runs import host_devices

try:
  host_devices.local()
except ValueError as error:
  print(json.dumps(str(error)))
jax.config.update('jax_platforms', 'cpu')
try:
  jnp.zeros(2**50, jnp.int8).block_until_ready()
except jax.errors.JaxRuntimeError as error:
  print(json.dumps(train_on_device.is_out_of_memory(error)))
"""


def test_lack_of_devices_or_memory_is_recognised(run_python):
  message, is_out_of_memory = run_python(_LACKS)
  assert "JAX_PLATFORMS='abacus'" in message
  assert is_out_of_memory


def test_needs_no_agent_stack():
  code = (
    'import sys\n'
    "for name in ('acme', 'reverb', 'launchpad', 'tensorflow', 'mujoco'):\n"
    '  sys.modules[name] = None\n'
    'from acme_metarl.launchers import train_on_device\n'
    'import acme_metarl\n'
    'acme_metarl.load\n'
  )
  subprocess.run([sys.executable, '-c', code], cwd=_ROOT, check=True)
