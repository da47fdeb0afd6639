"""The fast tests see every module at least once."""

import ast
from collections.abc import Sequence
import pathlib
import re

import pytest

from tests import selection

_ROOT = pathlib.Path(__file__).parent.parent
_LAYERS = ('agents', 'environments', 'launchers')
# Started as a script by the module that draws, whose tests are fast.
_SCRIPTS = {'acme_metarl.environments.mujoco.offscreen'}


def _is_slow(nodes: list[ast.expr] | ast.expr) -> bool:
  nodes = nodes if isinstance(nodes, list) else [nodes]
  return any(
    re.search(r'\bmark\.(slow|learning)\b', ast.unparse(x)) for x in nodes
  )


def has_fast_test(source: str, slow: Sequence[str] = ()) -> bool:
  """Whether a test file has a test that `make test-fast` runs.

  Args:
    source: of the file.
    slow: names of its tests that are listed as slow.
  """
  tree = ast.parse(source)
  if any(
    isinstance(node, ast.Assign)
    and ast.unparse(node.targets[0]) == 'pytestmark'
    and _is_slow(node.value)
    for node in tree.body
  ):
    return False
  return any(
    isinstance(node, ast.FunctionDef)
    and node.name.startswith('test')
    and node.name not in slow
    and not _is_slow(node.decorator_list)
    for node in ast.walk(tree)
  )


def _words(source: str) -> set[str]:
  """Dotted names of what a file imports or names in a string."""
  names = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
    elif isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
      names |= set(re.findall(r'acme_metarl(?:\.\w+)+', node.value))
      for package, members in re.findall(
        r'from (acme_metarl[\w.]*) import ([\w, ]+)', node.value
      ):
        names |= {f'{package}.{x.strip()}' for x in members.split(',')}
      if node.value.isidentifier():  # Tests start mains by their names.
        names.add(f'acme_metarl.launchers.{node.value}')
  return names


def _modules() -> dict[str, pathlib.Path]:
  """Every module by its name, each once."""
  found = {}
  for folder in ('acme_metarl', *_LAYERS):
    for path in sorted((_ROOT / folder).rglob('*.py')):
      parts = path.relative_to(_ROOT).with_suffix('').parts
      if folder == 'acme_metarl' and parts[1] in _LAYERS:
        continue  # Through a link.
      parts = parts if folder == 'acme_metarl' else ('acme_metarl', *parts)
      found['.'.join(parts).removesuffix('.__init__')] = path
  return found


def test_every_module_is_seen_by_a_fast_test():
  """One that mirrors it or imports it, or imports what imports it."""
  modules = _modules()
  listed = selection.seconds()
  waiting = set()
  for path in sorted((_ROOT / 'tests').rglob('*_test.py')):
    prefix = f'{path.relative_to(_ROOT).as_posix()}::'
    slow = [x.split('::')[-1] for x in listed if x.startswith(prefix)]
    if has_fast_test(source := path.read_text(), slow):
      mirrored = path.relative_to(_ROOT / 'tests').with_suffix('').parts
      mirrored = '.'.join(mirrored).removesuffix('_test')
      waiting |= _words(source) | {mirrored, f'acme_metarl.{mirrored}'}
  seen = set()
  while waiting:
    name = waiting.pop()
    while name not in modules and '.' in name:
      name = name.rpartition('.')[0]
    if name in modules and name not in seen:
      seen.add(name)
      waiting |= _words(modules[name].read_text()) | {name.rpartition('.')[0]}
  assert sorted(set(modules) - seen - _SCRIPTS) == []


@pytest.mark.parametrize(
  ('source', 'expected'),
  [
    ('def test_a(): pass', True),
    ('@pytest.mark.slow\ndef test_a(): pass', False),
    ('pytestmark = pytest.mark.slow\ndef test_a(): pass', False),
    ('class A:\n  def test_a(self): pass', True),
    ('def helper(): pass', False),
  ],
)
def test_slow_tests_do_not_count(source, expected):
  assert has_fast_test(source) == expected
  assert not has_fast_test(source, ['test_a'])
