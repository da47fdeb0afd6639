import numpy as np
import pytest

from acme_metarl.launchers.runs import tables
from acme_metarl.launchers.runs.played import Played


def _row(iteration, value=0.5):
  return {'iteration': iteration, 'value': value}


def test_table_is_there_row_by_row(tmp_path):
  log = tables.CSVLogger(tmp_path / 'a.csv')
  log.write(_row(1))
  assert (tmp_path / 'a.csv').read_text() == 'iteration,value\n1,0.5\n'
  log.write({'iteration': 2, 'other': 3})
  log.close()
  assert (tmp_path / 'a.csv').read_text() == 'iteration,value\n1,0.5\n2,\n'


@pytest.mark.parametrize(
  'broken', ['', '4,', '4', '3', 'x,1\n', '2,x\n', '1,2,3\n']
)
def test_resuming_drops_newer_and_broken_rows(tmp_path, broken):
  path = tmp_path / 'a.csv'
  whole = 'iteration,value\n1,0.25\n2,0.5\n'
  path.write_text(whole + '3,0.75\n' + broken)
  log = tables.CSVLogger(path, resume_at=2)
  assert path.read_text() == whole
  log.write(_row(3, 1.5))
  log.close()
  assert path.read_text() == whole + '3,1.5\n'


def test_resuming_reads_over_a_byte_order_mark(tmp_path):
  path = tmp_path / 'a.csv'
  whole = 'iteration,value\n1,0.25\n'
  path.write_text(whole, encoding='utf-8-sig')
  tables.CSVLogger(path, resume_at=1).close()
  assert path.read_text() == whole
  assert tables.iterations(tmp_path, 'a.csv') == [1]


def test_what_is_no_table_is_refused(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(b'iteration\n\xff\n')
  with pytest.raises(ValueError, match='a.csv is no table'):
    tables.CSVLogger(path, resume_at=1)


def test_event_files_hold_the_tables(tmp_path, read_events):
  log = tables.RunLog(tmp_path, None, use_tensorboard=True)
  log.write('learner', {'iteration': 3, 'loss': 0.5, 'return_0': 2.0})
  for row in tables.evaluation_rows(Played(np.ones((2, 2, 1))), 3, 10, 1.0):
    log.write('evaluation', row)
  log.close()
  assert read_events(tmp_path / tables.TENSORBOARD) == {
    ('learner/loss', 3): 0.5,
    ('learner/return_0', 3): 2.0,
    ('evaluation/return_mean_0', 3): 1.0,
    ('evaluation/return_mean_1', 3): 1.0,
    ('evaluation/return_stderr_0', 3): 0.0,
    ('evaluation/return_stderr_1', 3): 0.0,
    ('evaluation/environment_steps', 3): 10.0,
    ('evaluation/wall_seconds', 3): 1.0,
  }


def test_resuming_before_the_first_row(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('iteration,value\n3,0.75\n')
  for file in (path, tmp_path / 'new.csv'):
    log = tables.CSVLogger(file, resume_at=2)
    log.write(_row(3))
    log.close()
    assert file.read_text() == 'iteration,value\n3,0.5\n'


def test_evaluation_rows_are_over_tasks():
  # Rollouts differ much within a task, tasks little.
  returns = np.array(
    [
      [[0.0, 10.0], [2.0, 4.0]],
      [[1.0, 11.0], [5.0, 7.0]],
      [[2.0, 12.0], [2.0, 10.0]],
    ]
  )
  rows = tables.evaluation_rows(Played(returns), 7, 100, 1.23456)
  assert list(rows[0]) == list(tables.EVALUATION_COLUMNS)
  assert list(rows[0].values())[:5] == [7, 100, 1.235, 0, 6.0]
  assert rows[0]['return_stderr'] == pytest.approx(1 / np.sqrt(3))
  assert rows[1]['num_inner_steps_taken'] == 1
  assert rows[1]['return_mean'] == 5.0
  assert rows[1]['return_stderr'] == pytest.approx(1.0)
  alone = tables.evaluation_rows(Played(returns[:1]), 7, 100, 0.0)
  assert np.isnan(alone[0]['return_stderr'])


def test_rows_are_averaged():
  rows = tables.RowCollector()
  rows.write({'lag': 0, 'loss': 1.0})
  assert rows.take_mean() == {'lag': 0, 'loss': 1.0}
  rows.write({'lag': 0, 'loss': 1.0})
  rows.write({'lag': 1, 'loss': 2.0})
  assert rows.take_mean() == {'lag': 0.5, 'loss': 1.5}


def test_iterations(tmp_path):
  assert tables.iterations(tmp_path) == []
  log = tables.RunLog(tmp_path, None, use_tensorboard=False)
  assert tables.iterations(tmp_path) == []
  for iteration in (1, 2):
    log.write('learner', {'iteration': iteration})
  log.close()
  assert tables.iterations(tmp_path) == [1, 2]
  assert tables.iterations(tmp_path, tables.EVALUATION_CSV) == []


def test_half_a_number_at_the_end_is_dropped(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('iteration,value\n1,0.25\n2,0.5')  # Of 0.55.
  tables.CSVLogger(path, resume_at=2).close()
  assert path.read_text() == 'iteration,value\n1,0.25\n'


def test_a_damaged_header_is_refused_and_no_row_dropped(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('iteratinn,value\n1,0.25\n')
  with pytest.raises(ValueError, match='a.csv has no column iteration'):
    tables.CSVLogger(path, resume_at=1)
  assert path.read_text() == 'iteratinn,value\n1,0.25\n'
