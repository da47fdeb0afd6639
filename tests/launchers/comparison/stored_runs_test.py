"""The runs of a comparison, and what is stored of them."""

import dataclasses
import json

import pytest

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import outputs


def _config(**fields):
  return dataclasses.replace(run_config.RunConfig(), **fields)


def _store(directory, config, evaluations=''):
  directory.mkdir(parents=True)
  outputs.write_json(directory / 'config.json', config.to_dict())
  (directory / 'evaluation.csv').write_text(
    'iteration,environment_steps,wall_seconds,num_inner_steps_taken,'
    f'return_mean,return_stderr\n{evaluations}'
  )


def _network(observation_spec, action_spec):
  """Is not called."""


def _with_iterations(config, num_iterations):
  return config.replace_algorithm(num_iterations=num_iterations)


def _run(output, config):
  return stored_runs.Run(config.environment, 'promp', config, output)


@pytest.mark.parametrize(
  ('text', 'preset', 'fields', 'label'),
  [
    ('promp', 'promp', {}, 'promp'),
    (
      'vpg_maml:meta_gradient=linearised',
      'vpg_maml',
      {'meta_gradient': 'linearised'},
      'vpg_maml+meta_gradient=linearised',
    ),
    (
      'promp:evaluator=my_module:f:evaluator_options.order=3:max_kl=1e+3',
      'promp',
      {
        'evaluator': 'my_module:f',
        'evaluator_options.order': '3',
        'max_kl': '1e+3',
      },
      'promp+evaluator=my_module_f+evaluator_options.order=3+max_kl=1e_3',
    ),
  ],
)
def test_reads_variants(text, preset, fields, label):
  variant = stored_runs.parse_variant(text)
  assert variant == (preset, fields)
  assert variant.label == label


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('promp:reuse', 'PRESET:FIELD=VALUE'),
    ('promp:reuse=1:reuse=2', 'twice'),
    ('promp:num_iterations=3', '--num_iterations'),
  ],
)
def test_refuses_what_is_no_variant(text, message):
  with pytest.raises(ValueError, match=message):
    stored_runs.parse_variant(text)


def test_how_far_and_how_often_is_no_difference():
  one = _config()
  other = _config(eval_every=3, checkpoint_every=7)
  assert not stored_runs.differences(one, _with_iterations(other, 3))
  different = stored_runs.differences(one, _config(seed=2, preset='promp'))
  assert different == (
    "preset is 'promp_taypo2' there, not 'promp'; seed is 0 there, not 2"
  )


def test_refuses_another_run_in_the_same_place(tmp_path):
  run = _run(tmp_path, _config())
  _store(run.directory, _config())
  stored_runs.check_stored(run)
  other = dataclasses.replace(run, config=_config(eval_every=3, preset='promp'))
  with pytest.raises(ValueError, match="preset is 'promp_taypo2' there, not"):
    stored_runs.check_stored(other)


def test_refuses_to_repeat_a_finished_run_without_checkpoint(tmp_path):
  config = _with_iterations(_config(), 20)
  finished = _run(tmp_path, config)
  _store(finished.directory, config, '20,9,1,0,1.5,\n20,9,1,1,2.5,\n')
  assert finished.is_finished
  stored_runs.check_stored(finished)
  longer = dataclasses.replace(finished, config=_with_iterations(config, 30))
  assert not longer.is_finished
  with pytest.raises(ValueError, match='no checkpoint to go on from'):
    stored_runs.check_stored(longer)


def test_refuses_a_damaged_configuration(tmp_path):
  (tmp_path / 'config.json').write_text('{"agent": ')
  with pytest.raises(
    ValueError, match='as a configuration.*Move its directory'
  ):
    stored_runs.stored_config(tmp_path)


def test_leaves_a_row_out_that_was_cut_short(tmp_path):
  _store(tmp_path / 'run', _config(), '0,0,1,0,1.5,\n0,0,1,1,2.5,0.1\n10,9,1')
  rows = stored_runs.evaluation_rows(tmp_path / 'run')
  assert [row['return_mean'] for row in rows] == [1.5, 2.5]
  assert stored_runs.last_evaluation(tmp_path / 'run') == 0
  assert stored_runs.last_evaluation(tmp_path / 'nothing') == -1


