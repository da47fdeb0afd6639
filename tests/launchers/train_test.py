"""`python -m acme_metarl.launchers.train`, as users run it."""

import csv
import json
import signal
import time

import pytest

from acme_metarl.launchers.runs import checkpointing

_SMALL = (
  '--num_tasks=2',
  '--num_rollouts=3',
  '--horizon=5',
  '--config.hidden_sizes=8',
  '--config.num_outer_epochs=1',
  '--environment_options={"reward": "dense"}',
  '--eval_every=2',
)


def _iterations(directory):
  path = directory / 'learner.csv'
  if not path.exists():
    return []
  with open(path, newline='') as file:
    return [int(row['iteration']) for row in csv.DictReader(file)]


def test_stops_and_goes_on(tmp_path, start_launcher, run_launcher):
  process = start_launcher(
    'train', *_SMALL, '--num_iterations=1000000', cwd=tmp_path
  )
  directory = tmp_path / 'results/train/navigation_2d-promp_taypo2-0'
  deadline = time.time() + 200
  while len(_iterations(directory)) < 5 and time.time() < deadline:
    assert process.poll() is None, process.communicate()[1]
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert 'Stopped by SIGINT' in err
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
  assert 'Reverb' not in err and 'reverb' not in err
  assert _iterations(directory) == list(range(1, len(done) + 4))
  config = json.loads((directory / 'config.json').read_text())
  assert config['agent']['algorithm']['hidden_sizes'] == [8]


_SCRIPT = """
import json
import sys
from absl import flags
from absl.testing import flagsaver
from acme_metarl.launchers import checkpointing, config_flags, run_flags

for arguments in json.loads(sys.argv[1]):
  rest, overrides = config_flags.split(['train', *arguments])
  with flagsaver.flagsaver():
    run_flags.FLAGS.unparse_flags()
    run_flags.FLAGS(rest)
    try:
      config = run_flags.config_from_flags(overrides).to_dict()
      print(json.dumps(config), flush=True)
    except ValueError as error:
      print(json.dumps(str(error)), flush=True)
"""


@pytest.fixture(scope='module')
def configs(run_python):
  """What sets of flags lead to, by set: found in one process."""
  sets = [
    (),
    ('--algorithm=trpo_maml', '--config.max_kl=0.05', '--seed=3'),
    ('--config.evaluator_options.lambda_=0.5',),
    ('--config.evaluator=doubly_robust',),
    ('--config.max_queue_size=100', '--reuse=2'),
    ('--algorithm=prompt',),
    ('--environment=ant',),
    ('--environment=half_cheetah_direction',),
    ('--config.max_lk=1',),
    ('--horizon=0',),
    ('--num_rollouts=1',),
    ('--config.max_queue_size=39',),
    ('--config.num_tasks=3',),
    ('--environment_options=reward',),
    ('--discount=1.5',),
    ('--config.evaluator=taylor',),
    ('--config.evaluator=nowhere:evaluator',),
  ]
  lines = run_python(_SCRIPT, json.dumps(sets))
  return dict(zip(sets, lines, strict=True))


def test_defaults_are_the_main_job(configs):
  config = configs[()]
  algorithm = config['agent']['algorithm']
  assert config['environment'] == 'navigation_2d'
  assert config['algorithm'] == 'promp_taypo2'
  assert config['agent']['reuse'] == 1
  sizes = ('num_tasks', 'num_rollouts', 'horizon', 'num_inner_steps')
  assert [algorithm[name] for name in sizes] == [40, 20, 100, 1]
  assert algorithm['num_iterations'] == 200
  assert algorithm['evaluator'] == 'taylor_expansion'
  assert algorithm['evaluator_options'] == {'order': 2}
  assert algorithm['inner_learning_rate'] == 0.2
  assert algorithm['discount'] == 0.99


def test_the_inner_step_is_the_published_one_but_for_navigation(configs):
  config = configs[('--environment=half_cheetah_direction',)]
  assert config['agent']['algorithm']['inner_learning_rate'] == 0.1


def test_any_field_can_be_set(configs):
  config = configs[
    ('--algorithm=trpo_maml', '--config.max_kl=0.05', '--seed=3')
  ]
  assert config['seed'] == 3
  assert config['agent']['algorithm']['max_kl'] == 0.05
  assert config['agent']['algorithm']['outer_optimizer'] == 'trust_region'
  options = configs[('--config.evaluator_options.lambda_=0.5',)]['agent'][
    'algorithm'
  ]['evaluator_options']
  assert options == {'order': 2, 'lambda_': 0.5}
  # Options of the preset's evaluator are not those of another one.
  algorithm = configs[('--config.evaluator=doubly_robust',)]['agent'][
    'algorithm'
  ]
  assert algorithm['evaluator'] == 'doubly_robust'
  assert algorithm['evaluator_options'] == {}
  agent = configs[('--config.max_queue_size=100', '--reuse=2')]['agent']
  assert (agent['max_queue_size'], agent['reuse']) == (100, 2)


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
    ('--config.evaluator=taylor', ['evaluator', 'taylor_expansion', 'lvc']),
    ('--config.evaluator=nowhere:evaluator', ['evaluator', 'nowhere']),
  ],
)
def test_mistakes_are_explained(configs, flag, words):
  message = configs[(flag,)]
  assert isinstance(message, str), message
  assert all(word in message for word in words), message


def test_directories_are_checked_before_training(tmp_path, refusals):
  taken = tmp_path / 'taken'
  taken.mkdir()
  (taken / 'config.json').write_text('{}')
  (tmp_path / 'file').touch()
  cases = {
    f'--logdir={taken}': 'there is a run in',
    f'--logdir={tmp_path / "file" / "run"}': 'cannot write',
    'positional': "unexpected argument 'positional'",
  }
  messages = refusals('train', cases)
  for message, expected in zip(messages, cases.values(), strict=True):
    assert message.startswith('train: ')
    assert expected in message


def test_help_explains_every_flag(start_launcher):
  out, _ = start_launcher('train', '--help').communicate(timeout=100)
  for flag in (
    'environment algorithm seed num_iterations num_tasks num_rollouts horizon '
    'num_inner_steps inner_learning_rate discount reuse logdir eval_every '
    'checkpoint_every resume'
  ).split():
    lines = (
      out.split(f'--{flag}:', 1)
      if f'--{flag}:' in out
      else (out.split(f'--[no]{flag}:', 1))
    )
    assert len(lines) == 2, flag
    assert len(lines[1].split('\n')[0].strip()) > 5, flag
  assert '--config.FIELD=VALUE' in out
