"""Trials drawn on the device: ends, memories, refusals."""

import dataclasses
from typing import Any

import distrax
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import on_device, presets, types
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies
from acme_metarl.on_device import sampling


@dataclasses.dataclass(frozen=True)
class _Recall:
  """Shows a cue first; pays 1 for repeating it two steps later."""

  task: Any = ()
  step_dtype: Any = jnp.int32

  def sample_task(self, key):
    del key
    return self.task

  def reset(self, key, task):
    del task
    cue = jax.random.bernoulli(key).astype(jnp.int32)
    state = {'cue': cue, 'steps': jnp.zeros((), jnp.int32)}
    return state, self._show(state, 0.0)

  def step(self, state, action):
    steps = (state['steps'] + 1).astype(self.step_dtype)
    state = {'cue': state['cue'], 'steps': steps}
    paid = (steps == 3) & (action == state['cue'])
    return state, self._show(state, paid)

  def _show(self, state, reward):
    cue, steps = (state[k].astype(jnp.float32) for k in ('cue', 'steps'))
    shown = jnp.where(steps == 0, 2 * cue - 1, 0.0)
    return types.TimeStep(
      observation=jnp.stack([shown, steps / 3]),
      reward=jnp.asarray(reward).astype(jnp.float32),
      discount=jnp.ones((), jnp.float32),
    )

  def observation_spec(self):
    return specs.Array((2,), np.float32)

  def action_spec(self):
    return specs.DiscreteArray(2)


def _config(**overrides):
  settings = dict(
    num_tasks=2,
    num_rollouts=5,
    horizon=3,
    hidden_sizes=(4,),
    num_iterations=1,
    baseline='zero',
  )
  return presets.make('promp', **{**settings, **overrides})


def _sampling(environment, policy=None, **overrides):
  """A function of a random key."""
  trainer = on_device.make_trainer(
    _config(**overrides), environment, policy=policy
  )

  def sample(key):
    params = trainer.init(key).meta.params
    return params, trainer.sample(params, key, 2)

  return sample


@pytest.mark.parametrize('task', [None, (), {}])
def test_a_single_task_needs_no_value(task):
  key = jax.random.PRNGKey(0)
  _, trials = jax.eval_shape(_sampling(_Recall(task)), key)
  assert trials.reward.shape == (2, 2, 5, 3)


def test_a_state_that_changes_its_type_is_told():
  message = r"_Recall.*the state\['steps'\] is int32\[\].*float32\[\] after a"
  with pytest.raises(ValueError, match=message):
    on_device.make_trainer(_config(), _Recall(step_dtype=jnp.float32))


def test_distributions_that_cannot_be_stored_are_refused_before_any_work():
  policy = types.Policy(
    lambda key, observation: jnp.ones(2),
    lambda params, x: distrax.Categorical(logits=params * jnp.ones(2)),
  )
  with pytest.raises(ValueError, match='policy: a Categorical'):
    on_device.make_trainer(_config(), _Recall(), policy=policy)


class _Line(_Recall):
  """Pays the action, a number; shows the step."""

  def step(self, state, action):
    state = {**state, 'steps': state['steps'] + 1}
    return state, self._show(state, action[0])

  def action_spec(self):
    return specs.Array((1,), np.float32)


def test_a_rollout_that_acts_non_finitely_ends_and_is_counted():
  """Before the step, like one that diverges; the environment never sees it."""

  def apply(params, observation):
    # The second action is not a number.
    x = observation[..., :1]
    bad = (observation[..., 1:] > 0) & (observation[..., 1:] < 0.5)
    mean = jnp.where(bad, jnp.nan, params * x)
    normal = distrax.Normal(mean, jnp.ones_like(mean))
    return distrax.Independent(normal, 1)

  policy = types.Policy(lambda key, observation: jnp.ones(()), apply)
  sample = jax.jit(_sampling(_Line(), policy))
  _, trials = jax.device_get(sample(jax.random.PRNGKey(0)))
  expected = np.broadcast_to([1.0, 0, 0], trials.mask.shape)
  np.testing.assert_array_equal(trials.mask, expected)
  np.testing.assert_array_equal(trials.reward[..., 1:], 0)
  np.testing.assert_array_equal(trials.discount[..., 1:], 0)
  assert np.all(np.isfinite(trials.reward))
  assert np.all(np.isfinite(trials.observation))
  assert sampling.num_diverged(trials) == 2 * 2 * 5


