"""Tests of the evaluators' benchmark: what it compares, and as a command."""

import json

import jax
import numpy as np
import pytest

from acme_metarl.evaluators import recurrences
from acme_metarl.launchers.benchmarks import evaluator_timing

_NAME = 'benchmark_evaluators'


@pytest.mark.parametrize('order', [1, 2, 3, 7])
def test_the_two_ways_compared_are_the_same_function(order):
  rng = np.random.default_rng(0)
  coefficient, weight, constant = rng.normal(size=(3, 5)).astype(np.float32)
  coefficient[2] = 0.0
  last = np.float32(0.0)
  for transform in (lambda f: f, jax.jacrev):
    ways = [
      transform(
        lambda weight, way=way: way(coefficient, weight, constant, last, order)
      )
      for way in (recurrences.nested, evaluator_timing.nested_by_triangle)
    ]
    np.testing.assert_allclose(ways[0](weight), ways[1](weight), atol=1e-5)


def test_every_combination_has_its_rows(call_main):
  out, _ = call_main(
    _NAME,
    '--lengths=2,3',
    '--orders=2',
    '--num_trajectories=2,1000',
    '--max_steps=6',
    '--num_features=2',
    '--rounds=1',
    '--json',
  )
  rows = json.loads(out)['rows']
  names = {}
  for row in rows:
    names.setdefault(row['case'], []).append(row['name'])
  evaluators = [
    'taylor_1',
    'taylor_2',
    'importance_sampling',
    'doubly_robust',
    'truncated_doubly_robust',
    'log_likelihood',
  ]
  derivatives = ('gradient', 'hessian_vector_product', 'hessian')
  assert names.keys() == {
    f'T {length}, N 2, {derivative}{order}'
    for length in (2, 3)
    for order in ('', ', order 2')
    for derivative in derivatives
    if not (order and derivative == 'hessian')
  }
  for case, own in names.items():
    if case.endswith(', order 2'):
      assert own[:2] == ['recurrence', 'triangle']  # And its methods.
    else:
      assert own == evaluators
  for row in rows:
    is_baseline = row['name'] in ('taylor_1', 'recurrence')
    assert (row['ratio'] == 1.0) == is_baseline
    assert row['value'] > 0 and row['compilation'] > 0


_MISTAKES = {
  '--orders=1,zwei': 'flag --orders=1,zwei: need whole numbers',
  '--lengths=0': 'lengths: got (0,), need at least 1',
  '--max_steps=1': 'no combination of --lengths and --num_trajectories',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_a_mistake_ends_with_a_sentence(refused, mistake):
  assert refused(_NAME, mistake).startswith(_MISTAKES[mistake])
