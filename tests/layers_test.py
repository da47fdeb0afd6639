"""Every folder imports only what its layer may: see README, "Layout"."""

import ast
import functools
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_LAYERS = ('agents', 'environments', 'launchers')
_LIBRARY = {'chex', 'distrax', 'haiku', 'jax', 'numpy', 'optax'}
_ENVIRONMENTS = {
  'absl',
  'cloudpickle',
  'dm_control',
  'dm_env',
  'gymnasium',
  'imageio_ffmpeg',
  'matplotlib',
  'metaworld',
  'mujoco',
}
_AGENT_STACK = {'absl', 'acme', 'reverb', 'tensorflow', 'tree'}

# Which third parties, and which of the other layers, a layer may import.
_MAY_IMPORT = {
  'acme_metarl': (_LIBRARY, set()),
  'environments': (
    _LIBRARY | _ENVIRONMENTS,
    {'environments'},
  ),
  'agents': (_LIBRARY | _AGENT_STACK | {'dm_env'}, {'agents'}),
  'launchers': (None, set(_LAYERS)),
}

# Inside the layers, by dotted prefix: the only parts of this project that one
# may import (None for any), those that it must not, and third parties.
_ROOMS = {
  # It enumerates a small MDP to prove an evaluator.
  'evaluators.checking': (
    {'evaluators', 'tabular', 'types'},
    set(),
    {'chex', 'jax', 'numpy'},
  ),
  'evaluators': ({'evaluators', 'types'}, set(), {'chex', 'jax', 'numpy'}),
  'tabular': ({'evaluators', 'tabular', 'types'}, set(), _LIBRARY),
  'meta': (
    None,
    {'on_device', 'presets', 'studies', 'tabular'},
    _LIBRARY,
  ),
  'on_device': (None, {'studies', 'tabular'}, _LIBRARY),
  'self_tuning': (
    None,
    {'on_device', 'presets', 'studies', 'tabular'},
    _LIBRARY,
  ),
  'studies': (None, {'on_device'}, _LIBRARY),
  **{
    f'launchers.{room}': (
      {
        *('agents', 'environments', 'launchers.runs', f'launchers.{room}'),
        *('algorithm_parts', 'config', 'evaluators', 'meta', 'on_device'),
        *('import_order', 'presets', 'self_tuning', 'studies', 'tabular'),
        'types',
      },
      set(),
      None,
    )
    for room in (
      'benchmarks',
      'comparison',
      'distributed',
      'examples',
      'runs',
      'studies',
    )
  },
}

# Launchpad takes some settings from its own flags only.
_LAUNCHPAD = {
  'acme_metarl.launchers.distributed.launching',
  'acme_metarl.launchers.distributed.program',
}


def _modules() -> dict[str, pathlib.Path]:
  """Every module below `acme_metarl` by its name, each once."""
  found = {}
  for layer in _MAY_IMPORT:
    for path in _sources(layer):
      parts = path.relative_to(_ROOT).with_suffix('').parts
      parts = parts if layer == 'acme_metarl' else ('acme_metarl', *parts)
      parts = parts[:-1] if parts[-1] == '__init__' else parts
      found['.'.join(parts)] = path
  return found


def _sources(layer: str) -> list[pathlib.Path]:
  found = (_ROOT / layer).rglob('*.py')
  if layer == 'acme_metarl':
    links = [_ROOT / 'acme_metarl' / name for name in _LAYERS]
    found = (p for p in found if not any(p.is_relative_to(x) for x in links))
  return sorted(found)


@functools.cache
def imports(source: str) -> frozenset[str]:
  """Dotted names of everything that `source` imports, at any depth.

  What stands under `if TYPE_CHECKING:` is for the type checker alone.
  """
  names = set()
  waiting = [ast.parse(source)]
  while waiting:
    node = waiting.pop()
    if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
      waiting.extend(node.orelse)
      continue
    waiting.extend(ast.iter_child_nodes(node))
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'relative import: {ast.unparse(node)}'
      names.update(f'{node.module}.{alias.name}' for alias in node.names)
  return frozenset(names)


def violations(layer: str, names: frozenset[str]) -> set[str]:
  """Those of `names` that a module of `layer` must not import."""
  third_parties, layers = _MAY_IMPORT[layer]
  wrong = set()
  for name in names:
    top, *rest = name.split('.')
    if top == 'acme_metarl':
      if rest and rest[0] in _LAYERS and rest[0] not in layers:
        wrong.add(name)
    elif top in _LAYERS:
      wrong.add(name)  # A second identity of the same module.
    elif third_parties is not None and top not in (
      third_parties | sys.stdlib_module_names
    ):
      wrong.add(name)
  return wrong


def _is_in(name: str, rooms: set[str]) -> bool:
  return any(name == room or name.startswith(f'{room}.') for room in rooms)


def _room(name: str) -> str | None:
  """The first of the rooms that a module is in: the narrowest."""
  rest = name.removeprefix('acme_metarl.')
  return next((room for room in _ROOMS if _is_in(rest, {room})), None)


