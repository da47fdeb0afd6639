"""Acme's contract on its main branch, which is not what 0.4.0 has."""

import collections
import inspect
import pickle
import queue
import subprocess
import sys
import threading
import time
import types
from typing import Any, NamedTuple

import acme
from acme import core
from acme.utils import counting, loggers
import chex
import cloudpickle
import jax
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import replay

# Of `ActorLearnerBuilder`, as of commit 0b0d2d6; '?' marks what its callers
# may leave out.
_CONTRACT = {
  'make_replay_tables': ['environment_spec', 'policy'],
  'make_dataset_iterator': ['replay_client'],
  'make_adder': ['replay_client', 'environment_spec', 'policy'],
  'make_actor': [
    'random_key',
    'policy',
    'environment_spec',
    'variable_source?',
    'adder?',
  ],
  'make_learner': [
    'random_key',
    'networks',
    'dataset',
    'logger_fn',
    'environment_spec',
    'replay_client?',
    'counter?',
  ],
  'make_policy': ['networks', 'environment_spec', 'evaluation?'],
}


@pytest.mark.parametrize('method', _CONTRACT)
def test_signature(method):
  parameters = inspect.signature(
    getattr(maml.MAMLBuilder, method)
  ).parameters.values()
  found = [
    p.name + '?' * (p.default is not p.empty)
    for p in parameters
    if p.name != 'self'
  ]
  assert found == _CONTRACT[method]
  # By position and by name: the runners do both.
  assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


class _Prefetcher:
  """What `acme.jax.utils.prefetch(iterator, buffer_size=1)` is there."""

  def __init__(self, iterator):
    self._queue = queue.Queue(maxsize=1)
    self._num_retrieved = 0
    self.thread = threading.Thread(
      target=self._fill, args=(iterator,), daemon=True
    )
    self.thread.start()

  def _fill(self, iterator):
    for element in iterator:
      self._queue.put(element)
    self._queue.put(None)

  def __next__(self):
    element = self._queue.get(timeout=30)
    self._num_retrieved += 1
    return element

  def ready(self):
    return not self._queue.empty()

  def retrieved_elements(self):
    return self._num_retrieved


class _LearningActor(core.Actor):
  """As `run_experiment`'s: learns in `update`, while there is data."""

  def __init__(self, actor, learner, iterator, tables, sample_sizes):
    self._actor = actor
    self._learner = learner
    self._iterator = iterator
    self._tables = tables
    self._sample_sizes = sample_sizes
    self._learner_steps = 0
    self.select_action = actor.select_action
    self.observe_first = actor.observe_first
    self.observe = actor.observe

  def select_action(self, observation):
    raise NotImplementedError

  def observe_first(self, timestep):
    raise NotImplementedError

  def observe(self, action, next_timestep):
    raise NotImplementedError

  def update(self, wait=False):
    while True:
      if self._iterator.ready():
        self._learner.step()
        batches = self._iterator.retrieved_elements() - self._learner_steps
        self._learner_steps += 1
        assert batches == 1
        self._actor.update()
      else:
        for table, size in zip(self._tables, self._sample_sizes, strict=True):
          if not table.can_sample(size):
            return
        time.sleep(0.001)


def _let_inserts_through(tables):
  """As the runner does: it acts and learns in turn, and must not block.

  Also how many samples it asks the tables about: the middle of the window that
  their rate limiters keep.
  """
  reverb = pytest.importorskip('reverb')
  free, sample_sizes = [], []
  for table in tables:
    info = table.info.rate_limiter_info
    limiter = reverb.rate_limiters.SampleToInsertRatio(
      info.samples_per_insert,
      info.min_size_to_sample,
      (info.min_diff, sys.float_info.max),
    )
    free.append(table.replace(rate_limiter=limiter))
    sample_sizes.append(max(1, int((info.max_diff - info.min_diff) / 2)))
  return free, sample_sizes


