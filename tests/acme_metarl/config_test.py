"""The configuration: refusals with reasons, and JSON there and back."""

import dataclasses
import functools
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acme_metarl import algorithm_parts, config, evaluators
from acme_metarl.evaluators import reductions
from acme_metarl.meta import baselines, objectives

AlgorithmConfig = config.AlgorithmConfig


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (dict(num_tasks=0), 'num_tasks must be an integer of at least 1'),
    (dict(num_inner_steps=1.5), 'num_inner_steps must be an integer'),
    (dict(num_rollouts=True), 'num_rollouts must be an integer'),
    (dict(chunk_size=0), 'chunk_size must be an integer'),
    (dict(hidden_sizes=(64, 0)), 'hidden_sizes must be an integer'),
    (
      dict(learned_evaluator_options=[]),
      'learned_evaluator_options must be op',
    ),
    (dict(discount=1.1), r'discount must be a number in \[0, 1\]'),
    (dict(gae_lambda=-0.1), 'gae_lambda must be'),
    (dict(max_kl=0), 'max_kl must be a number above 0'),
    (dict(clip_epsilon=float('nan')), 'clip_epsilon must be'),
    (dict(stage_weights=(1.0,)), 'stage_weights must be 2 numbers'),
    (dict(stage_weights=(1.0, -1.0)), 'stage_weights must be a number of at'),
    (dict(stage_weights=(1.0, 0.0)), 'must end with a number above 0'),
    (
      dict(
        stage_weights=(0.5, 1.0),
        meta_gradient='reptile',
        num_outer_epochs=1,
        inner_kl_coefficient=0.0,
      ),
      'does not differentiate',
    ),
    (dict(inner_learning_rate=float('inf')), 'inner_learning_rate must be'),
    (dict(inner_kl_coefficient=-1), 'inner_kl_coefficient must be'),
    (dict(backtrack_ratio=1), 'backtrack_ratio must be a number between'),
    (dict(evaluator='retrace'), 'evaluator must be one of importance_sampling'),
    (dict(reduction=None), 'reduction must be one of per_step'),
    (dict(meta_gradient='second'), 'meta_gradient must be one of full'),
    (
      dict(outer_optimizer='lyon'),
      'outer_optimizer must be one of trust_region',
    ),
    (dict(inner_optimizer=3), 'inner_optimizer must be one of .* or an optax'),
    (dict(outer_optimizer_options={'b3': 1}), "do not fit 'adam'"),
    (
      dict(outer_optimizer=optax.adam(1e-3), outer_optimizer_options={'b1': 1}),
      'belong to an optimiser given by its name',
    ),
    (dict(normalize_advantages='false'), 'must be True or False'),
    (dict(adaptive_inner_kl=1), 'must be True or False'),
    (dict(num_rollouts=1), 'Use at least 2 rollouts'),
    (
      dict(inner_differentiation='forward'),
      'must be one of reverse, mixed',
    ),
    (dict(inner_loop=3), 'must be a function of'),
    (
      dict(learned_evaluator_options={'order': 0.5}),
      'numbers in .* can be learned',
    ),
    (
      dict(learned_evaluator_options={'lambda_': 1.0}),
      'learned behind a sigmoid',
    ),
    (
      dict(learned_evaluator_options={'discount': 0.5}, discount=0),
      'Set discount to the largest one',
    ),
    (
      dict(meta_gradient='reptile', num_outer_epochs=1),
      'inner_kl_coefficient is 0.0005. Set it to 0',
    ),
    (dict(meta_gradient='reptile'), 'needs num_outer_epochs=1'),
    (
      dict(
        meta_gradient='reptile',
        num_outer_epochs=1,
        inner_kl_coefficient=0,
        inner_step_sizes='scalar',
      ),
      'has no gradient for step sizes',
    ),
    (
      dict(
        meta_gradient='evolution_strategies',
        num_outer_epochs=1,
        inner_kl_coefficient=0,
        num_tasks=3,
      ),
      'num_tasks must be even',
    ),
    (
      dict(
        inner_differentiation='mixed',
        outer_optimizer='trust_region',
        num_outer_epochs=1,
      ),
      'Use "reverse" with it',
    ),
    (dict(inner_step_sizes='learned'), 'inner_step_sizes must be one of'),
    (
      dict(evaluator='dice', evaluator_options={'order': 2}),
      r"evaluator_options has \['order'\], which dice does not take",
    ),
    (
      dict(evaluator='lvc', evaluator_options={'order': 2}),
      'which lvc does not take',
    ),
    (dict(evaluator_options={'order': 0}), 'order.* must be an integer'),
    (
      dict(evaluator='doubly_robust', evaluator_options={'q_tm1': 0.0}),
      'depend on the data. Wrap the evaluator',
    ),
    (
      dict(outer_optimizer='trust_region'),
      'num_outer_epochs is 5. Set num_outer_epochs=1',
    ),
    (
      dict(
        outer_optimizer='trust_region',
        num_outer_epochs=1,
        outer_objective='policy_gradient',
      ),
      'a line search on it means nothing. Use outer_objective="surrogate"',
    ),
    (
      dict(outer_objective='policy_gradient'),
      'num_outer_epochs is 5. Set it to 1, or use',
    ),
    (
      dict(adaptive_inner_kl=True, inner_kl_coefficient=0),
      'Start from a coefficient above 0',
    ),
  ],
)
def test_refuses_impossible_settings_with_the_reason(settings, message):
  with pytest.raises(ValueError, match=message):
    AlgorithmConfig(**settings)


