import dataclasses
import json
import shutil

from absl import flags
import jax
import numpy as np
import pytest

import acme_metarl
from acme_metarl import presets
from acme_metarl.agents import maml
from acme_metarl.launchers import evaluate
from acme_metarl.launchers.runs import agent_trainer, checkpointing, evaluation
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs.played import Played


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A short run: its directory and its trainer's own evaluation."""
  config = run_config.RunConfig(
    environment_options={'reward': 'dense'},
    preset='promp',
    algorithm=presets.make(
      'promp',
      num_tasks=3,
      num_rollouts=3,
      horizon=5,
      hidden_sizes=(8,),
      num_outer_epochs=1,
    ),
  )
  directory = tmp_path_factory.mktemp('run')
  trainer = agent_trainer.Trainer(config)
  trainer.iterate()
  ((arrays, metadata),) = trainer.save()
  checkpointing.Checkpointer(directory / 'checkpoints').save(
    1, arrays, {**metadata, 'iteration': 1, 'config': config.to_dict()}
  )
  ((returns, *_),) = trainer.evaluate()
  trainer.close()
  return directory, config, returns


@pytest.fixture
def evaluator(run):
  directory, config, _ = run
  environment = config.trial_environment('evaluation')
  builder = maml.MAMLBuilder(config.agent_config)
  spec = agent_trainer.specs.make_environment_spec(environment)
  networks = evaluation.make_networks(config, environment)
  checkpoint = run_config.find_checkpoint(str(directory))
  return evaluation.Evaluator(
    environment,
    builder,
    builder.make_policy(networks, spec),
    evaluation.FixedVariables(evaluation.meta_params(config, checkpoint), 1),
    agent_trainer.Keys(config.seed).evaluation,
  )


def _configured(directory, *arguments):
  """What `evaluate` makes of a run and flags."""
  values = flags.FlagValues()
  evaluate.define(values)
  values(['evaluate', *arguments])
  checkpoint = run_config.find_checkpoint(str(directory))
  return evaluate._config(checkpoint, values, {})


def test_where_it_plays(run):
  directory, config, _ = run
  assert _configured(directory) == config
  options = '--evaluation_environment_options={"momentum": true}'
  environment = _configured(directory, options).make_environment('evaluation')
  assert environment.momentum and environment.reward == 'dense'
  # Options go with the environment that they are of.
  same = '--evaluation_environment=navigation_2d'
  other = '--evaluation_environment=iterated_prisoners_dilemma'
  assert _configured(directory, options, same).evaluation_environment_options
  config = dataclasses.replace(
    config, evaluation_environment_options={'momentum': True}
  )
  checkpoint = run_config.find_checkpoint(str(directory))
  checkpoint.metadata['config'] = config.to_dict()
  values = flags.FlagValues()
  evaluate.define(values)
  values(['evaluate', other])
  found = evaluate._config(checkpoint, values, {})
  assert found.evaluation_environment == 'iterated_prisoners_dilemma'
  assert not found.evaluation_environment_options
  with pytest.raises(ValueError, match=r"options: got '\[1\]', need a JSON"):
    _configured(directory, '--evaluation_environment_options=[1]')


def test_evolution_strategies_are_evaluated_by_the_agent():
  config = run_config.RunConfig(
    preset='es_maml', algorithm=presets.make('es_maml')
  )
  values = flags.FlagValues()
  evaluate.define(values)
  values(['evaluate', '--num_tasks=3'])
  sized = evaluate._resized(config, values)
  assert sized.agent_config.algorithm.num_tasks == 3


def test_a_checkpoint_plays_as_its_run_did(run, evaluator):
  returns = evaluator.play(trial_index=1).returns
  assert returns.shape == (3, 2, 3)
  np.testing.assert_array_equal(returns, run[2])


def test_nothing_leaks_from_trial_to_trial(evaluator):
  first = evaluator.play(0).returns
  second = evaluator.play(1).returns
  assert np.all(first != second)
  np.testing.assert_array_equal(evaluator.play(0).returns, first)


def test_stage_policies_are_those_that_were_played(evaluator):
  evaluator.play(0)
  policies = evaluator.stage_policies(num_tasks=2)
  assert len(policies) == 2
  observation = np.zeros((2, 4, 2), np.float32)
  actions = [policy(observation) for policy in policies]
  assert actions[0].shape == (2, 4, 2)
  assert np.all(actions[0] != actions[1])
  assert np.all(policies[0](observation) != actions[0])  # Drawn anew.
  params = evaluator._stages.params
  leaves = [jax.tree_util.tree_leaves(p)[0] for p in params]
  np.testing.assert_array_equal(leaves[0][0], leaves[0][1])
  assert np.any(leaves[1][0] != leaves[1][1])


def test_a_loaded_policy_adapts_as_the_actor_does(run, evaluator):
  evaluator.play(0)
  stage = evaluator._actor._recorder.stage(0)
  loaded = acme_metarl.load(run[0])
  adapted = loaded.adapt(jax.tree_util.tree_map(lambda x: x[1], stage))
  jax.tree_util.tree_map(
    lambda ours, theirs: np.testing.assert_allclose(
      ours, theirs[1], rtol=1e-4, atol=1e-6
    ),
    adapted,
    evaluator._stages.params[1].policy,
  )


def test_intervals_are_students():
  returns = np.arange(4.0).reshape(4, 1, 1)
  (row,) = evaluation.confidence_rows(Played(returns), 0.95)
  assert row['return_mean'] == 1.5
  # t with 3 degrees of freedom: 3.182; s = 1.291.
  half = 3.1824463 * 1.2909944 / 2
  assert row['return_low'] == pytest.approx(1.5 - half, rel=1e-6)
  assert row['return_high'] == pytest.approx(1.5 + half, rel=1e-6)


def test_command_line(run, call_main, tmp_path):
  directory = run[0]
  # A copy may be called as one likes.
  copy = tmp_path / 'checkpoints' / 'best.npz'
  copy.parent.mkdir()
  shutil.copy(directory / 'checkpoints' / 'checkpoint_00000001.npz', copy)
  directory = tmp_path
  out, err = call_main(
    'evaluate',
    f'--checkpoint={copy}',
    '--num_inner_steps=2',
    '--num_tasks=4',
    '--num_rollouts=2',
    '--render=2',
    '--confidence=0.9',
  )
  assert 'Trained with 1 adaptation steps' in err
  output = directory / 'evaluation-00000001'
  assert {path.name for path in output.iterdir()} == {
    'behaviour.png',
    'results.csv',
    'results.json',
    'tasks.csv',
  }
  rows = json.loads((output / 'results.json').read_text())['rows']
  assert [row['num_inner_steps_taken'] for row in rows] == [0, 1, 2]
  for row in rows:
    assert (row['num_tasks'], row['num_rollouts']) == (4, 2)
    assert row['return_low'] < row['return_mean'] < row['return_high']
    assert f'{row["return_mean"]:.4g}' in out


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ([], 'checkpoint: need'),
    (['--checkpoint=nowhere'], 'checkpoint: there is none in'),
    (['--checkpoint=RUN', '--confidence=1'], 'confidence: got 1.0'),
    (['--checkpoint=RUN', '--seed=-1'], 'seed: got -1'),
    (['--checkpoint=RUN', '--environment=ant_goal'], 'the run has navigation'),
    (['--checkpoint=RUN', '--num_tasks=0'], 'num_tasks'),
  ],
)
def test_mistakes_are_explained(run, refused, flags, message):
  flags = [flag.replace('RUN', str(run[0])) for flag in flags]
  assert message in refused('evaluate', *flags)