def _run_experiment(config, environment, num_trials, kind=None):
  """`run_experiment` of the main branch, from its public contract.

  Returns rows of the learner, and policies before and after.
  """
  rows = []

  class Logger:
    def write(self, row):
      rows.append(row)

  # An experiment's configuration is copied and sent to other processes.
  builder = cloudpickle.loads(
    cloudpickle.dumps(maml.MAMLBuilder(config, replay_kind=kind))
  )
  spec = acme.make_environment_spec(environment)
  networks = maml.make_networks(spec, config.algorithm)
  policy = builder.make_policy(
    networks=networks, environment_spec=spec, evaluation=False
  )
  tables = builder.make_replay_tables(spec, policy)
  sample_sizes = [10**6]
  if kind != 'local':
    tables, sample_sizes = _let_inserts_through(tables)
  with replay.serve(tables) as client:
    batches = builder.make_dataset_iterator(client)
    dataset = _Prefetcher(batches)
    learner = builder.make_learner(
      random_key=jax.random.PRNGKey(0),
      networks=networks,
      dataset=dataset,
      logger_fn=lambda label, steps_key=None, instance=None: Logger(),
      environment_spec=spec,
      replay_client=client,
      counter=counting.Counter(),
    )
    # What its checkpointing does.
    learner.restore(pickle.loads(pickle.dumps(learner.save())))
    before = learner.get_variables(['policy'])
    adder = builder.make_adder(client, spec, policy)
    actor = builder.make_actor(
      jax.random.PRNGKey(1),
      policy,
      spec,
      variable_source=learner,
      adder=adder,
    )
    loop = acme.EnvironmentLoop(
      environment,
      _LearningActor(actor, learner, dataset, tables, sample_sizes),
      logger=loggers.NoOpLogger(),
    )
    loop.run(num_episodes=num_trials)
    batches.close()
    dataset.thread.join(30)
    assert not dataset.thread.is_alive()
  return rows, before, learner.get_variables(['policy'])


