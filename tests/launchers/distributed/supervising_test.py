"""What follows when a program ends, whichever engine ran it."""

import numpy as np
import pytest

from acme_metarl.launchers.distributed import session, supervising
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config

_CRASHED = session.Outcome(session.CRASHED, 'the learner died')


def _save(directory, *steps):
  saving = checkpointing.Checkpointer(directory / run_config.CHECKPOINTS)
  for step in steps:
    saving.save(step, {'x': np.zeros(100)}, {})
  return saving.paths()


def _run(directory, *outcomes, max_restarts=2):
  """Returns what it comes to, and the steps that launches began from."""
  left, begun = list(outcomes), []

  def launch(checkpoint, stop):
    begun.append(None if checkpoint is None else checkpoint.step)
    return left.pop(0)

  plan = run_config.Plan(run_config.RunConfig(), directory)
  return supervising.run(plan, launch, max_restarts), begun


def test_goes_on_from_the_last_checkpoint(tmp_path):
  _save(tmp_path, 5, 10)
  done = session.Outcome(session.DONE)
  assert _run(tmp_path, _CRASHED, None, done) == (True, [None, 10, 10])


def test_begins_anew_where_nothing_was_saved(tmp_path):
  done = session.Outcome(session.DONE)
  assert _run(tmp_path, _CRASHED, done) == (True, [None, None])


def test_gives_up(tmp_path):
  _save(tmp_path, 5)
  with pytest.raises(supervising.FailedError, match='3 times.*checkpoint_0+5'):
    _run(tmp_path, *[_CRASHED] * 3)


def test_does_not_repeat_what_cannot_be_done(tmp_path):
  failed = session.Outcome(session.FAILED, 'reuse: got 0.')
  with pytest.raises(supervising.FailedError, match=r'reuse: got 0\.'):
    _run(tmp_path, failed)


def test_goes_back_to_a_checkpoint_that_can_be_read(tmp_path):
  paths = _save(tmp_path, 5, 10)
  paths[-1].write_bytes(paths[-1].read_bytes()[:100])
  done = session.Outcome(session.DONE)
  assert _run(tmp_path, _CRASHED, done) == (True, [None, 5])


def test_does_not_begin_anew_over_damaged_checkpoints(tmp_path):
  for path in _save(tmp_path, 5, 10):
    path.write_bytes(path.read_bytes()[:100])
  table = tmp_path / 'learner.csv'
  table.write_text('iteration\n1\n')
  with pytest.raises(
    supervising.FailedError, match='the learner died. Every checkpoint in .* is'
  ):
    _run(tmp_path, _CRASHED)
  assert table.read_text() == 'iteration\n1\n'
