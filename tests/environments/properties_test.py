"""Properties of every environment that there is, as a trial shows it."""

import functools

import jax
import numpy as np
import pytest

from acme_metarl import environments

G, B, T, K = 2, 3, 8, 1
PURE = ('navigation_2d', 'tabular_mdp', 'iterated_prisoners_dilemma')
# Their start states are fixed by definition.
FIXED_START = ('tabular_mdp', 'iterated_prisoners_dilemma')
# Their tasks change what happens, not only what is paid.
DYNAMICS_TASKS = (
  'hopper_params',
  'walker2d_params',
  'iterated_prisoners_dilemma',
)
# Robots that fall under random actions, within so many steps.
FALLING = {
  'hopper_params': 60,
  'walker2d_direction': 60,
  'walker2d_params': 60,
  'walker2d_velocity': 60,
  'humanoid_direction': 60,
  'humanoid_direction_2d': 60,
}
VARIANTS = {
  'navigation_2d dense uniform': dict(reward='dense', goals='uniform'),
  'navigation_2d momentum': dict(momentum=True),
  'ant_goal contact': dict(contact_forces=True),
}
# Positions and velocities come first, where there is more to see.
NUM_STATE_ELEMENTS = {
  'humanoid_direction': 45,
  'humanoid_direction_2d': 45,
  'ant_goal contact': 29,
}
# Meta-World has an environment, and tests, of its own.
EVERYTHING = (*sorted({*environments.names()} - {'metaworld'}), *VARIANTS)


@functools.cache
def _batch(name):
  """One batched environment for all tests: they share what is compiled."""
  options = dict(VARIANTS.get(name, {}))
  base = name.split()[0]
  if base not in PURE:
    pytest.importorskip('mujoco')
    options['num_threads'] = 2
  return environments.batch(environments.make(base, **options))


def _trial(name, **options):
  sizes = dict(num_tasks=G, num_rollouts=B, horizon=T, num_inner_steps=K)
  return environments.TrialEnvironment(_batch(name), **{**sizes, **options})


def _actions(name, shape, seed=0, scale=3.0):
  """Random raw actions `[*shape, ...]`."""
  spec = _batch(name).action_spec()
  rng = np.random.default_rng(seed)
  if hasattr(spec, 'num_values'):
    return rng.integers(spec.num_values, size=shape, dtype=spec.dtype)
  action = scale * rng.normal(size=(*shape, *spec.shape))
  return action.astype(spec.dtype)


def _play(trial, name, **options):
  """All time steps of one trial under random actions."""
  shape = (trial.num_loop_steps, *trial.reward_spec().shape)
  actions = _actions(name, shape, **options)
  time_steps = [trial.reset()]
  for action in actions:
    time_steps.append(trial.step(action))
  assert time_steps[-1].last()
  return time_steps


def _arrays(time_steps):
  return jax.tree_util.tree_leaves([tuple(row) for row in time_steps])


