import csv

import numpy as np
import pytest

from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import curves, progress, records, tables
from acme_metarl.launchers.runs.played import Played, mean_and_stderr

_PLAYED = Played(
  np.arange(12.0).reshape(3, 2, 2),
  {'success_ever': np.array([[0.0, 1.0], [0.5, np.nan], [1.0, np.nan]])},
  ('push', 'reach', 'push'),
)


def _read(path):
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def test_stages():
  first, second = _PLAYED.stages()
  assert first['return_mean'] == 4.5
  assert first['return_stderr'] == pytest.approx(4 / np.sqrt(3))
  assert first['success_ever'] == 0.5
  # Only of what was reported.
  assert second['success_ever'] == 1.0
  assert mean_and_stderr(np.array([np.nan])) == pytest.approx(
    (np.nan, np.nan), nan_ok=True
  )


def test_classes():
  assert _PLAYED.class_names == ('push', 'reach')
  push = _PLAYED.of_class('push')
  np.testing.assert_array_equal(push.returns, _PLAYED.returns[[0, 2]])
  np.testing.assert_array_equal(push.scalars['success_ever'][:, 0], [0, 1])
  assert push.task_classes == ('push', 'push')
  assert push.class_names == ()  # Nothing to tell apart.


def test_a_row_for_each_task():
  rows = _PLAYED.tasks()
  assert len(rows) == 6
  assert rows[3] == pytest.approx(
    {
      'task': 1,
      'task_class': 'reach',
      'num_inner_steps_taken': 1,
      'return': 6.5,
      'success_ever': np.nan,
    },
    nan_ok=True,
  )
  assert 'task_class' not in _PLAYED._replace(task_classes=()).tasks()[0]


@pytest.mark.parametrize('is_resumed', [False, True])
def test_tables_of_a_run(tmp_path, monkeypatch, is_resumed):
  monkeypatch.setattr(curves, 'draw', lambda *_: None)
  plan = run_config.Plan(run_config.RunConfig(), tmp_path)
  members = records.RunRecords(plan)
  members.write_evaluation(_PLAYED, 0, 0, 0.0)
  members.write({'iteration': 1, 'environment_steps': 10})
  members.save(1, np.zeros(1), {'environment_steps': 10})
  members.write_evaluation(_PLAYED, 2, 20, 2.0)
  members.close()
  if is_resumed:
    # Killed in the middle of an evaluation after the checkpoint's iteration.
    with open(tmp_path / 'evaluation_tasks.csv', 'a') as file:
      file.write('1,0,push,0,0.5,0.0\n')
    with open(tmp_path / 'evaluation_classes.csv', 'a') as file:
      file.write('1,10,1.0,0,4.5,0.5,0.5,push,2\n')
    checkpoint = run_config.find_checkpoint(str(tmp_path))
    members = records.RunRecords(plan._replace(checkpoint=checkpoint))
    assert len(_read(tmp_path / 'evaluation_classes.csv')) == 4
    members.write_evaluation(_PLAYED, 2, 20, 2.0)
    members.close()
  rows = _read(tmp_path / 'evaluation.csv')
  assert list(rows[0]) == [*tables.EVALUATION_COLUMNS, 'success_ever']
  assert [row['success_ever'] for row in rows] == ['0.5', '1.0'] * 2
  rows = _read(tmp_path / 'evaluation_classes.csv')
  assert [row['iteration'] for row in rows] == ['0'] * 4 + ['2'] * 4
  assert [row['task_class'] for row in rows[:4]] == ['push'] * 2 + ['reach'] * 2
  assert [row['num_tasks'] for row in rows[:4]] == ['2', '2', '1', '1']
  assert [row['return_mean'] for row in rows[:2]] == ['4.5', '6.5']
  assert rows[3]['success_ever'] == 'nan'
  rows = _read(tmp_path / 'evaluation_tasks.csv')
  assert [row['iteration'] for row in rows] == ['0'] * 6 + ['2'] * 6
  assert list(rows[3]) == ['iteration', *_PLAYED.tasks()[3]]
  assert rows[3]['task'] == '1' and rows[3]['return'] == '6.5'


def test_event_files_tell_stages_and_classes_apart(tmp_path, monkeypatch):
  written = {}

  class Writer:
    def __init__(self, *_, **__):
      pass

    def add_scalar(self, tag, value, step):
      written[tag, step] = value

    def flush(self):
      pass

    close = flush

  monkeypatch.setattr('tensorboardX.SummaryWriter', Writer)
  log = tables.RunLog(tmp_path, None, use_tensorboard=True)
  for row in tables.evaluation_rows(_PLAYED, 3, 10, 1.0):
    log.write('evaluation', row)
  for row in tables.class_rows(_PLAYED, 3, 10, 1.0):
    log.write('classes', row)
  log.close()
  assert written['evaluation/success_ever_0', 3] == 0.5
  assert written['evaluation/push/success_ever_0', 3] == 0.5
  assert written['evaluation/reach/return_mean_1', 3] == 6.5
  assert written['evaluation/environment_steps', 3] == 10


def test_a_column_that_comes_late_is_left_out_with_a_word(tmp_path, caplog):
  log = tables.CSVLogger(tmp_path / 'a.csv')
  log.write({'iteration': 1})
  for iteration in (2, 3):
    log.write({'iteration': iteration, 'success_ever': 1.0})
  log.close()
  assert (tmp_path / 'a.csv').read_text() == 'iteration\n1\n2\n3\n'
  assert caplog.text.count('no columns for success_ever') == 1


def test_progress_names_tasks_and_successes(capsys):
  shown = progress.Progress(2, 0)
  shown.say_evaluation(0, [_PLAYED, _PLAYED])
  fresh = Played(_PLAYED.returns, tasks_in_words='fresh tasks')
  shown.say_evaluation(1, [fresh])
  shown.close()
  told = capsys.readouterr().err
  assert (
    'Iteration 0: return on tasks drawn anew after 0, 1 adaptation steps: 4.5 '
    '→ 6.5; success 0.5 → 1\n'
  ) in told
  assert (
    'Iteration 1: return on fresh tasks after 0, 1 adaptation steps: 4.5 → '
    '6.5\n'
  ) in told


def test_curves_have_successes_where_there_are_any(tmp_path):
  config = run_config.RunConfig()
  assert len(curves.draw(tmp_path, config).axes) == 3
  log = tables.RunLog(tmp_path, None, use_tensorboard=False)
  for iteration in (0, 1):
    for row in tables.evaluation_rows(_PLAYED, iteration, 10 * iteration, 0.0):
      log.write('evaluation', row)
  row = {'iteration': 1, 'environment_steps': 10, 'meta_gradient_norm': 1.0}
  log.write('learner', {**row, 'success_ever_0': 0.25, 'success_ever_1': 0.75})
  log.close()
  axes = curves.draw(tmp_path, config).axes
  assert len(axes) == 4
  assert {line.get_label(): line.get_ydata()[-1] for line in axes[3].lines} == {
    'before adaptation': 0.5,
    'before adaptation, in training': 0.25,
    'after 1 step': 1.0,
    'after 1 step, in training': 0.75,
  }
