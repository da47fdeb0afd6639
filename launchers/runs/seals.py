"""Checksums of what a run goes on from, for damage that still reads well."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any
import zlib

from absl import logging


def of_values(values: Any) -> int:
  """A checksum of what JSON can hold, the order of keys left out."""
  return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def of_table(path: pathlib.Path) -> dict[str, int]:
  """A seal of a table as it is now; rows may be added below."""
  text = _text(path)
  return {'length': len(text), 'crc32': zlib.crc32(text)}


def check_table(path: pathlib.Path, seal: Any) -> None:
  """Refuses a table whose sealed rows are others than they were.

  Says so where the last ones are gone, say because of a loss of power.

  Args:
    path: of the table; one that is not there was moved away.
    seal: from `of_table`.

  Raises:
    ValueError: naming the table.
  """
  if not path.exists() or not isinstance(seal, Mapping):
    return
  text = _text(path)[: seal['length']]
  if len(text) < seal['length']:
    logging.warning('%s has lost rows at its end.', path)
  elif zlib.crc32(text) != seal['crc32']:
    raise ValueError(
      f'{path} is not what the run wrote until its checkpoint: it is damaged, '
      'or was edited; bring it back as it was, or move it away.'
    )


def _text(path: pathlib.Path) -> bytes:
  """A table, whatever program has saved it again."""
  content = path.read_bytes().removeprefix(b'\xef\xbb\xbf')
  return content.replace(b'\r\n', b'\n')