def _same(left, right):
  pairs = zip(_arrays(left), _arrays(right), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def _roll_out(name, tasks, num_rollouts, num_steps, scale=3.0):
  """Observations, rewards `[t, G, B, ...]`, by the same random numbers."""
  batch = _batch(name)
  rng = np.random.default_rng(0)
  observations, rewards = [batch.reset(tasks, num_rollouts, rng)], []
  # Every task gets the same actions, and so do all steps: a way to somewhere.
  action = _actions(name, (1, num_rollouts), scale=scale)
  num_tasks = len(jax.tree_util.tree_leaves(tasks)[0])
  for _ in range(num_steps):
    observation, reward, _ = batch.step(np.repeat(action, num_tasks, axis=0))
    observations.append(observation)
    rewards.append(reward)
  return np.stack(observations), np.stack(rewards)


@pytest.mark.parametrize('name', EVERYTHING)
def test_specs_hold(name):
  trial = _trial(name)
  spec = trial.observation_spec()
  assert spec.observation.shape == (
    G,
    B,
    *_batch(name).observation_spec().shape,
  )
  first, *later = _play(trial, name)
  for row in (first, *later):
    for leaf_spec, leaf in zip(spec, row.observation, strict=True):
      leaf_spec.validate(leaf)
      assert np.isfinite(leaf).all()
  for row in later:
    trial.reward_spec().validate(row.reward)
    trial.discount_spec().validate(row.discount)
  action_spec = trial.action_spec()
  action_spec.validate(_actions(name, (G, B)))
  trial.reset()
  trial.step(action_spec.generate_value())


@pytest.mark.parametrize('name', EVERYTHING)
def test_same_seed_same_trial(name):
  # The second trial environment is used after the first: nothing lingers.
  assert _same(
    _play(_trial(name, seed=5), name), _play(_trial(name, seed=5), name)
  )


@pytest.mark.parametrize('name', EVERYTHING)
def test_other_seeds_streams_and_trials_differ(name):
  trial = _trial(name, seed=5)
  trials = [_play(trial, name), _play(trial, name)]
  trials.append(_play(_trial(name, seed=6), name))
  trials.append(_play(_trial(name, seed=5, stream='evaluation'), name))
  for i, left in enumerate(trials):
    for right in trials[:i]:
      assert not _same(left[1:], right[1:])


@pytest.mark.parametrize('name', EVERYTHING)
def test_evaluation_tasks_are_not_the_training_tasks(name):
  tasks = []
  for stream in ('train', 'evaluation'):
    # Many, because some tasks have but two values.
    trial = _trial(name, num_tasks=16, num_rollouts=1, stream=stream)
    for _ in range(3):
      trial.reset()
      leaves = jax.tree_util.tree_leaves(trial.tasks)
      assert {len(leaf) for leaf in leaves} == {16}
      tasks.append(np.concatenate([np.ravel(leaf) for leaf in leaves]))
  assert len({task.tobytes() for task in tasks}) == 6


@pytest.mark.parametrize('name', EVERYTHING)
def test_nothing_shown_is_changed_later(name):
  trial = _trial(name)
  shape = (trial.num_loop_steps, G, B)
  time_steps = [trial.reset()]
  copies = [jax.tree_util.tree_map(np.array, tuple(time_steps[0]))]
  buffer = _actions(name, (G, B))
  for action in _actions(name, shape):
    buffer[:] = action  # The caller's array may be written again, too.
    time_steps.append(trial.step(buffer))
    copies.append(jax.tree_util.tree_map(np.array, tuple(time_steps[-1])))
  trial.reset()
  assert _same(time_steps, copies)
  # The buffer was no worse than arrays of one's own.
  assert _same(time_steps, _play(_trial(name), name))


@pytest.mark.parametrize('name', EVERYTHING)
def test_start_states_are_random(name):
  time_steps = _play(_trial(name), name)
  starts = [
    row.observation.observation
    for row in time_steps
    if row.observation.is_first
  ]
  starts = np.reshape(starts, ((K + 1) * G * B, -1))
  num_different = len(np.unique(starts, axis=0))
  if name.split()[0] in FIXED_START:
    assert num_different == 1
  else:
    # Between rollouts, tasks and stages.
    assert num_different == len(starts)


@pytest.mark.parametrize('name', EVERYTHING)
@pytest.mark.parametrize('bootstrap', [False, True])
def test_time_limit(name, bootstrap):
  time_steps = _play(
    _trial(name, bootstrap_on_timeout=bootstrap), name, scale=0.1
  )
  for stage in range(K + 1):
    # Almost no action and few steps: nobody falls before the horizon.
    first = stage * (T + 1)
    for row in time_steps[first + 1 : first + T]:
      np.testing.assert_array_equal(row.discount, 1)
      np.testing.assert_array_equal(row.observation.mask, 1)
    last = time_steps[first + T]
    np.testing.assert_array_equal(last.discount, float(bootstrap))
    np.testing.assert_array_equal(last.observation.mask, 1)


@pytest.mark.parametrize('name', EVERYTHING)
def test_frozen_after_termination(name):
  horizon = FALLING.get(name, T)
  trial = _trial(name, horizon=horizon, num_inner_steps=0)
  first, *later = _play(trial, name, scale=20.0)
  alive = np.ones((G, B), bool)
  shown = first.observation.observation
  for row in later:
    np.testing.assert_array_equal(row.observation.mask, alive)
    np.testing.assert_array_equal(row.reward[~alive], 0)
    np.testing.assert_array_equal(row.discount[~alive], 0)
    np.testing.assert_array_equal(
      row.observation.observation[~alive], shown[~alive]
    )
    alive = alive & (row.discount != 0)
    shown = row.observation.observation
  if name in FALLING:
    assert not np.all(later[-1].observation.mask), 'nobody fell'
    fallen = later[-1].observation.mask == 0
    # They did move, and were paid, before.
    total = sum(np.abs(row.reward) for row in later)
    assert np.all(total[fallen] > 0)


@pytest.mark.parametrize('name', EVERYTHING)
def test_the_task_cannot_be_seen(name):
  batch = _batch(name)
  tasks = batch.sample_tasks(np.random.default_rng(0), 6)
  observations, rewards = _roll_out(name, tasks, B, 12)
  # Same random numbers for each task: which task it is must not show.
  others = batch.sample_tasks(np.random.default_rng(1), 6)
  again, others_rewards = _roll_out(name, others, B, 12)
  np.testing.assert_array_equal(observations[0], again[0])
  if name.split()[0] not in DYNAMICS_TASKS:
    np.testing.assert_array_equal(observations, again)
    # But it must matter.
    assert not np.array_equal(rewards, others_rewards)
  else:
    assert not np.array_equal(observations, again)


@pytest.mark.parametrize('name', EVERYTHING)
def test_observations_vary(name):
  time_steps = _play(_trial(name), name)
  observations = np.stack([row.observation.observation for row in time_steps])
  observations = observations.reshape(-1, observations.shape[-1])
  # Further fields, inertias and forces, are partly zero by nature.
  observations = observations[:, : NUM_STATE_ELEMENTS.get(name)]
  varies = np.ptp(observations, axis=0) > 0
  if name == 'tabular_mdp':
    # Many of its states are hardly ever reached.
    assert varies.sum() > 1
  else:
    assert varies.all()


@pytest.mark.parametrize('name', EVERYTHING)
def test_wrong_actions_are_refused(name):
  trial = _trial(name)
  trial.reset()
  action = _actions(name, (G, B))
  with pytest.raises(ValueError, match='action: got shape'):
    trial.step(action[:1])
  nothing = np.full(action.shape, np.nan, np.float32)
  if np.issubdtype(action.dtype, np.integer):
    with pytest.raises(ValueError, match='action'):
      trial.step(nothing)
    trial.step(action)
  else:
    observation = trial.step(nothing).observation
    assert not observation.mask.any()
    assert np.isfinite(observation.observation).all()


# Directions and corners are few; a test of its own says that the others are
# not: `test_finite_tasks`.
FINITE = (
  'navigation_2d',
  'navigation_2d momentum',
  'half_cheetah_direction',
  'ant_direction',
  'walker2d_direction',
  'humanoid_direction',
)


@pytest.mark.parametrize('name', EVERYTHING)
def test_finite_tasks(name):
  batch = _batch(name)
  tasks = jax.tree_util.tree_leaves(
    batch.sample_tasks(np.random.default_rng(0), 64)
  )
  num_different = len({tuple(np.ravel(row)) for row in tasks[0]})
  is_finite = name in FINITE
  assert environments.has_finite_tasks(batch) == is_finite
  assert num_different <= 4 if is_finite else num_different == 64
  assert environments.tasks_in_words(batch) == (
    'tasks drawn anew' if is_finite else 'fresh tasks'
  )
