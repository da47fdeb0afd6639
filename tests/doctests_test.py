"""Every public function of the core has an example that runs."""

import ast
import doctest
import importlib
import pathlib

import jax
import pytest

_ROOT = pathlib.Path(__file__).parent.parent / 'acme_metarl'
_MODULES = sorted(
  path
  for package in ('evaluators', 'meta')
  for path in (_ROOT / package).glob('[!_]*.py')
)
_OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _name(path: pathlib.Path) -> str:
  return f'acme_metarl.{path.parent.name}.{path.stem}'


@pytest.fixture(autouse=True)
def _float32():
  """As a user sees it, whatever a test before this one has set."""
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', False)
  yield
  jax.config.update('jax_enable_x64', before)


@pytest.mark.parametrize('path', _MODULES, ids=_name)
def test_examples_run(path):
  module = importlib.import_module(_name(path))
  assert doctest.testmod(module, optionflags=_OPTIONS).failed == 0


@pytest.mark.parametrize('path', _MODULES, ids=_name)
def test_public_functions_have_an_example(path):
  """Types and protocols say what they are in words."""
  lacking = [
    node.name
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef)
    and not node.name.startswith('_')
    and '>>> ' not in (ast.get_docstring(node) or '')
  ]
  assert not lacking
