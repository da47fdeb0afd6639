import errno
import os
import pathlib
import pickle
import subprocess

from absl import logging
import numpy as np
import pytest

from acme_metarl.launchers.runs import checkpointing


def _tree(value=0.0):
  return {
    'params': {'w': np.full((2, 3), value, np.float32)},
    'count': np.int32(7),
  }


def test_round_trip(tmp_path):
  checkpointer = checkpointing.Checkpointer(tmp_path / 'new')
  assert checkpointer.load_latest() is None
  path = checkpointer.save(12, _tree(1.5), {'seed': 3, 'note': 'π'})
  checkpoint = checkpointer.load_latest()
  assert (checkpoint.step, checkpoint.path) == (12, path)
  assert checkpoint.metadata == {'seed': 3, 'note': 'π'}
  tree = checkpointing.restore_tree(_tree(), checkpoint.arrays)
  np.testing.assert_array_equal(tree['params']['w'], np.full((2, 3), 1.5))
  assert tree['count'] == 7
  assert tree['count'].dtype == np.int32


def test_keeps_the_last_few(tmp_path):
  checkpointer = checkpointing.Checkpointer(tmp_path, max_to_keep=2)
  for step in (1, 2, 9, 10):
    checkpointer.save(step, _tree(step), {})
  assert [checkpointing.load(p).step for p in checkpointer.paths()] == [9, 10]
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9, 0.999])
def test_truncated_newest_falls_back_and_says_so(tmp_path, share, monkeypatch):
  said = []
  monkeypatch.setattr(
    logging, 'warning', lambda text, *args: said.append(text % args)
  )
  checkpointer = checkpointing.Checkpointer(tmp_path)
  checkpointer.save(1, _tree(1), {})
  newest = checkpointer.save(2, _tree(2), {})
  content = newest.read_bytes()
  newest.write_bytes(content[: int(share * len(content))])
  assert checkpointer.load_latest().step == 1
  assert len(said) == 1
  assert str(newest) in said[0]
  assert 'Falling back' in said[0]


def test_flipped_bits_are_noticed(tmp_path):
  path = checkpointing.Checkpointer(tmp_path).save(1, _tree(1), {})
  content = bytearray(path.read_bytes())
  where = content.index(np.float32(1).tobytes() * 6)
  content[where] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match='damaged'):
    checkpointing.load(path)


class _Bomb:
  """Makes a file when it is unpickled."""

  def __init__(self, path):
    self._path = str(path)

  def __reduce__(self):
    return pathlib.Path.touch, (pathlib.Path(self._path),)


@pytest.mark.parametrize('name', ['metadata', ".params['w']"])
def test_loading_executes_no_code_from_the_file(tmp_path, name):
  mark = tmp_path / 'executed'
  path = checkpointing.Checkpointer(tmp_path).save(1, _tree(), {})
  with np.load(path) as file:
    arrays = dict(file)
  np.savez(path, **(arrays | {name: np.array(_Bomb(mark), dtype=object)}))
  with pytest.raises(ValueError, match='damaged.*allow_pickle=False'):
    checkpointing.load(path)
  assert not mark.exists()
  # It would have.
  with np.load(path, allow_pickle=True) as file:
    file[name]
  assert mark.exists()


def test_a_bare_pickle_is_no_checkpoint(tmp_path):
  mark = tmp_path / 'executed'
  path = tmp_path / checkpointing.file_name(1)
  path.write_bytes(pickle.dumps(_Bomb(mark)))
  assert checkpointing.Checkpointer(tmp_path).load_latest() is None
  assert not mark.exists()
  pickle.loads(path.read_bytes())
  assert mark.exists()


def test_refuses_other_arrays(tmp_path):
  path = checkpointing.Checkpointer(tmp_path).save(1, _tree(), {})
  arrays = checkpointing.load(path).arrays
  wider = _tree() | {'params': {'w': np.zeros((2, 4), np.float32)}}
  with pytest.raises(ValueError, match=r"\['w'\] is float32\[2, 3\]"):
    checkpointing.restore_tree(wider, arrays)
  more = _tree() | {'more': np.zeros(())}
  with pytest.raises(ValueError, match=r"\['more'\] is nothing there"):
    checkpointing.restore_tree(more, arrays)
  with pytest.raises(ValueError, match=r"\['count'\] is int32\[\] there"):
    checkpointing.restore_tree({'params': _tree()['params']}, arrays)


