"""Presets: the rows of the papers' tables."""

import dataclasses
import json

import pytest

from acme_metarl import config, evaluators, presets

ROWS = {
  # name: inner evaluator, its options, meta-gradient, outer objective,
  # optimiser, epochs.
  'trpo_maml': ('log_likelihood', {}, 'full', 'surrogate', 'trust_region', 1),
  'trpo_fmaml': (
    'log_likelihood',
    {},
    'first_order',
    'surrogate',
    'trust_region',
    1,
  ),
  'trpo_emaml': ('log_likelihood', {}, 'emaml', 'surrogate', 'trust_region', 1),
  'trpo_dice': ('doubly_robust', {}, 'full', 'surrogate', 'trust_region', 1),
  'promp': (
    'taylor_expansion',
    {'order': 1},
    'full',
    'clipped_surrogate',
    'adam',
    5,
  ),
  'promp_taypo2': (
    'taylor_expansion',
    {'order': 2},
    'full',
    'clipped_surrogate',
    'adam',
    5,
  ),
  'promp_taypo3': (
    'taylor_expansion',
    {'order': 3},
    'full',
    'clipped_surrogate',
    'adam',
    5,
  ),
  'promp_causal': (
    'taylor_expansion',
    {'order': 2, 'causal_lambda': 0.3},
    'full',
    'clipped_surrogate',
    'adam',
    5,
  ),
  'recommended': (
    'taylor_expansion',
    {'order': 2, 'causal_lambda': 0.3},
    'full',
    'clipped_surrogate',
    'adam',
    20,
  ),
  'vpg_maml': ('log_likelihood', {}, 'full', 'policy_gradient', 'adam', 1),
  'meta_sgd': ('log_likelihood', {}, 'full', 'surrogate', 'trust_region', 1),
  'reptile': ('log_likelihood', {}, 'reptile', 'clipped_surrogate', 'sgd', 1),
  'es_maml': (
    'log_likelihood',
    {},
    'evolution_strategies',
    'clipped_surrogate',
    'adam',
    1,
  ),
}


def test_names():
  assert set(presets.names()) == set(ROWS)


@pytest.mark.parametrize('name', ROWS)
def test_rows(name):
  settings = presets.make(name)
  assert (
    settings.evaluator,
    settings.evaluator_options,
    settings.meta_gradient,
    settings.outer_objective,
    settings.outer_optimizer,
    settings.num_outer_epochs,
  ) == ROWS[name]
  is_promp = name.startswith(('promp', 'recommended'))
  assert settings.inner_kl_coefficient == (5e-4 if is_promp else 0.0)
  assert settings.max_epoch_kl == (0.04 if name == 'recommended' else None)


@pytest.mark.parametrize('name', ROWS)
def test_shared_settings(name):
  shared = dict(
    num_tasks=40,
    num_rollouts=20,
    horizon=100,
    num_inner_steps=1,
    num_iterations=1001,
    discount=0.99,
    gae_lambda=1.0,
    baseline='linear_feature',
    normalize_advantages=True,
    inner_learning_rate=0.1,
    inner_step_sizes='fixed',
    reduction='per_step',
    clip_epsilon=0.3,
    outer_learning_rate=1e-3,
    max_kl=0.01,
    cg_iterations=10,
    cg_damping=0.0,
    backtrack_ratio=0.8,
    max_backtracks=15,
    hidden_sizes=(64, 64),
    init_log_std=0.0,
    min_std=1e-6,
  )
  if name == 'meta_sgd':
    shared['inner_step_sizes'] = 'per_parameter'
  own = {'reptile': 1.0, 'es_maml': 1e-2, 'recommended': 3e-3}
  shared['outer_learning_rate'] = own.get(name, 1e-3)
  settings = dataclasses.asdict(presets.make(name))
  assert {key: settings[key] for key in shared} == shared


@pytest.mark.parametrize('name', ROWS)
def test_there_and_back_through_json(name):
  settings = presets.make(name, num_tasks=4)
  values = json.loads(json.dumps(settings.to_dict()))
  assert config.AlgorithmConfig.from_dict(values) == settings
  assert settings.num_tasks == 4


def test_refuses():
  with pytest.raises(ValueError, match='name must be one of trpo_maml'):
    presets.make('maml')
  with pytest.raises(ValueError, match='unknown fields'):
    presets.make('promp', learning_rate=1.0)
  with pytest.raises(ValueError, match='num_outer_epochs'):
    presets.make('trpo_maml', num_outer_epochs=2)


def _mine(v_tm1, v_t, r_t, discount_t, rho_tm1):
  del v_tm1, v_t, discount_t
  return r_t * rho_tm1


def test_another_evaluator_has_no_options_of_the_presets():
  assert presets.make('promp', evaluator=_mine).evaluator_options == {}
  assert (
    presets.make('promp', evaluator='doubly_robust').evaluator_options == {}
  )
  given = presets.make('promp', evaluator='vtrace', evaluator_options={})
  assert given.evaluator == 'vtrace'


def test_the_presets_own_evaluator_keeps_its_options():
  for evaluator in ('taylor_expansion', evaluators.taylor_expansion):
    made = presets.make('promp_taypo3', evaluator=evaluator)
    assert made.evaluator_options == {'order': 3}
