import contextlib
import io
import time

import pytest

from acme_metarl.launchers.runs import progress


class _Clock:
  """Goes on by so many seconds a call."""

  def __init__(self, step):
    self.now, self._step = -step, step

  def __call__(self):
    self.now += self._step
    return self.now


def test_lines_come_every_so_often_and_at_the_end():
  stream = io.StringIO()
  lines = progress.Lines(
    8, 2, 'it', 'Training', stream, clock=_Clock(10.0), every=20.0
  )
  for i in range(5):
    lines.set_postfix_str(f'now {i}')
    lines.update()
  lines.close()
  lines.close()  # Says nothing twice.
  assert stream.getvalue().splitlines() == [
    'Training: 4/8 it, 0.1 it/s, 0:40 left, now 1',
    'Training: 6/8 it, 0.1 it/s, 0:20 left, now 3',
    'Training: 7/8 it, 0.0833 it/s, 0:12 left, now 4',
  ]


def test_a_pipe_gets_lines_and_a_terminal_a_bar(monkeypatch):
  stream = io.StringIO()
  with contextlib.redirect_stderr(stream):
    with progress.bar(3, unit='point', smoothing=0.1) as bar:
      bar.update(3)
    text = stream.getvalue()
    assert text.startswith('3/3 point') and text.endswith('\n')
    assert '\r' not in text
    monkeypatch.setattr(stream, 'isatty', lambda: True)
    with progress.bar(3, unit='point', smoothing=0.1) as bar:
      bar.update(3)
    assert '\r' in stream.getvalue()


def test_a_run_compiles_first_and_leaves_that_out_of_its_speed(monkeypatch):
  monkeypatch.setattr(progress, 'LINES_EVERY', 0.02)
  stream = io.StringIO()
  with contextlib.redirect_stderr(stream):
    run = progress.Progress(10, 0)
    assert run.is_compiling
    deadline = time.monotonic() + 20
    while stream.getvalue().count('\n') < 3 and time.monotonic() < deadline:
      time.sleep(0.01)
    run.say('Iteration 0: evaluated.')
    run.advance({'return_0': 0.02, 'return_1': 1.64, 'lag': 3.0})
    assert not run.is_compiling
    # Ten seconds for the next four iterations.
    run._bar._start = time.monotonic() - 10
    run.advance({'return_0': 0.5, 'return_1': 1.5}, 4)
    run.close()
  lines = stream.getvalue().splitlines()
  assert lines[:3] == [
    'Compiling, then the first iteration…',
    *['Compiling and first iteration: 0 s'] * 2,
  ]
  assert 'Iteration 0: evaluated.' in lines
  assert lines[-2].startswith('Compiled, and iteration 1 done: ')
  count, rate, left, returns = lines[-1].split(', ')
  assert count == 'Training: 5/10 it'
  assert returns == 'returns 0.5 → 1.5'
  assert float(rate.split()[0]) == pytest.approx(0.4, rel=0.1)
  assert left.startswith('0:1')  # 5 / 0.4 seconds.
  assert '\r' not in stream.getvalue()


def test_what_is_done_already_compiles_nothing():
  stream = io.StringIO()
  with contextlib.redirect_stderr(stream):
    run = progress.Progress(10, 10)
    assert not run.is_compiling
    run.say('Done already.')
    run.close()
  assert stream.getvalue() == 'Done already.\n'
