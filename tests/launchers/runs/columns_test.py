"""What columns mean: in one place, which the page repeats."""

import pathlib

from acme_metarl.launchers.runs import columns

_PAGE = pathlib.Path(__file__).parents[3] / 'docs' / 'columns.md'


def test_the_page_has_what_the_code_says():
  assert _PAGE.read_text(encoding='utf-8').endswith(columns.reference())


def test_numbers_of_steps_are_found():
  learner = columns.LEARNER
  of_steps = [name for name in learner if name.endswith('_k')]
  assert {'return_k', 'inner_kl_k', 'kl_coefficient_k'} <= set(of_steps)
  for name in of_steps:
    second = columns.describe(learner, f'{name[:-1]}2')
    assert second == learner[name]
  assert columns.is_known(learner, 'success_ever_1')
  assert not columns.is_known(learner, 'return_')
  assert not columns.is_known(columns.EVALUATION, 'distance_to_goal')
  assert 'Reported by the environment' in columns.describe(learner, 'x')


def test_each_file_is_described_once(tmp_path):
  for table in ('learner.csv', 'evaluation.csv', 'learner.csv'):
    columns.write(tmp_path, table, ['iteration', 'mine'])
  text = (tmp_path / columns.FILE).read_text(encoding='utf-8')
  assert text.count('## `learner.csv`') == text.count('## `evaluation') == 1
  assert text.count('| `mine` | Reported by') == 2
