"""`python -m acme_metarl.launchers.train`, as users run it."""

import csv
import json
import signal
import time

from absl import flags
import numpy as np
import pytest

from acme_metarl.launchers.runs import (
  checkpointing,
  config_flags,
  recommended,
  tables,
)
from acme_metarl.launchers.runs import flags as run_flags

_SMALL = (
  '--num_tasks=2',
  '--num_rollouts=3',
  '--horizon=5',
  '--config.hidden_sizes=8',
  '--config.num_outer_epochs=1',
  '--environment_options={"reward": "dense"}',
  '--eval_every=2',
)
_NAME = (
  'navigation_2d-promp_taypo2-0-hidden_sizes=8-horizon=5-num_outer_epochs=1-'
  'num_rollouts=3-num_tasks=2-reward=dense'
)


def _iterations(directory):
  path = directory / 'learner.csv'
  if not path.exists():
    return []
  with open(path, newline='') as file:
    return [int(row['iteration']) for row in csv.DictReader(file)]


def test_stops_and_goes_on(tmp_path, start_launcher, run_launcher, monkeypatch):
  # Where nobody answers: local servers are reached all the same.
  for name in ('http_proxy', 'https_proxy', 'grpc_proxy'):
    monkeypatch.setenv(name, 'http://127.0.0.1:9')
  process = start_launcher(
    'train', *_SMALL, '--num_iterations=1000000', cwd=tmp_path
  )
  directory = tmp_path / 'results/train' / _NAME
  deadline = time.time() + 200
  while len(_iterations(directory)) < 5 and time.time() < deadline:
    assert process.poll() is None, process.communicate()[1]
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert 'Stopped by SIGINT' in err
  assert 'What is compiled is kept in' in err
  done = _iterations(directory)
  assert done == list(range(1, len(done) + 1))
  checkpoints = checkpointing.Checkpointer(directory / 'checkpoints')
  assert checkpoints.load_latest().step == len(done)
  assert (directory / 'curves.png').exists()

  # The same directory, and the configuration of the run.
  out, err = run_launcher(
    'train', '--resume', f'--num_iterations={len(done) + 3}', cwd=tmp_path
  )
  assert 'curves.png' in out
  assert _iterations(directory) == list(range(1, len(done) + 4))
  config = json.loads((directory / 'config.json').read_text())
  assert config['algorithm']['hidden_sizes'] == [8]
  commands = [entry['command'] for entry in config['made_by']]
  assert len(commands) == 2
  assert commands[1].startswith(
    'python -m acme_metarl.launchers.train --resume'
  )


def _config(*arguments):
  """What flags lead to."""
  values = flags.FlagValues()
  run_flags.define(values)
  rest, overrides = config_flags.split(['train', *arguments])
  values(rest)
  return run_flags.config_from_flags(overrides, values).to_dict()


def test_defaults_are_the_main_job():
  config = _config()
  algorithm = config['algorithm']
  assert config['environment'] == 'navigation_2d'
  assert config['preset'] == 'promp_taypo2'
  assert config['agent']['reuse'] == 1
  sizes = ('num_tasks', 'num_rollouts', 'horizon', 'num_inner_steps')
  assert [algorithm[name] for name in sizes] == [40, 20, 100, 1]
  assert algorithm['num_iterations'] == 200
  assert algorithm['evaluator'] == 'taylor_expansion'
  assert algorithm['evaluator_options'] == {'order': 2}
  assert algorithm['inner_learning_rate'] == 0.2
  assert algorithm['discount'] == 0.99


def test_the_inner_step_is_recommended_once():
  config = _config('--environment=half_cheetah_direction')
  assert config['algorithm']['inner_learning_rate'] == 0.1
  assert recommended.inner_learning_rate('navigation_2d') == 0.2
  given = _config('--inner_learning_rate=0.3')
  assert given['algorithm']['inner_learning_rate'] == 0.3


def test_any_field_can_be_set():
  config = _config('--algorithm=trpo_maml', '--config.max_kl=0.05', '--seed=3')
  assert config['seed'] == 3
  assert config['algorithm']['max_kl'] == 0.05
  assert config['algorithm']['outer_optimizer'] == 'trust_region'
  options = _config('--config.evaluator_options.lambda_=0.5')['algorithm'][
    'evaluator_options'
  ]
  assert options == {'order': 2, 'lambda_': 0.5}
  # Options of the preset's evaluator are not those of another one.
  algorithm = _config('--config.evaluator=doubly_robust')['algorithm']
  assert algorithm['evaluator'] == 'doubly_robust'
  assert algorithm['evaluator_options'] == {}
  agent = _config('--config.max_queue_size=100', '--reuse=2')['agent']
  assert (agent['max_queue_size'], agent['reuse']) == (100, 2)