@pytest.mark.parametrize('kind', algorithm_parts.SCORE_META_GRADIENTS)
def test_warns_where_scores_are_counted_twice(kind):
  with pytest.warns(UserWarning, match='counted twice'):
    AlgorithmConfig(meta_gradient=kind, evaluator='doubly_robust')


@pytest.mark.filterwarnings('error::UserWarning')
def test_log_likelihood_goes_with_scores():
  for kind in algorithm_parts.SCORE_META_GRADIENTS:
    AlgorithmConfig(meta_gradient=kind, evaluator='log_likelihood')


def test_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    AlgorithmConfig().num_tasks = 3


def test_is_hashable_and_equal_by_value():
  one, other = (
    AlgorithmConfig(evaluator_options={'order': 2}, hidden_sizes=[8])
    for _ in range(2)
  )
  assert one == other
  assert hash(one) == hash(other)


class TestOptimizers:
  def _step(self, optimizer):
    params = jnp.array([1.0, 2.0])
    updates, _ = optimizer.update(2 * params, optimizer.init(params), params)
    return updates

  def test_outer_by_name_and_as_an_object(self):
    named = AlgorithmConfig(
      outer_optimizer='adamw',
      outer_learning_rate=0.1,
      outer_optimizer_options={'weight_decay': 0.5},
    )
    given = AlgorithmConfig(outer_optimizer=optax.adamw(0.1, weight_decay=0.5))
    assert jnp.array_equal(
      self._step(named.make_outer_optimizer()),
      self._step(given.make_outer_optimizer()),
    )

  def test_inner_by_name_has_the_inner_learning_rate(self):
    named = AlgorithmConfig(inner_optimizer='adam', inner_learning_rate=0.2)
    step = named.initial_step_size * self._step(named.make_inner_optimizer())
    given = AlgorithmConfig(inner_optimizer=optax.adam(0.2))
    assert given.initial_step_size == 1.0
    assert jnp.allclose(step, self._step(given.make_inner_optimizer()))