def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
  checkpointer = checkpointing.Checkpointer(tmp_path)
  checkpointer.save(1, _tree(1), {})

  def no_space(_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', no_space)
  with pytest.raises(OSError, match='No space left'):
    checkpointer.save(2, _tree(2), {})
  monkeypatch.undo()
  assert [p.name for p in tmp_path.iterdir()] == ['checkpoint_00000001.npz']
  assert checkpointer.load_latest().step == 1


@pytest.fixture
def small_disk(tmp_path):
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(tmp_path)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('needs the right to mount a small disk')
  yield tmp_path
  # Lazy: also where a failed test left a file open.
  subprocess.run(['umount', '--lazy', str(tmp_path)], check=True)


def test_full_disk_leaves_the_last_checkpoint(small_disk: pathlib.Path):
  checkpointer = checkpointing.Checkpointer(small_disk)
  checkpointer.save(1, _tree(1), {})
  with pytest.raises(OSError, match='No space left'):
    checkpointer.save(2, {'large': np.random.rand(10**5)}, {})
  checkpoint = checkpointer.load_latest()
  assert checkpoint.step == 1
  checkpointing.restore_tree(_tree(), checkpoint.arrays)
  assert len(list(small_disk.iterdir())) == 1


def test_folders_above_are_made(tmp_path):
  checkpointing.Checkpointer(tmp_path / 'a' / 'b').save(1, _tree(), {})
  assert (
    checkpointing.Checkpointer(tmp_path / 'a' / 'b').load_latest().step == 1
  )


def test_something_must_be_kept(tmp_path):
  with pytest.raises(ValueError, match='max_to_keep: got 0, need at least 1'):
    checkpointing.Checkpointer(tmp_path, max_to_keep=0)
  # One is enough.
  checkpointer = checkpointing.Checkpointer(tmp_path, max_to_keep=1)
  for step in (1, 2):
    checkpointer.save(step, _tree(), {})
  assert [checkpointing.load(p).step for p in checkpointer.paths()] == [2]


def test_a_missing_file_is_not_a_damaged_one(tmp_path):
  with pytest.raises(FileNotFoundError):
    checkpointing.load(tmp_path / checkpointing.file_name(1))


def test_metadata_that_are_not_there_are_named(tmp_path):
  checkpointer = checkpointing.Checkpointer(tmp_path)
  checkpointer.save(1, _tree(), {'iteration': 1})
  checkpoint = checkpointer.load_latest()
  assert checkpoint.get('iteration') == 1
  with pytest.raises(ValueError, match="lacks 'config': it is of another"):
    checkpoint.get('config')


def test_a_copy_under_another_name_knows_its_step(tmp_path):
  path = checkpointing.Checkpointer(tmp_path).save(7, _tree(), {'iteration': 7})
  copy = path.rename(tmp_path / 'best.npz')
  assert checkpointing.load(copy).step == 7


def test_a_header_that_claims_fewer_numbers_is_noticed(tmp_path):
  path = checkpointing.Checkpointer(tmp_path).save(1, _tree(1), {})
  content = path.read_bytes()
  assert content.count(b"'shape': (2, 3)") == 1
  path.write_bytes(content.replace(b"'shape': (2, 3)", b"'shape': (0, 3)"))
  with pytest.raises(ValueError, match='damaged'):
    checkpointing.load(path)


def test_a_copy_under_the_name_of_another_step_knows_its_own(tmp_path):
  path = checkpointing.Checkpointer(tmp_path).save(7, _tree(), {'iteration': 7})
  copy = path.rename(tmp_path / checkpointing.file_name(99))
  assert checkpointing.load(copy).step == 7


def test_a_number_is_one(tmp_path):
  checkpointing.Checkpointer(tmp_path).save(1, _tree(), {'a': 2, 'b': None})
  checkpoint = checkpointing.Checkpointer(tmp_path).load_latest()
  assert checkpoint.number('a') == 2
  with pytest.raises(ValueError, match='b is None, and must be a number'):
    checkpoint.number('b')


def test_three_are_kept_unless_told(tmp_path):
  checkpointer = checkpointing.Checkpointer(tmp_path)
  for step in range(5):
    checkpointer.save(step, _tree(), {})
  assert [checkpointing.load(p).step for p in checkpointer.paths()] == [2, 3, 4]


def test_all_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
  """First the whole file, then its name: a power cut leaves no half of one."""
  synced = []
  fsync = os.fsync

  def noted(handle):
    fsync(handle)
    names = [path.name for path in tmp_path.iterdir()]
    synced.append((handle, os.fstat(handle), names))

  monkeypatch.setattr(os, 'fsync', noted)
  path = checkpointing.Checkpointer(tmp_path).save(1, _tree(), {})
  (_, file, before), (_, folder, after) = synced
  assert os.path.samestat(file, path.stat())
  assert file.st_size == path.stat().st_size
  assert path.name not in before
  assert os.path.samestat(folder, tmp_path.stat())
  assert after == [path.name]
  # And nothing stays open.
  for handle, _, _ in synced:
    with pytest.raises(OSError, match='Bad file descriptor'):
      os.fstat(handle)