@pytest.mark.parametrize(
  ('text', 'written'), [('inf', 'inf'), ('1e999', 'inf'), ('2', 2), ('.5', 0.5)]
)
def test_numbers_may_be_infinite(text, written):
  config = _config(
    '--config.evaluator=truncated_doubly_robust',
    f'--config.evaluator_options.clip_rho_threshold={text}',
  )
  options = config['algorithm']['evaluator_options']
  assert options == {'clip_rho_threshold': written}
  json.dumps(config, allow_nan=False)


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--algorithm=prompt', ['prompt', 'promp_taypo2', 'vpg_maml']),
    ('--environment=ant', ["'ant'", 'ant_direction', 'navigation_2d']),
    ('--config.max_lk=1', ['max_lk', 'max_kl', 'max_queue_size']),
    ('--horizon=0', ['horizon', 'at least 1']),
    ('--num_rollouts=1', ['num_rollouts', 'normalize_advantages']),
    ('--config.max_queue_size=39', ['max_queue_size', '40 tasks']),
    ('--config.num_tasks=3', ['use --num_tasks']),
    ('--environment_options=reward', ['environment_options', 'JSON']),
    ('--discount=1.5', ['discount', '1.5']),
    ('--seed=-1', ['seed', '2**64']),
    ('--seed=18446744073709551616', ['seed', '2**64']),
    ('--config.normalize_advantages=no', ['normalize_advantages', 'false']),
    ('--environment_options={"rewards": 1}', ['rewards', 'reward']),
    ('--environment=nowhere:make', ['environment', 'nowhere']),
    ('--network=json:nothing', ['network', 'nothing']),
    ('--resume', ['resume', 'there is no run in']),
    ('--config.evaluator=taylor', ['evaluator', 'taylor_expansion', 'lvc']),
    ('--config.evaluator=nowhere:evaluator', ['evaluator', 'nowhere']),
  ],
)
def test_mistakes_are_explained(tmp_path, refused, flag, words):
  logdir = tmp_path / 'run'
  message = refused('train', f'--logdir={logdir}', flag)
  assert all(word in message for word in words), message
  assert not logdir.exists()  # Settings are checked before.


def test_directories_are_checked_before_training(tmp_path, refused):
  taken = tmp_path / 'taken'
  taken.mkdir()
  (taken / 'learner.csv').write_text('iteration\n1\n')
  (tmp_path / 'file').touch()
  for arguments, expected in {
    (f'--logdir={taken}',): 'there is a run in',
    (f'--logdir={tmp_path / "file" / "run"}',): 'cannot write',
    ('positional',): "unexpected argument 'positional'",
    ('--nothing=1',): "Unknown command line flag 'nothing'",
    ('--config_file=nowhere.json',): 'nowhere.json cannot be read',
  }.items():
    assert expected in refused('train', *arguments)


def test_run_that_never_began_leaves_its_directory_to_the_next(
  tmp_path, call_main
):
  arguments = (*_SMALL, '--num_iterations=1', f'--logdir={tmp_path}')
  (tmp_path / 'config.json').write_text('{}')
  (tmp_path / 'evaluation.csv').write_text('iteration\n0\n')
  out, _ = call_main('train', *arguments, '--tensorboard')
  assert 'Done' in out
  assert _iterations(tmp_path) == [1]
  assert list((tmp_path / tables.TENSORBOARD).iterdir())

  # Its configuration is that of another run, with another seed.
  again = tmp_path / 'again'
  call_main(
    'train',
    f'--config_file={tmp_path / "config.json"}',
    '--seed=1',
    f'--logdir={again}',
  )
  one, other = (
    json.loads((x / 'config.json').read_text()) for x in (tmp_path, again)
  )
  assert {k for k in one if one[k] != other[k]} <= {'seed', 'made_by'}
  assert other['seed'] == 1


_MINE = """
from acme_metarl import evaluators
from acme_metarl.environments import navigation_2d
from acme_metarl.meta import policies

def make(**options):
  return navigation_2d.Navigation2D(**options)

def no_environment(reward):
  return 3

def network(observation_spec, action_spec):
  assert observation_spec.shape == action_spec.shape == (2,)
  return policies.gaussian(action_spec.shape[0], (5,))

def no_network(observation_spec, action_spec, config):
  return config.num_tasks

def other_network(spec):
  return spec

def evaluator(v_tm1, v_t, r_t, discount_t, rho_tm1):
  return evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1)

def failing(v_tm1, v_t, r_t, discount_t, rho_tm1):
  raise ValueError('a mistake of mine')
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A module of the user's; returns flags that name what is in it."""
  (tmp_path / 'module_of_mine.py').write_text(_MINE)
  monkeypatch.syspath_prepend(tmp_path)
  return [
    '--environment=module_of_mine:make',
    '--network=module_of_mine:network',
    '--config.evaluator=module_of_mine:evaluator',
  ]


