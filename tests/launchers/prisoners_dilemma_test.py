"""The study of opponent shaping as its user makes it."""

import csv
import json
import os

import numpy as np
import pytest

from acme_metarl.launchers.studies import (
  prisoners_dilemma,
  prisoners_dilemma_figure,
)

_NAME = 'prisoners_dilemma'


def test_writes_results_table_and_figure(tmp_path, call_main):
  directory = tmp_path / 'new' / 'directory'
  out, err = call_main(
    _NAME,
    '--conditions=exact,off_policy',
    '--evaluators=doubly_robust',
    '--num_updates=30',
    '--num_seeds=2',
    '--num_shared_updates=5',
    '--num_rounds=10',
    '--num_rollouts=4',
    '--replay_size=16',
    '--report_at=10,300',
    f'--logdir={directory}',
  )
  assert str(directory) in out
  assert '70/70' in err  # Progress: updates of both conditions.
  assert sorted(os.listdir(directory)) == [
    'prisoners_dilemma.png',
    'results.csv',
    'results.json',
  ]
  results = json.loads((directory / 'results.json').read_text())
  assert results['settings']['game']['num_rounds'] == 10
  exact, off_policy = results['conditions']
  assert (exact['condition'], exact['estimator']) == ('exact', '')
  assert off_policy['estimator'] == 'doubly_robust'
  assert off_policy['config']['replay_size'] == 16
  for row in (exact, off_policy):
    # Updates after the end are left out, the end is reported.
    reported = [x for x in row if x.startswith('payoff_')]
    assert reported == [
      f'payoff_{update}_{x}' for update in (10, 30) for x in ('mean', 'std')
    ]
    assert row['curve']['update'] == list(range(31))
    assert row['curve']['payoff_mean'][0] == -1.5
    assert row['payoff_30_mean'] == pytest.approx(
      sum(row['final_payoffs']) / 2, abs=1e-4
    )
  assert exact['own_path_correlation_mean'] == pytest.approx(1.0)
  assert exact['payoff_30_std'] == pytest.approx(0.0, abs=1e-6)
  assert off_policy['payoff_30_std'] > 0
  assert -1 <= off_policy['shared_path_correlation_exact_outer_mean'] < 1
  with (directory / 'results.csv').open() as file:
    table = list(csv.DictReader(file))
  assert [row['condition'] for row in table] == ['exact', 'off_policy']
  assert 'curve' not in table[0]


