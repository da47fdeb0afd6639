"""Which run flags ask for, and where it goes."""

import json

from absl import flags, logging
import pytest

from acme_metarl.launchers.runs import checkpointing, config_flags, directories
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


def _planned(*arguments, num_seeds=1, **options):
  values = flags.FlagValues()
  run_flags.define(values)
  rest, overrides = config_flags.split(['train', *arguments])
  values(rest)
  config = run_flags.config_from_flags(overrides, values)
  return run_flags.planned(
    'train', config, overrides, values, num_seeds, **options
  )


def _begin(plan, iteration=2):
  """What a run leaves."""
  checkpointing.Checkpointer(plan.directory / run_config.CHECKPOINTS).save(
    iteration, {}, {'iteration': iteration, 'config': plan.config.to_dict()}
  )


def test_runs_at_once_have_directories_of_their_own():
  with _planned('--inner_learning_rate=0.05') as (one,):
    with _planned('--inner_learning_rate=0.4') as (other,):
      assert one.directory.name.endswith('0-inner_learning_rate=0.05')
      assert other.directory.name.endswith('0-inner_learning_rate=0.4')
    with _planned('--inner_learning_rate=0.05') as (same,):
      assert same.directory.name == f'{one.directory.name}-2'
    with (
      pytest.raises(directories.TakenError, match='is writing to'),
      _planned(f'--logdir={one.directory}'),
    ):
      pass


def test_what_is_not_the_preset_alone_is_in_no_name():
  with _planned('--eval_every=3', '--num_iterations=7') as (plan,):
    assert plan.directory.name == 'navigation_2d-promp_taypo2-0'


def test_finished_runs_keep_their_directory():
  with _planned() as (one,):
    _begin(one)
  with _planned() as (other,):
    assert other.directory != one.directory
  with (
    pytest.raises(ValueError, match='there is a run in'),
    _planned(f'--logdir={one.directory}'),
  ):
    pass


def test_seeds_share_a_directory():
  with _planned(num_seeds=2) as plans:
    assert [x.directory.name for x in plans] == ['seed_0', 'seed_1']
    _begin(plans[1])
  # One of them is taken, so all move on together.
  with _planned(num_seeds=3) as others:
    (parent,) = {x.directory.parent for x in others}
    assert parent.name == f'{plans[0].directory.parent.name}-2'
    assert [x.config.seed for x in others] == [0, 1, 2]


def test_nothing_is_made_before_the_check(
  tmp_path, tmp_path_factory, monkeypatch
):
  def refuse(config):
    raise ValueError('horizon: too long.')

  with (
    pytest.raises(ValueError, match='too long'),
    _planned(check=refuse),
  ):
    pass
  elsewhere = tmp_path_factory.mktemp('modules')
  (elsewhere / 'optimiser_of_mine.py').write_text(
    'import optax\nmade = optax.sgd(0.1)\n'
  )
  monkeypatch.syspath_prepend(elsewhere)
  with (
    pytest.raises(ValueError, match='outer_optimizer is .*cannot be written'),
    _planned('--config.outer_optimizer=optimiser_of_mine:made'),
  ):
    pass
  assert not list(tmp_path.iterdir())


def test_resumes_with_the_configuration_that_is_there():
  with _planned('--horizon=7') as (one,):
    _begin(one)
  with _planned('--resume', '--num_iterations=9') as (again,):
    assert again.directory == one.directory
    assert again.checkpoint.step == 2
    assert again.config == one.config.replace_algorithm(num_iterations=9)
  with (
    pytest.raises(ValueError, match='horizon is 7 there, not 8'),
    _planned('--resume', f'--logdir={one.directory}', '--horizon=8'),
  ):
    pass


def test_says_what_it_resumes_from(monkeypatch):
  with _planned() as (one,):
    _begin(one)
  said = []
  monkeypatch.setattr(
    logging, 'info', lambda text, *args: said.append(text % args)
  )
  with _planned('--resume') as (again,):
    assert said == [f'Resuming from {again.checkpoint.path}.']


def test_resumes_from_the_beginning_where_there_is_no_checkpoint(tmp_path):
  logdir = f'--logdir={tmp_path / "run"}'
  with (
    pytest.raises(ValueError, match='no run in'),
    _planned(logdir, '--resume'),
  ):
    pass
  assert not (tmp_path / 'run').exists()
  with _planned(logdir, '--horizon=7') as (one,):
    pass
  (one.directory / run_config.CONFIG_JSON).write_text('{')
  with (
    pytest.raises(ValueError, match='cannot be read as a configuration'),
    _planned(logdir, '--resume'),
  ):
    pass
  (one.directory / run_config.CONFIG_JSON).write_text(
    json.dumps(one.config.to_dict())
  )
  with _planned(logdir, '--resume') as (again,):
    assert again == one


def test_runs_a_configuration_from_a_file(tmp_path):
  with _planned('--horizon=7', '--algorithm=trpo_maml') as (one,):
    pass
  path = tmp_path / 'some.json'
  path.write_text(json.dumps(one.config.to_dict()))
  with _planned(f'--config_file={path}', '--seed=5') as (other,):
    assert other.config.seed == 5
    assert other.config.algorithm == one.config.algorithm
  with (
    pytest.raises(ValueError, match='config_file: .*horizon is 7'),
    _planned(f'--config_file={path}', '--horizon=8'),
  ):
    pass


def test_a_run_of_damaged_checkpoints_does_not_begin_anew():
  with _planned() as (one,):
    _begin(one)
  folder = one.directory / run_config.CHECKPOINTS
  (path,) = checkpointing.Checkpointer(folder).paths()
  path.write_bytes(path.read_bytes()[:-9])
  with (
    pytest.raises(ValueError, match='every checkpoint in .* is damaged'),
    _planned('--resume'),
  ):
    pass
