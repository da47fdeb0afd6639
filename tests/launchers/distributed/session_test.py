import threading

import pytest

from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.runs import outputs


def test_first_report_counts(tmp_path):
  session = session_lib.Session(tmp_path)
  assert session.outcome() is None
  session.report(session_lib.DONE, 'after iteration 7')
  session.report(session_lib.CRASHED)
  assert session.outcome() == ('done', 'after iteration 7')
  assert session_lib.Session(tmp_path).outcome() == session.outcome()
  assert [path.name for path in tmp_path.iterdir()] == ['outcome.json']


def test_reports_mistakes(tmp_path, monkeypatch):
  monkeypatch.setattr(session_lib.mistakes, 'is_explained', lambda error: True)
  session = session_lib.Session(tmp_path)
  with pytest.raises(ValueError), session.reporting():
    raise ValueError('reuse: got 0.')
  assert session.outcome() == (session_lib.FAILED, 'reuse: got 0.')


def test_reports_full_disks(tmp_path):
  session = session_lib.Session(tmp_path)
  with pytest.raises(OSError), session.reporting(), outputs.writing():
    raise OSError(28, 'No space left')
  assert session.outcome().status == session_lib.FAILED
  assert 'the last checkpoint is intact' in session.outcome().message


@pytest.mark.parametrize(
  'error', [RuntimeError(), ValueError("a user's"), FileNotFoundError('theirs')]
)
def test_does_not_report_crashes(tmp_path, error):
  session = session_lib.Session(tmp_path)
  with pytest.raises(type(error)), session.reporting():
    raise error
  assert session.outcome() is None


def test_waits_for_the_outcome(tmp_path):
  session = session_lib.Session(tmp_path)
  waiting = threading.Thread(target=session.wait)
  waiting.start()
  waiting.join(0.2)
  assert waiting.is_alive()
  session.report(session_lib.STOPPED)
  waiting.join(10)
  assert not waiting.is_alive()


def test_without_a_common_folder_nobody_waits():
  session = session_lib.Session(None)
  session.report(session_lib.DONE)
  assert session.outcome() is None
  session.wait()


def test_one_process_may_keep_it_for_itself():
  session = session_lib.OwnSession()
  assert session.outcome() is None
  with pytest.raises(OSError), session.reporting(), outputs.writing():
    raise OSError(28, 'No space left')
  session.report(session_lib.DONE)
  assert session.outcome().status == session_lib.FAILED
