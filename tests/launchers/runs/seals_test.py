from absl import logging
import pytest

from acme_metarl.launchers.runs import seals


@pytest.fixture
def table(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('iteration,value\n1,0.25\n')
  return path


def test_rows_may_follow_and_other_programs_save(table):
  seal = seals.of_table(table)
  text = table.read_text() + '2,0.5\n'
  for content in (
    text.encode(),
    text.replace('\n', '\r\n').encode('utf-8-sig'),
  ):
    table.write_bytes(content)
    seals.check_table(table, seal)


def test_another_number_is_refused(table):
  seal = seals.of_table(table)
  table.write_text(table.read_text().replace('0.25', '0.35'))
  with pytest.raises(ValueError, match='a.csv is not what the run wrote'):
    seals.check_table(table, seal)


def test_lost_rows_are_told(table, monkeypatch):
  said = []
  monkeypatch.setattr(logging, 'warning', lambda *args: said.append(args))
  seal = seals.of_table(table)
  table.write_text('iteration,value\n')
  seals.check_table(table, seal)
  assert said == [('%s has lost rows at its end.', table)]


def test_a_table_that_was_moved_away_and_a_run_without_seals(table):
  seals.check_table(table, None)
  seal = seals.of_table(table)
  table.unlink()
  seals.check_table(table, seal)


def test_values_whatever_their_order():
  assert seals.of_values({'a': 1, 'b': 2}) == seals.of_values({'b': 2, 'a': 1})
  assert seals.of_values({'a': 1}) != seals.of_values({'a': 2})
