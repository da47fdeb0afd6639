import acme
from acme.utils import loggers
import jax
import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.agents.maml import task_filter
from acme_metarl.meta import learner as learner_lib


@pytest.fixture
def agent(make_agent):
  return make_agent()


def _play(agent, learner, num_trials=1):
  actor = agent.make_actor(learner, agent.make_adder())
  loop = acme.EnvironmentLoop(
    agent.environment, actor, logger=loggers.NoOpLogger()
  )
  loop.run(num_episodes=num_trials)


def _assert_same(x, y):
  jax.tree_util.tree_map(np.testing.assert_array_equal, x, y)


def _leaves(learner):
  return np.concatenate(
    [
      np.ravel(x)
      for x in jax.tree_util.tree_leaves(learner.get_variables(['policy']))
    ]
  )


def test_step_is_the_librarys_update(agent):
  learner = agent.make_learner()
  before = learner.save()
  _play(agent, learner)
  iterator = agent.builder.make_dataset_iterator(agent.client)
  batch = next(iterator)
  learner._iterator = iter([batch])
  learner.step()
  update = learner_lib.make_meta_learner(
    agent.config.algorithm, agent.networks.policy
  ).update
  expected, metrics = jax.jit(update)(before, batch.data.stages)
  jax.tree_util.tree_map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-7),
    learner.save(),
    jax.device_get(expected),
  )
  row = agent.logger.rows[-1]
  assert row['steps'] == 1
  assert row['loss'] == pytest.approx(float(metrics['loss']), abs=1e-6)
  assert (row['lag'], row['lag_max'], row['num_skipped']) == (0, 0, 0)


@pytest.mark.parametrize('num_actor_tasks', [1, 2, 4])
def test_slicing_of_actors_does_not_matter(make_agent, num_actor_tasks):
  environment = environments.TrialEnvironment(
    environments.make('navigation_2d', reward='dense'), num_actor_tasks, 3, 5
  )
  agent = make_agent(environment, num_tasks=4)
  learner = agent.make_learner()
  _play(agent, learner, num_trials=4 // num_actor_tasks)
  learner.step()
  assert agent.logger.rows[-1]['steps'] == 1
  assert agent.counts().size == 0


def test_reuse_steps_on_stale_trials_and_logs_the_lag(make_agent):
  agent = make_agent(agent={'reuse': 3})
  learner = agent.make_learner()
  for _ in range(2):
    _play(agent, learner)
    for _ in range(3):
      learner.step()
  assert [row['lag'] for row in agent.logger.rows] == [0, 1, 2] * 2
  assert [row['lag_max'] for row in agent.logger.rows] == [0, 1, 2] * 2
  # The ratios of stale data are not 1.
  sizes = [row['effective_sample_size_0'] for row in agent.logger.rows[:3]]
  assert agent.logger.rows[1]['inner_kl_0'] > 0
  assert all(0.5 < size <= 1.0 + 1e-6 for size in sizes)


def test_off_policy_uses_older_trials_and_counts_them(make_agent):
  agent = make_agent(agent={'reuse': 3, 'max_lag': 1})
  learner = agent.make_learner()
  _play(agent, learner)
  for _ in range(3):
    learner.step()
  rows = agent.logger.rows
  assert [row['lag_max'] for row in rows] == [0, 1, 2]
  assert [row['older_share'] for row in rows] == [0, 0, 1]
  assert {row['num_dropped'] for row in rows} == {0}
  assert learner.get_variables(['task_counts', 'learner_step']) == [
    task_filter.TaskCounts(sampled=6, learned=6),
    3,
  ]


def test_on_policy_drops_older_trials_and_takes_more(make_agent):
  environment = environments.TrialEnvironment(
    environments.make('navigation_2d', reward='dense'), 2, 3, 5
  )
  agent = make_agent(
    environment, preset='trpo_maml', num_tasks=4, agent={'max_lag': 0}
  )
  learner = agent.make_learner()
  actor = agent.make_actor(learner, agent.make_adder())
  loop = acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger())
  loop.run(num_episodes=3)
  learner.step()
  loop.run(num_episodes=1)
  # Of the third trial, played before the update, and the fourth, played after.
  before = learner.save()
  learner.step()
  _assert_same(before, learner.save())
  assert len(agent.logger.rows) == 1
  assert learner.get_variables(['task_counts']) == [
    task_filter.TaskCounts(sampled=8, learned=4, dropped=2)
  ]
  loop.run(num_episodes=2)
  learner.step()
  assert learner.save().num_updates == 2
  row = agent.logger.rows[-1]
  assert (row['steps'], row['lag_max'], row['num_dropped']) == (2, 0, 2)
  # Everything is accounted for; two tasks of the last trial wait.
  counts = learner.get_variables(['task_counts'])[0]
  assert counts == task_filter.TaskCounts(sampled=12, learned=8, dropped=2)
  assert agent.counts() == (0, counts.sampled, counts.sampled)


