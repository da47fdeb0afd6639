"""One loop for every trainer: a stand-in, the agent, the device, the learner.

What the loop does is read from what it writes; what trainers do, from numbers.
"""

import contextlib
import csv
import dataclasses
import pathlib

import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import (
  checkpointing,
  columns,
  curves,
  loop,
  outputs,
  progress,
  records,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs.played import Played

# Columns of what the clock says, and of who waits for whom.
_CLOCK = {
  'wall_seconds',
  'acting_seconds',
  'learning_seconds',
  'waiting_seconds',
}


def _config(num_iterations, eval_every, checkpoint_every, **fields):
  algorithm = presets.make(
    'promp',
    num_iterations=num_iterations,
    num_tasks=2,
    num_rollouts=2,
    horizon=3,
    hidden_sizes=(4,),
    num_outer_epochs=1,
  )
  return run_config.RunConfig(
    environment_options={'reward': 'dense'},
    algorithm=algorithm,
    eval_every=eval_every,
    checkpoint_every=checkpoint_every,
    **fields,
  )


@pytest.fixture
def no_pictures(monkeypatch):
  """Drawing takes longer than all else here."""
  monkeypatch.setattr(curves, 'draw', lambda *_: None)


pytestmark = pytest.mark.usefixtures('no_pictures')


class _StandIn:
  """Counts, in chunks of at most four."""

  def __init__(self, configs, fail_at=None):
    self.iteration = 0
    self.chunks = []
    self._num_runs = len(configs)
    self._fail_at = fail_at

  def advance(self, most):
    length = min(most, 4)
    self.chunks.append(length)
    if self._fail_at is not None and self.iteration + length > self._fail_at:
      raise RuntimeError('no number')
    first = self.iteration + 1
    self.iteration += length
    return [
      [
        {
          'iteration': i,
          'environment_steps': 10 * i,
          'return_0': 100 * member + i,
          'meta_gradient_norm': 1,
        }
        for i in range(first, first + length)
      ]
      for member in range(self._num_runs)
    ]

  def evaluate(self):
    return [
      Played(np.full((2, 2, 1), 100.0 * member + self.iteration))
      for member in range(self._num_runs)
    ]

  def save(self):
    return [
      (np.array(self.iteration), {'environment_steps': 10 * self.iteration})
    ] * self._num_runs

  def restore(self, checkpoints):
    assert len(checkpoints) == self._num_runs
    self.iteration = checkpoints[0].get('iteration')

  def close(self):
    pass


def _latest(directory):
  return checkpointing.Checkpointer(
    directory / run_config.CHECKPOINTS
  ).load_latest()


def _run(make, directories, config, stop_at=None):
  """Runs, or goes on, until asked to stop; returns what was trained."""
  configs = [
    dataclasses.replace(config, seed=i) for i in range(len(directories))
  ]
  plans = [
    run_config.Plan(c, d, _latest(d))
    for c, d in zip(configs, directories, strict=True)
  ]
  with contextlib.ExitStack() as stack:
    trainer = stack.enter_context(contextlib.closing(make(configs)))
    if plans[0].checkpoint is not None:
      trainer.restore([plan.checkpoint for plan in plans])
    members = [
      stack.enter_context(contextlib.closing(records.RunRecords(plan)))
      for plan in plans
    ]
    shown = stack.enter_context(
      contextlib.closing(
        progress.Progress(config.num_iterations, trainer.iteration)
      )
    )
    loop.run(
      trainer,
      members,
      shown,
      lambda: stop_at is not None and trainer.iteration >= stop_at,
    )
  return trainer


def _rows(directory, table):
  with open(directory / table, newline='') as file:
    return [
      {k: v for k, v in row.items() if k not in _CLOCK}
      for row in csv.DictReader(file)
    ]


def _iterations(directory, table=tables.LEARNER_CSV):
  return [int(row['iteration']) for row in _rows(directory, table)]


def _evaluated(directory):
  return sorted(set(_iterations(directory, tables.EVALUATION_CSV)))


@pytest.mark.parametrize(
  ('num_iterations', 'eval_every', 'checkpoint_every', 'evaluated', 'saved'),
  [
    (10, 7, 50, [0, 7, 10], [10]),
    (25, 10, 50, [0, 10, 20, 25], [25]),
    (12, 4, 6, [0, 4, 8, 12], [6, 12]),
    (11, 5, 3, [0, 5, 10, 11], [6, 9, 11]),  # Three are kept.
    (6, 0, 4, [], [4, 6]),
    (3, 100, 100, [0, 3], [3]),
  ],
)
def test_evaluates_and_saves_when_due(
  tmp_path,
  capsys,
  num_iterations,
  eval_every,
  checkpoint_every,
  evaluated,
  saved,
):
  config = _config(num_iterations, eval_every, checkpoint_every)
  trainer = _run(_StandIn, [tmp_path], config)
  assert _iterations(tmp_path) == list(range(1, num_iterations + 1))
  assert _evaluated(tmp_path) == evaluated
  paths = checkpointing.Checkpointer(tmp_path / 'checkpoints').paths()
  assert [checkpointing.load(path).step for path in paths] == saved
  # No more pieces than there are things to do, and nothing else is told.
  assert sum(trainer.chunks) == num_iterations
  told = [
    line
    for line in capsys.readouterr().err.splitlines()
    if 'drawn anew' in line
  ]
  assert len(told) == len(evaluated)


def test_extended_run_goes_on_at_its_multiples(tmp_path):
  _run(_StandIn, [tmp_path], _config(25, 10, 50))
  _run(_StandIn, [tmp_path], _config(100, 10, 50))
  assert _evaluated(tmp_path) == [0, 10, 20, 25, *range(30, 101, 10)]
  assert _iterations(tmp_path) == list(range(1, 101))
  assert _latest(tmp_path).step == 100


@pytest.mark.parametrize('stop_at', [0, 1, 4, 7])
def test_stopped_run_is_saved_and_goes_on(tmp_path, stop_at):
  config = _config(11, 5, 3)
  stopped, whole = tmp_path / 'stopped', tmp_path / 'whole'
  trainer = _run(_StandIn, [stopped], config, stop_at)
  assert trainer.iteration == _latest(stopped).step >= stop_at
  _run(_StandIn, [stopped], config)
  _run(_StandIn, [whole], config)
  for table in (tables.LEARNER_CSV, tables.EVALUATION_CSV):
    assert _rows(stopped, table) == _rows(whole, table)


def test_evaluation_that_went_lost_is_made_up_for(tmp_path):
  config = _config(4, 2, 2)
  _run(_StandIn, [tmp_path], config, stop_at=2)
  path = tmp_path / tables.EVALUATION_CSV
  path.write_text(''.join(path.read_text().splitlines(True)[:3]))
  assert _evaluated(tmp_path) == [0]
  _run(_StandIn, [tmp_path], config)
  assert _evaluated(tmp_path) == [0, 2, 4]


def test_runs_in_step_have_rows_of_their_own(tmp_path):
  directories = [tmp_path / 'a', tmp_path / 'b']
  _run(_StandIn, directories, _config(3, 2, 2))
  first, second = (_rows(d, tables.LEARNER_CSV) for d in directories)
  assert [float(row['return_0']) for row in first] == [1, 2, 3]
  assert [float(row['return_0']) for row in second] == [101, 102, 103]
  assert _evaluated(directories[1]) == [0, 2, 3]


def test_failure_saves_what_was_done(tmp_path):
  with pytest.raises(RuntimeError, match='no number'):
    _run(lambda c: _StandIn(c, fail_at=6), [tmp_path], _config(10, 0, 50))
  assert _latest(tmp_path).step == 4
  _run(_StandIn, [tmp_path], _config(10, 0, 50))
  assert _iterations(tmp_path) == list(range(1, 11))


def test_failure_before_the_first_iteration_leaves_no_checkpoint(tmp_path):
  with pytest.raises(RuntimeError, match='no number'):
    _run(lambda c: _StandIn(c, fail_at=0), [tmp_path], _config(10, 0, 50))
  assert _latest(tmp_path) is None


def test_full_disk_is_told_as_that(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpointing.Checkpointer, 'save', fail)
  with pytest.raises(outputs.CannotWriteError, match='No space left'):
    _run(_StandIn, [tmp_path], _config(3, 0, 2))


@pytest.mark.skipif(
  not pathlib.Path('/dev/full').exists(), reason='Linux has it'
)
def test_a_row_that_does_not_fit_fails_again_when_closed(tmp_path):
  (tmp_path / tables.LEARNER_CSV).symlink_to('/dev/full')
  with pytest.raises(outputs.CannotWriteError, match='No space left'):
    _run(_StandIn, [tmp_path], _config(3, 0, 2))


def test_config_json_says_who_made_it(tmp_path, monkeypatch):
  import json
  import sys

  monkeypatch.setattr(sys, 'argv', ['train', '--seed=1'])
  config = _config(2, 0, 2)
  for num_iterations in (2, 3):
    config = config.replace_algorithm(num_iterations=num_iterations)
    _run(_StandIn, [tmp_path], config)
  values = json.loads((tmp_path / run_config.CONFIG_JSON).read_text())
  (entry,) = values['made_by']  # The same command and packages twice.
  assert entry['versions']['jax']
  assert '--seed=1' in entry['command']
  assert run_config.RunConfig.from_dict(values) == config


def test_other_kind_of_random_keys_is_refused(tmp_path, monkeypatch):
  import jax

  _run(_StandIn, [tmp_path], _config(2, 0, 2))
  monkeypatch.setattr(records.seeds, 'key_kind', lambda: 'rbg')
  with pytest.raises(ValueError, match='keys of kind threefry2x32'):
    _run(_StandIn, [tmp_path], _config(3, 0, 2))
  assert jax.config.jax_default_prng_impl == 'threefry2x32'


# The real ones.


def _agent(configs):
  agent_trainer = pytest.importorskip(
    'acme_metarl.launchers.runs.agent_trainer',
    reason='needs Acme and Reverb',
    exc_type=ImportError,
  )
  return agent_trainer.Trainer(*configs)


def _device(configs):
  import jax

  from acme_metarl.launchers.runs import device_trainer

  return device_trainer.Trainer(configs, jax.local_devices())


def _learner(configs):
  """The distributed learner, fed and evaluated in this process."""
  pytest.importorskip('acme')
  from acme import specs
  from acme.utils import counting, loggers

  from acme_metarl.agents import environment_loop, maml
  from acme_metarl.agents.maml import replay
  from acme_metarl.launchers.distributed import (
    agent_parts,
    learning_node,
    planning,
  )
  from acme_metarl.launchers.runs import agent_trainer, evaluation

  (config,) = configs
  resources = contextlib.ExitStack()
  builder = maml.MAMLBuilder(config.agent_config)

  class Counter(counting.Counter):
    def call(self, role, function, **counts):
      return getattr(self, function)(**counts)

  class Fed(learning_node.Trainer):
    """Plays a trial before it learns."""

    def __init__(self):
      environment = config.trial_environment('train')
      spec = specs.make_environment_spec(environment)
      networks = evaluation.make_networks(config, environment)
      policy = builder.make_policy(networks, spec)
      client = resources.enter_context(
        replay.serve(builder.make_replay_tables(spec, policy))
      )
      self._counts_of_all = Counter()
      parts = agent_parts.Parts(
        config, environment, spec, builder, networks, policy
      )
      super().__init__(parts, client, self._counts_of_all, {})
      keys = agent_trainer.Keys(config.seed)
      adder = builder.make_adder(client, spec, policy)
      self._environment = environment
      self._actor = builder.make_actor(keys.actor, policy, spec, self, adder)
      self._loop = environment_loop.EnvironmentLoop(
        environment, self._actor, logger=loggers.NoOpLogger()
      )
      self._evaluator = evaluation.Evaluator(
        config.trial_environment('evaluation'),
        builder,
        policy,
        self,
        keys.evaluation,
      )

    def advance(self, most=1):
      trial = self._counts_of_all.increment(trials=1)['trials'] - 1
      self._environment.trial_index = trial
      self._actor.restore({'num_trials': trial})
      self._loop.run_episode()
      return super().advance(most)

    def evaluate(self):
      return [self._evaluator.play(self.iteration)]

    def restore(self, checkpoints):
      super().restore(checkpoints)
      self._counts_of_all.increment(**planning.counts(checkpoints[0]))

    def close(self):
      resources.close()

  return Fed()


@pytest.fixture(params=['agent', 'device', 'seeds', 'learner'])
def trained(request):
  """How to make a trainer, and how many runs it has."""
  make = {'agent': _agent, 'learner': _learner}.get(request.param, _device)
  return make, 2 if request.param == 'seeds' else 1


def test_stopped_resumed_and_extended_is_undisturbed(trained, tmp_path):
  """Odd lengths, intervals that do not fit together: the same numbers."""
  make, num_runs = trained

  def directories(name):
    return [tmp_path / name / str(i) for i in range(num_runs)]

  config = _config(5, eval_every=2, checkpoint_every=3)
  _run(make, directories('whole'), config)
  short = config.replace_algorithm(num_iterations=3)
  parts = directories('parts')
  _run(make, parts, short, stop_at=1)
  assert 1 <= _latest(parts[0]).step < 3
  _run(make, parts, short)
  assert _latest(parts[0]).step == 3
  _run(make, parts, config)
  for whole, part in zip(directories('whole'), parts, strict=True):
    assert _rows(part, tables.LEARNER_CSV) == _rows(whole, tables.LEARNER_CSV)
    for table, known in (
      (tables.LEARNER_CSV, columns.LEARNER),
      (tables.EVALUATION_CSV, columns.EVALUATION),
    ):
      found = tables.read_csv(whole / table)[0]
      assert [x for x in found if not columns.is_known(known, x)] == []
    assert _evaluated(whole) == [0, 2, 4, 5]
    assert _evaluated(part) == [0, 2, 3, 4, 5]
    assert [
      row
      for row in _rows(part, tables.EVALUATION_CSV)
      if row['iteration'] != '3'
    ] == _rows(whole, tables.EVALUATION_CSV)
    one, other = _latest(whole), _latest(part)
    assert one.step == other.step == 5
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
      np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
