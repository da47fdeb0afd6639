"""Makes single lines wrong, one at a time, and sees whether a test notices.

    python tests/mutations/check.py
    python tests/mutations/check.py --only=evaluators --count=20 --seed=1

Works on a copy of the tree. Each mutation changes one operator, constant,
comparison or statement; the tests of its part run until the first failure:
first the quick tests, then the slow ones, each time those named like the file
before the others. The mutations that survive are listed, and the exit code says
whether there were any besides those that change nothing, `EQUIVALENT`.
"""

import argparse
import ast
from collections.abc import Iterator
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

_ROOT = pathlib.Path(__file__).parents[2]
# Tests that take so much longer than those of the right code hang.
_PATIENCE = 2
_LEAST_SECONDS = 60

# Of each part: the files that are made wrong, and the tests that must notice.
PARTS = {
  'evaluators': (
    ['acme_metarl/evaluators/*.py'],
    ['tests/acme_metarl/evaluators'],
  ),
  'task_loss': (
    ['acme_metarl/meta/task_loss.py', 'acme_metarl/meta/inner_loop.py'],
    [
      'tests/acme_metarl/meta/task_loss_test.py',
      'tests/acme_metarl/meta/task_loss_exact_test.py',
      'tests/acme_metarl/meta/inner_loop_test.py',
    ],
  ),
  'replay': (
    [
      'agents/maml/replay/*.py',
      'agents/maml/items.py',
      'agents/maml/adding.py',
    ],
    [
      'tests/agents/maml/replay',
      'tests/agents/maml/adding_test.py',
    ],
  ),
  'checkpoints': (
    ['launchers/runs/checkpointing.py'],
    ['tests/launchers/runs/checkpointing_test.py'],
  ),
  'flags': (
    [
      'launchers/runs/flags.py',
      'launchers/runs/config_flags.py',
      'launchers/runs/dataclass_flags.py',
    ],
    [
      'tests/launchers/runs/flags_test.py',
      'tests/launchers/runs/config_test.py',
      'tests/launchers/train_test.py',
      'tests/launchers/runs/config_flags_test.py',
      'tests/launchers/runs/dataclass_flags_test.py',
    ],
  ),
}
# (file, line as it is, line as it becomes): programs of the same meaning.
EQUIVALENT = {
  # How long somebody waits before asking again, or is waited for.
  (
    'agents/maml/replay/reverb_queue.py',
    '_TIMEOUT_SECONDS = 2',
    '_TIMEOUT_SECONDS = 3',
  ),
  (
    'agents/maml/replay/reverb_queue.py',
    '_CLOSE_SECONDS = 5',
    '_CLOSE_SECONDS = 6',
  ),
  (
    'agents/maml/replay/interface.py',
    'POLL_SECONDS = 0.005',
    'POLL_SECONDS = 1.005',
  ),
  (
    'agents/maml/replay/local_queue.py',
    '_WAIT_SECONDS = 0.1',
    '_WAIT_SECONDS = 1.1',
  ),
  # The server's destructor stops it too, at the end of the function.
  ('agents/maml/replay/reverb_queue.py', 'server.stop()', 'pass'),
  # Of a number that is 0 only the type counts.
  (
    'acme_metarl/evaluators/expansions.py',
    'jnp.zeros_like(v_t[-1]),',
    'jnp.zeros_like(v_t[(1)]),',
  ),
  (
    'acme_metarl/evaluators/expansions.py',
    'last = jnp.zeros_like(v_t[-1])',
    'last = jnp.zeros_like(v_t[-2])',
  ),
  # An order beyond the length adds nothing.
  (
    'acme_metarl/evaluators/expansions.py',
    'order=max(1, np.size(r_t)),',
    'order=max(2, np.size(r_t)),',
  ),
  # How many columns are computed at a time.
  (
    'acme_metarl/evaluators/derivatives.py',
    'chunk_size = max(1, _CACHED_NUMBERS // max(1, steps))',
    'chunk_size = max(1, _CACHED_NUMBERS // max(2, steps))',
  ),
  # Any seed will do.
  ('acme_metarl/evaluators/checking.py', 'seed: int = 0,', 'seed: int = 1,'),
  # Lists that are made of one another are of one length.
  (
    'acme_metarl/meta/inner_loop.py',
    'floats = [x for x, yes in zip(leaves, is_float, strict=True) if yes]',
    'floats = [x for x, yes in zip(leaves, is_float, strict=False) if yes]',
  ),
  (
    'acme_metarl/meta/inner_loop.py',
    'for x, yes in zip(leaves, is_float, strict=True)',
    'for x, yes in zip(leaves, is_float, strict=False)',
  ),
  # Distributions of all stages are of one kind.
  (
    'acme_metarl/meta/task_loss.py',
    'if self._has_kl(outputs[-1]):',
    'if self._has_kl(outputs[(1)]):',
  ),
  # `ZipFile.close` flushes too, which its documentation does not promise.
  ('launchers/runs/checkpointing.py', 'file.flush()', 'pass'),
}