@pytest.mark.parametrize('kind', ['reverb', 'local'])
@pytest.mark.parametrize(
  ('reuse', 'num_tasks', 'preset'),
  [(1, 2, 'trpo_maml'), (2, 2, 'promp_taypo2'), (1, 1, 'promp_taypo2')],
)
def test_the_main_branchs_runner_is_on_policy(
  make_config, kind, reuse, num_tasks, preset
):
  if kind == 'reverb':
    pytest.importorskip('reverb')
  max_lag = 0 if preset == 'trpo_maml' else None
  config = make_config(
    preset=preset, agent={'reuse': reuse, 'max_lag': max_lag}
  )
  environment = environments.TrialEnvironment(
    environments.make('navigation_2d', reward='dense'), num_tasks, 3, 5
  )
  num_trials = 8
  rows, before, after = _run_experiment(config, environment, num_trials, kind)
  # Each batch is learned from before the next trial begins.
  assert len(rows) == num_trials * num_tasks // 2 * reuse
  lags = [row['lag_max'] for row in rows]
  assert lags == list(range(reuse)) * (len(rows) // reuse)
  assert {row['num_dropped'] + row['num_lost'] for row in rows} == {0}
  change = jax.tree_util.tree_map(
    lambda x, y: np.abs(x - y).max(), before, after
  )
  assert max(jax.tree_util.tree_leaves(change)) > 0


def test_a_builder_can_be_sent_to_other_processes(make_config):
  devices = jax.local_devices()
  builder = maml.MAMLBuilder(make_config(), devices=devices)
  for dumps in (pickle.dumps, cloudpickle.dumps):
    copy = pickle.loads(dumps(builder))
    assert copy.config == builder.config
    assert copy._devices() == tuple(devices)
    assert pickle.loads(dumps(copy))._devices() == tuple(devices)


def test_making_a_builder_does_not_start_jax():
  script = """
import cloudpickle
from acme_metarl.agents import maml
cloudpickle.dumps(maml.MAMLBuilder(maml.MAMLConfig()))
from jax._src import xla_bridge
assert not xla_bridge._backends
"""
  subprocess.run([sys.executable, '-c', script], check=True, timeout=120)


def test_refuses_policies_of_inference_servers(make_agent):
  agent = make_agent()

  class ActorCore(NamedTuple):
    init: Any = None
    select_action: Any = None
    get_extras: Any = None

  with pytest.raises(ValueError, match='policy: got a ActorCore.*inference'):
    agent.builder.make_actor(
      jax.random.PRNGKey(0), ActorCore(), agent.spec, object()
    )
  with pytest.raises(ValueError, match='policy: got a ActorCore'):
    agent.builder.make_adder(agent.client, agent.spec, ActorCore())


def test_the_main_branchs_distributed_program_drives_it(make_config):
  """What the nodes of `make_distributed_experiment` do, in one thread.

  With its calls in its order: by position, by name, and in each node anew.
  """
  config = make_config()
  stop = threading.Event()
  builder = maml.MAMLBuilder(config, should_stop=stop.is_set)
  logged = collections.defaultdict(list)

  def environment_factory(seed):
    return environments.TrialEnvironment(
      environments.make('navigation_2d', reward='dense'), 2, 3, 5, seed=seed
    )

  def network_factory(spec):
    return maml.make_networks(spec, config.algorithm)

  def logger_factory(label, steps_key=None, task_instance=0):
    logger = loggers.NoOpLogger()
    logger.write = logged[label].append
    return logger

  def build_replay():
    spec = acme.make_environment_spec(environment_factory(1))
    policy = builder.make_policy(
      networks=network_factory(spec), environment_spec=spec, evaluation=False
    )
    return builder.make_replay_tables(spec, policy)

  def build_learner(random_key, client, counter=None, primary_learner=None):
    spec = acme.make_environment_spec(environment_factory(1))
    networks = network_factory(spec)
    iterator = _Prefetcher(builder.make_dataset_iterator(client))
    counter = counting.Counter(counter, 'learner')
    learner = builder.make_learner(
      random_key, networks, iterator, logger_factory, spec, client, counter
    )
    if primary_learner is not None:
      learner.restore(primary_learner.save())
    return learner, iterator.thread

  def environment_and_actor_key(random_key):
    environment_key, actor_key = jax.random.split(random_key)
    seed = int(jax.random.bits(environment_key, dtype=np.uint32))
    return environment_factory(seed), actor_key

  def build_actor(random_key, client, variable_source, counter, actor_id):
    environment, actor_key = environment_and_actor_key(random_key)
    spec = acme.make_environment_spec(environment)
    policy = builder.make_policy(
      networks=network_factory(spec), environment_spec=spec, evaluation=False
    )
    adder = builder.make_adder(client, spec, policy)
    actor = builder.make_actor(actor_key, policy, spec, variable_source, adder)
    counter = counting.Counter(counter, 'actor')
    logger = logger_factory('actor', 'actor_steps', actor_id)
    return environment_loop.EnvironmentLoop(
      environment, actor, counter, logger, observers=[maml.TrialReturns()]
    )

  def build_evaluator(random_key, variable_source, counter, make_actor):
    environment, actor_key = environment_and_actor_key(random_key)
    spec = acme.make_environment_spec(environment)
    policy = builder.make_policy(
      networks=network_factory(spec), environment_spec=spec, evaluation=True
    )
    actor = make_actor(actor_key, policy, spec, variable_source)
    counter = counting.Counter(counter, 'evaluator')
    logger = logger_factory('evaluator', 'actor_steps', 0)
    return environment_loop.EnvironmentLoop(environment, actor, counter, logger)

  counter = counting.Counter()
  keys = jax.random.split(jax.random.PRNGKey(0), 5)
  with replay.serve(build_replay()) as client:
    learner, thread = build_learner(keys[0], client, counter)
    actors = [
      build_actor(key, client, learner, counter, actor_id)
      for actor_id, key in enumerate(keys[1:3])
    ]
    evaluator = build_evaluator(keys[3], learner, counter, builder.make_actor)
    for _ in range(2):
      for actor in actors:
        actor.run(num_episodes=1)
        learner.step()
    evaluator.run(num_episodes=1)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    # Load-balances the actors' requests; on one host it takes no data.
    other, _ = build_learner(keys[4], client, primary_learner=learner)
  chex.assert_trees_all_equal(other.save(), learner.save())
  assert [row['learner_steps'] for row in logged['learner']] == [1, 2, 3, 4]
  assert {row['num_lost'] for row in logged['learner']} == {0}
  returns = [row['return_1'] for row in logged['actor']]
  assert len(set(returns)) == 4  # No actor repeats the other's trials.
  assert len(logged['evaluator']) == 1
  # What a `StepsLimiter` looks at; the actors' counts get there now and then.
  assert counter.get_counts()['actor_steps'] in (11, 22, 33, 44)


def test_rollouts_must_be_those_of_the_configuration(make_config):
  environment = environments.TrialEnvironment(
    environments.make('navigation_2d'), 2, 4, 5
  )
  spec = acme.make_environment_spec(environment)
  builder = maml.MAMLBuilder(make_config())
  networks = maml.make_networks(spec, builder.config.algorithm)
  policy = builder.make_policy(networks, spec)
  with pytest.raises(ValueError, match='4 rollouts.*num_rollouts=3'):
    builder.make_replay_tables(spec, policy)


def test_a_backend_that_is_not_there(make_agent):
  with pytest.raises(ValueError, match="actor_backend: JAX has no 'abacus'"):
    make_agent(agent={'actor_backend': 'abacus'})


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (dict(num_tasks=3), 'num_tasks: got 3.*multiple.*there are 2'),
    (
      dict(preset='trpo_maml', agent={'max_lag': 1}),
      'max_lag: got 1.*several hosts.*off-policy',
    ),
  ],
)
def test_what_several_hosts_cannot_do(make_config, settings, message):
  hosts = [types.SimpleNamespace(process_index=index) for index in range(2)]
  maml.MAMLBuilder(make_config(), devices=hosts)
  with pytest.raises(ValueError, match=message):
    maml.MAMLBuilder(make_config(**settings), devices=hosts)
