"""Measures the tests, and writes what the slow ones cost to `slow.txt`.

    python tests/measure.py -n 2 --dist worksteal tests

Arguments are pytest's. What counts is processor time, of the test and of the
processes that it starts, so that a busy machine changes little. A function is
slow if all its cases together take more than four tenths of a second; written
is what one takes. Functions that did not run keep their place in the file,
unless they are gone.

What a fixture of a module costs is its first user's: measure again with
`-m 'not slow and not learning'`, and list by hand all users of one that shows.
"""

import collections
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import pytest

from tests import selection

_SECONDS = 0.4
_FILE = 'ACME_METARL_TEST_TIMES'


def _processor_seconds() -> float:
  usages = map(
    resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
  """Writes a line a test; this file is a plug-in of pytest, too."""
  before = _processor_seconds()
  result = yield
  with open(os.environ[_FILE], 'a', encoding='utf-8') as file:
    seconds = _processor_seconds() - before
    file.write(json.dumps([item.nodeid, round(seconds, 3)]) + '\n')
  return result


def main(arguments: list[str]) -> int:
  """Runs pytest; returns its exit code."""
  with tempfile.NamedTemporaryFile() as file:
    done = subprocess.run(
      [sys.executable, '-m', 'pytest', '-q', '-p', 'tests.measure', *arguments],
      env={**os.environ, _FILE: file.name},
      check=False,
    )
    lines = pathlib.Path(file.name).read_text(encoding='utf-8').splitlines()
  seconds, cases = collections.Counter(), collections.Counter()
  for name, spent in map(json.loads, lines):
    seconds[selection.function(name)] += spent
    cases[selection.function(name)] += 1
  slow = {name for name in seconds if seconds[name] > _SECONDS}
  costs = {
    name: cost
    for name, cost in selection.seconds().items()
    if name not in seconds and pathlib.Path(name.partition('::')[0]).exists()
  }
  selection.write(costs | {x: seconds[x] / cases[x] for x in slow})
  for name, spent in seconds.most_common(50):
    print(f'{spent:7.1f} s {name}')
  print(
    f'{sum(seconds.values()):.0f} s of processor time in {len(lines)} tests,'
    f' {sum(seconds[x] for x in slow):.0f} s of them in the slow ones.'
  )
  return done.returncode


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
