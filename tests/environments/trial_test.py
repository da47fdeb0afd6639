"""Tests of trial."""

from absl.testing import absltest, parameterized
import dm_env
from dm_env import specs, test_utils
import numpy as np
import pytest

from acme_metarl import environments

G, B, T, K = 2, 3, 5, 1


class ScriptedEnvironment:
  """Observes the step number; its rollouts end as they are told to.

  Rewards are 1, so that a frozen rollout's 0 is told from a real one. It goes
  on counting after a rollout's end, so that freezing is seen to be the trial's.
  """

  def __init__(self, ends=(), breaks=(), cuts=(), reports=()):
    """Each argument: (task, rollout, step) triples, steps from 1.

    Args:
      ends: terminations, discount 0.
      breaks: observations that are NaN from then on.
      cuts: truncations.
      reports: divergences that the environment reports by itself.
    """
    self._ends, self._breaks = ends, breaks
    self._cuts, self._reports = cuts, reports
    self.num_steps = 0

  def observation_spec(self):
    return specs.Array((2,), np.float32)

  def action_spec(self):
    return specs.Array((1,), np.float32)

  def sample_tasks(self, rng, num_tasks):
    return rng.uniform(size=num_tasks)

  def reset(self, tasks, num_rollouts, rng):
    self._shape = (len(tasks), num_rollouts)
    self._time = 0
    self._start = rng.uniform(size=self._shape).astype(np.float32)
    return self._observe()

  def step(self, action):
    assert action.shape == self._shape + (1,)
    self.action = action
    self.num_steps += 1
    self._time += 1
    discount = np.ones(self._shape, np.float32)
    for task, rollout, time in self._ends:
      if time == self._time:
        discount[task, rollout] = 0
    return self._observe(), np.ones(self._shape, np.float32), discount

  @property
  def truncated(self):
    return self._now(self._cuts)

  @property
  def diverged(self):
    return self._now(self._reports)

  def _now(self, triples):
    mask = np.zeros(self._shape, bool)
    for task, rollout, time in triples:
      mask[task, rollout] |= time == self._time
    return mask

  def _observe(self):
    time = np.full(self._shape, self._time, np.float32)
    for task, rollout, first in self._breaks:
      if self._time >= first:
        time[task, rollout] = np.nan
    return np.stack([time, self._start], axis=-1)


def _trial(environment=None, **options):
  sizes = dict(num_tasks=G, num_rollouts=B, horizon=T, num_inner_steps=K)
  return environments.TrialEnvironment(
    environment or ScriptedEnvironment(), **{**sizes, **options}
  )


def _action(value=0.0):
  return np.full((G, B, 1), value, np.float32)


def _play(trial):
  """All time steps of one trial, from FIRST to LAST."""
  time_steps = [trial.reset()]
  while not time_steps[-1].last():
    time_steps.append(trial.step(_action()))
  return time_steps


def _stage(time_steps, stage=0, horizon=T):
  """Reward, discount, mask [T] each, and observations [T + 1], of one stage."""
  first = stage * (horizon + 1)
  rows = time_steps[first + 1 : first + horizon + 1]
  observations = time_steps[first : first + horizon + 1]
  return (
    np.stack([row.reward for row in rows], axis=-1),
    np.stack([row.discount for row in rows], axis=-1),
    np.stack([row.observation.mask for row in rows], axis=-1),
    np.stack([row.observation.observation for row in observations], axis=-2),
  )


class TrialEnvironmentTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
  """dm_env's own test of an environment."""

  def make_object_under_test(self):
    return _trial(environments.make('navigation_2d'))

  def make_action_sequence(self):
    rng = np.random.default_rng(0)
    for _ in range(2 * self.environment.num_loop_steps + 3):
      yield rng.normal(size=(G, B, 2)).astype(np.float32)


