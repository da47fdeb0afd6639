"""The site is built without a warning, is whole, and works offline.

Where its environment has not been made, `make docs` has not been run here.
"""

import pathlib
import re
import subprocess
import zlib

import pytest

from docs.extensions import check_site

_ROOT = pathlib.Path(__file__).parents[2]
_PYTHON = _ROOT / '.venv-docs' / 'bin' / 'python'

pytestmark = pytest.mark.skipif(
  not _PYTHON.exists(), reason='`make docs` has not made its environment.'
)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  folder = tmp_path_factory.mktemp('site')
  arguments = ['-b', 'html', '-q', '-W', '--keep-going', '-d']
  done = subprocess.run(
    [
      _PYTHON,
      '-m',
      'sphinx',
      *arguments,
      folder / 'trees',
      'docs',
      folder / 'html',
    ],
    capture_output=True,
    text=True,
    cwd=_ROOT,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  return folder / 'html'


def test_links_lead_somewhere(site):
  assert not check_site.problems(site)


def test_public_names_are_in_the_reference(site):
  inventory = (site / 'objects.inv').read_bytes()
  text = zlib.decompress(inventory.split(b'zlib.\n', 1)[1]).decode()
  names = {line.split()[0] for line in text.splitlines()}
  for name in (
    'evaluators.taylor_expansion',
    'meta.inner_loop.GradientAscent.update',
    'presets.make',
    'config.AlgorithmConfig',
    'types.Environment.step',
    'on_device.make_train',
    'tabular.value_hessian',
    'environments.TrialEnvironment',
    'agents.maml.MAMLBuilder.make_learner',
  ):
    assert f'acme_metarl.{name}' in names


def test_formulas_are_rendered(site):
  page = (site / 'reference' / 'acme_metarl.evaluators.html').read_text()
  (shown,) = re.findall(
    r'id="acme_metarl.evaluators.importance_sampling".*?</dd>', page, re.DOTALL
  )
  assert '<mover accent="true"><mi>V</mi>' in shown
  assert 'V̂_t' not in shown
