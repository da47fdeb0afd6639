import dataclasses
import json
import math

import pytest

from acme_metarl import config as config_lib
from acme_metarl.agents import maml
from acme_metarl.launchers.runs import config_flags


def _parse(**values):
  return config_flags.parse(values, config_lib.AlgorithmConfig)


def test_splits_the_command_line():
  rest, values = config_flags.split(
    [
      'train',
      '--seed=1',
      '--config.max_kl=0.1',
      '-config.evaluator_options.order=3',
      '--config.evaluator=a=b',
    ]
  )
  assert rest == ['train', '--seed=1']
  assert values == {
    'max_kl': '0.1',
    'evaluator_options.order': '3',
    'evaluator': 'a=b',
  }


def test_a_value_is_needed():
  with pytest.raises(ValueError, match='write --config.max_kl=VALUE'):
    config_flags.split(['--config.max_kl', '0.1'])


def test_converts_to_the_fields_types():
  parsed = config_flags.parse(
    {
      'max_kl': '1e-2',
      'num_outer_epochs': '3',
      'normalize_advantages': 'False',
      'adaptive_inner_kl': 'true',
      'hidden_sizes': '128,64',
      'chunk_size': 'None',
      'evaluator': 'doubly_robust',
      'evaluator_options.order': '3',
      'evaluator_options.lambda_': '0.5',
      'evaluator_options.clip_rho_threshold': 'inf',
      'baseline': 'json:loads',
    },
    config_lib.AlgorithmConfig,
  )
  assert parsed == {
    'max_kl': 0.01,
    'num_outer_epochs': 3,
    'normalize_advantages': False,
    'adaptive_inner_kl': True,
    'hidden_sizes': (128, 64),
    'chunk_size': None,
    'evaluator': 'doubly_robust',
    'evaluator_options': {
      'order': 3,
      'lambda_': 0.5,
      'clip_rho_threshold': math.inf,
    },
    'baseline': json.loads,
  }
  assert _parse(chunk_size='8') == {'chunk_size': 8}
  assert _parse(hidden_sizes='()') == {'hidden_sizes': ()}
  parsed = config_flags.parse({'max_queue_size': '90'}, maml.MAMLConfig)
  assert parsed == {'max_queue_size': 90}


def test_none_is_none_only_where_a_callable_may_be_that():
  assert _parse(inner_loop='None') == {'inner_loop': None}
  assert _parse(inner_loop='json:loads') == {'inner_loop': json.loads}
  assert _parse(evaluator='None') == {'evaluator': 'None'}


@pytest.mark.parametrize(
  'field',
  [
    f
    for f in dataclasses.fields(config_lib.AlgorithmConfig)
    if not f.name.endswith('_options')
  ],
  ids=lambda field: field.name,
)
def test_every_default_reads_back(field):
  default = getattr(config_lib.AlgorithmConfig(), field.name)
  text = ','.join(map(str, default)) if isinstance(default, tuple) else default
  assert _parse(**{field.name: str(text)}) == {field.name: default}


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'max_lk': '1'}, 'config.max_lk: there is no such field.*max_kl'),
    ({'max_kl': 'big'}, 'config.max_kl=big: need a number'),
    ({'num_outer_epochs': '1.5'}, 'num_outer_epochs=1.5: need a whole number'),
    (
      {'adaptive_inner_kl': 'maybe'},
      'adaptive_inner_kl=maybe: need true or false',
    ),
    ({'hidden_sizes': '64,x'}, 'hidden_sizes=64,x: need whole numbers'),
    ({'evaluator_options': '{}'}, 'write --config.evaluator_options.KEY=VALUE'),
    ({'baseline': 'json:nothing'}, "'json:nothing' needs 'nothing' in"),
    ({'max_kl.x': '1'}, 'config.max_kl.x: there is no such field'),
  ],
)
def test_refuses(values, message):
  with pytest.raises(ValueError, match=message):
    config_flags.parse(values, config_lib.AlgorithmConfig)


def test_fields_with_flags_of_their_own():
  with pytest.raises(ValueError, match='use --discount instead'):
    config_flags.parse(
      {'discount': '.9'}, config_lib.AlgorithmConfig, taken=('discount',)
    )