_MISTAKES = {
  '--conditions=exact,on': "conditions has 'on'; choose from exact, ",
  '--conditions=': 'conditions is empty',
  '--evaluators=lola': "Unknown evaluator 'lola'",
  '--evaluators= --conditions=on_policy': 'evaluators is empty',
  '--ablation_estimator=lola': "Unknown evaluator 'lola'",
  '--outer_evaluator=lola': "Unknown evaluator 'lola'",
  '--num_lookaheads=1,two': 'flag --num_lookaheads=1,two: need whole',
  '--num_lookaheads=0': 'num_lookaheads is 0',
  '--num_lookaheads=': 'num_lookaheads is empty',
  '--num_seeds=0': 'num_seeds is 0',
  '--num_shared_updates=-1': 'num_shared_updates is -1',
  '--report_at=-1': 'report_at is (-1,)',
  '--replay_size=100': 'replay_size is 100',
  '--discount=2': 'discount is 2.0',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_end_with_a_sentence(refused, mistake):
  message = refused(_NAME, *mistake.split(' '))
  assert message.startswith(_MISTAKES[mistake])


def test_every_condition_learns_as_it_says():
  config = prisoners_dilemma.Config(
    evaluators=('taylor_1', 'taylor_2'),
    num_lookaheads=(2, 1, 2),
    critic_step_size=0.7,
  )
  own = config.all_conditions
  assert [c.label for c in own[:8]] == [
    'exact',
    'inner_exact',
    'on_policy taylor_1',
    'on_policy taylor_2',
    'off_policy taylor_1',
    'off_policy taylor_2',
    'hessian_exact dice_with_baseline',
    'value_exact dice_with_baseline',
  ]
  assert [c.config.num_lookaheads for c in own] == [1] * 8 + [2] * 8
  assert [c.config.replay_size for c in own[:8]] == [0] * 4 + [1024] * 2 + [
    0
  ] * 2
  sources = [(c.config.inner, c.config.hessian, c.config.outer) for c in own]
  outer = config.outer_evaluator
  assert sources[:8] == [
    ('exact', None, 'exact'),
    ('exact', None, outer),
    ('taylor_1', None, outer),
    ('taylor_2', None, outer),
    ('taylor_1', None, outer),
    ('taylor_2', None, outer),
    ('dice_with_baseline', 'exact', outer),
    ('exact', 'dice_with_baseline', outer),
  ]
  assert {c.config.critic_step_size for c in own} == {0.7}
  assert prisoners_dilemma.Config(num_updates=200).reported == (150, 200)


def _row(condition, estimator, payoffs, num_lookaheads=1, **others):
  return {
    'condition': condition,
    'estimator': estimator,
    'num_lookaheads': num_lookaheads,
    'curve': {
      'update': list(range(len(payoffs))),
      'payoff_mean': payoffs,
      'payoff_std': [0.1] * len(payoffs),
    },
    **others,
  }


def test_the_figure_shows_the_conditions(tmp_path):
  accuracy = 'shared_path_correlation_exact_outer'
  on, off = (
    {f'{accuracy}_mean': mean, f'{accuracy}_stderr': 0.05}
    for mean in (0.9, 0.7)
  )
  figure = prisoners_dilemma_figure.draw(
    [
      _row('exact', '', [-1.5, -1.0]),
      _row('on_policy', 'taylor_2', [-1.5, -1.2], **on),
      _row('off_policy', 'taylor_2', [-1.5, -1.4], **off),
    ],
    tmp_path / 'figure.png',
  )
  fresh, buffer, partly, accuracies = figure.axes
  for axes, last in ((fresh, -1.2), (buffer, -1.4)):
    exact, own = axes.lines[:2]
    assert exact.get_ydata()[-1] == -1.0
    assert own.get_ydata()[-1] == last
    assert own.get_label() == 'Taylor, order 2'
    box = axes.collections[1].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == pytest.approx((-1.6, last + 0.1))
  assert [text.get_text() for text in partly.texts] == ['left out']
  points = [c.lines[0].get_xdata()[0] for c in accuracies.containers]
  assert points == [0.9, 0.7]
  faces = [c.lines[0].get_markerfacecolor() for c in accuracies.containers]
  assert faces[0] == 'white' and faces[1] != 'white'
  labels = [x.get_text() for x in accuracies.get_yticklabels()]
  assert labels == ['Taylor, order 2']


def test_a_colour_has_one_meaning():
  config = prisoners_dilemma.Config()
  looks = {
    prisoners_dilemma_figure._look(
      {'condition': x.name, 'estimator': x.estimator}
    )
    for x in config.all_conditions
  }
  assert len(looks) == 11
  assert len({look.color for look in looks}) == len(looks)


def test_several_numbers_of_look_aheads_have_a_panel_each(tmp_path):
  figure = prisoners_dilemma_figure.draw(
    [
      _row('exact', '', [-1.5, payoff], steps)
      for steps, payoff in ((1, -1.0), (2, -1.1))
    ],
    tmp_path / 'figure.png',
  )
  assert [axes.get_title() for axes in figure.axes] == [
    '1 look-ahead step',
    '2 look-ahead steps',
  ]
  last = [axes.lines[0].get_ydata()[-1] for axes in figure.axes]
  np.testing.assert_array_equal(last, [-1.0, -1.1])


def test_several_numbers_of_look_aheads_are_learned(tmp_path):
  config = prisoners_dilemma.Config(
    conditions=('exact',),
    num_lookaheads=(2, 1),
    num_updates=3,
    num_seeds=1,
    num_shared_updates=0,
    num_rounds=5,
  )
  prisoners_dilemma.run(config, tmp_path)
  rows = json.loads((tmp_path / 'results.json').read_text())['conditions']
  assert [row['num_lookaheads'] for row in rows] == [1, 2]
  assert not any(name.startswith('shared_path') for name in rows[0])
  assert rows[0]['final_payoffs'] != rows[1]['final_payoffs']
