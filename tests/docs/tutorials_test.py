"""The tutorials run, and their notebooks are what their texts say."""

import json
import pathlib

import jax
from matplotlib import pyplot as plt
import pytest

from docs.extensions import notebooks

_FOLDER = pathlib.Path(__file__).parents[2] / 'docs' / 'tutorials'
_TUTORIALS = sorted(_FOLDER.glob('*.py'))


def _cells(path):
  return notebooks.cells(path.read_text(encoding='utf-8'))


@pytest.fixture(autouse=True)
def _as_before(monkeypatch, tmp_path):
  """Tutorials set what a program may set, and draw."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(plt, 'show', lambda: None)
  backend, before = plt.get_backend(), jax.config.jax_enable_x64
  plt.switch_backend('Agg')
  yield
  plt.close('all')
  plt.switch_backend(backend)
  jax.config.update('jax_enable_x64', before)


@pytest.mark.parametrize('path', _TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_and_draws(path):
  namespace = {'__name__': 'tutorial'}
  for kind, source in _cells(path):
    if kind == 'code':
      exec(compile(source, str(path), 'exec'), namespace)
  assert plt.get_fignums()


@pytest.mark.parametrize('path', _TUTORIALS, ids=lambda path: path.stem)
def test_notebook_says_the_same_and_was_run(path):
  notebook = json.loads(path.with_suffix('.ipynb').read_text(encoding='utf-8'))
  stored = [
    (cell['cell_type'], ''.join(cell['source']).strip())
    for cell in notebook['cells']
  ]
  assert stored == _cells(path), 'Run make notebooks.'
  outputs = [x for cell in notebook['cells'] for x in cell.get('outputs', ())]
  assert any('image/png' in x.get('data', {}) for x in outputs)
  assert not any(x['output_type'] == 'error' for x in outputs)
