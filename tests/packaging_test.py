"""A wheel and an sdist hold every module exactly once."""

import ast
import collections
import fnmatch
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_FOLDERS = ('acme_metarl', 'agents', 'environments', 'launchers')


@pytest.fixture(scope='module')
def archives(tmp_path_factory) -> dict[str, list[str]]:
  """Members of the wheel and of the sdist, built from a copy of the tree."""
  source = tmp_path_factory.mktemp('source') / 'tree'
  source.mkdir()
  for name in (*_FOLDERS, 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
    path = _ROOT / name
    if path.is_dir():
      shutil.copytree(
        path,
        source / name,
        symlinks=True,
        ignore=shutil.ignore_patterns('__pycache__'),
      )
    else:
      shutil.copy(path, source / name)
  out = source.parent / 'dist'
  # The wheel is built from the sdist: what the sdist lacks, the wheel lacks.
  subprocess.run(
    [sys.executable, '-m', 'build', '--no-isolation', '-o', out, source],
    check=True,
    capture_output=True,
    text=True,
    timeout=300,
  )
  (wheel,) = out.glob('*.whl')
  (sdist,) = out.glob('*.tar.gz')
  with zipfile.ZipFile(wheel) as z:
    in_wheel = z.namelist()
  with tarfile.open(sdist) as t:
    in_sdist = [
      m.name.split('/', 1)[1] for m in t.getmembers() if not m.isdir()
    ]
  return {'wheel': in_wheel, 'sdist': in_sdist}


def _modules() -> set[str]:
  found = set()
  for folder in _FOLDERS:
    for path in (_ROOT / folder).rglob('*.py'):
      relative = path.relative_to(_ROOT)
      if folder != 'acme_metarl':
        relative = pathlib.Path('acme_metarl') / relative
      found.add(relative.as_posix())
  return found


@pytest.mark.parametrize('kind', ['wheel', 'sdist'])
def test_every_module_exactly_once(archives, kind):
  members = [
    name
    for name in archives[kind]
    if name.endswith('.py') and name != 'setup.py'
  ]
  counts = collections.Counter(members)
  assert set(counts) == _modules()
  assert set(counts.values()) == {1}


def test_wheel_installs_one_top_level_name(archives):
  tops = {name.split('/')[0] for name in archives['wheel']}
  assert {t for t in tops if not t.endswith('.dist-info')} == {'acme_metarl'}


@pytest.mark.parametrize('kind', ['wheel', 'sdist'])
def test_licence_is_included(archives, kind):
  assert any(name.endswith('LICENSE') for name in archives[kind])


def test_data_of_the_package_are_included(archives):
  """Types are declared, and every pattern of package data matches a file."""
  assert 'acme_metarl/py.typed' in archives['wheel']
  tree = ast.parse((_ROOT / 'setup.py').read_text(encoding='utf-8'))
  (patterns,) = (
    ast.literal_eval(keyword.value)
    for keyword in ast.walk(tree)
    if isinstance(keyword, ast.keyword) and keyword.arg == 'package_data'
  )
  for package, globs in patterns.items():
    for glob in globs:
      wanted = f'{package.replace(".", "/")}/{glob}'
      assert fnmatch.filter(archives['wheel'], wanted), wanted


@pytest.mark.parametrize('stack', ['agent', 'current'])
def test_requirements_name_no_host(stack):
  pins = (_ROOT / 'requirements' / f'{stack}.txt').read_text(encoding='utf-8')
  assert '://' not in pins
  assert 'index-url' not in pins
  assert pins.count('--hash=sha256:') >= pins.count('==') > 80