_OPERATORS = {
  ast.Add: '-',
  ast.Sub: '+',
  ast.Mult: '/',
  ast.Div: '*',
  ast.FloorDiv: '*',
  ast.Mod: '*',
}
_COMPARISONS = {
  ast.Lt: '<=',
  ast.LtE: '<',
  ast.Gt: '>=',
  ast.GtE: '>',
  ast.Eq: '!=',
  ast.NotEq: '==',
  ast.Is: 'is not',
  ast.IsNot: 'is',
  ast.In: 'not in',
  ast.NotIn: 'in',
}
_NAMES = {
  'minimum': 'maximum',
  'maximum': 'minimum',
  'min': 'max',
  'max': 'min',
  'any': 'all',
  'all': 'any',
  'zeros_like': 'ones_like',
  'ones_like': 'zeros_like',
}


class Mutation(NamedTuple):
  """One wrong line.

  Attributes:
    file: below the root.
    line: its number, from 1.
    before: the line as it is.
    after: the line as it becomes.
    source: the whole file, with the wrong line.
  """

  file: str
  line: int
  before: str
  after: str
  source: str


def _code(source: str, node: ast.AST) -> str:
  return ast.get_source_segment(source, node) or ''


def _wrong(source: str, node: ast.AST) -> Iterator[str]:
  """What may stand in the place of an expression or statement."""
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
    left, right = _code(source, node.left), _code(source, node.right)
    yield f'{left} {_OPERATORS[type(node.op)]} {right}'
  elif isinstance(node, ast.Compare) and len(node.ops) == 1:
    left, right = _code(source, node.left), _code(source, node.comparators[0])
    if type(node.ops[0]) in _COMPARISONS:
      yield f'{left} {_COMPARISONS[type(node.ops[0])]} {right}'
  elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
    other = 'or' if isinstance(node.op, ast.And) else 'and'
    yield f' {other} '.join(_code(source, x) for x in node.values)
  elif isinstance(node, ast.UnaryOp) and isinstance(
    node.op, (ast.Not, ast.USub)
  ):
    yield f'({_code(source, node.operand)})'
  elif isinstance(node, ast.Constant):
    if isinstance(node.value, bool):
      yield str(not node.value)
    elif isinstance(node.value, (int, float)):
      yield str(node.value + 1)
  elif isinstance(node, ast.IfExp):
    yield _code(source, node.orelse)
  elif isinstance(node, ast.Call):
    name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
    if name == 'stop_gradient' and len(node.args) == 1:
      yield f'({_code(source, node.args[0])})'
    elif name in _NAMES:
      function = _code(source, node.func)
      arguments = _code(source, node)[len(function) :]
      yield function.removesuffix(name) + _NAMES[name] + arguments
  elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
    yield 'pass'
  elif isinstance(node, ast.Raise):
    yield 'pass'


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
  """What is computed: no annotations, messages or decorators."""
  for name, value in ast.iter_fields(node):
    if name in ('annotation', 'returns', 'decorator_list', 'bases', 'exc'):
      continue
    for child in value if isinstance(value, list) else [value]:
      if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
        yield child
        yield from _expressions(child)