def test_what_was_reported_is_there_where_it_was(tmp_path):
  header = (
    'iteration,environment_steps,wall_seconds,num_inner_steps_taken,'
    'return_mean,return_stderr,success_ever,speed_last'
  )
  (tmp_path / 'evaluation.csv').write_text(
    f'{header}\n0,0,1,0,1,,0.5,nan\n0,0,1,1,2,,,3\n'
    '10,9,1,0,3,,0.5,4\n10,9,1,1,4,,0.5'
  )
  first, second = stored_runs.evaluation_rows(tmp_path)
  assert first['success_ever'] == 0.5 and 'speed_last' not in first
  assert second['speed_last'] == 3 and 'success_ever' not in second
  # As many stages of a class as of another, but not always all classes.
  (tmp_path / 'evaluation_classes.csv').write_text(
    f'{header},task_class,num_tasks\n'
    '0,0,1,0,1,,0,0,push,2\n0,0,1,1,2,,0,0,push,2\n'
    '0,0,1,0,3,,0,0,reach,1\n0,0,1,1,4,,0,0,reach,1\n'
    '10,9,1,0,5,,0,0,push,3\n10,9,1,1,6,,0,0,push,3\n'
    '10,9,1,0,7,,0,0,reach,3\n10,9,1,1,8,,0,0,rea'
  )
  rows = stored_runs.evaluation_rows(tmp_path, 'evaluation_classes.csv')
  assert [row['return_mean'] for row in rows] == [1, 2, 3, 4, 5, 6]
  assert (rows[2]['task_class'], rows[2]['num_tasks']) == ('reach', 1)


def test_counts_a_repeated_evaluation_once(tmp_path):
  first = '0,0,1,0,1.5,\n0,0,1,1,2.5,\n'
  _store(
    tmp_path / 'run', _config(), f'{first}{first}10,9,1,0,3,\n10,9,1,1,4,\n'
  )
  rows = stored_runs.evaluation_rows(tmp_path / 'run')
  assert [row['return_mean'] for row in rows] == [1.5, 2.5, 3, 4]


def test_finds_what_is_stored(tmp_path):
  for environment, algorithm, seed in (
    ('navigation_2d', 'promp', 1),
    ('navigation_2d', 'promp', 0),
    ('navigation_2d', 'trpo_maml', 0),
    ('tabular_mdp', 'promp', 0),
  ):
    _store(
      tmp_path / 'runs' / environment / algorithm / f'seed_{seed}',
      _config(environment=environment, preset=algorithm, seed=seed),
    )

  def names(*selection):
    found = stored_runs.stored(tmp_path, *selection)
    return [run.name for run in found]

  assert names(None, None, None, None) == [
    'navigation_2d/promp/seed_0',
    'navigation_2d/promp/seed_1',
    'navigation_2d/trpo_maml/seed_0',
    'tabular_mdp/promp/seed_0',
  ]
  assert names(['navigation_2d'], ['promp'], [1], 7) == [
    'navigation_2d/promp/seed_1'
  ]
  (run,) = stored_runs.stored(tmp_path, None, ['trpo_maml'], None, 7)
  assert run.config.num_iterations == 7
  with pytest.raises(ValueError, match='no such run'):
    names(None, ['vpg_maml'], None, None)


def test_refuses_to_mix_seeds_of_different_algorithms(tmp_path):
  for seed, environment_options in ((0, {}), (1, {'reward': 'dense'})):
    _store(
      tmp_path / 'runs' / 'navigation_2d' / 'promp' / f'seed_{seed}',
      _config(seed=seed, environment_options=environment_options),
    )
  with pytest.raises(ValueError, match='reward'):
    stored_runs.stored(tmp_path, None, None, None, None)


def test_reads_what_earlier_versions_have_stored(tmp_path):
  values = _config().to_dict()
  values['agent'] = {**values['agent'], 'algorithm': values['algorithm']}
  values['algorithm'] = values.pop('preset')
  (tmp_path / 'config.json').write_text(json.dumps(values))
  assert stored_runs.stored_config(tmp_path) == _config()


def test_imports_what_is_given_only(tmp_path):
  config = _config(network=_network)
  _store(tmp_path / 'run', config)
  with pytest.raises(ValueError, match='network: the run has .*:_network'):
    stored_runs.stored_config(tmp_path / 'run')
  given = {config.to_dict()['network']: _network}
  assert stored_runs.stored_config(tmp_path / 'run', given) == config


def test_reads_what_train_has_stored(tmp_path):
  # Fields that came later have their defaults.
  values = _config().to_dict()
  del values['algorithm']['compute_dtype']
  (tmp_path / 'config.json').write_text(json.dumps(values))
  assert stored_runs.stored_config(tmp_path) == _config()