@pytest.mark.parametrize('launcher', ['train', 'train_on_device'])
def test_environment_network_and_evaluator_of_ones_own(
  tmp_path, mine, call_main, refused, launcher
):
  if launcher == 'train':
    pytest.importorskip('acme')
  directory = tmp_path / 'run'
  small = [x for x in _SMALL if 'hidden' not in x]
  logdir = f'--logdir={directory}'
  call_main(launcher, *small, *mine, '--num_iterations=1', logdir)
  arrays = checkpointing.Checkpointer(directory / 'checkpoints').load_latest()
  assert any(x.shape == (2, 5) for x in arrays.arrays.values())
  config = json.loads((directory / 'config.json').read_text())
  assert config['network'] == 'module_of_mine:network'
  # What a file names is imported for those only who say so again.
  more = ('--resume', '--num_iterations=2', logdir)
  message = refused(launcher, *more)
  assert '--environment=module_of_mine:make' in message
  message = refused(launcher, *more, *mine[:2])
  assert '--config.evaluator=module_of_mine:evaluator' in message
  call_main(launcher, *more, *mine)
  assert _iterations(directory) == [1, 2]
  if launcher != 'train':
    return
  message = refused('evaluate', f'--checkpoint={directory}')
  assert '--environment=module_of_mine:make' in message
  out, _ = call_main('evaluate', f'--checkpoint={directory}', *mine)
  assert 'after 1 adaptation steps' in out


@pytest.mark.parametrize('launcher', ['train', 'train_on_device'])
def test_what_ones_own_functions_must_return(mine, tmp_path, refused, launcher):
  small = (*_SMALL, f'--logdir={tmp_path / "run"}')
  message = refused(
    launcher, *small, '--environment=module_of_mine:no_environment'
  )
  assert 'no_environment returned 3; it must return an acme_metarl' in message
  message = refused(launcher, *small, '--network=module_of_mine:no_network')
  assert 'no_network returned 2; it must return a types.Policy' in message
  message = refused(launcher, *small, '--network=module_of_mine:other_network')
  assert 'other_network must take observation_spec and action_spec' in message
  message = refused(
    launcher,
    '--environment=module_of_mine:no_environment',
    '--environment_options={"rewards": 1}',
  )
  assert "no_environment does not take {'rewards': 1}" in message
  assert not (tmp_path / 'run').exists()


def test_mistakes_of_the_users_code_show_where(mine, tmp_path, call_main):
  with pytest.raises(ValueError, match='a mistake of mine'):
    call_main(
      'train',
      *_SMALL,
      f'--logdir={tmp_path / "run"}',
      '--config.evaluator=module_of_mine:failing',
    )


def test_evaluations_may_play_elsewhere(tmp_path, call_main):
  """Sparse rewards far from the goal are nearly none; dense ones are not."""
  call_main(
    'train',
    *_SMALL,
    '--evaluation_environment_options={"reward": "sparse"}',
    '--num_iterations=2',
    f'--logdir={tmp_path}',
  )
  evaluation = tables.read_csv(tmp_path / 'evaluation.csv')
  learner = tables.read_csv(tmp_path / 'learner.csv')
  assert float(learner[0]['return_0']) < -10
  assert np.all([abs(float(x['return_mean'])) < 1 for x in evaluation])


def test_help_explains_every_flag(capsys):
  from acme_metarl.launchers import train

  with pytest.raises(SystemExit) as info:
    train.main(['--help'])
  assert info.value.code == 0
  out = capsys.readouterr().out
  for flag in (
    'environment evaluation_environment network algorithm seed num_iterations '
    'num_tasks num_rollouts horizon num_inner_steps inner_learning_rate '
    'discount reuse logdir config_file eval_every checkpoint_every resume '
    'tensorboard compilation_cache'
  ).split():
    lines = (
      out.split(f'--{flag}:', 1)
      if f'--{flag}:' in out
      else (out.split(f'--[no]{flag}:', 1))
    )
    assert len(lines) == 2, flag
    assert len(lines[1].split('\n')[0].strip()) > 5, flag
  assert '--config.FIELD=VALUE' in out