def mutations(file: str, source: str) -> list[Mutation]:
  """Every single-line mutation of a file."""
  found = []
  lines = source.splitlines(keepends=True)
  for node in _expressions(ast.parse(source)):
    if not hasattr(node, 'lineno'):
      continue
    number = node.lineno
    if node.end_lineno != number:
      if not isinstance(node, (ast.Raise, ast.Expr)):
        continue
    for text in _wrong(source, node):
      # Columns count bytes.
      first = lines[number - 1].encode()[: node.col_offset].decode()
      last = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
      after = first + text + last
      changed = [*lines[: number - 1], after, *lines[node.end_lineno :]]
      found.append(
        Mutation(
          file,
          number,
          lines[number - 1].strip(),
          after.strip(),
          ''.join(changed),
        )
      )
  return found


def sample(part: str, count: int, seed: int) -> list[Mutation]:
  """Some mutations of a part, on different lines."""
  every = []
  for pattern in PARTS[part][0]:
    for path in sorted(_ROOT.glob(pattern)):
      file = path.relative_to(_ROOT).as_posix()
      every += mutations(file, path.read_text())
  random.Random(f'{part} {seed}').shuffle(every)
  chosen = {}
  for mutation in every:
    if mutation[:1] + mutation[2:4] not in EQUIVALENT:
      chosen.setdefault((mutation.file, mutation.line), mutation)
  return list(chosen.values())[:count]


def _in_order(tests: list[str], file: str) -> list[str]:
  """Files of tests, those of a file before the others."""
  found = []
  for test in tests:
    path = _ROOT / test
    found += sorted(path.glob('*_test.py')) if path.is_dir() else [path]
  stem = pathlib.Path(file).stem
  found.sort(key=lambda path: not path.name.startswith(f'{stem}_'))
  return [path.relative_to(_ROOT).as_posix() for path in found]


def _who_notices(
  tree: pathlib.Path, tests: list[str], seconds: float | None = None
) -> str | None:
  """The first test that fails, in words; None if all pass."""
  environment = {
    **os.environ,
    'PYTHONPATH': str(tree),
    'ACME_METARL_CACHE': str(_ROOT / '.cache'),
  }
  for chosen in ('not slow and not learning', 'slow and not learning'):
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-m', chosen, *tests]
    try:
      done = subprocess.run(
        command,
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
      )
    except subprocess.TimeoutExpired:
      return f'tests that take more than {seconds:.0f} s'
    if done.returncode not in (0, 5):  # 5: there are none of this kind.
      lines = done.stdout.splitlines()
      failed = [x for x in lines if x.startswith(('FAILED', 'ERROR'))]
      return failed[0] if failed else '\n'.join(lines[-5:])
  return None


def main() -> int:
  """Prints what survived; returns 1 if anything did."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--only', choices=PARTS, help='one part of the code')
  parser.add_argument('--count', type=int, default=10, help='of each part')
  parser.add_argument('--seed', type=int, default=0, help='chooses them')
  arguments = parser.parse_args()
  survivors = []
  with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder) / 'tree'
    shutil.copytree(
      _ROOT,
      tree,
      symlinks=True,
      ignore=shutil.ignore_patterns('.*', '__pycache__', 'results', 'dist'),
    )
    for part in [arguments.only] if arguments.only else PARTS:
      tests = PARTS[part][1]
      start = time.monotonic()
      if failed := _who_notices(tree, _in_order(tests, '')):
        print(f'{part}: its tests fail as it is: {failed}')
        return 1
      seconds = _LEAST_SECONDS + _PATIENCE * (time.monotonic() - start)
      for mutation in sample(part, arguments.count, arguments.seed):
        path = tree / mutation.file
        right = path.read_text()
        path.write_text(mutation.source)
        who = _who_notices(tree, _in_order(tests, mutation.file), seconds)
        path.write_text(right)
        print(
          f'{part}: {"noticed" if who else "SURVIVED"}'
          f' {mutation.file}:{mutation.line}\n'
          f'  - {mutation.before}\n  + {mutation.after}\n  {who or ""}',
          flush=True,
        )
        if not who:
          survivors.append(mutation)
  print(f'{len(survivors)} survived.')
  return bool(survivors)


if __name__ == '__main__':
  sys.exit(main())