class TestParts:
  TRAJECTORY = (0.5, 1.0, 2.0, 0.9, 1.3)

  def _arrays(self):
    return tuple(x * jnp.arange(1.0, 4.0) for x in self.TRAJECTORY)

  def test_evaluator_has_its_options(self):
    made = AlgorithmConfig(evaluator_options={'order': 3}).make_evaluator()
    expected = evaluators.taylor_expansion(*self._arrays(), order=3)
    assert jnp.array_equal(made(*self._arrays()), expected)

  def test_gae_lambda_is_the_evaluators_lambda_unless_it_has_its_own(self):
    for name in ('taylor_expansion', 'lvc', 'log_likelihood'):
      function = getattr(evaluators, name)
      settings = AlgorithmConfig(evaluator=name, gae_lambda=0.5)
      own = AlgorithmConfig(
        evaluator=name, gae_lambda=0.5, evaluator_options={'lambda_': 0.25}
      )
      for made, lambda_ in ((settings, 0.5), (own, 0.25)):
        assert jnp.array_equal(
          made.make_evaluator()(*self._arrays()),
          function(*self._arrays(), lambda_=lambda_),
        )

  def test_every_named_part_can_be_made(self):
    for name in algorithm_parts.names('evaluator'):
      made = AlgorithmConfig(evaluator=name).make_evaluator()
      assert made(*self._arrays()).shape == (3,)
    for name in algorithm_parts.names('reduction'):
      made = AlgorithmConfig(reduction=name).make_reduction()
      assert made is getattr(reductions, name)
    for name in algorithm_parts.names('baseline'):
      kind = algorithm_parts.named('baseline', name)
      assert isinstance(AlgorithmConfig(baseline=name).make_baseline(), kind)
    for name in ('clipped_surrogate', 'surrogate', 'policy_gradient'):
      AlgorithmConfig(
        outer_objective=name, num_outer_epochs=1
      ).make_outer_objective()
    assert AlgorithmConfig(
      clip_epsilon=0.2
    ).make_outer_objective() == objectives.ClippedSurrogate(0.2)

  def test_callables_plug_in(self):
    baseline = baselines.LinearFeature(ridge=1.0)
    objective = objectives.Evaluated(my_evaluator)
    made = AlgorithmConfig(
      evaluator=my_evaluator,
      evaluator_options={'scale': 2.0},
      reduction=my_reduction,
      baseline=baseline,
      outer_objective=objective,
    )
    assert jnp.array_equal(
      made.make_evaluator()(*self._arrays()), 2.0 * self._arrays()[-1]
    )
    assert made.make_reduction() is my_reduction
    assert made.make_baseline() is baseline
    assert made.make_outer_objective() is objective


def my_evaluator(v_tm1, v_t, r_t, discount_t, rho_tm1, scale=1.0):
  del v_tm1, v_t, r_t, discount_t
  return scale * rho_tm1


def my_reduction(estimates, v_t, discount_t, mask=None):
  del v_t, discount_t, mask
  return jnp.mean(estimates)


