"""A wheel and an sdist hold every module exactly once."""

import ast
import collections
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_FOLDERS = ('acme_metarl', 'agents', 'environments', 'launchers')


@pytest.fixture(scope='module')
def dist(tmp_path_factory) -> pathlib.Path:
  """Where a wheel and an sdist are, built from a copy of the tree."""
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
  return out


@pytest.fixture(scope='module')
def archives(dist) -> dict[str, list[str]]:
  """Members of the wheel and of the sdist."""
  (wheel,) = dist.glob('*.whl')
  (sdist,) = dist.glob('*.tar.gz')
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


def test_the_wheel_trains_in_an_empty_environment(dist, tmp_path):
  """Of the newest Python, with what the wheel alone asks for."""
  found = subprocess.run(
    [_ROOT / '.ci' / 'find_python', '3.13', '3.12'],
    capture_output=True,
    text=True,
  )
  if found.returncode:
    pytest.skip(found.stderr)
  (wheel,) = dist.glob('*.whl')
  folder = tmp_path / 'venv' / 'bin'

  def uv(*arguments):
    return subprocess.run(
      [sys.executable, '-m', 'uv', *arguments],
      capture_output=True,
      text=True,
      timeout=600,
    )

  made = uv('venv', '-q', '-p', found.stdout.strip(), str(folder.parent))
  assert not made.returncode, made.stderr
  done = uv('pip', 'install', '-q', '-p', str(folder / 'python'), str(wheel))
  if re.search('Failed to fetch|error sending request', done.stderr):
    pytest.skip(f'no package index can be reached: {done.stderr[-300:]}')
  assert not done.returncode, done.stderr
  done = subprocess.run(
    [
      folder / 'acme-metarl',
      'train_on_device',
      *('--num_iterations=2', '--num_tasks=2', '--num_rollouts=2'),
      *('--horizon=3', '--config.hidden_sizes=4', '--logdir=run'),
    ],
    capture_output=True,
    text=True,
    timeout=600,
    cwd=tmp_path,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': ''},
  )
  assert not done.returncode, done.stderr
  for name in ('config.json', 'curves.png', 'report.html', 'checkpoints'):
    assert (tmp_path / 'run' / name).exists(), done.stderr
  made_by = json.loads((tmp_path / 'run' / 'config.json').read_text())
  (entry,) = made_by['made_by']
  assert entry['command'].startswith(
    'python -m acme_metarl.launchers.train_on_device --num_iterations=2'
  )
  assert entry['versions']['python'].startswith('3.1')


@pytest.mark.parametrize('stack', ['agent', 'current'])
def test_requirements_name_no_host(stack):
  pins = (_ROOT / 'requirements' / f'{stack}.txt').read_text(encoding='utf-8')
  assert '://' not in pins
  assert 'index-url' not in pins
  assert pins.count('--hash=sha256:') >= pins.count('==') > 80
