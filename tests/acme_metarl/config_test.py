"""The configuration: refusals with reasons, and JSON there and back."""

import dataclasses
import json

import jax.numpy as jnp
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
    (dict(discount=1.1), r'discount must be a number in \[0, 1\]'),
    (dict(gae_lambda=-0.1), 'gae_lambda must be'),
    (dict(max_kl=0), 'max_kl must be a number above 0'),
    (dict(clip_epsilon=float('nan')), 'clip_epsilon must be'),
    (dict(inner_learning_rate=float('inf')), 'inner_learning_rate must be'),
    (dict(inner_kl_coefficient=-1), 'inner_kl_coefficient must be'),
    (dict(backtrack_ratio=1), 'backtrack_ratio must be a number between'),
    (dict(evaluator='retrace'), 'evaluator must be one of importance_sampling'),
    (dict(reduction=None), 'reduction must be one of per_step'),
    (dict(meta_gradient='second'), 'meta_gradient must be one of full'),
    (dict(outer_optimizer='lion'), 'outer_optimizer must be one of adam'),
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
    for name in algorithm_parts.EVALUATORS:
      made = AlgorithmConfig(evaluator=name).make_evaluator()
      assert made(*self._arrays()).shape == (3,)
    for name in algorithm_parts.REDUCTIONS:
      made = AlgorithmConfig(reduction=name).make_reduction()
      assert made is getattr(reductions, name)
    for name, kind in algorithm_parts.BASELINES.items():
      assert isinstance(AlgorithmConfig(baseline=name).make_baseline(), kind)
    for name in algorithm_parts.OUTER_OBJECTIVES:
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

  def test_importable_callables_are_written_by_name(self):
    settings = AlgorithmConfig(evaluator=evaluators.doubly_robust)
    values = json.loads(json.dumps(settings.to_dict()))
    assert values['evaluator'] == 'acme_metarl.evaluators:doubly_robust'
    read = AlgorithmConfig.from_dict(values)
    assert read.evaluator is evaluators.doubly_robust

  def test_refuses_callables_that_no_import_leads_to(self):
    settings = AlgorithmConfig(reduction=lambda *args: 0.0)
    with pytest.raises(ValueError, match='reduction is .* no import leads to'):
      settings.to_dict()

  def test_refuses_names_that_lead_nowhere(self):
    for name in ('no_such_module:f', 'acme_metarl.evaluators:no_such_name'):
      with pytest.raises(ValueError, match='can be imported'):
        AlgorithmConfig.from_dict({'evaluator': name})

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