class LayoutTest(parameterized.TestCase):
  """What comes when."""

  @parameterized.parameters((0, 1), (0, 4), (1, 1), (1, 5), (3, 2))
  def test_number_and_kind_of_loop_steps(self, num_inner_steps, horizon):
    trial = _trial(num_inner_steps=num_inner_steps, horizon=horizon)
    time_steps = _play(trial)
    num_stages = num_inner_steps + 1
    expected = num_stages * (horizon + 1) - 1
    self.assertLen(time_steps, 1 + expected)
    self.assertEqual(trial.num_loop_steps, expected)
    kinds = [time_step.step_type for time_step in time_steps]
    self.assertEqual(kinds[0], dm_env.StepType.FIRST)
    self.assertEqual(kinds[-1], dm_env.StepType.LAST)
    self.assertTrue(all(kind == dm_env.StepType.MID for kind in kinds[1:-1]))

  def test_stages_and_first_steps(self):
    time_steps = _play(_trial(num_inner_steps=2))
    observations = [time_step.observation for time_step in time_steps]
    self.assertEqual(
      [int(o.stage) for o in observations], [0] * 6 + [1] * 6 + [2] * 6
    )
    self.assertEqual(
      [bool(o.is_first) for o in observations], 3 * ([True] + 5 * [False])
    )
    # x_0 … x_T of every stage, none left out.
    times = [o.observation[0, 0, 0] for o in observations]
    self.assertEqual(times, 3 * [0, 1, 2, 3, 4, 5])

  def test_first_has_no_reward(self):
    time_step = _trial().reset()
    self.assertIsNone(time_step.reward)
    self.assertIsNone(time_step.discount)
    np.testing.assert_array_equal(time_step.observation.mask, np.ones((G, B)))

  def test_boundary_pays_nothing_and_ignores_the_action(self):
    trial = _trial()
    trial.reset()
    for _ in range(T):
      trial.step(_action())
    boundary = trial.step(None)
    self.assertEqual(boundary.step_type, dm_env.StepType.MID)
    np.testing.assert_array_equal(boundary.reward, np.zeros((G, B)))
    np.testing.assert_array_equal(boundary.discount, np.ones((G, B)))
    self.assertTrue(boundary.observation.is_first)

  def test_stages_share_tasks_but_not_start_states(self):
    trial = _trial()
    trial.reset()
    tasks = np.array(trial.tasks)
    time_steps = _play_on(trial)
    np.testing.assert_array_equal(trial.tasks, tasks)
    first = trial_starts(time_steps)
    self.assertFalse(np.array_equal(*first))

  def test_step_after_last_and_before_reset_starts_a_trial(self):
    trial = _trial()
    self.assertTrue(trial.step(_action()).first())
    while not trial.step(_action()).last():
      pass
    time_step = trial.step(_action())
    self.assertTrue(time_step.first())
    self.assertEqual(trial.trial_index, 2)

  def test_reset_in_the_middle_starts_the_next_trial(self):
    trial, other = _trial(), _trial()
    trial.reset()
    trial.step(_action())
    second = trial.reset().observation
    other.trial_index = 1
    np.testing.assert_array_equal(
      second.observation, other.reset().observation.observation
    )
    self.assertEqual(int(second.stage), 0)


def _play_on(trial):
  time_steps = []
  while not time_steps or not time_steps[-1].last():
    time_steps.append(trial.step(_action()))
  return time_steps


def trial_starts(time_steps):
  """Start observations of the first stage (seen later) and of the second."""
  boundary = time_steps[T].observation
  return time_steps[0].observation.observation[..., 1], boundary.observation[
    ..., 1
  ]