@pytest.mark.parametrize('preset', ['promp', 'trpo_maml'])
@pytest.mark.parametrize('field', ['reward', 'behaviour_log_prob'])
def test_what_is_not_finite_is_counted_and_never_applied(
  make_agent, preset, field
):
  agent = make_agent(preset=preset)
  learner = agent.make_learner()
  _play(agent, learner)
  batch = next(agent.builder.make_dataset_iterator(agent.client))
  stages = batch.data.stages
  spoiled = getattr(stages, field).copy()
  spoiled[1, 1, 2, 3] = np.nan
  spoiled = stages._replace(**{field: spoiled})
  before = learner.save()
  learner._iterator = iter(
    [
      batch._replace(data=batch.data._replace(stages=spoiled)),
      batch,
    ]
  )
  learner.step()
  _assert_same(before.params, learner.save().params)
  assert agent.logger.rows[-1]['num_skipped'] == 1
  learner.step()
  after = learner.save()
  assert agent.logger.rows[-1]['num_skipped'] == 1
  leaves = jax.tree_util.tree_leaves(after.params)
  assert all(np.isfinite(x).all() for x in leaves)
  with pytest.raises(AssertionError):
    _assert_same(before.params, after.params)


def test_restores_and_refuses_other_networks(agent, make_agent):
  learner = agent.make_learner()
  _play(agent, learner)
  learner.step()
  saved = learner.save()
  fresh = agent.make_learner()
  fresh.restore(saved)
  _assert_same(saved, fresh.save())
  _play(agent, learner)
  # Not of another iterator: this one has taken a task ahead.
  batch = next(learner._iterator)
  for one in (learner, fresh):
    one._iterator = iter([batch])
    one.step()
  _assert_same(learner.save(), fresh.save())
  wider = make_agent(hidden_sizes=(9,)).make_learner()
  with pytest.raises(ValueError, match='state: its arrays'):
    wider.restore(saved)


def test_variables_by_name(agent):
  learner = agent.make_learner()
  params, policy, step = learner.get_variables(
    ['params', 'policy', 'learner_step']
  )
  _assert_same(params.policy, policy)
  assert step == 0
  assert all(
    isinstance(x, np.ndarray) for x in jax.tree_util.tree_leaves(policy)
  )
  with pytest.raises(ValueError, match='names: got critic;.*policy'):
    learner.get_variables(['critic'])


def test_any_function_is_an_evaluator(make_agent):
  def evaluator(v_tm1, v_t, r_t, discount_t, rho_tm1):
    del v_t
    return v_tm1 + rho_tm1 * (r_t - v_tm1 * (1 - discount_t))

  agents = [make_agent(), make_agent(evaluator=evaluator, evaluator_options={})]
  steps = []
  for agent in agents:
    learner = agent.make_learner()
    before = _leaves(learner)
    _play(agent, learner)
    learner.step()
    steps.append(_leaves(learner) - before)
  assert np.isfinite(steps[1]).all()
  assert np.abs(steps[1]).max() > 0
  assert np.abs(steps[0] - steps[1]).max() > 0