def test_rollouts_that_terminate_are_not_counted_as_diverged():
  mask = jnp.array([[1.0, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
  discount = jnp.array([[1.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
  stage = types.Stage((), (), mask, discount, mask, mask)
  # The third and the fourth stop without an end.
  assert sampling.num_diverged(stage) == 2


class TestMemory:
  policy = policies.gru(specs.DiscreteArray(2), memory_size=8)

  def test_what_is_stored_is_what_unroll_gives(self):
    sample = jax.jit(_sampling(_Recall(), self.policy))
    params, trials = sample(jax.random.PRNGKey(0))
    stage = jax.tree_util.tree_map(lambda x: x[:, 0], trials)
    distribution = policies.unroll(
      self.policy, params.policy, stage.observation[..., :-1, :]
    )
    np.testing.assert_allclose(
      distribution.log_prob(stage.action), stage.behaviour_log_prob, rtol=1e-5
    )
    # Steps after the first show no cue, yet it decides.
    logits = distribution.logits[..., 2, 1]
    cue = stage.observation[..., 0, 0]
    means = [jnp.mean(logits[cue == c]) for c in (-1, 1)]
    assert abs(means[0] - means[1]) > 1e-3

  @pytest.mark.parametrize('has_memory', [True, False])
  def test_only_a_memory_learns_to_recall(self, has_memory):
    policy = self.policy
    if not has_memory:
      policy = policies.categorical(2, hidden_sizes=(8,))
    config = _config(
      num_tasks=4,
      num_rollouts=20,
      num_iterations=100,
      inner_learning_rate=0.3,
      outer_learning_rate=0.03,
      num_outer_epochs=2,
    )
    train = on_device.make_train(config, _Recall(), policy=policy)
    _, log = train(jax.random.PRNGKey(0))
    adapted = np.asarray(log.evaluation[-1, :, 1])
    if has_memory:
      assert adapted.mean() > 0.9
    else:
      # Half of the rollouts, by chance: 40 tasks of 20.
      stderr = np.sqrt(0.25 / 800)
      assert abs(adapted.mean() - 0.5) < 5 * stderr


def test_strict_promotion_of_types_and_ranks():
  with (
    jax.numpy_dtype_promotion('strict'),
    jax.numpy_rank_promotion('raise'),
  ):
    for baseline in ('linear_feature', 'linear_time'):
      sample = _sampling(_Line(), policies.gaussian(1, (4,)), baseline=baseline)
      _, trials = jax.eval_shape(sample, jax.random.PRNGKey(0))
  assert trials.reward.shape == (2, 2, 5, 3)


def test_values_without_an_end_need_a_discount_below_one():
  with pytest.raises(ValueError, match='discount: got 1'):
    on_device.make_trainer(
      _config(discount=1.0, baseline='linear_time'),
      _Recall(),
      bootstrap_on_timeout=True,
    )


class _Reporting(_Line):
  """Reports what it paid; ends after a negative action."""

  def reset(self, key, task):
    state, first = super().reset(key, task)
    return {**state, 'paid': jnp.zeros((), jnp.float32)}, first

  def step(self, state, action):
    paid = action[0].astype(jnp.float32)
    state = {**state, 'steps': state['steps'] + 1, 'paid': paid}
    new = self._show(state, action[0])
    return state, new._replace(discount=jnp.where(action[0] < 0, 0.0, 1.0))

  def info(self, state):
    return {'success': state['paid'] > 0.5, 'paid': state['paid']}


def test_what_an_environment_reports_is_that_of_real_steps():
  environment, config = _Reporting(), _config(horizon=4)
  policy = config.make_policy(environment.action_spec())
  learner = learner_lib.make_meta_learner(config, policy)
  sampler = sampling.TrialSampler(
    config, environment, policy, learner, False, (jax.devices()[0],)
  )
  key = jax.random.PRNGKey(0)
  params = learner.init(key, jnp.zeros(2)).params
  trials = jax.device_get(
    jax.jit(lambda: sampler.sample(params, key, num_tasks=3))()
  )
  reward = trials.stages.reward
  is_real = trials.stages.mask > 0
  assert 0 < np.mean(is_real) < 1 and set(trials.scalars) == {
    f'{name}_{how}'
    for name in ('paid', 'success')
    for how in ('ever', 'last', 'mean')
  }
  for name, number in (('paid', reward), ('success', reward > 0.5)):
    for how, of_a_rollout in (
      ('ever', max),
      ('last', lambda x: x[-1]),
      ('mean', np.mean),
    ):
      expected = [
        [
          np.mean(
            [
              of_a_rollout(x[real].astype(np.float64))
              for x, real in zip(*rollouts, strict=True)
            ]
          )
          for rollouts in zip(*stages, strict=True)
        ]
        for stages in zip(number, is_real, strict=True)
      ]
      np.testing.assert_allclose(
        trials.scalars[f'{name}_{how}'], expected, rtol=1e-5, atol=1e-6
      )


@pytest.mark.parametrize(
  ('info', 'message'),
  [
    (1.0, 'its info is float.*, need a dict of numbers'),
    ({'success': jnp.ones(2)}, r"info\['success'\] is float32\[2\], need one"),
    ({'success': {'a': 1}}, r"info\['success'\] is a dict, need one real"),
  ],
)
def test_reports_that_are_no_numbers_are_refused(info, message):
  environment = _Line()
  object.__setattr__(environment, 'info', lambda state: info)
  with pytest.raises(ValueError, match=f'environment _Line.*{message}'):
    on_device.make_trainer(_config(), environment)


def _with(**methods):
  environment = _Line()
  for name, method in methods.items():
    object.__setattr__(environment, name, method)
  return environment


_ONE = jnp.ones((), jnp.float32)


@pytest.mark.parametrize(
  ('environment', 'message'),
  [
    (
      _with(observation_spec=lambda: specs.Array((3,), np.float32)),
      r'its reset shows observations of shapes \[\(2,\)\], but .* \[\(3,\)\]',
    ),
    (
      _with(step=lambda s, a: (s, types.TimeStep(jnp.ones(2), a, _ONE))),
      r'its step gave a reward of shape \(1,\), need one number',
    ),
    (
      _with(step=lambda s, a: (s, (jnp.ones(2), _ONE, _ONE))),
      'its step returned a tuple beside the state, need an .*TimeStep',
    ),
    (_with(observation_spec=lambda: (2,)), 'its observation_spec has 2, need'),
    (_with(action_spec=lambda: None), 'its action_spec has None, need a dm_e'),
    (_with(sample_task=None), 'cannot run on a device: it has no sample_task'),
  ],
)
def test_environments_that_are_not_as_they_say(environment, message):
  with pytest.raises(ValueError, match=f'environment _Line.*{message}'):
    on_device.make_trainer(_config(), environment)
