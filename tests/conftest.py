"""Most of the tests' time is JAX's: they compile much and compute little.

So programs are compiled without LLVM's optimisations, and what one worker,
launcher or earlier run compiled is loaded from a folder: `.cache/xla`, or below
`ACME_METARL_CACHE` where that is set (CI starts from a fresh clone). It is
bounded, and may be deleted at any time.

Tests are marked `slow` here: `slow.txt` lists them, as `make measure-tests`
measured them. --stack and --part leave some of them to other runs.
"""

import gc
import hashlib
import importlib.util
import os
import pathlib
import re
import sys

import pytest

from tests import selection

_ROOT = pathlib.Path(__file__).parent.parent
_FOLDER = 'JAX_COMPILATION_CACHE_DIR'
_LIMIT = 2**30  # Bytes.
# Exist for Python 3.10 only; where they are installed nothing is skipped.
_ABSENT = [
  name
  for name in ('courier', 'launchpad', 'reverb', 'tensorflow')
  if not importlib.util.find_spec(name)
]
_NEEDS = re.compile(f"No module named '({'|'.join(_ABSENT)})[.']")


def _cache() -> pathlib.Path:
  """A folder for this kind of processor: programs are machine code."""
  base = pathlib.Path(os.environ.get('ACME_METARL_CACHE', _ROOT / '.cache'))
  kind = b''
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    lines = info.read_bytes().splitlines()
    kind = next((x for x in lines if x.startswith((b'flags', b'Feat'))), b'')
  return base.absolute() / 'xla' / hashlib.sha256(kind).hexdigest()[:8]


def _prune(folder: pathlib.Path, limit: int) -> None:
  """Deletes what was not used for longest, until the rest is half the limit."""
  files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
  size = sum(stat.st_size for _, stat in files)
  if size <= limit:
    return
  for path, stat in sorted(
    files, key=lambda x: max(x[1].st_atime, x[1].st_mtime)
  ):
    path.unlink(missing_ok=True)
    size -= stat.st_size
    if size <= limit / 2:
      return


def pytest_configure(config):
  # Tracing makes many objects that live, and next to no cyclic garbage.
  gc.set_threshold(100_000, 50, 50)
  if hasattr(config, 'workerinput'):
    return
  # Workers and launchers inherit these; JAX reads them when it is imported.
  # Else each of many processes compiles all of Python's sources anew.
  os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
  if _FOLDER not in os.environ:
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    _prune(folder, _LIMIT)
    os.environ[_FOLDER] = str(folder)
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
  if 'not learning' in config.option.markexpr:
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'--xla_backend_optimization_level=0 {flags}'


def pytest_addoption(parser):
  parser.addoption(
    '--stack',
    choices=selection.STACKS,
    help='leaves slow tests that are for the other stack to it',
  )
  parser.addoption(
    '--part',
    choices=selection.PARTS,
    help='of slow tests those that `make test` runs, or the rest',
  )


@pytest.hookimpl(tryfirst=True)  # Before -m chooses.
def pytest_collection_modifyitems(config, items):
  costs = selection.seconds()
  for item in items:
    if selection.function(item.nodeid) in costs:
      item.add_marker('slow')
  chosen = selection.selected(
    [item.nodeid for item in items],
    costs,
    on=config.option.stack,
    part=config.option.part,
  )
  left = [item for item in items if item.nodeid not in chosen]
  config.hook.pytest_deselected(items=left)
  items[:] = [item for item in items if item.nodeid in chosen]


def _skip_without_wheels(path, report):
  """Makes a failure of what needs them a skip, where there are none."""
  needs_them = {'agents', 'launchers'} & set(path.relative_to(_ROOT).parts)
  if (
    sys.version_info >= (3, 11)
    and _ABSENT
    and needs_them
    and report.outcome == 'failed'
    and (missing := _NEEDS.search(str(report.longrepr)))
  ):
    report.outcome = 'skipped'
    reason = f'Skipped: needs {missing[1]}, so Python 3.10'
    report.longrepr = (str(path), 0, reason)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
  report = yield
  if isinstance(collector, pytest.Module):
    _skip_without_wheels(collector.path, report)
  return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
  report = yield
  _skip_without_wheels(item.path, report)
  return report


@pytest.fixture(scope='session')
def compilation_cache():
  """The folder, for tests that start processes."""
  return os.environ[_FOLDER]


@pytest.fixture(autouse=True, scope='module')
def _forget_programs():
  """Else a worker keeps every program that it ever compiled, gigabytes."""
  yield
  import jax

  jax.clear_caches()