class TerminationTest(parameterized.TestCase):
  def test_frozen_after_termination(self):
    # Rollout (0, 1) terminates at its third step.
    time_steps = _play(_trial(ScriptedEnvironment(ends=[(0, 1, 3)])))
    for stage in range(K + 1):
      reward, discount, mask, observation = _stage(time_steps, stage)
      np.testing.assert_array_equal(mask[0, 1], [1, 1, 1, 0, 0])
      np.testing.assert_array_equal(reward[0, 1], [1, 1, 1, 0, 0])
      np.testing.assert_array_equal(discount[0, 1], [1, 1, 0, 0, 0])
      np.testing.assert_array_equal(observation[0, 1, :, 0], [0, 1, 2, 3, 3, 3])
      # The others go on; the time limit ends them.
      np.testing.assert_array_equal(mask[1, 1], np.ones(T))
      np.testing.assert_array_equal(discount[1, 1], [1, 1, 1, 1, 0])
      np.testing.assert_array_equal(observation[1, 1, :, 0], np.arange(T + 1))

  @parameterized.parameters(False, True)
  def test_time_limit(self, bootstrap):
    environment = ScriptedEnvironment(ends=[(0, 0, T), (1, 0, 2)])
    time_steps = _play(_trial(environment, bootstrap_on_timeout=bootstrap))
    _, discount, mask, _ = _stage(time_steps)
    expected = np.full((G, B), float(bootstrap))
    expected[0, 0] = expected[1, 0] = 0
    np.testing.assert_array_equal(discount[..., -1], expected)
    # Ending at the horizon is real, having ended before is not.
    self.assertEqual(mask[0, 0, -1], 1)
    self.assertEqual(mask[1, 0, -1], 0)

  def test_nothing_is_stepped_once_all_have_ended(self):
    everyone = [(g, b, 2) for g in range(G) for b in range(B)]
    environment = ScriptedEnvironment(ends=everyone)
    time_steps = _play(_trial(environment))
    self.assertEqual(environment.num_steps, 2 * (K + 1))
    reward, discount, mask, observation = _stage(time_steps, 1)
    np.testing.assert_array_equal(mask[0, 0], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(reward[0, 0], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(discount[0, 0], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(observation[0, 0, :, 0], [0, 1, 2, 2, 2, 2])

  def test_terminating_twice_counts_once(self):
    environment = ScriptedEnvironment(ends=[(0, 0, 2), (0, 0, 4)])
    _, _, mask, _ = _stage(_play(_trial(environment)))
    np.testing.assert_array_equal(mask[0, 0], [1, 1, 0, 0, 0])


class DivergenceTest(parameterized.TestCase):
  @parameterized.parameters('breaks', 'reports')
  def test_ended_before_the_step_that_diverged(self, how):
    environment = ScriptedEnvironment(**{how: [(1, 2, 3)]})
    trial = _trial(environment)
    time_steps = _play(trial)
    self.assertEqual(trial.num_diverged, K + 1)
    for stage in range(K + 1):
      arrays = _stage(time_steps, stage)
      for array in arrays:
        self.assertTrue(np.isfinite(array).all())
      reward, discount, mask, observation = arrays
      np.testing.assert_array_equal(mask[1, 2], [1, 1, 0, 0, 0])
      np.testing.assert_array_equal(reward[1, 2], [1, 1, 0, 0, 0])
      np.testing.assert_array_equal(discount[1, 2], [1, 1, 0, 0, 0])
      np.testing.assert_array_equal(observation[1, 2, :, 0], [0, 1, 2, 2, 2, 2])
      np.testing.assert_array_equal(mask[1, 1], np.ones(T))

  def test_not_counted_after_the_end(self):
    environment = ScriptedEnvironment(ends=[(0, 0, 2)], breaks=[(0, 0, 3)])
    trial = _trial(environment)
    _play(trial)
    self.assertEqual(trial.num_diverged, 0)

  @parameterized.parameters(np.nan, np.inf, -np.inf, 1e300)
  def test_ended_before_the_step_that_is_acted_non_finitely(self, value):
    environment = ScriptedEnvironment(ends=[(0, 0, 1)])
    trial = _trial(environment, num_inner_steps=0)
    time_steps = [trial.reset()]
    for step in range(1, T + 1):
      action = _action().astype(np.float64)
      if step >= 3:
        action[1, 2] = value
      if step >= 2:
        action[0, 0] = value  # It has ended: what it does does not count.
      copy = action.copy()
      time_steps.append(trial.step(action))
      np.testing.assert_array_equal(action, copy)
      self.assertTrue(np.isfinite(environment.action).all())
    self.assertEqual(trial.num_diverged, 1)
    reward, discount, mask, observation = _stage(time_steps)
    np.testing.assert_array_equal(mask[1, 2], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(reward[1, 2], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(discount[1, 2], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(observation[1, 2, :, 0], [0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(mask[1, 1], np.ones(T))

  def test_nothing_is_stepped_once_all_act_non_finitely(self):
    environment = ScriptedEnvironment()
    trial = _trial(environment)
    trial.reset()
    time_step = trial.step(_action(np.nan))
    np.testing.assert_array_equal(time_step.observation.mask, 0)
    self.assertEqual(environment.num_steps, 0)
    self.assertEqual(trial.num_diverged, G * B)

  def test_logged_once(self):
    trial = _trial(ScriptedEnvironment(breaks=[(0, 0, 1), (1, 0, 2)]))
    with self.assertLogs('absl', 'WARNING') as logs:
      _play(trial)
    self.assertLen(logs.output, 1)
    self.assertRegex(
      logs.output[0],
      rf'Scripted.*: 1 of {G * B} rollouts were ended before step 1, because'
      ' its step gave an observation that is not finite;',
    )

  def test_what_was_not_finite_is_told(self):
    class Broken(ScriptedEnvironment):
      def step(self, action):
        observation, reward, discount = super().step(action)
        return observation, np.full_like(reward, np.nan), discount

    for environment, action, why in (
      (Broken(), 0.0, f'{G * B} of .* its step gave a reward that is not fin'),
      (ScriptedEnvironment(), np.nan, 'the policy acted non-finitely'),
    ):
      trial = _trial(environment)
      trial.reset()
      with self.assertLogs('absl', 'WARNING') as logs:
        trial.step(_action(action))
      self.assertRegex(logs.output[0], why)

  def test_not_finite_at_reset(self):
    trial = _trial(ScriptedEnvironment(breaks=[(0, 0, 0)]))
    with self.assertRaisesRegex(
      ValueError, 'Scripted.* is not finite right after its reset, need finite'
    ):
      trial.reset()


class TruncationTest(absltest.TestCase):
  def test_early_truncation_counts_as_termination(self):
    trial = _trial(ScriptedEnvironment(cuts=[(0, 0, 2)]))
    with self.assertLogs('absl', 'WARNING'):
      _, discount, mask, _ = _stage(_play(trial))
    np.testing.assert_array_equal(discount[0, 0], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(mask[0, 0], [1, 1, 0, 0, 0])

  def test_early_truncation_cannot_be_bootstrapped(self):
    environment = ScriptedEnvironment(cuts=[(0, 0, 2)])
    trial = _trial(environment, bootstrap_on_timeout=True)
    with self.assertRaisesRegex(ValueError, 'horizon'):
      _play(trial)

  def test_truncation_at_the_horizon_is_the_time_limit(self):
    environment = ScriptedEnvironment(cuts=[(0, 0, T)])
    _, discount, mask, _ = _stage(
      _play(_trial(environment, bootstrap_on_timeout=True))
    )
    np.testing.assert_array_equal(discount[0, 0], np.ones(T))
    np.testing.assert_array_equal(mask[0, 0], np.ones(T))


class RandomnessTest(absltest.TestCase):
  def test_trials_differ_and_streams_never_meet(self):
    tasks = []
    for stream in ('train', 'evaluation'):
      for seed in (0, 1, (0, 1), (1, 0)):
        trial = _trial(seed=seed, stream=stream)
        for _ in range(3):
          trial.reset()
          tasks.append(tuple(trial.tasks))
    self.assertLen(set(tasks), 2 * 4 * 3)

  def test_evaluation_does_not_disturb_training(self):
    alone, beside = _trial(seed=3), _trial(seed=3)
    evaluation = _trial(seed=3, stream='evaluation')
    for _ in range(2):
      evaluation.reset()
      alone.reset()
      beside.reset()
    np.testing.assert_array_equal(alone.tasks, beside.tasks)

  def test_resumes_at_a_trial_index(self):
    trial = _trial(ScriptedEnvironment(breaks=[(0, 0, 1)]))
    for _ in range(2):
      _play(trial)
    saved = trial.save()
    self.assertEqual(saved, {'trial_index': 2, 'num_diverged': 2 * (K + 1)})
    expected = _play(trial)
    resumed = _trial(ScriptedEnvironment(breaks=[(0, 0, 1)]))
    resumed.reset()
    resumed.step(_action())
    resumed.restore(saved)
    self.assertEqual(resumed.num_diverged, saved['num_diverged'])
    # An unfinished trial is abandoned.
    first = resumed.step(_action())
    self.assertTrue(first.first())
    time_steps = [first, *_play_on(resumed)]
    for left, right in zip(expected, time_steps, strict=True):
      np.testing.assert_array_equal(
        left.observation.observation, right.observation.observation
      )

  def test_what_happens_in_a_stage_does_not_change_the_next(self):
    # Start states of stage 1 are a function of seed, stream and trial alone.
    starts = []
    for ends in ([], [(g, b, 1) for g in range(G) for b in range(B)]):
      time_steps = _play(_trial(ScriptedEnvironment(ends=ends)))
      starts.append(time_steps[T + 1].observation.observation)
    np.testing.assert_array_equal(*starts)


class MistakesTest(parameterized.TestCase):
  @parameterized.parameters(
    dict(num_tasks=0),
    dict(num_rollouts=0),
    dict(horizon=0),
    dict(num_inner_steps=-1),
    dict(seed=-1),
    dict(seed=(0, -1)),
    dict(stream='test'),
  )
  def test_refused_at_construction(self, **options):
    with self.assertRaisesRegex(ValueError, next(iter(options))):
      _trial(**options)

  def test_something_else_instead_of_an_environment(self):
    with self.assertRaisesRegex(ValueError, 'adapters'):
      _trial(environment='navigation_2d')

  @parameterized.parameters((G, B), (B, G, 1), (G, B, 2), (1, G, B, 1))
  def test_action_of_a_wrong_shape(self, *shape):
    trial = _trial()
    trial.reset()
    with self.assertRaisesRegex(ValueError, 'action: got shape'):
      trial.step(np.zeros(shape, np.float32))

  @parameterized.parameters(
    (np.zeros((G, B, 1), complex), 'type complex'),
    (np.full((G, B, 1), 'a'), 'type <U1'),
  )
  def test_action_of_a_wrong_type(self, action, message):
    trial = _trial()
    trial.reset()
    with self.assertRaisesRegex(ValueError, f'action: got {message}'):
      trial.step(action)

  @parameterized.parameters(
    dict(num_tasks=2.0),
    dict(num_rollouts=True),
    dict(horizon='5'),
    dict(seed=1.5),
    dict(seed=(0, 0.5)),
    dict(seed=()),
  )
  def test_what_is_no_integer(self, **options):
    with self.assertRaisesRegex(ValueError, next(iter(options))):
      _trial(**options)

  def test_two_trials_of_one_environment(self):
    environment = ScriptedEnvironment()
    train, evaluation = _trial(environment), _trial(environment)
    train.reset()
    train.step(_action())
    evaluation.reset()
    with self.assertRaisesRegex(ValueError, 'another TrialEnvironment'):
      train.step(_action())
    # Whole trials in turn are no mistake.
    _play(train)
    _play(evaluation)
    _play(train)

  def test_negative_trial_index(self):
    with self.assertRaisesRegex(ValueError, 'trial_index'):
      _trial().trial_index = -1


class ObservationTest(absltest.TestCase):
  def test_what_was_shown_cannot_be_overwritten(self):
    time_step = _trial().reset()
    with self.assertRaises(ValueError):
      time_step.observation.observation[0] = 0

  def test_nested_observations(self):
    class Nested(ScriptedEnvironment):
      def observation_spec(self):
        spec = super().observation_spec()
        return {'a': spec, 'b': specs.BoundedArray((), np.float32, 0, 9)}

      def _observe(self):
        time = super()._observe()
        return {'a': time, 'b': time[..., 0]}

    trial = _trial(Nested(ends=[(0, 0, 2)], breaks=[(1, 0, 3)]))
    for time_step in _play(trial):
      spec = trial.observation_spec().observation
      for name in spec:
        spec[name].validate(time_step.observation.observation[name])
    last = time_step.observation.observation
    self.assertEqual(last['b'][0, 0], 2)
    self.assertEqual(last['b'][1, 0], 2)
    self.assertEqual(last['a'][1, 0, 0], 2)
    self.assertEqual(last['b'][1, 1], T)

  def test_discrete_actions_keep_their_number(self):
    trial = _trial(environments.make('iterated_prisoners_dilemma'))
    spec = trial.action_spec()
    self.assertEqual(spec.shape, (G, B))
    self.assertEqual(spec.num_values, 2)
    trial.reset()
    for wrong in (np.full((G, B), 2), np.full((G, B), -1), np.zeros((G, B))):
      with self.assertRaisesRegex(ValueError, 'action: got'):
        trial.step(wrong)


class CarelessEnvironmentTest(parameterized.TestCase):
  def test_rewards_become_single_precision_of_our_own(self):
    class Careless(ScriptedEnvironment):
      """Writes double-precision rewards into one buffer."""

      def step(self, action):
        observation, reward, discount = super().step(action)
        if self._time == 1:
          self._buffer = np.zeros(reward.shape)
        self._buffer += reward
        return observation, self._buffer, discount.astype(np.float64)

    trial = _trial(Careless(ends=[(0, 0, 2)]))
    reward, discount, _, _ = _stage(_play(trial))
    np.testing.assert_array_equal(reward[0, 0], [1, 2, 0, 0, 0])
    np.testing.assert_array_equal(reward[1, 1], [1, 2, 3, 4, 5])
    self.assertEqual({reward.dtype, discount.dtype}, {np.dtype(np.float32)})

  def test_observations_in_one_buffer(self):
    class Careless(ScriptedEnvironment):
      """Shows one buffer, again and again."""

      def _observe(self):
        observation = super()._observe()
        if self._time == 0:
          self._buffer = observation
        self._buffer[:] = observation
        return self._buffer

    _, _, _, observation = _stage(_play(_trial(Careless(ends=[(0, 0, 2)]))))
    np.testing.assert_array_equal(observation[0, 0, :, 0], [0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(observation[1, 1, :, 0], np.arange(T + 1))

  def test_tasks_and_actions_written_to_in_place(self):
    class Careless(ScriptedEnvironment):
      def reset(self, tasks, num_rollouts, rng):
        tasks += 1
        return super().reset(tasks, num_rollouts, rng)

      def step(self, action):
        action += 1
        return super().step(action)

    trial = _trial(Careless(), num_inner_steps=2)
    trial.reset()
    tasks = trial.tasks.copy()
    self.assertLess(tasks.max(), 1)
    action = _action()
    for _ in range(T + 2):
      trial.step(action)
    np.testing.assert_array_equal(trial.tasks, tasks)
    np.testing.assert_array_equal(action, 0)

  def test_tasks_that_the_environment_keeps(self):
    class Careless(ScriptedEnvironment):
      kept = np.zeros(G)

      def sample_tasks(self, rng, num_tasks):
        return self.kept

      def step(self, action):
        self.kept += 1
        return super().step(action)

    trial = _trial(Careless())
    _play(trial)
    np.testing.assert_array_equal(trial.tasks, 0)

  @parameterized.parameters(
    (lambda o, r, d: (o[..., :1], r, d), 'observation has shape'),
    (lambda o, r, d: (o[0], r, d), 'observation has shape'),
    (lambda o, r, d: ({'a': o}, r, d), 'observation'),
    (lambda o, r, d: (o, r[..., None], d), 'reward has shape'),
    (lambda o, r, d: (o, r[0], d), 'reward has shape'),
    (lambda o, r, d: (o, r, 1.0), 'discount has shape'),
    (lambda o, r, d: (o, r, d + 0.5), 'discount is 1.5'),
    (lambda o, r, d: (o, r, -d), 'discount is -1'),
    (lambda o, r, d: (o, r + 1j, d), 'reward is'),
    (lambda o, r, d: (o, r, d, {}), 'step must return a tuple'),
  )
  def test_what_is_not_as_declared(self, lie, message):
    class Liar(ScriptedEnvironment):
      def step(self, action):
        return lie(*super().step(action))

    trial = _trial(Liar())
    trial.reset()
    with self.assertRaisesRegex(ValueError, f'Liar.*{message}'):
      trial.step(_action())

  def test_integers_that_are_none(self):
    class Liar(ScriptedEnvironment):
      def observation_spec(self):
        return specs.BoundedArray((2,), np.uint8, 0, 2)

      def _observe(self):
        return super()._observe() // 1

    # Three is out of range, but the rollouts that show it have ended.
    everyone = [(g, b, 2) for g in range(G) for b in range(B)]
    _play(_trial(Liar(ends=everyone)))
    with self.assertRaisesRegex(ValueError, 'observation is 3.0'):
      _play(_trial(Liar(ends=everyone[1:])))

  @parameterized.parameters((None,), ((),), ({},))
  def test_one_task_only(self, task):
    class Single(ScriptedEnvironment):
      def sample_tasks(self, rng, num_tasks):
        return task

      def reset(self, tasks, num_rollouts, rng):
        assert tasks == task
        return super().reset(np.zeros(G), num_rollouts, rng)

    _play(_trial(Single()))

  def test_other_numbers_of_tasks(self):
    class Liar(ScriptedEnvironment):
      def sample_tasks(self, rng, num_tasks):
        return np.zeros(num_tasks + 1)

    with self.assertRaisesRegex(ValueError, 'drew 3 tasks, need 2'):
      _trial(Liar()).reset()

  def test_closing_what_cannot_be_closed(self):
    _trial().close()


class AcmeLoopTest(absltest.TestCase):
  """Acme's own loop drives a trial as it would any environment."""

  def setUp(self):
    super().setUp()
    pytest.importorskip('acme')

  def test_environment_loop(self):
    import acme
    from acme import core
    from acme import specs as acme_specs
    from acme.utils import counting, loggers

    class RandomActor(core.Actor):
      def __init__(self, spec):
        self._spec = spec
        self._rng = np.random.default_rng(0)
        self.rewards = []

      def select_action(self, observation):
        assert isinstance(observation, environments.TrialObservation)
        shape = self._spec.actions.shape
        return self._rng.normal(size=shape).astype(np.float32)

      def observe_first(self, timestep):
        assert timestep.first()

      def observe(self, action, next_timestep):
        self.rewards.append(next_timestep.reward)

      def update(self, wait=False):
        pass

    class Log(loggers.Logger):
      def __init__(self):
        self.rows = []

      def write(self, data):
        self.rows.append(data)

      def close(self):
        pass

    trial = _trial(environments.make('navigation_2d', reward='dense'))
    actor = RandomActor(acme_specs.make_environment_spec(trial))
    counter, log = counting.Counter(), Log()
    acme.EnvironmentLoop(trial, actor, counter=counter, logger=log).run(2)
    self.assertEqual(
      counter.get_counts(), {'episodes': 2, 'steps': 2 * trial.num_loop_steps}
    )
    self.assertLen(log.rows, 2)
    self.assertEqual(log.rows[0]['episode_length'], trial.num_loop_steps)
    episode = actor.rewards[: trial.num_loop_steps]
    np.testing.assert_allclose(
      log.rows[0]['episode_return'], np.sum(episode, axis=0), rtol=1e-5
    )
    self.assertEqual(log.rows[0]['episode_return'].shape, (G, B))


if __name__ == '__main__':
  absltest.main()