def room_violations(room: str, names: frozenset[str]) -> set[str]:
  """Those of `names` that a module of `room` must not import."""
  only, never, third_parties = _ROOMS[room]
  wrong = set()
  for name in names:
    top, _, rest = name.partition('.')
    if top == 'acme_metarl':
      if not rest:
        continue  # The package alone loads nothing.
      if _is_in(rest, never) or not (only is None or _is_in(rest, only)):
        wrong.add(name)
    elif third_parties is not None and top not in (
      third_parties | sys.stdlib_module_names
    ):
      wrong.add(name)
  return wrong


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
  """The sets of modules that reach each other (Tarjan, 1972)."""
  found, number, low, stack = [], {}, {}, []

  def visit(node):
    number[node] = low[node] = len(number)
    stack.append(node)
    for following in edges[node]:
      if following not in number:
        visit(following)
      if following in stack:
        low[node] = min(low[node], low[following])
    if low[node] == number[node]:
      component = set(stack[stack.index(node) :])
      del stack[stack.index(node) :]
      if len(component) > 1:
        found.append(component)

  for node in edges:
    if node not in number:
      visit(node)
  return found


@pytest.mark.parametrize('layer', _MAY_IMPORT)
def test_layer_imports_only_what_it_may(layer):
  sources = _sources(layer)
  assert sources
  wrong = {
    str(path.relative_to(_ROOT)): found
    for path in sources
    if (found := violations(layer, imports(path.read_text(encoding='utf-8'))))
  }
  assert not wrong


@pytest.mark.parametrize('room', _ROOMS)
def test_room_imports_only_what_it_may(room):
  wrong = {
    name: found
    for name, path in _modules().items()
    if _room(name) == room
    and (found := room_violations(room, imports(path.read_text())))
  }
  assert not wrong


def test_the_core_imports_no_study():
  """The six studies stand on the core, and the package works without them."""
  wrong = {
    name
    for name, path in _modules().items()
    if not _is_in(
      name, {f'acme_metarl.{x}' for x in ('launchers', 'studies', '_moved')}
    )
    and any(
      _is_in(x, {'acme_metarl.studies'}) for x in imports(path.read_text())
    )
  }
  assert not wrong


def test_no_room_is_empty():
  assert {_room(name) for name in _modules()} - {None} == set(_ROOMS)


def test_flags_are_only_in_mains_and_runs():
  wrong = {
    name
    for name, path in _modules().items()
    if imports(path.read_text()) & {'absl.flags', 'absl.app'}
    and not _is_in(name, {'acme_metarl.launchers.runs', *_LAUNCHPAD})
    and not (name.startswith('acme_metarl.launchers.') and name.count('.') == 2)
  }
  assert not wrong


def test_no_modules_import_each_other():
  modules = _modules()
  edges = {}
  for name, path in modules.items():
    targets = set()
    for imported in imports(path.read_text()):
      while imported not in modules and '.' in imported:
        imported = imported.rpartition('.')[0]
      targets.add(imported)
    edges[name] = (targets & set(modules)) - {name}
  assert not circles(edges)


def test_circles_are_found():
  edges = {'a': {'b'}, 'b': {'c', 'd'}, 'c': {'a'}, 'd': {'e'}, 'e': set()}
  assert circles(edges) == [{'a', 'b', 'c'}]
  assert not circles({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()})


def test_tests_use_no_bare_names():
  wrong = {
    str(path.relative_to(_ROOT)): found
    for path in sorted((_ROOT / 'tests').rglob('*.py'))
    if (
      found := imports(path.read_text(encoding='utf-8')).intersection(_LAYERS)
    )
  }
  assert not wrong


@pytest.mark.parametrize(
  ('layer', 'source'),
  [
    ('acme_metarl', 'import acme'),
    ('acme_metarl', 'def f():\n  import tensorflow as tf'),
    ('acme_metarl', 'from acme_metarl import agents'),
    ('environments', 'from acme_metarl.agents import maml'),
    ('environments', 'import reverb'),
    ('agents', 'from acme_metarl.environments import registry'),
    ('agents', 'import mujoco'),
    ('launchers', 'import environments'),
    ('launchers', 'from agents.maml import config'),
  ],
)
def test_violations_are_found(layer, source):
  assert violations(layer, imports(source))


@pytest.mark.parametrize(
  ('room', 'source'),
  [
    ('evaluators', 'import rlax'),
    ('evaluators', 'from acme_metarl.meta import policies'),
    ('tabular', 'from acme_metarl.meta import policies'),
    ('meta', 'from acme_metarl import studies'),
    ('meta', 'from acme_metarl.on_device import train'),
    ('launchers.runs', 'from acme_metarl.launchers.comparison import study'),
    ('launchers.runs', 'from acme_metarl.launchers import train'),
    ('launchers.studies', 'from acme_metarl.launchers.comparison import study'),
  ],
)
def test_violations_of_rooms_are_found(room, source):
  assert room_violations(room, imports(source))


@pytest.mark.parametrize('name', _LAYERS)
def test_links_are_relative(name):
  link = _ROOT / 'acme_metarl' / name
  assert link.is_symlink()
  assert link.readlink() == pathlib.Path('..') / name
