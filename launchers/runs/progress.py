"""How far something is: a bar on a terminal, lines of a log elsewhere."""

from collections.abc import Callable, Mapping, Sequence
import sys
import threading
import time
from typing import Any, TextIO

import numpy as np
import tqdm

from acme_metarl.launchers.runs import played, tables

# Seconds between two lines that go to a file or a pipe.
LINES_EVERY = 30.0


class Lines:
  """What is asked of a tqdm bar, as whole lines, one every so often."""

  def __init__(
    self,
    total: int,
    initial: int = 0,
    unit: str = 'it',
    desc: str = '',
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    every: float = LINES_EVERY,
  ):
    """Starts to count.

    Args:
      total: that there is to do.
      initial: that is done already, at no known speed.
      unit: of what is counted.
      desc: what is done.
      stream: where lines go to; standard error by default.
      clock: seconds.
      every: seconds between two lines.
    """
    self.n, self.total = initial, total
    self._initial, self._unit, self._desc = initial, unit, desc
    self._stream = stream or sys.stderr
    self._clock, self._every = clock, every
    self._start = self._last = clock()
    self._shown: int | None = None
    self._postfix = ''

  def __enter__(self) -> 'Lines':
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def update(self, n: int = 1) -> None:
    """So much more is done."""
    self.n += n
    now = self._clock()
    if now - self._last >= self._every:
      self._last = now
      self._show(now)

  def set_description(self, desc: str, refresh: bool = True) -> None:
    """Says what is done now, from the next line on."""
    del refresh
    self._desc = desc

  def set_postfix_str(self, text: str, refresh: bool = True) -> None:
    """Says something at the end of lines, from the next one on."""
    del refresh
    self._postfix = text

  def write(self, text: str, file: TextIO | None = None) -> None:
    """Prints a line."""
    file = file or self._stream
    file.write(f'{text}\n')
    file.flush()

  def _show(self, now: float) -> None:
    seconds, done = now - self._start, self.n - self._initial
    parts = [f'{self.n}/{self.total} {self._unit}']
    if done > 0 and seconds > 0:
      left = duration((self.total - self.n) * seconds / done)
      parts += [f'{done / seconds:.3g} {self._unit}/s', f'{left} left']
    parts += [self._postfix] * bool(self._postfix)
    self.write(': '.join(x for x in (self._desc, ', '.join(parts)) if x))
    self._shown = self.n

  def close(self) -> None:
    """Shows how far it came."""
    if self._shown != self.n:
      self._show(self._clock())


def bar(total: int, **options: Any) -> Any:
  """A tqdm bar where standard error is a terminal, `Lines` elsewhere.

  Args:
    total: that there is to do.
    **options: `initial`, `unit`, `desc`; of tqdm `smoothing` besides.
  """
  if sys.stderr.isatty():
    return tqdm.tqdm(total=total, dynamic_ncols=True, **options)
  options.pop('smoothing', None)
  return Lines(total, **options)


class Progress:
  """Iterations of a run, the time left, and the newest returns.

  Until the first ones are done it says for how long they have been compiled
  and made. The time left is that of the iterations after them.

  Attributes:
    is_compiling: whether no iteration is done yet.
  """

  def __init__(self, num_iterations: int, initial: int):
    """Starts to show it; `close` it.

    Args:
      num_iterations: of the whole run.
      initial: iterations done already.
    """
    self._total, self._done = num_iterations, initial
    self._start = time.monotonic()
    self._bar: Any = None
    self._lock = threading.RLock()
    self._is_over = threading.Event()
    self.is_compiling = initial < num_iterations
    if self.is_compiling:
      self.say('Compiling, then the first iteration…')
      threading.Thread(target=self._tick, daemon=True).start()

  def _tick(self) -> None:
    is_terminal = sys.stderr.isatty()
    while not self._is_over.wait(1.0 if is_terminal else LINES_EVERY):
      with self._lock:
        if not self.is_compiling:
          return
        seconds = time.monotonic() - self._start
        text = f'Compiling and first iteration: {seconds:.0f} s'
        sys.stderr.write(f'\r{text}' if is_terminal else f'{text}\n')
        sys.stderr.flush()

  def advance(self, row: Mapping[str, Any], count: int = 1) -> None:
    """So many iterations more, and the last one's row of `learner.csv`."""
    with self._lock:
      self._done += count
      if self._bar is None:
        self.is_compiling = False
        seconds = time.monotonic() - self._start
        self.say(f'Compiled, and iteration {self._done} done: {seconds:.1f} s.')
        # From now on: how long compiling took says nothing about the rest.
        self._bar = bar(
          self._total, initial=self._done, unit='it', desc='Training'
        )
        count = 0
      returns = [x for name, x in row.items() if name.startswith('return_')]
      self._bar.set_postfix_str(f'returns {arrow(returns)}', refresh=False)
      self._bar.update(count)

  def say(self, text: str) -> None:
    """Prints a line without tearing the bar."""
    with self._lock:
      if self._bar is not None:
        self._bar.write(text, file=sys.stderr)
        return
      # On a terminal, over the line that counts the seconds.
      start = '\r\033[K' if sys.stderr.isatty() else ''
      sys.stderr.write(f'{start}{text}\n')
      sys.stderr.flush()

  def say_evaluation(
    self, iteration: int, evaluations: Sequence[played.Played]
  ) -> None:
    """Prints what came of an evaluation.

    Args:
      iteration: that was evaluated.
      evaluations: of all runs that go in step, whose mean is printed.
    """
    stages = [one.stages() for one in evaluations]

    def mean(name):
      return [
        float(np.mean([row[name] for row in rows]))
        for rows in zip(*stages, strict=True)
      ]

    numbers = ', '.join(str(k) for k in range(len(stages[0])))
    text = (
      f'Iteration {iteration}: return on {evaluations[0].tasks_in_words} after '
      f'{numbers} adaptation steps: {arrow(mean("return_mean"))}'
    )
    if tables.SUCCESS in stages[0][0]:
      text += f'; success {arrow(mean(tables.SUCCESS))}'
    self.say(text)

  def close(self) -> None:
    """Shows how far it came."""
    self._is_over.set()
    with self._lock:
      self.is_compiling = False
      if self._bar is not None:
        self._bar.close()


def arrow(returns: Sequence[float]) -> str:
  """Returns before adaptation and after each step, as a text."""
  return ' → '.join(f'{x:.3g}' for x in returns)


def duration(seconds: float) -> str:
  """Seconds as hours, minutes and seconds.

  >>> duration(59.6), duration(3661)
  ('1:00', '1:01:01')
  """
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02}:{rest:02}'
  return f'{minutes}:{rest:02}'
