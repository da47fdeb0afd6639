"""Tests of the evaluators' benchmark: what it compares, and as a command."""

import csv
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


def test_the_sentence_about_the_switch():
  row = evaluator_timing.Row('', '', 'gradient', 0, 7, 0.0, 0.0, 0.0)
  rows = [
    row._replace(name='triangle', length=length, ratio=ratio)
    for length, ratio in ((5, 0.5), (20, 0.9), (100, 3.0), (400, 0.9))
  ]
  (sentence,) = evaluator_timing.switch_sentences(rows)
  assert 'N = 7, gradient: ' in sentence and 'up to T = 20;' in sentence
  (sentence,) = evaluator_timing.switch_sentences(rows[2:])
  assert 'at none of these T' in sentence


def test_tables_are_printed_and_written(tmp_path, run_launcher):
  out, _ = run_launcher(
    _NAME,
    '--lengths=2,3',
    '--orders=2',
    '--num_trajectories=2,1000',
    '--max_steps=6',
    '--num_features=2',
    '--rounds=1',
    f'--output={tmp_path}/here',
  )
  assert 'triangular products are faster' in out
  rows = json.loads((tmp_path / 'here' / 'results.json').read_text())
  assert len(rows) == 2 * (6 * 3 + 2 * 2)
  assert {row['num_trajectories'] for row in rows} == {2}
  assert {row['length'] for row in rows} == {2, 3}
  first, second = rows[0], rows[3]
  assert (first['name'], second['name']) == ('taylor_1', 'taylor_2')
  assert first['ratio'] == 1.0
  assert second['ratio'] == pytest.approx(
    second['milliseconds'] / first['milliseconds']
  )
  with (tmp_path / 'here' / 'results.csv').open() as file:
    assert len(list(csv.DictReader(file))) == len(rows)


def test_a_mistake_ends_with_a_sentence(refusals):
  mistakes = {
    '--orders=1,zwei': '--orders needs integers',
    '--lengths=0': '--lengths needs integers of at least 1',
    '--max_steps=1': 'raise it or ask for less',
    '--output=/proc/nowhere': 'cannot write',
  }
  messages = refusals(_NAME, mistakes)
  for message, expected in zip(messages, mistakes.values(), strict=True):
    assert message.startswith(f'{_NAME}: ') and expected in message
