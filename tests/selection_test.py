"""Every test is run by `make test` or by `make check-thorough`, on a stack."""

import pathlib

import pytest

from tests import selection

_ROOT = pathlib.Path(__file__).parent.parent
_COSTS = {
  'tests/agents/a_test.py::test_one': 3.0,
  'tests/agents/a_test.py::test_many': 0.5,
  'tests/environments/b_test.py::TestB::test_dear': 60.0,
}
_NODES = [
  'tests/agents/a_test.py::test_one',
  *(f'tests/agents/a_test.py::test_many[{x}/2]' for x in range(10)),
  'tests/environments/b_test.py::TestB::test_dear',
  'tests/environments/b_test.py::TestB::test_quick',
]


@pytest.mark.parametrize(
  ('node', 'stack'),
  [
    ('tests/faults_test.py::test_a', 'reverb'),
    ('tests/agents/maml/items_test.py::test_a', 'reverb'),
    ('tests/launchers/runs/agent_trainer_test.py::test_a', 'reverb'),
    ('tests/launchers/runs/device_trainer_test.py::test_a', 'current'),
    ('tests/acme_metarl/meta/learner_test.py::TestA::test_a', 'current'),
  ],
)
def test_agents_are_for_reverb(node, stack):
  assert selection.stack(node) == stack


def test_of_many_cases_some_are_usual():
  chosen = selection.selected(_NODES, _COSTS, part='usual')
  assert [x for x in _NODES if x in chosen] == [
    'tests/agents/a_test.py::test_one',
    *(f'tests/agents/a_test.py::test_many[{x}/2]' for x in (0, 5)),
    'tests/environments/b_test.py::TestB::test_quick',
  ]


@pytest.mark.parametrize('on', [None, *selection.STACKS])
def test_usual_and_rest_are_all(on):
  usual, rest, both = (
    selection.selected(_NODES, _COSTS, on=on, part=part)
    for part in (*selection.PARTS, None)
  )
  assert usual | rest == both
  assert not usual & rest


def test_slow_tests_run_on_one_stack_and_quick_ones_on_both():
  reverb, current = (
    selection.selected(_NODES, _COSTS, on=on) for on in selection.STACKS
  )
  assert reverb | current == set(_NODES)
  assert reverb & current == {_NODES[-1]}


def test_what_was_measured_is_read_as_written(tmp_path, monkeypatch):
  monkeypatch.setattr(selection, '_SLOW', tmp_path / 'slow.txt')
  selection.write(_COSTS)
  assert selection.seconds() == _COSTS


def test_many_cases_that_cost_next_to_nothing_are_usual(tmp_path, monkeypatch):
  monkeypatch.setattr(selection, '_SLOW', tmp_path / 'slow.txt')
  selection.write({'tests/a_test.py::test_a': 0.004})
  (cost,) = selection.seconds().values()
  assert len(selection.usual(range(200), cost)) == 10


@pytest.mark.parametrize('prefix', selection._AGENTS)
def test_what_is_for_reverb_is_there(prefix):
  assert list(_ROOT.glob(f'{prefix}*'))
