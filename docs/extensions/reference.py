"""Pages of the API reference: every public name, found in the code."""

import importlib
import inspect
import pathlib
import pkgutil
import types
from typing import Any, NamedTuple

from sphinx.ext import autodoc

# Packages and modules that are API, each a page. Studies and launchers are
# none: what they offer is their commands and their figures.
PAGES = (
  'acme_metarl',
  'acme_metarl.evaluators',
  'acme_metarl.meta',
  'acme_metarl.config',
  'acme_metarl.presets',
  'acme_metarl.types',
  'acme_metarl.on_device',
  'acme_metarl.tabular',
  'acme_metarl.self_tuning',
  'acme_metarl.environments',
  'acme_metarl.agents.maml',
)


class Name(NamedTuple):
  """A public name, and the module that it is documented as a member of."""

  module: str
  name: str
  kind: str


def public(module: types.ModuleType) -> list[Name]:
  """Returns the public classes, functions and types of one module."""
  declared = getattr(module, '__all__', None)
  # `import x as x` is how a package without __all__ says what it exports.
  exported = hasattr(module, '__path__') and declared is None
  found = []
  for name in sorted(declared or vars(module)):
    value = getattr(module, name)
    if name.startswith('_') or inspect.ismodule(value):
      continue
    home = getattr(value, '__module__', '') or ''
    if declared is None and home != module.__name__:
      if not (exported and home.startswith(f'{module.__name__}.')):
        continue
    kind = (
      'class'
      if inspect.isclass(value)
      else 'function'
      if callable(value) and hasattr(value, '__qualname__')
      else 'data'
    )
    if kind != 'data':
      found.append(Name(module.__name__, name, kind))
  return found


def modules(page: str) -> list[types.ModuleType]:
  """Returns a page's package and its public modules, as far as there are."""
  package = importlib.import_module(page)
  found = [package]
  if page in ('acme_metarl', 'acme_metarl.agents.maml'):
    return found  # Their modules have pages of their own, or are none of API.
  for info in pkgutil.iter_modules(getattr(package, '__path__', [])):
    if not info.name.startswith('_') and not info.ispkg:
      found.append(importlib.import_module(f'{page}.{info.name}'))
  return found


def pages() -> list[str]:
  """Returns the pages that there are something for."""
  return [page for page in PAGES if _exists(page)]


def members(page: str) -> dict[str, list[Name]]:
  """Returns what a page documents, by module; nothing twice."""
  seen: set[int] = set()
  found = {}
  for module in modules(page):
    names = []
    for name in public(module):
      value = getattr(module, name.name)
      if id(value) not in seen:
        seen.add(id(value))
        names.append(name)
    if names:
      found[module.__name__] = names
  return found


def _exists(page: str) -> bool:
  try:
    importlib.import_module(page)
  except ModuleNotFoundError as error:
    if not str(error.name).startswith(page):
      raise
    return False
  return True


def write(folder: pathlib.Path) -> None:
  """Writes a page for each, and the list of pages."""
  folder.mkdir(exist_ok=True)
  written = {'index.rst': _index()}
  for page in pages():
    written[f'{page}.rst'] = _page(page)
  for name, text in written.items():
    path = folder / name
    if not path.exists() or path.read_text() != text:
      path.write_text(text)
  for path in folder.glob('*.rst'):
    if path.name not in written:
      path.unlink()


def _title(text: str, line: str) -> list[str]:
  return [text, line * len(text), '']


def _index() -> str:
  lines = [
    *_title('Reference', '='),
    'Every public name, from the docstrings. A function that works on one',
    'trajectory takes a batch by ``jax.vmap``. ``acme_metarl.studies`` and',
    '``acme_metarl.launchers`` are no API and may change in any release.',
    '',
    '.. toctree::',
    '   :maxdepth: 1',
    '',
    *(f'   {page}' for page in pages()),
    '',
  ]
  return '\n'.join(lines)


def _page(page: str) -> str:
  lines = _title(page, '=')
  for module, names in members(page).items():
    if module != page:
      lines += _title(module, '-')
    lines += [f'.. automodule:: {module}', '   :no-members:', '']
    for name in names:
      lines.append(f'.. auto{name.kind}:: {name.module}.{name.name}')
      if name.kind == 'class':
        lines.append('   :members:')
      lines.append('')
  return '\n'.join(lines)


def setup(app: Any) -> dict[str, Any]:
  """Writes the pages before Sphinx looks for them."""

  def write_pages(app: Any, config: Any) -> None:
    with autodoc.mock(config.autodoc_mock_imports):
      # Annotations such as `core.Actor | None` are evaluated.
      mocked = type(importlib.import_module('acme').core).__mro__[-2]
      mocked.__or__ = mocked.__ror__ = lambda self, other: self
      write(pathlib.Path(app.srcdir) / 'reference')

  app.connect('config-inited', write_pages)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
