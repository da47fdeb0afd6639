"""What a user sees of the package, and what importing it costs."""

import json
import pathlib
import subprocess
import sys

import pytest

import acme_metarl
from acme_metarl import _moved, meta, presets

_ROOT = pathlib.Path(acme_metarl.__file__).parent


def _run(code: str):
  """What a fresh interpreter prints as its last line, read as JSON."""
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    timeout=300,
    cwd=_ROOT.parent,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def test_dir_shows_the_api_and_nothing_else():
  assert dir(acme_metarl) == sorted(acme_metarl.__all__)
  assert not any(
    name.startswith('_') for name in dir(acme_metarl) if name != '__version__'
  )
  assert {'evaluators', 'make_train', 'presets'} <= set(dir(acme_metarl))


@pytest.mark.parametrize('name', acme_metarl.__all__)
def test_every_name_is_there(name):
  if name == 'agents':
    pytest.importorskip('acme')
  assert getattr(acme_metarl, name) is not None


def test_names_are_the_things_themselves():
  from acme_metarl.on_device import train

  assert acme_metarl.make_train is train.make_train
  assert acme_metarl.presets is presets


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="no attribute 'evaluator'"):
    acme_metarl.evaluator  # noqa: B018


def test_meta_lists_its_modules():
  modules = {path.stem for path in (_ROOT / 'meta').glob('[!_]*.py')}
  assert set(dir(meta)) == modules
  assert all(getattr(meta, name).__name__.endswith(name) for name in modules)
  with pytest.raises(AttributeError, match="no attribute 'learners'"):
    meta.learners  # noqa: B018


def test_attributes_work_without_further_imports():
  assert _run(
    'import acme_metarl\n'
    'names = [acme_metarl.evaluators.doubly_robust.__name__,'
    ' acme_metarl.meta.policies.__name__]\n'
    'import json; print(json.dumps(names))'
  ) == ['doubly_robust', 'acme_metarl.meta.policies']


def test_importing_the_package_loads_nothing():
  heavy = ['jax', 'numpy', 'tensorflow', 'distrax', 'haiku', 'acme', 'mujoco']
  assert not _run(
    'import acme_metarl, json, sys\n'
    f'print(json.dumps([x for x in {heavy} if x in sys.modules]))'
  )


def test_evaluators_need_jax_and_chex_alone():
  """For who wants one loss and has neither distrax nor haiku."""
  others = ['distrax', 'haiku', 'optax', 'rlax', 'tensorflow_probability']
  assert _run(
    'import sys\n'
    f'sys.modules.update(dict.fromkeys({others}))\n'
    'from acme_metarl import evaluators\n'
    'import json\n'
    'print(json.dumps(evaluators.taylor_expansion.__name__))'
  )


@pytest.fixture(scope='module')
def old_names():
  """Every old name imported: what came, and what was warned of where."""
  code = """
import importlib, json, sys, warnings
places = json.loads(sys.argv[1]) if len(sys.argv) > 1 else PLACES
rows = {}
for old, new in places.items():
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    try:
      exec(f'import acme_metarl.{old} as module')
    except ImportError as error:
      rows[old] = [None, str(error), None]
      continue
  mine = [w for w in caught if 'acme_metarl' in str(w.message)]
  rows[old] = [
    module is importlib.import_module(f'acme_metarl.{new}'),
    '; '.join(str(w.message) for w in mine),
    [w.filename for w in mine],
  ]
print(json.dumps(rows))
"""
  return _run(f'PLACES = {_moved.PLACES!r}\n{code}')


@pytest.mark.parametrize('old', _moved.PLACES)
def test_old_names_work_and_warn(old, old_names):
  same, message, filenames = old_names[old]
  if same is None and sys.version_info >= (3, 12):
    pytest.skip(f'the agent stack is not installed here ({message})')
  assert same, message
  assert f'acme_metarl.{old} is now acme_metarl.{_moved.PLACES[old]}' in message
  # The importing line is named, not the import system.
  assert set(filenames) == {'<string>'}


def test_every_way_of_importing_an_old_name():
  assert (
    _run(
      'import warnings; warnings.simplefilter("ignore", DeprecationWarning)\n'
      'from acme_metarl import reductions\n'
      'from acme_metarl.reductions import per_step\n'
      'import acme_metarl.opponent_shaping.games as old\n'
      'from acme_metarl.evaluators import reductions as new_reductions\n'
      'from acme_metarl.studies.opponent_shaping import games as new\n'
      'same = [reductions is new_reductions, per_step is reductions.per_step,'
      ' old is new]\n'
      'import json; print(json.dumps(same))'
    )
    == [True] * 3
  )


def test_names_that_left_their_module_are_found_by_its_old_name():
  assert (
    _run(
      'import warnings; warnings.simplefilter("ignore", DeprecationWarning)\n'
      'import importlib, json\n'
      'from acme_metarl import _moved\n'
      'found = []\n'
      'for new, members in _moved.MEMBERS.items():\n'
      '  (old,) = [x for x, y in _moved.PLACES.items() if new == y or'
      ' new.startswith(y + ".")]\n'
      '  rest = new.removeprefix(_moved.PLACES[old])\n'
      '  module = importlib.import_module(f"acme_metarl.{old}{rest}")\n'
      '  for name, place in members.items():\n'
      '    owner, _, member = place.rpartition(".")\n'
      '    owner = importlib.import_module(f"acme_metarl.{owner}")\n'
      '    found.append(getattr(module, name) is getattr(owner, member))\n'
      'print(json.dumps(found))'
    )
    == [True] * 6
  )


def test_an_old_package_without_such_a_module_is_an_import_error():
  with (
    pytest.warns(DeprecationWarning),
    pytest.raises(ModuleNotFoundError, match='opponent_shaping.missing'),
  ):
    import acme_metarl.opponent_shaping.missing  # noqa: F401
