"""That `make check-faults` notices losses, and one of its cases."""

import random
import shutil

import pytest

from acme_metarl.launchers.runs import checkpointing
from tests.faults import check


@pytest.fixture(scope='module')
def checks(tmp_path_factory):
  return check.Check(tmp_path_factory.mktemp('faults'), stop_seconds=1)


@pytest.fixture(scope='module')
def settings():
  return check.draw_settings(random.Random(0), 'train_on_device', 14)


class _AfterRows(random.Random):
  """Draws a moment in the middle of the iterations."""

  def random(self):
    return 0.5


def test_a_killed_run_loses_nothing(checks, settings):
  # A run may end sooner than the signal comes.
  assert any(checks.harm(_AfterRows(i), settings, 'SIGKILL') for i in range(3))


def test_losses_are_noticed(checks, settings, tmp_path):
  reference, _ = checks.reference(settings)
  same = shutil.copytree(reference, tmp_path / 'same')
  check.check_equal(same, reference)
  saved = check.Saved.of(same)
  saved.check(same)
  table = same / 'learner.csv'
  text = table.read_text()
  table.write_text(text[: text.rindex('\n', 0, -1) + 1])
  with pytest.raises(check.LossError, match='learner.csv differs'):
    check.check_equal(same, reference)
  with pytest.raises(check.LossError, match='rows of learner.csv'):
    saved.check(same)
  table.write_text(text)
  checkpointing.Checkpointer(same / 'checkpoints').paths()[-1].unlink()
  with pytest.raises(check.LossError, match='the last checkpoint differs'):
    check.check_equal(same, reference)
  with pytest.raises(check.LossError, match='is gone'):
    saved.check(same)
