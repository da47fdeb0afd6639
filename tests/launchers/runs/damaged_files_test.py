"""Random bytes, truncations and flipped bits in the files of a run.

Whoever goes on from a damaged file gets its right values, or the checkpoint
before it with a warning, or one sentence that names the file: never another
exception, never other numbers unsaid, never code that a file names.
"""

import contextlib
import csv
import json
import pathlib
import shutil
import sys
import tempfile

from absl import logging
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.launchers.runs import (
  checkpointing,
  directories,
  mistakes,
  records,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs.played import Played

_LAST = 3
_CONFIG = run_config.RunConfig(
  algorithm=presets.make('promp_taypo2', num_iterations=5, horizon=7), seed=3
)
_MODULE = 'module_that_no_file_may_import'


def _tree(step):
  params = np.random.default_rng(step).normal(size=(3, 4)).astype(np.float32)
  return {'w': params, 'count': np.int32(step), 'scale': np.float64(step / 7)}


def _write_run(directory):
  """Three iterations, each with a checkpoint, and a row that is newer."""
  members = records.RunRecords(run_config.Plan(_CONFIG, directory))
  members.draw = lambda: None  # Nobody reads pictures.
  for step in range(_LAST + 2):
    returns = np.random.default_rng(step).normal(size=(3, 2, 1))
    if step:
      row = {'iteration': step, 'environment_steps': 10 * step}
      members.write(row | {'return_0': float(returns.mean()), 'loss': step / 3})
    members.write_evaluation(Played(returns), step, 10 * step, step / 2)
    if 1 <= step <= _LAST:
      metadata = {'environment_steps': 10 * step, 'key': [step, 2**31]}
      members.save(step, _tree(step), metadata)
  members.close()


@pytest.fixture(scope='session')
def stored(tmp_path_factory):
  directory = tmp_path_factory.mktemp('stored') / 'run'
  _write_run(directory)
  return directory


@contextlib.contextmanager
def _copy(stored):
  with tempfile.TemporaryDirectory() as folder:
    # A module that a file might name, and which says when it is imported.
    pathlib.Path(folder, f'{_MODULE}.py').write_text('raise SystemExit(7)')
    sys.path.insert(0, folder)
    try:
      yield pathlib.Path(
        shutil.copytree(stored, pathlib.Path(folder, 'run')).resolve()
      )
    finally:
      sys.path.remove(folder)
      assert _MODULE not in sys.modules


@contextlib.contextmanager
def _heard():
  """What is said in warnings."""
  said, warning = [], logging.warning
  logging.warning = lambda text, *args: said.append(text % args)
  try:
    yield said
  finally:
    logging.warning = warning


@contextlib.contextmanager
def _refusal(path):
  """Lets one sentence pass that names a file, and tells whether it came."""
  refused = []
  try:
    yield refused
  except ValueError as error:
    message = str(error)
    assert str(path) in message, message
    assert '\n' not in message.strip(), message
    trace = error.__traceback__
    while trace.tb_frame.f_code.co_filename == __file__:
      trace = trace.tb_next  # Else the test's frames count as a user's.
    assert mistakes.is_explained(error.with_traceback(trace))
    refused.append(message)


@st.composite
def _damages(draw):
  """Functions of the content of a file to other content."""
  kind = draw(st.sampled_from(['flips', 'cut', 'bytes', 'inserted', 'all']))
  where = draw(st.floats(0, 1, exclude_max=True))
  given = draw(st.binary(min_size=1, max_size=40))
  flips = draw(
    st.lists(
      st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
      min_size=1,
      max_size=3,
    )
  )

  def damage(content):
    at = int(where * len(content))
    if kind == 'flips':
      changed = bytearray(content)
      for share, bit in flips:
        changed[int(share * len(content))] ^= 1 << bit
      return bytes(changed)
    return {
      'cut': content[:at],
      'bytes': content[:at] + given + content[at + len(given) :],
      'inserted': content[:at] + given + content[at:],
      'all': given,
    }[kind]

  return damage


def _apply(path, damage):
  path.write_bytes(damage(path.read_bytes()))


def _contents(directory, but):
  return {
    path: path.read_bytes()
    for path in directory.rglob('*')
    if path.is_file() and path != but
  }


def _numbers(path):
  """Rows as numbers, NaN as a text."""
  with open(path, newline='', encoding='utf-8') as file:
    return [
      {name: str(float(cell or 'nan')) for name, cell in row.items()}
      for row in csv.DictReader(file)
    ]


def _check_checkpoint(stored, step, damage):
  with _copy(stored) as directory, _heard() as said:
    path = directory / 'checkpoints' / checkpointing.file_name(step)
    _apply(path, damage)
    intact = _contents(directory, path)
    with _refusal(path):
      one = checkpointing.load(path)
      tree = checkpointing.restore_tree(_tree(step), one.arrays)
      for name, leaf in _tree(step).items():
        np.testing.assert_array_equal(tree[name], leaf)
      assert (one.step, one.get('key')) == (step, [step, 2**31])
      assert run_config.config_of(one) == _CONFIG
    newest = run_config.find_checkpoint(str(directory))
    if newest.step != _LAST:
      assert newest.step == _LAST - 1
      assert step == _LAST
      assert str(path) in said[0]
      assert 'Falling back' in said[0]
    np.testing.assert_array_equal(
      newest.arrays["['w']"], _tree(newest.step)['w']
    )
    assert _contents(directory, path) == intact


def _check_config(stored, damage):
  with _copy(stored) as directory, _heard() as said:
    path = directory / run_config.CONFIG_JSON
    before = path.read_bytes()
    _apply(path, damage)
    is_changed = path.read_bytes() != before
    intact = _contents(directory, path)
    with _refusal(path):
      config = run_config.read(path, {})
      assert config == _CONFIG or str(path) in said[0]
    # A run goes on whatever that file says.
    checkpoint = run_config.find_checkpoint(str(directory))
    assert _contents(directory, path) == intact
    assert run_config.config_of(checkpoint) == _CONFIG
    plan = run_config.Plan(_CONFIG, directory, checkpoint)
    records.RunRecords(plan).close()
    if is_changed:
      assert run_config.read(path, {}) == _CONFIG


def _check_table(stored, name, damage):
  with _copy(stored) as directory, _heard() as said:
    path = directory / name
    before = _numbers(path)
    _apply(path, damage)
    damaged = path.read_bytes()
    intact = _contents(directory, path)
    assert directories.has_run(directory)
    with _refusal(path):
      tables.iterations(directory, name)
    checkpoint = run_config.find_checkpoint(str(directory))
    plan = run_config.Plan(_CONFIG, directory, checkpoint)
    with _refusal(path) as refused:
      records.RunRecords(plan).close()
      expected = [r for r in before if float(r['iteration']) <= _LAST]
      found = _numbers(path)[: len(expected)]
      assert found == expected[: len(found)]
      assert len(found) == len(expected) or str(path) in said[0]
    if refused:
      assert path.read_bytes() == damaged
      assert _contents(directory, path) == intact


_JSON = st.recursive(
  st.none()
  | st.booleans()
  | st.integers(-(2**70), 2**70)
  | st.floats()
  | st.sampled_from(['', 'inf', 'nan', f'{_MODULE}:name', 'zero', 'adam'])
  | st.text(max_size=3),
  lambda x: (
    st.lists(x, max_size=3)
    | st.dictionaries(st.sampled_from(['name', 'order', 'x']), x, max_size=2)
  ),
  max_leaves=4,
)


def _check_values(stored, which, field, value):
  """A file that is whole, and holds what no run writes."""
  with _copy(stored) as directory, _heard():
    path = directory / run_config.CONFIG_JSON
    values = json.loads(path.read_text())
    fields = values if which == 'run' else values[which]
    names = [*fields, 'unheard_of']
    name = names[field % len(names)]
    if value is Ellipsis:
      fields.pop(name, None)
    else:
      fields[name] = value
    path.write_text(json.dumps(values))
    with _refusal(path):
      run_config.read(path, {})


_CASES = {
  'checkpoint': (_check_checkpoint, st.sampled_from([_LAST, 1]), _damages()),
  'config': (_check_config, _damages()),
  'table': (
    _check_table,
    st.sampled_from([tables.LEARNER_CSV, tables.EVALUATION_CSV]),
    _damages(),
  ),
  'values': (
    _check_values,
    st.sampled_from(['run', 'algorithm', 'agent']),
    st.integers(0, 60),
    st.just(Ellipsis) | _JSON,
  ),
}


@pytest.mark.parametrize('case', _CASES)
def test_damage(stored, case):
  check, *strategies = _CASES[case]

  @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
  @hypothesis.given(st.tuples(*strategies))
  def run(arguments):
    check(stored, *arguments)

  run()


@pytest.mark.learning
@pytest.mark.parametrize('case', _CASES)
def test_damage_for_long(stored, case):
  check, *strategies = _CASES[case]

  @hypothesis.settings(max_examples=5000, deadline=None, database=None)
  @hypothesis.given(st.tuples(*strategies))
  def run(arguments):
    check(stored, *arguments)

  run()


def test_settings_that_somebody_changed_are_told(stored):
  with _copy(stored) as directory, _heard() as said:
    path = directory / run_config.CONFIG_JSON
    assert run_config.read(path) == _CONFIG
    assert not said
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, 'seed': values['seed'] + 1}))
    assert run_config.read(path).seed == _CONFIG.seed + 1
  assert f'{path} is not as a run wrote it' in said[0]