class TestJson:
  def test_there_and_back(self):
    settings = AlgorithmConfig(
      num_tasks=3,
      evaluator_options={'order': 2, 'lambda_': 0.9},
      hidden_sizes=(7,),
      chunk_size=2,
      adaptive_inner_kl=True,
    )
    text = json.dumps(settings.to_dict())
    assert AlgorithmConfig.from_dict(json.loads(text)) == settings

  def test_what_has_a_name_is_the_name(self):
    settings = AlgorithmConfig(
      evaluator=evaluators.doubly_robust, reduction=reductions.start_state
    )
    assert settings == AlgorithmConfig(
      evaluator='doubly_robust', reduction='start_state'
    )
    assert settings.to_dict()['evaluator'] == 'doubly_robust'

  def test_a_partial_of_a_name_is_the_name_with_options(self):
    settings = AlgorithmConfig(
      evaluator=functools.partial(evaluators.taylor_expansion, order=3)
    )
    assert settings == AlgorithmConfig(evaluator_options={'order': 3})

  def test_parts_with_fields_go_there_and_back(self):
    settings = AlgorithmConfig(
      baseline=baselines.LinearFeature(ridge=1e-3),
      outer_objective=objectives.ClippedSurrogate(0.2),
      evaluator_options={
        'order': np.int64(2),
        'lambda_': np.float32(0.5),
      },
      outer_optimizer='adamw',
      outer_optimizer_options={'weight_decay': 0.1},
    )
    text = json.dumps(settings.to_dict(), allow_nan=False)
    assert AlgorithmConfig.from_dict(json.loads(text)) == settings
    objective = objectives.Evaluated(
      evaluators.doubly_robust, reductions.per_step
    )
    settings = AlgorithmConfig(outer_objective=objective)
    text = json.dumps(settings.to_dict())
    assert AlgorithmConfig.from_dict(json.loads(text)) == settings

  def test_numbers_that_json_does_not_have(self):
    settings = AlgorithmConfig(
      evaluator='vtrace', evaluator_options={'clip_rho_threshold': np.inf}
    )
    text = json.dumps(settings.to_dict(), allow_nan=False)
    assert AlgorithmConfig.from_dict(json.loads(text)) == settings

  def test_callables_are_imported_only_when_asked(self):
    values = AlgorithmConfig(evaluator=json.dumps).to_dict()
    assert values['evaluator'] == 'json:dumps'
    read = AlgorithmConfig.from_dict(values, allow_imports=True)
    assert read.evaluator is json.dumps
    with pytest.raises(ValueError, match='--config.evaluator=json:dumps'):
      AlgorithmConfig.from_dict(values)

  @pytest.mark.parametrize(
    ('field', 'value'),
    [
      ('evaluator', 'os:system'),
      ('reduction', 'os:system'),
      ('inner_loop', 'os:system'),
      ('baseline', {'name': 'os:system', 'command': 'true'}),
      (
        'outer_objective',
        {'name': 'evaluated', 'evaluator': 'os:system'},
      ),
    ],
  )
  def test_files_import_nothing(self, field, value):
    with pytest.raises(ValueError, match='not imported because a file says so'):
      AlgorithmConfig.from_dict({field: value})

  def test_reads_what_earlier_versions_wrote(self):
    read = AlgorithmConfig.from_dict(
      {'evaluator': 'acme_metarl.evaluators:doubly_robust'}
    )
    assert read.evaluator == 'doubly_robust'

  @pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
      ('reduction', lambda *args: 0.0, 'which no import leads to'),
      ('outer_optimizer', optax.adam(1e-3), 'cannot be written to a file'),
      ('evaluator', functools.partial(max, 1), 'cannot be written to a file'),
    ],
  )
  def test_refuses_what_cannot_be_written(self, field, value, message):
    settings = AlgorithmConfig(**{field: value})
    with pytest.raises(ValueError, match=f'{field} is .*{message}'):
      settings.to_dict()

  def test_registered_parts_are_written_by_name(self):
    optimizer = functools.partial(optax.sgd, momentum=0.5)
    algorithm_parts.register('optimizer', 'test_heavy_ball', optimizer)
    settings = AlgorithmConfig(outer_optimizer='test_heavy_ball')
    assert AlgorithmConfig.from_dict(settings.to_dict()) == settings
    with pytest.raises(ValueError, match='exists already'):
      algorithm_parts.register('optimizer', 'test_heavy_ball', optax.sgd)
    with pytest.raises(ValueError, match='kind must be one of'):
      algorithm_parts.register('optimiser', 'mine', optax.sgd)

  def test_refuses_names_that_lead_nowhere(self):
    for name in ('no_such_module:f', 'acme_metarl.evaluators:no_such_name'):
      with pytest.raises(ValueError, match='can be imported'):
        AlgorithmConfig.from_dict({'evaluator': name}, allow_imports=True)

  def test_refuses_unknown_fields(self):
    with pytest.raises(ValueError, match=r"unknown fields \['num_task'\]"):
      AlgorithmConfig.from_dict({'num_task': 3})


@pytest.mark.parametrize(
  ('settings', 'expected'),
  [
    (dict(), True),
    (dict(evaluator='vtrace'), True),
    (dict(evaluator=my_evaluator), True),
    (dict(evaluator='log_likelihood'), False),
    (dict(evaluator=evaluators.log_likelihood), False),
    (dict(meta_gradient='first_order'), True),
    (dict(evaluator='log_likelihood', meta_gradient='emaml'), False),
    (dict(outer_objective='policy_gradient', num_outer_epochs=1), False),
    (dict(outer_objective=objectives.PolicyGradient()), False),
    (dict(outer_objective=objectives.Evaluated(my_evaluator)), True),
  ],
)
def test_off_policy_is_what_ratios_correct(settings, expected):
  assert AlgorithmConfig(**settings).is_off_policy == expected
