"""What the pages say is so: links, tables, names, commands and examples."""

import ast
import dataclasses
import importlib
import importlib.util
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from acme_metarl import _moved
from acme_metarl import config as config_lib

_ROOT = pathlib.Path(__file__).parent.parent
_README = _ROOT / 'README.md'
_PAGES = sorted([*_ROOT.glob('*.md'), *_ROOT.glob('docs/**/*.md')])
_MAINS = sorted((_ROOT / 'launchers').glob('[!_]*.py'))
_RESULTS = _ROOT / 'launchers' / 'results'


def _anchors(page):
  """What GitHub makes of the page's headings."""
  headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('page', _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  links = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
  for link in links:
    if '://' in link:
      continue
    path, _, anchor = link.partition('#')
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize('page', _PAGES, ids=lambda page: page.name)
def test_returns_are_those_of_the_results(page):
  stored = [
    line
    for table in _RESULTS.glob('*/final_returns.md')
    for line in table.read_text().splitlines()
  ]
  row = r'^\| (?:TRPO|PROMP|VPG|recommended)[^|]*\| \d+ +\| \d+ .*$'
  rows = re.findall(row, page.read_text(), re.MULTILINE)
  assert set(rows) <= set(stored)
  assert rows or page.stem not in ('reproduction', 'which_estimator')


def _module(name):
  """The module of a dotted name, or the attribute of one."""
  parts = name.split('.')
  for length in range(len(parts), 0, -1):
    try:
      found = importlib.import_module('.'.join(parts[:length]))
    except ModuleNotFoundError as error:
      if not error.name.startswith('acme_metarl'):
        pytest.skip(f'{error.name} is not installed here')
      continue
    for attribute in parts[length:]:
      found = getattr(found, attribute)
    return found
  raise AssertionError(f'{name} is nowhere.')


def _mentioned(page):
  text = page.read_text()
  names = set(re.findall(r'(?<!from )acme_metarl(?:\.\w+)+', text))
  for package, members in re.findall(
    r'from (acme_metarl[\w.]*) import ([\w, ]+)', text
  ):
    names |= {f'{package}.{x.split()[0]}' for x in members.split(',')}
  return sorted(names - {'acme_metarl.launchers.NAME'})


@pytest.mark.parametrize(
  ('page', 'name'),
  [(page, name) for page in _PAGES for name in _mentioned(page)],
  ids=lambda x: x if isinstance(x, str) else x.stem,
)
def test_names_are_there(page, name):
  old = {f'acme_metarl.{place}' for place in _moved.PLACES}
  assert name not in old, (
    f'{page.name} has the old name of a module that moved.'
  )
  if name.startswith('acme_metarl.launchers.') and name.count('.') == 2:
    # Mains may define flags: looked for, and not imported.
    assert importlib.util.find_spec(name)
  else:
    _module(name)


@pytest.mark.parametrize('page', _PAGES, ids=lambda page: page.name)
def test_files_are_there(page):
  tops = 'acme_metarl|agents|docs|environments|launchers|requirements|tests'
  for path in re.findall(
    rf'`((?:{tops})/[\w./]+)(?:::\w+)?`', page.read_text()
  ):
    assert (_ROOT / path).exists(), path


@pytest.mark.parametrize(
  'page', [x for x in _PAGES if x != _README], ids=lambda page: page.name
)
def test_examples_run(page, capsys):
  """Those with an ellipsis are sketches: they only have to be Python.

  `readme_test` runs those of the README.
  """
  for code in re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL):
    tree = ast.parse(code)
    if not any(
      isinstance(node, ast.Constant) and node.value is ...
      for node in ast.walk(tree)
    ):
      exec(compile(tree, str(page), 'exec'), {})


def _commands():
  """Every documented command: where it is, its main, its flags."""
  found = []
  docstrings = [
    (path.name, ast.get_docstring(ast.parse(path.read_text())) or '')
    for path in _MAINS
  ]
  for where, text in [(x.name, x.read_text()) for x in _PAGES] + docstrings:
    text = re.sub(r'\\\n\s*', ' ', text)  # Lines that go on.
    for line in re.findall(r'python -m acme_metarl\.launchers\.(.*)', text):
      line = line.split('`')[0]
      name, *arguments = shlex.split(line, comments=True)
      found.append((where, name, arguments))
    for line in re.findall(r'make train FLAGS="([^"]*)"', text):
      found.append((where, 'train', shlex.split(line)))
    for name, flags in re.findall(r'^\| `(\w+) (--[^`]*)`', text, re.MULTILINE):
      found.append((where, name, shlex.split(flags)))
  # Notation, and not a command.
  return [x for x in found if x[1].isidentifier() and x[1] != 'NAME']


# Runs mains up to where their flags are parsed. Each starts from none: some
# define flags of the same names.
_PARSE = """
import json
import runpy
import sys
from absl import flags

class Parsed(BaseException):
  pass

parse = flags.FlagValues.__call__

def parse_and_stop(self, *args, **kwargs):
  parse(self, *args, **kwargs)
  raise Parsed

flags.FlagValues.__call__ = parse_and_stop
commands = json.loads(sys.stdin.read())
ours = ('acme_metarl.', '__main__', *(name for name, _ in commands))
answers = []
for name, arguments in commands:
  for flag in list(flags.FLAGS):
    if str(flags.FLAGS.find_module_defining_flag(flag)).startswith(ours):
      delattr(flags.FLAGS, flag)
  for module in list(sys.modules):
    if module.startswith('acme_metarl.launchers.'):
      del sys.modules[module]
  sys.argv = [name, *arguments]
  try:
    runpy.run_module(f'acme_metarl.launchers.{name}', run_name='__main__')
    answers.append('It parsed no flags.')
  except Parsed:
    answers.append('parsed')
  except ModuleNotFoundError as error:
    answers.append(f'{error.name} is not installed')
  except (Exception, SystemExit) as error:
    answers.append(repr(error))
print(json.dumps(answers))
"""


@pytest.fixture(scope='module')
def answers():
  commands = _commands()
  done = subprocess.run(
    [sys.executable, '-c', _PARSE],
    input=json.dumps([(name, arguments) for _, name, arguments in commands]),
    capture_output=True,
    text=True,
    timeout=300,
    cwd=_ROOT,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
  'number',
  range(len(_commands())),
  ids=[f'{where}-{name}' for where, name, _ in _commands()],
)
def test_commands_are_understood(number, answers):
  """The main exists, its flags do, and it can read their values."""
  _, name, arguments = _commands()[number]
  if re.fullmatch(r'(?!acme_metarl).* is not installed', answers[number]):
    pytest.skip(answers[number])
  assert answers[number] == 'parsed', arguments
  fields = {
    argument.partition('=')[0].split('.')[1]
    for argument in arguments
    if argument.startswith('--config.')
  }
  known = {x.name for x in dataclasses.fields(config_lib.AlgorithmConfig)}
  assert fields <= known


def test_every_main_documents_a_command():
  assert {path.stem for path in _MAINS} <= {name for _, name, _ in _commands()}
