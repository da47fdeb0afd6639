"""What is imported is declared, and the lowest versions declared work."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
# The distribution of a module, where the two have different names.
_DISTRIBUTIONS = {
  'PIL': 'pillow',
  'absl': 'absl-py',
  'acme': 'dm-acme',
  'courier': 'dm-launchpad',
  'dm_env': 'dm-env',
  'haiku': 'dm-haiku',
  'imageio_ffmpeg': 'imageio',
  'launchpad': 'dm-launchpad',
  'reverb': 'dm-reverb',
  'tensorflow': 'tensorflow-cpu',
  'tree': 'dm-tree',
}
_PARTS = {
  '_CORE': ('acme_metarl', 'environments', 'launchers'),
  '_MUJOCO': ('environments', 'launchers'),
  '_AGENT': ('agents', 'launchers'),
  '_CURRENT_AGENT': ('agents', 'launchers'),
  '_DEV': ('tests',),
}
# Asked for where they are needed, with a sentence that says what to install.
_OPTIONAL = {
  'brax',
  'dm_control',
  'gymnax',
  'metaworld',
  'mujoco_playground',
  'ray',
  'xmanager',
}
# Declared, and imported by no line of ours.
_INDIRECT = {
  'build': 'a test calls it as a program',
  'dm-sonnet': 'Acme imports it and declares no version',
  'gym': 'Acme imports it and declares no version',
  'mujoco-mjx': 'is imported as mujoco.mjx',
  'mypy': 'a program',
  'protobuf': 'the newest that TensorFlow 2.8 takes',
  'pytest-xdist': 'a plug-in of pytest',
  'rlax': 'Acme imports it; the tests compare with it',
  'ruff': 'a program',
  'setuptools': 'builds the package',
  'tensorflow-probability': 'distrax imports it; pinned to go with it',
  'tfp-nightly': 'distrax imports it; pinned to go with it',
  'uv': 'a program',
}
# What an installation without the extras [agent] and [ray] lacks.
_AGENT_MODULES = {
  'acme',
  'courier',
  'gym',
  'launchpad',
  'ray',
  'reverb',
  'tensorflow',
}
_OURS = {'acme_metarl', 'docs', 'tests'}


def _declared() -> dict[str, set[str]]:
  """The names of distributions in each list of setup.py."""
  tree = ast.parse((_ROOT / 'setup.py').read_text())
  return {
    name: {re.match(r'[\w-]+', x)[0].lower() for x in ast.literal_eval(values)}
    for node in tree.body
    if isinstance(node, ast.Assign)
    and (name := ast.unparse(node.targets[0])) in _PARTS
    and (values := node.value)
  }


def _imported(folder: str) -> dict[str, str]:
  """Distributions that a folder imports, and a file that does."""
  found = {}
  for path in sorted((_ROOT / folder).rglob('*.py')):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      else:
        continue
      for top in {name.split('.')[0] for name in names}:
        if top not in sys.stdlib_module_names | _OURS:
          found[_DISTRIBUTIONS.get(top, top).lower()] = str(path)
  return found


@pytest.mark.parametrize(
  ('folder', 'lists'),
  [
    # The other layers are links in the library's folder: named one by one.
    ('acme_metarl/evaluators', ['_CORE']),
    ('acme_metarl/meta', ['_CORE']),
    ('acme_metarl/on_device', ['_CORE']),
    ('acme_metarl/self_tuning', ['_CORE']),
    ('acme_metarl/studies', ['_CORE']),
    ('acme_metarl/tabular', ['_CORE']),
    ('environments', ['_CORE', '_MUJOCO']),
    ('agents', ['_CORE', '_AGENT']),
    ('launchers', ['_CORE', '_MUJOCO', '_AGENT']),
    ('tests', ['_CORE', '_MUJOCO', '_AGENT', '_DEV']),
  ],
)
def test_what_is_imported_is_declared(folder, lists):
  declared = set().union(*(_declared()[name] for name in lists))
  assert {
    name: path
    for name, path in _imported(folder).items()
    if name not in declared | _OPTIONAL
  } == {}


@pytest.mark.parametrize('name', _PARTS)
def test_what_is_declared_is_used(name):
  used = set().union(*map(_imported, _PARTS[name]))
  assert _declared()[name] - used - set(_INDIRECT) == set()


_IMPORT_EVERYTHING = f"""
import importlib, pathlib, sys
from absl import flags

root, failed = pathlib.Path(sys.argv[1]), {{}}
sys.path.insert(0, str(root))
count = 0
for folder in ('acme_metarl', 'environments', 'launchers'):
  for path in sorted((root / folder).rglob('*.py')):
    parts = path.relative_to(root).with_suffix('').parts
    if folder != 'acme_metarl':
      parts = ('acme_metarl', *parts)
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    if name.startswith(('acme_metarl.agents', 'acme_metarl.launchers.')):
      if folder == 'acme_metarl':
        continue  # Through a link: a second time.
    try:
      importlib.import_module(name)
      count += 1
    except ModuleNotFoundError as error:
      if error.name.split('.')[0] not in {_AGENT_MODULES}:
        failed[name] = repr(error)
    except Exception as error:
      failed[name] = repr(error)
assert not failed, failed

# One fault of too low a version showed only at run time.
import jax
from acme_metarl import environments
environment = environments.make('half_cheetah_direction', backend='mjx')
key = jax.random.PRNGKey(0)
state, _ = environment.reset(key, environment.sample_task(key))
_, timestep = environment.step(state, jax.numpy.zeros(6))
assert jax.numpy.isfinite(timestep.observation).all()
print(count)
"""


@pytest.mark.slow
@pytest.mark.skipif(
  sys.version_info[:2] != (3, 10),
  reason='the lowest versions are those of the lowest Python, 3.10',
)
def test_the_lowest_versions_work(tmp_path):
  """Installs them into an environment of its own, and imports everything."""

  def uv(*arguments):
    return subprocess.run(
      [sys.executable, '-m', 'uv', *arguments],
      capture_output=True,
      text=True,
      timeout=600,
    )

  pins, python = tmp_path / 'pins.txt', tmp_path / 'venv' / 'bin' / 'python'
  done = uv(
    *('pip', 'compile', '-q', str(_ROOT / 'setup.py'), '--extra=mujoco'),
    *('--resolution=lowest-direct', f'--python={sys.executable}'),
    f'--output-file={pins}',
  )
  if done.returncode and re.search(
    'Failed to fetch|error sending request|network', done.stderr
  ):
    pytest.skip(f'no package index can be reached: {done.stderr[-300:]}')
  assert done.returncode == 0, done.stderr
  assert f'jax=={_floor("jax")}' in pins.read_text()
  for arguments in (
    ('venv', '-q', f'--python={sys.executable}', str(tmp_path / 'venv')),
    ('pip', 'install', '-q', f'--python={python}', f'--requirements={pins}'),
  ):
    done = uv(*arguments)
    assert done.returncode == 0, done.stderr
  done = subprocess.run(
    [python, '-c', _IMPORT_EVERYTHING, str(_ROOT)],
    capture_output=True,
    text=True,
    timeout=600,
    cwd=tmp_path,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout.splitlines()[-1]) > 80


def _floor(name: str) -> str:
  return re.search(rf"'{name}>=([\d.]+)'", (_ROOT / 'setup.py').read_text())[1]
