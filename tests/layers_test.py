"""Every folder imports only what its layer may: see README, "Layout"."""

import ast
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_LAYERS = ('agents', 'environments', 'launchers')
_LIBRARY = {'chex', 'distrax', 'haiku', 'jax', 'numpy', 'optax', 'rlax'}
_ENVIRONMENTS = {
  'absl',
  'dm_env',
  'gymnasium',
  'imageio',
  'matplotlib',
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


def _sources(layer: str) -> list[pathlib.Path]:
  found = (_ROOT / layer).rglob('*.py')
  if layer == 'acme_metarl':
    links = [_ROOT / 'acme_metarl' / name for name in _LAYERS]
    found = (p for p in found if not any(p.is_relative_to(x) for x in links))
  return sorted(found)


def imports(source: str) -> set[str]:
  """Dotted names of everything that `source` imports, at any depth."""
  names = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'relative import: {ast.unparse(node)}'
      names.update(f'{node.module}.{alias.name}' for alias in node.names)
  return names


def violations(layer: str, names: set[str]) -> set[str]:
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


@pytest.mark.parametrize('name', _LAYERS)
def test_links_are_relative(name):
  link = _ROOT / 'acme_metarl' / name
  assert link.is_symlink()
  assert link.readlink() == pathlib.Path('..') / name
